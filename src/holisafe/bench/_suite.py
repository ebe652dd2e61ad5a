"""A model on several benchmarks: a run folder each, finished ones read back, and a table over all."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from holisafe._files import write_atomically
from holisafe.benchmarks import BenchmarkFigure, SuitePart
from holisafe.errors import BudgetError, HoliSafeError, RunError
from holisafe.metrics import unjudged
from holisafe.records import Run

SUITE_FILE = "suite.json"

MeasurePart = Callable[[SuitePart, Path], Run]
"""Measures one benchmark into a folder."""


@dataclass(frozen=True, slots=True)
class SuiteRow:
    """What became of one benchmark.

    Attributes:
        part: The benchmark and its data.
        folder: Folder of its run, relative to the suite's; None where it was not run.
        state: "complete", "missing", "failed", or "stopped" where the budget ended it.
        reason: Why it is not complete.
        judge: Name of the judge of the figures.
        setting: Variant of the prompt.
        figures: All of its figures.
        samples: Number of samples.
        errors: Number of samples that ended in an error.
    """

    part: SuitePart
    folder: str | None = None
    state: str = "complete"
    reason: str = ""
    judge: str = ""
    setting: str = ""
    figures: tuple[BenchmarkFigure, ...] = ()
    samples: int = 0
    errors: int = 0

    @property
    def headline(self) -> list[BenchmarkFigure]:
        """The figures that a table over several benchmarks shows."""
        shown = {kind.name for kind in self.part.benchmark.kinds if kind.in_suite}
        return [figure for figure in self.figures if figure.name in shown]

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {
            **self.part.to_json(),
            "folder": self.folder,
            "state": self.state,
            "reason": self.reason,
            "judge": self.judge,
            "protocol": self.part.benchmark.protocol,
            "setting": self.setting,
            "samples": self.samples,
            "errors": self.errors,
            "figures": [figure.to_json() for figure in self.figures],
            "headline": [figure.name for figure in self.headline],
        }


def run_suite(
    parts: Sequence[SuitePart], out: Path, measure_part: MeasurePart, on_row: Callable[[SuiteRow], None] | None = None
) -> list[SuiteRow]:
    """Run what is present, one after the other; what fails is a row that says so, and the others still run.

    `suite.json` in `out` holds the rows so far; each run's folder below it is named after the benchmark.

    Args:
        parts: The benchmarks.
        out: Folder of the suite.
        measure_part: Measures one; given a folder with a finished run of it, it reads that back.
        on_row: Called with every row.

    Raises:
        RunError: The folder cannot be written.
    """
    rows: list[SuiteRow] = []
    for part in parts:
        rows.append(_row(part, out, measure_part))
        _write(out, rows)
        if on_row is not None:
            on_row(rows[-1])
    return rows


def _row(part: SuitePart, out: Path, measure_part: MeasurePart) -> SuiteRow:
    if part.data is None:
        return SuiteRow(part, state="missing", reason=part.missing)
    folder = part.benchmark.name
    try:
        run = measure_part(part, out / folder)
    except BudgetError as error:
        return SuiteRow(part, folder, "stopped", str(error))
    except HoliSafeError as error:
        return SuiteRow(part, folder, "failed", str(error))
    except Exception as error:  # of a model or another package's benchmark; one never ends the suite
        return SuiteRow(part, folder, "failed", f"{type(error).__name__}: {error}")
    record = run.provenance.get("benchmark")
    if record is None:
        return SuiteRow(
            part, folder, "failed", "its samples are of no known benchmark; remove the folder and run it again"
        )
    if not record["judges"]:
        return SuiteRow(part, folder, "failed", _without_verdicts(run))
    judge, figures = next(iter(record["judges"].items()))
    errors = sum(response.error is not None for response in run.responses)
    found = tuple(map(BenchmarkFigure.from_json, figures))
    return SuiteRow(part, folder, "complete", "", judge, record["setting"], found, len(run.samples), errors)


def _without_verdicts(run: Run) -> str:
    """Why no judge gives figures."""
    found = {judge: unjudged(run.responses, judgements) for judge, judgements in run.judgements.items()}
    listed = ", ".join(f"{judge}: {each.count} of {each.n} answers have no verdict" for judge, each in found.items())
    return f"no figures ({listed}); judge them again, or raise --max-unjudged and read the rates as lower bounds"


def _write(out: Path, rows: Sequence[SuiteRow]) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_atomically(out / SUITE_FILE, json.dumps([row.to_json() for row in rows], indent=2) + "\n")
    except OSError as error:
        raise RunError(f"cannot write {out / SUITE_FILE}: {error.strerror or error}; choose another --out") from error
