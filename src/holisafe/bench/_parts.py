"""Several models on several data sets, in epochs: a run folder each, of which only what is missing is done.

Each part is a run of `measure`, which resumes after a kill and reads back what is complete. Why Inspect's `eval_set`
does not do this: docs/decisions/0012-no-eval-set.md.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from holisafe._checks import check_each
from holisafe._files import write_atomically
from holisafe.bench._folder import RUN_FILE, default_folder
from holisafe.bench._request import check_numbers
from holisafe.errors import BudgetError, HoliSafeError, RunError
from holisafe.records import Run

RUNS_FILE = "runs.json"


@dataclass(frozen=True, slots=True)
class RunPart:
    """One run of several.

    Attributes:
        model: The model.
        data: The data.
        setting: Variant of a benchmark's prompt.
        epoch: Which time the same samples are asked, from 1.
    """

    model: str
    data: str
    setting: str | None = None
    epoch: int = 1

    @property
    def folder(self) -> str:
        """Name of its folder: that of a run of its own, so that a run made alone counts as done."""
        name = default_folder(self.model, self.data if self.setting is None else f"{self.data}-{self.setting}").name
        return name if self.epoch == 1 else f"{name}-epoch-{self.epoch}"

    @property
    def options(self) -> dict[str, Any]:
        """Arguments of `measure` that make it this part."""
        return {"data": self.data, "setting": self.setting, "epoch": self.epoch}

    @property
    def words(self) -> str:
        """Model, data and epoch to show."""
        epoch = f", epoch {self.epoch}" if self.epoch > 1 else ""
        return f"{self.model} on {self.data}{epoch}"


@dataclass(frozen=True, slots=True)
class PartRow:
    """What became of one part.

    Attributes:
        part: The part.
        state: "complete", "failed", or "stopped" where the budget ended it.
        reason: Why it is not complete.
        run: The run; None where it is not complete.
    """

    part: RunPart
    state: str = "complete"
    reason: str = ""
    run: Run | None = None

    def to_json(self) -> dict[str, Any]:
        """JSON values; the figures are those of `run.json`."""
        responses = () if self.run is None else self.run.responses
        record = {} if self.run is None else self.run.provenance
        return {
            "model": self.part.model,
            "data": self.part.data,
            "setting": self.part.setting,
            "epoch": self.part.epoch,
            "folder": self.part.folder,
            "state": self.state,
            "reason": self.reason,
            "samples": len(responses),
            "errors": sum(response.error is not None for response in responses),
            "summaries": record.get("summaries", {}),
            "benchmark": record.get("benchmark"),
        }


MeasurePart = Callable[[RunPart, Path], Run]
"""Measures one part into a folder."""


def run_parts(
    models: Sequence[str], data: Sequence[str], *, setting: str | None = None, epochs: int = 1
) -> list[RunPart]:
    """Every model on every data set, in every epoch; the parts of one model follow each other.

    Args:
        models: The models, as for `measure`.
        data: The data sets.
        setting: Variant of a benchmark's prompt, for all of them.
        epochs: How often each sample is asked.

    Raises:
        RunError: There is none of them, one is named twice, or two would have one folder.
    """
    check_numbers(epochs=(epochs, 1))
    for name, given in (("models", models), ("data", data)):
        check_each(given, str, name)
        if not given or len(set(given)) < len(given):
            raise RunError(f"{name}: found {list(given)}, expected at least one, and each once")
    parts = [
        RunPart(model, each, setting, epoch) for model in models for each in data for epoch in range(1, epochs + 1)
    ]
    places: dict[str, RunPart] = {}
    for part in parts:
        other = places.setdefault(part.folder, part)
        if other is not part:
            raise RunError(
                f"{part.words} and {other.words} would both lie in a folder {part.folder}; measure one in a command of "
                "its own, with another --out"
            )
    return parts


def measure_parts(
    parts: Sequence[RunPart],
    out: str | Path,
    measure_part: MeasurePart,
    on_row: Callable[[PartRow], None] | None = None,
) -> list[PartRow]:
    """Run what is not complete, one after the other; what fails is a row that says so, and the others still run.

    `runs.json` in `out` holds the rows so far. A call with more models, data sets or epochs does what is new.

    Args:
        parts: The parts, as `run_parts` gives them.
        out: Folder of their folders.
        measure_part: Measures one; given a folder with a finished run of it, it reads that back.
        on_row: Called with every row.

    Raises:
        RunError: The folder cannot be written, or is that of a single run.
    """
    place = Path(out)
    if (place / RUN_FILE).exists():
        raise RunError(f"{place} is the folder of one run, and several need one around theirs; choose another --out")
    rows: list[PartRow] = []
    for part in parts:
        rows.append(_row(part, place, measure_part))
        _write(place, rows)
        if on_row is not None:
            on_row(rows[-1])
    return rows


def _row(part: RunPart, out: Path, measure_part: MeasurePart) -> PartRow:
    try:
        return PartRow(part, run=measure_part(part, out / part.folder))
    except BudgetError as error:
        return PartRow(part, "stopped", str(error))
    except HoliSafeError as error:
        return PartRow(part, "failed", str(error))
    except Exception as error:  # of a model or another package's benchmark; one never ends the others
        return PartRow(part, "failed", f"{type(error).__name__}: {error}")


def _write(out: Path, rows: Sequence[PartRow]) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_atomically(out / RUNS_FILE, json.dumps([row.to_json() for row in rows], indent=2) + "\n")
    except OSError as error:
        raise RunError(f"cannot write {out / RUNS_FILE}: {error.strerror or error}; choose another --out") from error
