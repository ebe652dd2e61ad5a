"""`holisafe calibrate`: fit a guard's temperatures and thresholds on held-out records."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from holisafe.cli._runs import show_progress
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
        typer.Argument(help="pocket, a folder with a checkpoint or a tuned model, or a Hub id.", show_default=False),
    ],
    guard: Annotated[
        str, typer.Option(help="own (the guard that comes with the model), a folder, or a Hub id.")
    ] = "own",
    data: Annotated[
        str | None,
        typer.Option(
            help="Name of a data set, a file or folder, or a Hub id. Default: held-out samples of the data that the "
            "guard was tuned on.",
            show_default=False,
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            help="Split of the data, which neither model nor guard may have learned from. Default: calibration, or all "
            "of data without splits.",
            show_default=False,
        ),
    ] = None,
    flag_rate: Annotated[
        float, typer.Option(help="Largest share of safe images, and of safe requests, to flag, in (0, 1).")
    ] = 0.05,
    threshold: Annotated[
        float | None,
        typer.Option(help="P(unsafe) from which images are flagged, in [0, 1], instead of one for --flag-rate."),
    ] = None,
    joint_threshold: Annotated[
        float | None, typer.Option(help="The same for requests (image and question together).")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Samples; each combination keeps its share.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="New folder for the calibrated guard; its own folder if not given.", show_default=False),
    ] = None,
    device: Annotated[str | None, typer.Option(help="E.g. cpu, cuda:1.")] = None,
    dtype: Annotated[str | None, typer.Option(help="auto, float32, bfloat16 or float16.")] = None,
    attention: Annotated[str | None, typer.Option(help="Attention backend, e.g. sdpa.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Maximum number of prompts in a batch.")] = 16,
    revision: Annotated[str | None, typer.Option(help="Hub revision of the model.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the draw with --limit.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")] = False,
) -> None:
    """Fit the temperatures and thresholds of MODEL's guard on held-out records, and save them with it.

    Of safe images like those, at most --flag-rate are flagged on average. The table shows what other rates would flag
    of the unsafe ones. MODEL reads each record once and generates no answer. The figures are saved in calibration.md
    beside the guard, too.

    Exit code 0: calibrated; 1: calibrated, but records were left out; 2: not calibrated.
    """
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    from holisafe.calibration.guards import ask_guard, check_choices
    from holisafe.calibration.held_out import check_held_out, choose_data
    from holisafe.datasets import read, stratified
    from holisafe.guard import save_guard, set_calibration
    from holisafe.models import load

    check_choices(flag_rate, threshold, joint_threshold)
    chosen = choose_data(model, guard, data, split)
    found = read(chosen.name, chosen.split)
    if not found.samples:
        first = f"; the first: {found.broken[0]}" if found.broken else ""
        raise DataError(f"{chosen} holds no sample that can be used{first}")
    samples = found.samples if limit is None else stratified(found.samples, limit, seed)
    check_held_out(model, guard, chosen, samples)
    typer.echo(f"calibrating the guard of {model} on {len(samples)} samples of {chosen}", err=True)
    with show_progress() as progress:
        loaded = load(model, guard=guard, device=device, dtype=dtype, attention=attention, revision=revision)
        assert loaded.guard is not None  # one was asked for
        folder = _folder(loaded.guard, out)
        logits = ask_guard(loaded.model, loaded.processor, samples, batch_size=batch_size, progress=progress)
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
