"""What `holisafe tune` prints on standard output: the plan of a run, and its losses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from holisafe.tuning import Estimate, Plan, Speed, TuneConfig, Tuned


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


def print_plan(planned: Plan, config: TuneConfig, speed: Speed) -> None:
    """On standard output: what learns, from what, and what it needs."""
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
    if planned.estimate is None:
        console.print(f"no estimate of memory and time: {planned.why_not}")
        return
    _print_needs(console, planned.estimate, planned.steps, speed)


def _print_needs(console: Any, found: Estimate, steps: int, speed: Speed) -> None:
    """Memory of a GPU and time, for each number of GPUs."""
    from rich.table import Table

    table = Table(
        "GPUs", "", "micro-batches", "weights", "gradients", "optimizer", "activations", "communication",
        "GiB per GPU", "s per step", "hours",
        title=f"Per GPU in GiB, with micro-batches of {found.batch_size} × {found.tokens} tokens",
        title_justify="left",
    )  # fmt: skip
    for each in found.gpus:
        held = (each.weights, each.gradients, each.optimizer, each.activations, each.communication, each.total)
        kind = "FSDP2" if each.sharded else "DDP" if each.processes > 1 else ""
        times = ["", ""] if each.seconds is None else [f"{each.seconds:.1f}", f"{each.seconds * steps / 3600:.1f}"]
        micro = "do not divide" if each.accumulation is None else str(each.accumulation)
        table.add_row(str(each.processes), kind, micro, *(f"{value / 2**30:.2f}" for value in held), *times)
    console.print(table)
    console.print(
        f"{found.flops / 1e12:.2f} TFLOP per micro-batch; time at {speed.mfu:.0%} of {speed.tflops:g} TFLOP/s per GPU "
        "(--mfu, --tflops), communication and loading of data not counted"
    )
