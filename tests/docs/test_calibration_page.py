"""docs/calibration.md: what it shows is what the shipped guards have."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/calibration.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(("name", "folder"), [("pocket", "pocket"), ("pocket-safe", "pocket_safe")])
def test_the_measured_calibrations_are_the_shipped_ones(name: str, folder: str) -> None:
    path = ROOT / "packages/holisafe-assets/src/holisafe_assets" / folder / "guard/guard_config.json"
    shipped = json.loads(path.read_text("utf-8"))["calibration"]
    measured = json.loads((ROOT / "docs/results/calibration.json").read_text("utf-8"))["models"][name]
    assert measured["image"]["after"]["threshold"] == shipped["threshold"]
    assert f"| {name}, image head | after | {shipped['temperature']:.3f} | {shipped['threshold']:.3f} |" in PAGE


def test_the_table_shown_is_that_of_the_shipped_report() -> None:
    report = (ROOT / "packages/holisafe-assets/src/holisafe_assets/pocket_safe/guard/calibration.md").read_text("utf-8")
    shown = [line for line in PAGE.splitlines() if "% [" in line and line.count("|") == 5]
    assert len(shown) == 5 and all(line in report for line in shown)
