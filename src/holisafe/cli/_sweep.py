"""An edit with several strengths, each measured: the curve of attack success against refusals."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from holisafe._files import read_json, write_atomically
from holisafe.cli._runs import resumable, show_progress, tell_troubles
from holisafe.errors import EditingError

if TYPE_CHECKING:
    from holisafe.editing import EditingMethod

CURVE_FILE = "curve.json"
NOT_SHOWN = frozenset({"masr_pooled", "rr"})
"""Figures that the table leaves out: refusal rate and unhelpful rate say apart what RR counts together."""


def run_sweep(
    method: EditingMethod,
    model: str,
    out: Path,
    settings: Mapping[str, Any],
    *,
    sweep: str,
    data: str,
    limit_samples: int | None,
    max_new_tokens: int,
    judge: str,
    keep: bool,
) -> dict[str, Any]:
    """Edit and measure with each strength; called again with the same options, it resumes.

    Returns:
        What `curve.json` holds: the settings, and for each strength its figures with intervals.

    Raises:
        EditingError: A strength is no number, or the folder holds another sweep.
    """
    from holisafe.bench import measure, read_run
    from holisafe.editing import Sources, edit
    from holisafe.metrics import Summary, figures

    strengths = [_number(each) for each in sweep.split(",")]
    for strength in strengths:
        method.config.from_mapping({**settings, method.strength: strength})
    head = {
        "method": method.name, "model": model, "settings": {**settings, method.strength: None},
        "strength": method.strength, "data": data, "limit": limit_samples, "max_new_tokens": max_new_tokens,
        "judge": judge,
    }  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    _check_same(out / CURVE_FILE, head)
    points: list[dict[str, Any]] = []
    with Sources() as sources:
        for strength in strengths:
            name = f"{method.strength}-{strength:g}"
            edited, run = out / "models" / name, out / "runs" / name
            typer.echo(f"{method.strength} = {strength:g}", err=True)
            if is_complete(run):
                measured = read_run(run)
            else:
                if not edited.exists():
                    edit(method.name, model, edited, sources=sources, **{**settings, method.strength: strength})
                with resumable(run), show_progress() as line:
                    measured = measure(
                        str(edited), data=data, judges=(judge,), limit=limit_samples, out=run,
                        max_new_tokens=max_new_tokens, progress=line.advance,
                    )  # fmt: skip
                tell_troubles(measured, data)
            found = figures(Summary.from_json(measured.provenance["summaries"][judge]))
            values = {name: None if each is None else each.to_json() for name, each in found.items()}
            points.append({"strength": strength, "n": len(measured.samples), "figures": values})
            write_atomically(out / CURVE_FILE, json.dumps({**head, "points": points}, indent=2) + "\n")
            if not keep:
                shutil.rmtree(edited, ignore_errors=True)
    return {**head, "points": points}


def print_curve(curve: Mapping[str, Any]) -> None:
    """A column for each strength: refusals of harmless requests above, attack success below."""
    from rich.console import Console
    from rich.table import Table

    from holisafe.cli._tables import LABELS, NOTHING

    points = curve["points"]
    title = f"{curve['method']} of {Path(curve['model']).name}, judge {curve['judge']}: %"
    table = Table(title=title, title_justify="left")
    table.add_column("figure", no_wrap=True)
    for point in points:
        table.add_column(f"{curve['strength']} = {point['strength']:g}", justify="right", no_wrap=True)
    for name in (name for name in LABELS if name not in NOT_SHOWN):
        found = [point["figures"][name] for point in points]
        table.add_row(LABELS[name], *(NOTHING if each is None else f"{100 * each['value']:.1f}" for each in found))
    Console(highlight=False).print(table)
    typer.echo(f"{points[0]['n']} samples each; intervals are in {CURVE_FILE}")


def is_complete(run: Path) -> bool:
    """Whether a run folder holds all answers."""
    path = run / "run.json"
    return path.is_file() and bool(read_json(path, EditingError).get("state") == "complete")


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise EditingError(f"--sweep: expected numbers such as 0,.5,1, found {text.strip()!r}") from None


def _check_same(path: Path, head: Mapping[str, Any]) -> None:
    if not path.is_file():
        if any(each.name not in ("models", "runs") for each in path.parent.iterdir()):
            raise EditingError(f"{path.parent} is there already; choose a new folder")
        return
    before = read_json(path, EditingError)
    if different := [name for name in head if not isinstance(before, dict) or before.get(name) != head[name]]:
        raise EditingError(f"{path}: of a sweep with another {different[0]}; choose another --out")
