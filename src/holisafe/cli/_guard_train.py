"""`holisafe guard train`: a guard from pictures and labels alone."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from holisafe.tuning import TrainedGuard

SOME_SKIPPED = 1
"""Exit code where pictures could not be read; 2 is for what cannot be done at all."""


def register(group: typer.Typer) -> None:
    """Add the command to the group `guard`."""
    group.command("train")(train)


def train(
    images: Annotated[
        str,
        typer.Option(
            help="Folder with a folder per label, CSV file with the columns image,label, or records with image labels "
            "(name, path or Hub id of a data set).",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option(help="New folder for the guard.", show_default=False)],
    model: Annotated[str, typer.Option(help="pocket, a folder with a checkpoint, or a Hub id.")] = "pocket",
    crosswalk: Annotated[
        str | None,
        typer.Option(help="Taxonomy whose codes the labels are, such as llama_guard.", show_default=False),
    ] = None,
    split: Annotated[str | None, typer.Option(help="Split of records.", show_default=False)] = None,
    num_train_epochs: Annotated[float, typer.Option(help="Passes over the pictures.")] = 30.0,
    max_steps: Annotated[
        int | None, typer.Option(help="Optimizer steps, in place of --num-train-epochs.", show_default=False)
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Pictures of one step.")] = 32,
    learning_rate: Annotated[float, typer.Option(help="Peak learning rate.")] = 1e-3,
    held_out: Annotated[
        float, typer.Option(help="Share of each label's pictures to measure and calibrate on, in (0, 1).")
    ] = 0.25,
    flag_rate: Annotated[
        float, typer.Option(help="Largest share of safe pictures that the guard may flag, in (0, 1).")
    ] = 0.05,
    seed: Annotated[int, typer.Option(min=0, help="Of the split, new weights and the order.")] = 0,
    device: Annotated[str | None, typer.Option(help="E.g. cpu, cuda:1.", show_default=False)] = None,
    dtype: Annotated[str | None, typer.Option(help="auto, float32, bfloat16 or float16.", show_default=False)] = None,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Run code that comes with the checkpoint.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")] = False,
) -> None:
    """Train a guard on pictures and their labels, calibrate it on held-out ones, and write it to OUT.

    The model is frozen: each picture goes through it once, and a small head is trained on its features. Pictures are
    split by their bytes, so that no picture is both learned and held out. `holisafe guard PICTURES --guard OUT` reads
    the result.

    Exit code 0: done; 1: done, but pictures could not be read; 2: not done.

    Example: holisafe guard train --images pictures --out guards/mine
    """
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    from transformers.utils import logging as transformers_logging

    from holisafe.models import load
    from holisafe.tuning import GuardTraining, train_guard_on_images

    transformers_logging.disable_progress_bar()
    training = GuardTraining(
        num_train_epochs=num_train_epochs,
        max_steps=max_steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        held_out=held_out,
        flag_rate=flag_rate,
        seed=seed,
    )
    loaded = load(model, device=device, dtype=dtype, trust_remote_code=trust_remote_code)
    with _Progress() as progress:
        trained = train_guard_on_images(
            loaded.model, loaded.processor, images, out, training, crosswalk=crosswalk, split=split, progress=progress
        )
    typer.echo(json.dumps(trained.to_json())) if as_json else _show(trained)
    for each in trained.skipped[:5]:
        typer.echo(f"skipped {each.id}: {each.why}", err=True)
    if trained.uncalibrated:
        typer.echo(f"the guard is not calibrated: {trained.uncalibrated}", err=True)
    typer.echo(f"the guard is in {out}; `holisafe guard PICTURES --model {model} --guard {out}` uses it", err=True)
    if trained.skipped:
        typer.echo(f"{len(trained.skipped)} pictures could not be read", err=True)
        raise typer.Exit(SOME_SKIPPED)


class _Progress:
    """How far it is, on standard error: a line that is written over on a terminal, else one line per stage."""

    def __enter__(self) -> _Progress:
        from rich.console import Console
        from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        console = Console(stderr=True, highlight=False)
        columns = (TextColumn("{task.description}"), MofNCompleteColumn(), TimeRemainingColumn())
        self._bar = Progress(*columns, console=console, disable=not console.is_terminal, redirect_stdout=False)
        self._tasks: dict[str, int] = {}
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Show a stage's progress."""
        if stage not in self._tasks:
            self._tasks[stage] = self._bar.add_task(_STAGES[stage], total=total)
        self._bar.update(self._tasks[stage], completed=done)  # type: ignore[arg-type]  # rich's TaskID
        if done == total and self._bar.disable:
            typer.echo(f"{_STAGES[stage]}: {total} of {total}", err=True)


_STAGES = {"features": "reading pictures", "training": "training steps"}


def _show(trained: TrainedGuard) -> None:
    """On standard output: what was learned, and how the guard does on held-out pictures."""
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    table = Table("label", "learned", "held out")
    for label in {**trained.learned, **trained.held_out}:
        table.add_row(label, str(trained.learned.get(label, 0)), str(trained.held_out.get(label, 0)))
    console.print(table)
    count = sum(trained.held_out.values())
    console.print(
        f"accuracy on {count} held-out pictures: {trained.accuracy:.3f} (most frequent label: {trained.chance:.3f})"
    )
    if trained.report is not None:
        console.print(f"calibrated: threshold {trained.report.calibration.threshold:.3f}")
