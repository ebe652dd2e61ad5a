"""docs/results/judge-error.md is what its script writes of the measured rows, which keep the script's own rule."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

ROOT = Path(__file__).parents[2]
SCRIPT = runpy.run_path(str(ROOT / "perf/judge_error.py"))
ROWS = json.loads((ROOT / "docs/results/judge-error.json").read_text("utf-8"))


def test_the_page_is_what_the_script_writes() -> None:
    assert SCRIPT["page"](ROWS) == (ROOT / "docs/results/judge-error.md").read_text("utf-8")


def test_every_setting_is_there_and_no_corrected_interval_fails() -> None:
    settings = len(SCRIPT["PREVALENCES"]) * len(SCRIPT["JUDGES"]) * len(SCRIPT["SIZES"])
    for method in (SCRIPT["LEE"], SCRIPT["PPI"]):
        shares = [row["coverage"] for row in ROWS if row["method"] == method]
        assert len(shares) == settings
        assert min(shares) >= SCRIPT["LEAST"]


def test_the_test_of_sharing_keeps_its_level_at_every_number_of_labels() -> None:
    rows = [row for row in ROWS if row["method"] == SCRIPT["SHARING"]]
    assert {row["labels"] for row in rows} == {20, 50, 200} and len(rows) == 12
    assert max(row["type_i"] for row in rows) <= SCRIPT["MOST_TYPE_I"]


def test_one_setting_simulated_anew_agrees_with_the_page() -> None:
    row = next(row for row in ROWS if row["method"] == SCRIPT["LEE"])
    sizes = SCRIPT["SIZES"][0]
    SCRIPT["measure"].__globals__["DRAWS"] = 100
    again = SCRIPT["measure"](row["prevalence"], (row["sensitivity"], row["specificity"]), sizes, 1)
    assert abs(again[1]["coverage"] - 0.96) < 0.05
