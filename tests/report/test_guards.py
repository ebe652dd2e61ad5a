"""Guards side by side in a report: their rates, and what they cannot express."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest

from holisafe.guard import guard_rates
from holisafe.judges.guard_models import IMAGE_ALONE
from holisafe.metrics import FEW
from holisafe.records import GuardModelRun, GuardModelVerdict, GuardReading, JudgeId, Run
from holisafe.report import write_csv, write_markdown, write_report
from report_runs import guarded, make_run

SCRIPT = '"><script>window.pwned = 1</script>'


def beside(run: Run, name: str = "shieldgemma2:mine") -> Run:
    """The run with a guard of images beside it, which calls every other image unsafe."""
    guard = JudgeId(name, "1", "mine")
    verdicts = tuple(
        GuardModelVerdict(sample.id, guard, tuple(GuardReading(place % 2 == 0) for _ in sample.images))
        for place, sample in enumerate(run.samples)
    )
    return replace(run, guard_models=(GuardModelRun(guard, IMAGE_ALONE, verdicts),))


@pytest.fixture(scope="module")
def run() -> Run:
    return beside(guarded(make_run("watched")))


def test_the_page_has_a_row_for_each_guard(run: Run, tmp_path: Path) -> None:
    html = write_report([run, make_run("unwatched")], tmp_path / "report.html").read_text(encoding="utf-8")
    section = html.split('id="guards"')[1].split("</section>")[0]
    assert section.count("<tr><th scope") == 1 + len(guard_rates(run)) == 4
    for name in ("own guard, by the image", "own guard, by the request", "shieldgemma2:mine"):
        assert f">{name}</th>" in section
    assert section.count('<span class="none">cannot express</span>') == 2 * 2


def test_a_guards_name_cannot_leave_its_cell(run: Run, tmp_path: Path) -> None:
    page = write_report([beside(run, SCRIPT)], tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<script>window" not in page
    table = write_markdown([beside(run, "a|b <i>")], tmp_path / "figures.md").read_text(encoding="utf-8")
    assert "| a\\|b &lt;i> |" in table


def test_markdown_and_csv_hold_the_same_rates(run: Run, tmp_path: Path) -> None:
    rates = guard_rates(run)[-1]
    (line,) = [
        row for row in write_markdown([run], tmp_path / "figures.md").read_text().splitlines() if "shieldgemma2" in row
    ]
    assert line.count("cannot express") == 2
    with write_csv([run], tmp_path / "figures.csv").open() as file:
        rows = {row["figure"]: row for row in csv.DictReader(file)}
    assert "guards.shieldgemma2:mine.ssu" not in rows
    for kind, figure in rates.flagged.items():
        if figure is not None:
            row = rows[f"guards.shieldgemma2:mine.{kind.value.lower()}"]
            assert float(row["value"]) == figure.value
            few = "°" if figure.n < FEW else ""
            assert f"{100 * figure.value:.1f}{few} [{100 * figure.low:.1f}, {100 * figure.high:.1f}]" in line
