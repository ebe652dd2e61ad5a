"""`holisafe guard train`: a guard from images and labels alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from holisafe.cli._options import AsJson, Device, Dtype, TrustRemoteCode
from holisafe.cli._progress import progress_line

if TYPE_CHECKING:
    from holisafe.tuning import TrainedGuard

SOME_SKIPPED = 1
"""Exit code where images could not be read; 2 is for what cannot be done at all."""


def register(group: typer.Typer) -> None:
    """Add the command to the group `guard`."""
    group.command("train")(train)


def train(
    images: Annotated[
        str,
        typer.Option(
            help="Folder with one subfolder per label, CSV file with the columns image and label, or records with "
            "image labels (name, path or Hub id of a data set).",
        ),
    ],
    out: Annotated[Path, typer.Option(help="New folder for the guard.")],
    model: Annotated[str, typer.Option(help="pocket, a folder with a checkpoint, or a Hub id.")] = "pocket",
    crosswalk: Annotated[
        str | None,
        typer.Option(help="Taxonomy of the labels, such as llama_guard.", show_default="HoliSafe's"),
    ] = None,
    split: Annotated[str | None, typer.Option(help="Split of records.", show_default="all")] = None,
    held_out: Annotated[
        float, typer.Option(help="Share of each label's images to measure and calibrate on, in (0, 1).")
    ] = 0.25,
    flag_rate: Annotated[float, typer.Option(help="Largest share of safe images to flag, in (0, 1).")] = 0.05,
    num_train_epochs: Annotated[float, typer.Option(help="Passes over the images.")] = 30.0,
    max_steps: Annotated[int | None, typer.Option(help="Optimizer steps, instead of --num-train-epochs.")] = None,
    batch_size: Annotated[int, typer.Option(help="Images per optimizer step.")] = 32,
    learning_rate: Annotated[float, typer.Option(help="Peak learning rate.")] = 1e-3,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the held-out share, new weights and order.")] = 0,
    device: Device = None,
    dtype: Dtype = None,
    trust_remote_code: TrustRemoteCode = False,
    as_json: AsJson = False,
) -> None:
    r"""Train a guard on labelled images and calibrate it.

    The model is frozen: it reads each image once, and an image head is trained on its features. Images are split by
    their content, so that none is both trained on and held out. `holisafe guard IMAGES --guard OUT` uses the guard.

    Exit code 0: done; 1: done, but images could not be read; 2: not done.

    \b
    Example:
      holisafe guard train --images labelled --out guards/mine
    """
    from holisafe.models import load
    from holisafe.tuning import GuardTraining, train_guard_on_images

    training = GuardTraining(
        num_train_epochs=num_train_epochs,
        max_steps=max_steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        held_out=held_out,
        flag_rate=flag_rate,
        seed=seed,
    )
    with progress_line("loading the model", "step") as line:
        loaded = load(model, device=device, dtype=dtype, trust_remote_code=trust_remote_code)

        def progress(stage: str, done: int, total: int) -> None:
            if stage == "training":
                line.advance(done, total)
            else:
                line.stage("reading images", done, total)

        trained = train_guard_on_images(
            loaded.model, loaded.processor, images, out, training, crosswalk=crosswalk, split=split, progress=progress
        )
    typer.echo(json.dumps(trained.to_json())) if as_json else _show(trained)
    for each in trained.skipped[:5]:
        typer.echo(f"skipped {each.id}: {each.why}", err=True)
    if trained.uncalibrated:
        typer.echo(f"the guard is not calibrated: {trained.uncalibrated}", err=True)
    typer.echo(f"the guard is in {out}; `holisafe guard IMAGES --model {model} --guard {out}` uses it", err=True)
    if trained.skipped:
        typer.echo(f"{len(trained.skipped)} images could not be read", err=True)
        raise typer.Exit(SOME_SKIPPED)


def _show(trained: TrainedGuard) -> None:
    """On standard output: what was learned, and how the guard does on held-out images."""
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    table = Table("label", "learned", "held out")
    for label in {**trained.learned, **trained.held_out}:
        table.add_row(label, str(trained.learned.get(label, 0)), str(trained.held_out.get(label, 0)))
    console.print(table)
    count = sum(trained.held_out.values())
    console.print(
        f"accuracy on {count} held-out images: {trained.accuracy:.3f} (most frequent label: {trained.chance:.3f})"
    )
    if trained.report is not None:
        console.print(f"calibrated: threshold {trained.report.calibration.threshold:.3f}")
