"""What `holisafe tune` prints on standard output: the plan of a run, and its losses."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holisafe.tuning import Plan, TuneConfig, Tuned


def print_losses(tuned: Tuned) -> None:
    """On standard output: losses and accuracies at the beginning and at the end."""
    from rich.console import Console
    from rich.table import Table

    training = tuned.description["training"]
    first, last = training["first"], training["last"]
    table = Table("", f"step {first['step']}", f"step {last['step']}")
    for name in last:
        if name != "step":
            table.add_row(name, *(f"{row[name]:.4f}" if name in row else "" for row in (first, last)))
    Console(highlight=False).print(table)


def print_plan(planned: Plan, config: TuneConfig) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    parts = Table("part", "parameters that learn", "peak learning rate")
    for name, part in planned.learned.items():
        parts.add_row(name, f"{part['parameters']:,}", f"{part['learning_rate']:g}")
    learning = sum(part["parameters"] for part in planned.learned.values())
    parts.add_row("of all", f"{planned.parameters:,}", f"{learning / planned.parameters:.2%} learn")
    console.print(parts)
    samples = Table(*planned.by_combination, "all")
    samples.add_row(
        *(f"{count:,}" for count in (*planned.by_combination.values(), sum(planned.by_combination.values())))
    )
    console.print(samples)
    longest = "any length" if planned.longest is None else f"at most {planned.longest:,} tokens"
    console.print(
        f"{planned.steps:,} optimizer steps of {config.batch_size} × {config.gradient_accumulation_steps} samples "
        f"per process, {longest}; "
        f"method {config.method}, {config.precision}, seed {config.seed}"
    )
