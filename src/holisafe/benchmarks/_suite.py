"""Suites: several benchmarks over one root folder, and which of them are present there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from holisafe.benchmarks._benchmark import Benchmark
from holisafe.benchmarks._registry import get, names
from holisafe.errors import DataError, HoliSafeError, UnknownNameError


@dataclass(frozen=True, slots=True)
class SuitePart:
    """One benchmark of a suite.

    Attributes:
        benchmark: Which.
        data: What `--data` would name; None where its data are missing.
        missing: Why it is missing and how to get it; empty where it is present.
    """

    benchmark: Benchmark
    data: str | None
    missing: str = ""

    def to_json(self) -> dict[str, Any]:
        """JSON values: `{benchmark, data, missing}`."""
        return {"benchmark": self.benchmark.name, "data": self.data, "missing": self.missing}


def suites() -> dict[str, list[str]]:
    """The suites by name, each with the names of its benchmarks; benchmarks that cannot be imported are left out."""
    found: dict[str, list[str]] = {}
    for name in names():
        try:
            made = get(name)
        except HoliSafeError:  # `plan_suite` says so
            continue
        for suite in made.suites:
            found.setdefault(suite, []).append(name)
    return found


def plan_suite(suite: str, root: Path | None) -> list[SuitePart]:
    """The benchmarks of a suite, those that need no data first, and which are present.

    Args:
        suite: Its name.
        root: Folder with a file, folder or zip per benchmark, named after it ("mssbench", "mis.zip"); None for none.

    Raises:
        UnknownNameError: There is no such suite.
        DataError: The root is no folder.
    """
    known = suites()
    if suite not in known:
        raise UnknownNameError("suite", suite, sorted(known))
    if root is not None and not root.is_dir():
        raise DataError(f"{root}: no such folder; expected one with a folder per benchmark, named after it")
    chosen = sorted(map(get, known[suite]), key=lambda made: (made.needs_data, made.name))
    return [_part(made, root) for made in chosen]


def _part(made: Benchmark, root: Path | None) -> SuitePart:
    if not made.needs_data:
        return SuitePart(made, made.name)
    if root is None:
        return SuitePart(made, None, f"no --root is given. {made.how_to_get}")
    places = [place for place in (root / made.name, root / f"{made.name}.zip") if place.exists()]
    if not places:
        return SuitePart(made, None, f"{root / made.name} is not there. {made.how_to_get}")
    return SuitePart(made, f"{made.name}:{places[0]}")
