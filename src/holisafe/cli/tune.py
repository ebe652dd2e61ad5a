"""`holisafe tune`: make a model safer on all five combinations."""

from __future__ import annotations

import contextlib
import json
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from holisafe.tuning import Plan, TuneConfig, Tuned

IMAGES_LEFT_OUT = 1
"""Exit code where images could not be opened or records are broken; 2 is for what cannot be done at all."""

PARTS = ("language", "projector", "vision", "guard")


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("tune")(tune)


def tune(
    model: Annotated[
        str,
        typer.Argument(help="pocket, a folder with a checkpoint or a tuned model, or a Hub id.", show_default=False),
    ],
    data: Annotated[str, typer.Option(help="Safety data: name of a data set, a path, or a Hub id.")] = "open",
    split: Annotated[
        str | None, typer.Option(help="Split to learn from; train if not given, where the data have splits.")
    ] = None,
    general: Annotated[
        str | None,
        typer.Option(help="General instruction data, which need no refusal: name, path or Hub id.", show_default=False),
    ] = None,
    general_share: Annotated[float | None, typer.Option(help="Their share of the samples, in [0, 1).")] = None,
    recipe: Annotated[
        str | None,
        typer.Option(help="Name of a shipped recipe, or a JSON file; options given here go before it."),
    ] = None,
    method: Annotated[
        Literal["vgm", "meta-token", "sft"] | None,
        typer.Option(
            help="vgm: with a guard that reads the images. meta-token: with one that reads a learned token per image. "
            "sft: answers alone."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the run; runs/MODEL-METHOD if not given.")] = None,
    steps: Annotated[int | None, typer.Option(help="Optimizer steps, in place of --epochs.")] = None,
    epochs: Annotated[float | None, typer.Option(help="Passes over the safety data.")] = None,
    batch: Annotated[int | None, typer.Option(help="Samples of one forward pass.")] = None,
    accumulation: Annotated[int | None, typer.Option(help="Forward passes of one optimizer step.")] = None,
    rate: Annotated[
        list[str] | None,
        typer.Option(
            help="Peak learning rate of all parts that learn (5e-5), or of one: language=2e-4, projector=..., "
            "vision=..., guard=...; PART=off lets it rest. May be given more than once.",
            show_default=False,
        ),
    ] = None,
    lora_rank: Annotated[int | None, typer.Option(help="Rank of the language model's adapter.")] = None,
    max_tokens: Annotated[
        int | None, typer.Option(help="Longest sample, visual tokens included; longer ones are left out.")
    ] = None,
    precision: Annotated[
        Literal["float32", "bfloat16"] | None, typer.Option(help="Number format of forward and backward passes.")
    ] = None,
    checkpointing: Annotated[
        bool | None, typer.Option(help="Compute activations twice, to save memory.", show_default=False)
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of the draw of samples, new weights and dropout.")] = None,
    device: Annotated[
        str | None, typer.Option(help="cpu or cuda; choose among GPUs with CUDA_VISIBLE_DEVICES.")
    ] = None,
    dtype: Annotated[str | None, typer.Option(help="Load weights as auto, float32, bfloat16 or float16.")] = None,
    attention: Annotated[str | None, typer.Option(help="Attention backend, e.g. sdpa.")] = None,
    revision: Annotated[str | None, typer.Option(help="Hub revision of the model.")] = None,
    save_every: Annotated[int, typer.Option(min=1, help="Optimizer steps between checkpoints.")] = 100,
    log_every: Annotated[int, typer.Option(min=1, help="Optimizer steps between lines of log.jsonl.")] = 10,
    evaluate_every: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Optimizer steps between evaluations (ASR, RR, utility) on 60 samples of the split calibration.",
            show_default=False,
        ),
    ] = None,
    max_refusal_rate: Annotated[
        float | None, typer.Option(help="Stop when RR on SSS rises above it, in [0, 1].", show_default=False)
    ] = None,
    max_utility_drop: Annotated[
        float | None,
        typer.Option(
            help="Stop when reference answers to safe samples become less likely by more, in nats per token.",
            show_default=False,
        ),
    ] = None,
    max_attack_success_rate: Annotated[
        float | None, typer.Option(help="Keep no checkpoint with a mean ASR above it, in [0, 1].", show_default=False)
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be trained, and train and write nothing.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object on standard output: tuned.json, or the plan.")
    ] = False,
) -> None:
    """Tune MODEL so that it refuses what is unsafe, answers what is safe, and says why.

    The settings are those of --recipe, else the published ones, each overridden by its option. OUT/tuned is the result:
    adapter, projector, guard and a model card; `holisafe bench OUT --guard own` measures it, `holisafe merge OUT`
    makes one plain checkpoint of it. OUT/log.jsonl has the losses.

    Interrupted at any moment and started again with the same command, it goes on from its newest checkpoint to the
    same weights. On several GPUs: accelerate launch -m holisafe tune MODEL ...

    With bounds, training stops where one is passed, and the result is the last checkpoint within all of them.

    Samples that are longer than the model's context or --max-tokens are left out and named in the log. So are those
    whose image cannot be opened.

    Exit code 0: done; 1: done, but records are broken or images could not be opened; 2: not done.

    Example: holisafe tune pocket --steps 300 --batch 4 --accumulation 4 --rate 2e-4 --precision float32 --out runs/safe
    """
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    # PEFT asks transformers by a name that transformers is about to drop
    warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
    given = {
        "method": method,
        "steps": steps,
        "epochs": epochs,
        "batch": batch,
        "accumulation": accumulation,
        "lora_rank": lora_rank,
        "max_tokens": max_tokens,
        "precision": precision,
        "checkpointing": checkpointing,
        "seed": seed,
        "general_share": general_share,
    }
    from transformers.utils import logging as transformers_logging

    from holisafe import tuning
    from holisafe.tuning import Bounds, ModelOptions, read_recipe

    transformers_logging.disable_progress_bar()
    kept = None if recipe is None else read_recipe(recipe)
    bounds = Bounds(
        refusal_rate=max_refusal_rate,
        utility_drop=max_utility_drop,
        attack_success_rate=max_attack_success_rate,
    )
    config = _overridden(None if kept is None else kept.config, given, rate or [])
    arguments: dict[str, Any] = {
        "split": split,
        "general": general,
        "guard": None if kept is None else kept.guard,
        "options": ModelOptions(device, dtype, attention, revision),
    }
    while_it_trains: dict[str, Any] = {
        "save_every": save_every,
        "log_every": log_every,
        "evaluate_every": evaluate_every,
        "bounds": bounds,
    }
    if dry_run:
        planned = tuning.plan(model, data, config, **arguments)
        typer.echo(json.dumps(_plan_json(planned, config))) if as_json else _print_plan(planned, config)
        _end(_counts(planned.left_out, planned.broken))
        return
    folder = out or Path("runs") / _folder_name(model, config.method)
    if os.environ.get("RANK", "0") != "0":  # of several processes, the first speaks
        tuning.tune(model, data, folder, config, recipe=recipe, **arguments, **while_it_trains)
        return
    typer.echo(f"tuning {model} on {data} with method {config.method}; into {folder}", err=True)
    with goes_on_tuning(folder), show_steps() as progress:
        tuned = tuning.tune(
            model,
            data,
            folder,
            config,
            recipe=recipe,
            **while_it_trains,
            progress=progress,
            **arguments,
        )
    if as_json:
        typer.echo(json.dumps({"out": str(folder), "was_there": tuned.was_there, **tuned.description}))
    if tuned.was_there:
        typer.echo(f"it was tuned already: {tuned.folder}", err=True)
        return
    if not as_json:
        _print_losses(tuned)
    training = tuned.description["training"]
    if training["stopped"]:
        typer.echo(f"stopped early {training['stopped']}; kept is what it was at step {training['steps']}", err=True)
    typer.echo(f"the tuned model is in {tuned.folder}; `holisafe bench {folder} --guard own` measures it", err=True)
    _end(tuned.description["data"]["left_out"])


def _overridden(config: TuneConfig | None, given: Mapping[str, Any], rates: list[str]) -> TuneConfig:
    """The settings with those that were given; --epochs takes the place of a recipe's steps."""
    from dataclasses import replace

    from holisafe.tuning import TuneConfig

    changes = {name: value for name, value in given.items() if value is not None}
    if "epochs" in changes and "steps" not in changes:
        changes["steps"] = None
    config = config or TuneConfig()
    for text in rates:
        part, equals, value = text.rpartition("=")
        changes |= _rate(part, value) if equals else _rates_of_all(config, value)
    return replace(config, **changes)


def _rates_of_all(config: TuneConfig, value: str) -> dict[str, float | None]:
    """One rate for all parts that the recipe lets learn."""
    names = [f"{part}_rate" for part in PARTS]
    return dict.fromkeys([name for name in names if getattr(config, name) is not None], _number(value))


def _rate(part: str, value: str) -> dict[str, float | None]:
    from holisafe.errors import TuningError

    if part not in PARTS:
        raise TuningError(f"--rate: expected one of {', '.join(PARTS)} before '=', found {part!r}")
    return {f"{part}_rate": None if value == "off" else _number(value)}


def _number(value: str) -> float:
    from holisafe.errors import TuningError

    try:
        return float(value)
    except ValueError:
        raise TuningError(f"--rate: expected a number such as 5e-5, or PART=off, found {value!r}") from None


def _folder_name(model: str, method: str) -> str:
    import re

    return "-".join(re.sub(r"[^A-Za-z0-9._]+", "_", name).strip("_.") or "model" for name in (model, method))


@contextlib.contextmanager
def goes_on_tuning(folder: Path) -> Iterator[None]:
    """Say, when interrupted, that nothing is lost."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo(f"checkpoints are kept in {folder}; the same command goes on from the newest", err=True)
        raise


@contextlib.contextmanager
def show_steps() -> Iterator[Callable[[int, int, Mapping[str, Any]], None]]:
    """A bar on standard error with the newest losses; a line per tenth where standard error is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True, highlight=False)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[losses]}"),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal, redirect_stdout=False) as bar:
        task = bar.add_task("reading model and samples", total=None, losses="")
        told = 0

        def advance(step: int, steps: int, row: Mapping[str, Any]) -> None:
            nonlocal told
            losses = _losses(row)
            bar.update(task, description="tuning", completed=step, total=steps, losses=losses)
            is_new = row.get("step") == step and step > told
            if not console.is_terminal and is_new and (step - told >= steps / 10 or step in (1, steps)):
                told = step
                console.print(f"step {step} of {steps}: {losses}", soft_wrap=True)

        yield advance


def _losses(row: Mapping[str, Any]) -> str:
    """Loss, its parts and the guard's accuracy, of the newest line of the log."""
    shown = [
        f"{name.replace('loss_', '').replace('accuracy_', 'acc. ')} {value:.3f}"
        for name, value in sorted(row.items(), key=lambda each: (each[0].startswith("accuracy_"), each[0]))
        if name == "loss" or name.startswith(("loss_", "accuracy_"))
    ]
    return ", ".join(shown)


def _print_losses(tuned: Tuned) -> None:
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


def _plan_json(planned: Plan, config: TuneConfig) -> dict[str, Any]:
    from dataclasses import asdict

    return {**asdict(planned), "settings": config.to_json()}


def _print_plan(planned: Plan, config: TuneConfig) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    parts = Table("part", "learns", "peak rate")
    for name, part in planned.learned.items():
        parts.add_row(name, f"{part['parameters']:,}", f"{part['rate']:g}")
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
        f"{planned.steps:,} optimizer steps of {config.batch} × {config.accumulation} samples a process, {longest}; "
        f"method {config.method}, {config.precision}, seed {config.seed}"
    )


def _counts(left_out: Any, broken: int) -> dict[str, int]:
    reasons = [each.reason for each in left_out]
    return {"broken": broken, "image": reasons.count("image"), "length": reasons.count("length")}


def _end(left_out: Mapping[str, int]) -> None:
    """Say on standard error what was left out; records that are broken and images that cannot be opened cost a 1."""
    if left_out["length"]:
        typer.echo(f"{left_out['length']} samples are too long and were left out; log.jsonl names them", err=True)
    if left_out["image"]:
        typer.echo(f"{left_out['image']} samples have an image that cannot be opened; log.jsonl names them", err=True)
    if left_out["broken"]:
        typer.echo(f"{left_out['broken']} broken records were left out; `holisafe data validate` lists them", err=True)
    if left_out["image"] or left_out["broken"]:
        raise typer.Exit(IMAGES_LEFT_OUT)
