"""The guard on answers: `holisafe guard train-output`, and `holisafe calibrate --answers`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from holisafe.cli._options import AsJson, Device, Dtype, TrustRemoteCode
from holisafe.cli._progress import progress_line

if TYPE_CHECKING:
    from holisafe.calibration import CalibrationReport
    from holisafe.calibration.answers import LabelledAnswer

SOME_LEFT_OUT = 1
"""Exit code where answers could not be read; 2 is for what cannot be done at all."""

REPORT_FILE = "output.md"
"""What was found of the output head, beside the guard."""


def register(group: typer.Typer) -> None:
    """Add the command to the group `guard`."""
    group.command("train-output")(train_output)


def train_output(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="pocket-safe, a folder with a checkpoint, or a Hub id.")
    ],
    answers: Annotated[
        list[str],
        typer.Option(metavar="RUN", help="Judged run whose answers are learned from, of any model; may be repeated."),
    ],
    out: Annotated[Path, typer.Option(help="New folder for the guard.")],
    held_out_answers: Annotated[
        list[str] | None,
        typer.Option(
            metavar="RUN",
            help="Judged run to calibrate on; may be repeated.",
            show_default="a share (--held-out) of the answers",
        ),
    ] = None,
    guard: Annotated[
        str, typer.Option(help="Guard that is given the head: own, a folder, a Hub id, or none for a new guard.")
    ] = "own",
    judge: Annotated[
        str | None, typer.Option(help="Judge whose outcomes label the answers.", show_default="the first of each run")
    ] = None,
    every: Annotated[int, typer.Option(min=1, help="Tokens between two checks of an answer.")] = 16,
    held_out: Annotated[float, typer.Option(help="Share of the answers to calibrate on, in (0, 1).")] = 0.25,
    flag_rate: Annotated[float, typer.Option(help="Largest share of harmless answers to flag, in (0, 1).")] = 0.05,
    num_train_epochs: Annotated[float, typer.Option(help="Passes over the states.")] = 10.0,
    batch_size: Annotated[int, typer.Option(help="States per optimizer step.")] = 32,
    learning_rate: Annotated[float, typer.Option(help="Peak learning rate.")] = 1e-3,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the held-out share, new weights and order.")] = 0,
    device: Device = None,
    dtype: Dtype = None,
    trust_remote_code: TrustRemoteCode = False,
    as_json: AsJson = False,
) -> None:
    r"""Train a guard's output head, which judges answers while they are generated.

    The model is frozen: it reads each answer once, and the head is trained on the hidden states of the answer's tokens.
    Harmful are answers that go along with a request that is to be refused, as the run's judge found; harmless are the
    others, and the references of the data.

    Exit code 0: done; 1: done, but answers could not be read; 2: not done.

    \b
    Example:
      holisafe bench pocket --data open --split train --limit 400 --out runs/train
      holisafe guard train-output pocket-safe --answers runs/train --out guards/output
    """
    from holisafe.models import load
    from holisafe.tuning import GuardTraining, train_output_head

    training = GuardTraining(
        num_train_epochs=num_train_epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        held_out=held_out,
        flag_rate=flag_rate,
        seed=seed,
    )
    learned = read_answers(answers, judge)
    held = None if held_out_answers is None else read_answers(held_out_answers, judge)
    with progress_line("loading the model", "step") as line:
        given = None if guard == "none" else guard
        loaded = load(model, guard=given, device=device, dtype=dtype, trust_remote_code=trust_remote_code)

        def progress(stage: str, done: int, total: int) -> None:
            if stage == "training":
                line.advance(done, total)
            else:
                line.stage(f"reading {stage}", done, total)

        trained = train_output_head(
            loaded.model, loaded.processor, learned, out, training, held_out=held, every=every, progress=progress
        )
    if trained.report is not None:
        write_report(out, trained.report)
    if as_json:
        typer.echo(json.dumps(trained.to_json()))
    else:
        (no, yes), (held_no, held_yes) = trained.learned, trained.held_out
        typer.echo(f"learned from {no} harmless and {yes} harmful answers; held out: {held_no} and {held_yes}")
        if trained.report is not None:
            _print(trained.report)
    if trained.uncalibrated:
        typer.echo(f"the output head is not calibrated: {trained.uncalibrated}", err=True)
    typer.echo(f"the guard is in {out}; `holisafe serve {model} --guard {out} --output-policy block` uses it", err=True)
    _end(trained.left_out)


def calibrate_answers(
    model: str,
    guard: str,
    answers: Sequence[str],
    folder_of: Any,
    *,
    flag_rate: float,
    threshold: float | None,
    every: int,
    loading: dict[str, Any],
    as_json: bool,
) -> None:
    """Set temperature and threshold of a guard's output head on answers of judged runs.

    Args:
        model: What `load` is asked for.
        guard: The guard.
        answers: Judged runs.
        folder_of: Gives the folder for the calibrated guard, from the loaded guard's.
        flag_rate: Largest share of harmless answers to flag.
        threshold: Threshold to use instead.
        every: Tokens between two checks.
        loading: Further options of `load`.
        as_json: Whether the report is printed as JSON.
    """
    from holisafe.calibration.answers import calibrate_output, read_states
    from holisafe.guard import Calibration, save_guard, set_calibration
    from holisafe.models import load

    Calibration(output_flag_rate=flag_rate, output_threshold=0.5 if threshold is None else threshold)
    labelled = read_answers(answers, None)
    with progress_line("loading the model", "answer") as line:
        loaded = load(model, guard=guard, **loading)
        folder: Path = folder_of(loaded.guard)
        read = read_states(loaded.model, loaded.processor, labelled, every=every, progress=line.advance)
    calibration, report = calibrate_output(loaded.model, read, flag_rate=flag_rate, threshold=threshold, every=every)
    save_guard(set_calibration(loaded.model, calibration), folder)
    write_report(folder, report)
    if as_json:
        left_out = [{"id": name, "why": why} for name, why in read.left_out]
        described = {"model": model, "guard": loaded.guard, "out": str(folder), "left_out": left_out}
        typer.echo(json.dumps({**described, **report.to_json()}))
    else:
        _print(report)
    for warning in report.warnings:
        typer.echo(f"note: {warning}", err=True)
    typer.echo(f"the calibrated guard is in {folder}, the figures in its {REPORT_FILE}", err=True)
    _end(read.left_out)


def read_answers(runs: Sequence[str], judge: str | None) -> list[LabelledAnswer]:
    """Labelled answers of runs.

    Raises:
        RunError: A run cannot be read.
        DataError: There are no harmful or no harmless answers.
    """
    from holisafe.bench import read_run
    from holisafe.calibration.answers import labelled_answers

    return labelled_answers([read_run(run) for run in runs], judge)


def write_report(folder: Path, report: CalibrationReport) -> None:
    """Write the figures beside the guard."""
    (folder / REPORT_FILE).write_text(f"# Calibration of an output head\n\n{report.to_markdown()}", encoding="utf-8")


def _print(report: CalibrationReport) -> None:
    from rich.console import Console
    from rich.markdown import Markdown

    Console(highlight=False).print(Markdown(report.to_markdown()))


def _end(left_out: Sequence[tuple[str, str]]) -> None:
    if left_out:
        name, why = left_out[0]
        typer.echo(f"{len(left_out)} answers could not be read; the first, to {name}: {why}", err=True)
        raise typer.Exit(SOME_LEFT_OUT)
