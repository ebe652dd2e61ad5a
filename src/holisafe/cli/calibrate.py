"""`holisafe calibrate`: fit a guard's temperatures and thresholds on held-out records."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from holisafe.cli._answers import calibrate_answers
from holisafe.cli._options import AsJson, Attention, Device, Dtype, Revision
from holisafe.cli._progress import progress_line
from holisafe.errors import DataError, GuardError

if TYPE_CHECKING:
    from holisafe.calibration import CalibrationReport
    from holisafe.calibration.guards import UnusableSample

LEFT_OUT = 1
"""Exit code where records were left out; 2 is for what cannot be done at all."""

REPORT_FILE = "calibration.md"
"""What was found, beside the guard."""


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("calibrate")(calibrate)


def calibrate(
    model: Annotated[
        str,
        typer.Argument(metavar="MODEL", help="pocket, a folder with a checkpoint or a tuned model, or a Hub id."),
    ],
    guard: Annotated[str, typer.Option(help="own (the model's guard), a folder, or a Hub id.")] = "own",
    data: Annotated[
        str | None,
        typer.Option(
            help="Name of a data set, a path, or a Hub id.",
            show_default="the held-out split of the data that the guard was tuned on",
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            help="Split of the data. Neither model nor guard may have learned from it.",
            show_default="calibration; everything in data without splits",
        ),
    ] = None,
    flag_rate: Annotated[
        float, typer.Option(help="Largest share of safe images, and of safe requests, to flag, in (0, 1).")
    ] = 0.05,
    threshold: Annotated[
        float | None,
        typer.Option(help="Threshold on P(unsafe) of images, in [0, 1].", show_default="from --flag-rate"),
    ] = None,
    joint_threshold: Annotated[
        float | None,
        typer.Option(help="Threshold on P(unsafe) of requests, in [0, 1].", show_default="from --flag-rate"),
    ] = None,
    answers: Annotated[
        list[str] | None,
        typer.Option(
            metavar="RUN",
            help="Judged run: calibrates the output head alone, on its answers; may be repeated.",
            show_default="none",
        ),
    ] = None,
    output_threshold: Annotated[
        float | None,
        typer.Option(help="Threshold on P(harm) of answers, in [0, 1].", show_default="from --flag-rate"),
    ] = None,
    every: Annotated[int, typer.Option(min=1, help="Tokens between two checks of an answer.")] = 16,
    limit: Annotated[
        int | None,
        typer.Option(min=1, help="Number of samples; each combination keeps its share.", show_default="all"),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="New folder for the calibrated guard.", show_default="the guard's own folder")
    ] = None,
    device: Device = None,
    dtype: Dtype = None,
    attention: Attention = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Maximum number of prompts in a batch.")] = 16,
    revision: Revision = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of --limit.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Fit a guard's temperatures and thresholds on held-out data.

    Of safe images like those of the data, at most --flag-rate are flagged on average. A table shows, for several flag
    rates, the share of unsafe images flagged. MODEL reads each sample once and generates no answer. The figures are
    also saved in calibration.md beside the guard. With --answers, the threshold of the output head, which judges
    answers, is set on labelled answers instead.

    Exit code 0: calibrated; 1: calibrated, but records were left out; 2: not calibrated.
    """
    from holisafe.calibration.guards import ask_guard, check_choices
    from holisafe.calibration.held_out import check_held_out, choose_data
    from holisafe.datasets import read, stratified
    from holisafe.guard import save_guard, set_calibration
    from holisafe.models import load

    if answers:
        if any(given is not None for given in (data, split, threshold, joint_threshold, limit)):
            raise DataError(
                "--answers calibrates the output head alone; leave out --data, --split, --threshold, --joint-threshold "
                "and --limit"
            )
        loading = {"device": device, "dtype": dtype, "attention": attention, "revision": revision}
        calibrate_answers(
            model,
            guard,
            answers,
            lambda loaded: _folder(loaded, out),
            flag_rate=flag_rate,
            threshold=output_threshold,
            every=every,
            loading=loading,
            as_json=as_json,
        )
        return
    if output_threshold is not None:
        raise DataError("--output-threshold needs --answers")
    check_choices(flag_rate, threshold, joint_threshold)
    chosen = choose_data(model, guard, data, split)
    found = read(chosen.name, chosen.split)
    if not found.samples:
        first = f"; the first: {found.broken[0]}" if found.broken else ""
        raise DataError(f"{chosen} holds no sample that can be used{first}")
    samples = found.samples if limit is None else stratified(found.samples, limit, seed)
    check_held_out(model, guard, chosen, samples)
    typer.echo(f"calibrating the guard of {model} on {len(samples)} samples of {chosen}", err=True)
    with progress_line("loading the model", "sample") as line:
        loaded = load(model, guard=guard, device=device, dtype=dtype, attention=attention, revision=revision)
        assert loaded.guard is not None  # one was asked for
        folder = _folder(loaded.guard, out)
        logits = ask_guard(loaded.model, loaded.processor, samples, batch_size=batch_size, progress=line.advance)
    calibration, report = logits.calibrate(flag_rate, threshold, joint_threshold)
    save_guard(set_calibration(loaded.model, calibration), folder)
    broken = found.broken_records
    described = {
        "model": model,
        "guard": loaded.guard,
        "out": str(folder),
        "data": {"name": chosen.name, "split": chosen.split, "samples": len(samples), "sha256": calibration.data},
        "left_out": {"broken": broken, **_counts(logits.left_out)},
        **report.to_json(),
    }
    (folder / REPORT_FILE).write_text(_page(described, report), encoding="utf-8")
    if as_json:
        typer.echo(json.dumps(described))
    else:
        _print(report)
    for warning in report.warnings:
        typer.echo(f"note: {warning}", err=True)
    typer.echo(f"the calibrated guard is in {folder}, the figures in its {REPORT_FILE}", err=True)
    _end(described["left_out"], logits.left_out, chosen.name)


def _folder(guard: str, out: Path | None) -> Path:
    """Where the calibrated guard goes; known to be writable before any time is spent.

    Raises:
        GuardError: It may not go there.
    """
    from holisafe.models.registry import shipped_guards

    if out is not None:
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise GuardError(f"{out} is there already; choose a new folder")
        out.mkdir(parents=True, exist_ok=True)
        return out
    folder = Path(guard).expanduser()
    if not folder.is_dir():
        raise GuardError(f"the guard {guard} is on the Hub; say with --out where the calibrated one goes")
    if folder.resolve() in {place.resolve() for place in shipped_guards()}:
        raise GuardError(
            f"{folder} is part of an installed package and stays as it is; say with --out where the calibrated guard "
            "goes"
        )
    if not os.access(folder, os.W_OK):
        raise GuardError(f"{folder}: permission denied; say with --out where the calibrated guard goes")
    return folder


def _counts(left_out: Sequence[UnusableSample]) -> dict[str, int]:
    reasons = [each.reason for each in left_out]
    return {reason: reasons.count(reason) for reason in ("image", "model", "label", "combination")}


def _page(described: Mapping[str, Any], report: CalibrationReport) -> str:
    """The text of calibration.md."""
    data, left_out = described["data"], described["left_out"]
    split = "" if data["split"] is None else f", split {data['split']}"
    records = f"{data['samples']} samples of {data['name']}{split} (SHA-256 {data['sha256']})"
    reasons = ", ".join(f"{count} {reason}" for reason, count in left_out.items() if count)
    lines = [f"Calibrated on {records}.", *([f"Left out, by reason: {reasons}."] if reasons else [])]
    return "# Calibration of a guard\n\n" + "\n".join(lines) + "\n\n" + report.to_markdown()


def _print(report: CalibrationReport) -> None:
    """On standard output: the tables of the report."""
    from rich.console import Console
    from rich.markdown import Markdown

    Console(highlight=False).print(Markdown(report.to_markdown()))


def _end(counts: Mapping[str, int], left_out: Sequence[UnusableSample], data: str) -> None:
    """Say on standard error what was left out; it costs a 1."""
    for reason, what in (
        ("image", "samples have an image that cannot be opened, or none"),
        ("model", "samples could not be read by the model"),
        ("label", "samples have no label for each image, which the image head needs"),
        ("combination", "samples have no combination, which the joint head needs"),
    ):
        if counts[reason]:
            first = next(each for each in left_out if each.reason == reason)
            typer.echo(f"{counts[reason]} {what}; the first, {first.id}: {first.why}", err=True)
    if counts["broken"]:
        typer.echo(
            f"{counts['broken']} broken records were left out; `holisafe data validate {data}` lists them", err=True
        )
    if any(counts.values()):
        raise typer.Exit(LEFT_OUT)
