"""`holisafe demo`: a real model before and after safety tuning, measured within minutes, and a report to look at."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from holisafe.cli._options import AsJson
from holisafe.cli._runs import resumable, show_progress, tell_troubles, to_json
from holisafe.cli._small_tuning import BATCH, FEWEST_STEPS, STEPS, tune_small

if TYPE_CHECKING:
    from holisafe.records import Run

BEFORE = "pocket"
AFTER = "pocket-safe"
TUNED_HERE = "pocket-tuned"
PROTOCOL_TOKENS = 512

SAMPLES = 240
"""Samples of HoliSafe-Open's test split that two cores answer twice within eight minutes."""

SAMPLES_BESIDE_TRAINING = 80


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("demo")(demo)


def demo(
    samples: Annotated[
        int | None,
        typer.Option(
            min=5,
            help="Number of samples that each model is asked; each combination keeps its share.",
            show_default=f"{SAMPLES}, or {SAMPLES_BESIDE_TRAINING} with --train",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of runs and report.", show_default="out/demo, or out/demo-train with --train"),
    ] = None,
    max_new_tokens: Annotated[
        int, typer.Option(min=1, help=f"Maximum number of new tokens per answer; {PROTOCOL_TOKENS} as published.")
    ] = 32,
    train: Annotated[
        bool, typer.Option("--train", help="Tune Pocket here, briefly, instead of using the shipped Safe Pocket.")
    ] = False,
    steps: Annotated[
        int | None,
        typer.Option(min=FEWEST_STEPS, help="Optimizer steps with --train.", show_default=str(STEPS)),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure Pocket before and after safety tuning.

    Both models are asked the same part of HoliSafe-Open. Their rates with differences, the quality of the guard's
    verdicts, and one request of each combination with both answers are printed, and a report is written. It takes at
    most 8 minutes on two CPU cores. With --train, Pocket is tuned here for a few steps, which takes 15 minutes in all.

    After an interruption, the same command resumes.
    """
    if steps is not None and not train:
        raise typer.BadParameter("steps are for --train; the Safe Pocket that ships is tuned already")
    folder = out or Path("out/demo-train" if train else "out/demo")
    count = samples or (SAMPLES_BESIDE_TRAINING if train else SAMPLES)
    shorter = f", fewer than the protocol's {PROTOCOL_TOKENS}" if max_new_tokens < PROTOCOL_TOKENS else ""
    typer.echo(
        f"measuring on {count} samples of HoliSafe-Open, all five combinations; answers of at most {max_new_tokens} "
        f"new tokens{shorter}; into {folder}",
        err=True,
    )
    before = _measure(BEFORE, BEFORE, folder, count, max_new_tokens)
    if train:
        tuned = _tune(folder / "tuning", steps or STEPS)
        after = _measure(str(tuned), TUNED_HERE, folder, count, max_new_tokens, guard="own")
    else:
        after = _measure(AFTER, AFTER, folder, count, max_new_tokens, guard="own")
    typer.echo("writing the report", err=True)
    from holisafe.blind import PIXELS, blind_baselines
    from holisafe.cli._two_runs import compare_runs, print_two_runs
    from holisafe.report import write_report

    page = write_report([before, after], folder / "report.html", title="Pocket on HoliSafe-Open, before and after")
    differences = compare_runs(before, after)
    blind = blind_baselines("open", "test", run=after, features=PIXELS)
    if as_json:
        found = {
            "out": str(folder),
            "report": str(page),
            "before": to_json(before, before.name, folder / BEFORE),
            "after": to_json(after, after.name, folder / after.name),
            "differences": {judge: comparison.to_json() for judge, comparison in differences.items()},
            "blind": blind.to_json(),
        }
        typer.echo(json.dumps(found))
        return
    print_two_runs(before, after, differences, blind=blind)
    if train:
        typer.echo(
            f"{after.name} is tuned briefly: {_small(steps or STEPS)}. `holisafe demo` measures the one that ships."
        )
    if shorter:
        typer.echo(f"Answers of at most {max_new_tokens} new tokens{shorter}.")
    typer.echo(f"The report is in {page}: open it in a browser.")


def _measure(model: str, name: str, folder: Path, samples: int, max_new_tokens: int, guard: str | None = None) -> Run:
    """One of the two runs, in the subfolder of its name."""
    from holisafe.bench import measure

    typer.echo(f"measuring {name}", err=True)
    with resumable(folder), show_progress() as line:
        measured = measure(
            model,
            data="open",
            split="test",
            judges=("holisafe", "refusal"),
            limit=samples,
            out=folder / name,
            max_new_tokens=max_new_tokens,
            guard=guard,
            progress=line.advance,
        )
    tell_troubles(measured, "open")
    return replace(measured, name=name)


def _tune(folder: Path, steps: int) -> Path:
    """A small safety tuning of Pocket; the tuned model's folder."""
    from holisafe.cli._tune_progress import resumable_tuning, show_steps

    typer.echo(f"tuning {BEFORE} on HoliSafe-Open's training split, briefly: {_small(steps)}", err=True)
    with resumable_tuning(folder), show_steps() as (progress, on_stage):
        tuned = tune_small(BEFORE, folder, steps, progress=progress, on_stage=on_stage)
    if tuned.was_there:
        typer.echo(f"already tuned: {tuned.folder}", err=True)
    return tuned.folder


def _small(steps: int) -> str:
    return f"{steps} steps of {BATCH} samples"
