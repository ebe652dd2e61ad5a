"""docs/results/judge-bridge.md is what its script writes of the measured table, of files in the released format."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

from holisafe.bench import read_run
from holisafe.datasets import read_predictions
from holisafe.records.folder import write_run
from report_runs import make_run

ROOT = Path(__file__).parents[2]
SCRIPT = runpy.run_path(str(ROOT / "perf/judge_bridge.py"))
FOUND = json.loads((ROOT / "docs/results/judge-bridge.json").read_text("utf-8"))


def test_the_page_is_what_the_script_writes() -> None:
    assert SCRIPT["page"](FOUND) == (ROOT / "docs/results/judge-bridge.md").read_text("utf-8")


def test_its_files_read_back_as_the_runs_that_they_were_made_from(tmp_path: Path) -> None:
    run = read_run(write_run(make_run(), tmp_path / "run", {}))
    loaded = read_predictions(SCRIPT["write_released"](run, tmp_path / "cautious.json"))
    assert not loaded.broken_records
    assert [sample.query for sample in loaded.samples] == [sample.query for sample in run.samples]
    assert [sample.combination for sample in loaded.samples] == [sample.combination for sample in run.samples]
    assert [response.text for response in loaded.responses] == [response.text for response in run.responses]
