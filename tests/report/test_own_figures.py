"""A benchmark's own figures in a report, run beside run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from holisafe.benchmarks import BenchmarkFigure
from holisafe.metrics import Figure
from holisafe.report import write_report
from report_runs import make_run


def record(value: float) -> dict[str, Any]:
    figures = [
        BenchmarkFigure("safe", Figure(value, value - 0.1, value + 0.1, 40), False, "Safe accuracy"),
        BenchmarkFigure("none", None, True, "Never told"),
    ]
    judges = {"refusal": [each.to_json() for each in figures]}
    return {"name": "small", "title": "Small <b>bench</b>", "setting": "chat", "judges": judges}


def test_runs_stand_beside_each_other_without_figures_that_none_has(browser: Any, tmp_path: Path) -> None:
    runs = [make_run("a", benchmark=record(0.5)), make_run("b", benchmark=record(0.75)), make_run("c")]
    browser.read(write_report(runs, tmp_path / "r.html"))
    rows = browser.js("return [...document.querySelectorAll('#own tr')].map(r => r.innerText.split(/\\s+/).join(' '))")
    assert rows == ["Figure A a B b", "Safe accuracy ↑ 50.0 [40.0, 60.0] n = 40 75.0 [65.0, 85.0] n = 40"]
    assert "Small <b>bench</b>, setting chat, judge “refusal”" in browser.js(
        "return document.querySelector('#own caption').innerText"
    )


def test_a_run_of_no_benchmark_has_no_such_section(tmp_path: Path) -> None:
    page = write_report([make_run()], tmp_path / "r.html").read_text(encoding="utf-8")
    assert 'id="own"' not in page and "#own" not in page
