"""docs/results/build.md is what its script writes of the counts and figures in build.json."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOUND = json.loads((ROOT / "docs/results/build.json").read_text("utf-8"))
SCRIPT = runpy.run_path(str(ROOT / "perf/build_end_to_end.py"), run_name="build_end_to_end")


def test_the_page_is_what_the_script_writes() -> None:
    assert SCRIPT["markdown"](FOUND) == (ROOT / "docs/results/build.md").read_text("utf-8")


def test_every_picture_is_in_one_step_after_the_other() -> None:
    steps = {each["step"]: each for each in FOUND["steps"]}
    assert FOUND["pictures"] == steps["pictures"]["given"] == sum(each["pictures"] for each in FOUND["stats"].values())
    assert sum(each["samples"] for each in FOUND["stats"].values()) == (
        steps["check"]["kept"] + steps["check of twins"]["kept"]
    )
