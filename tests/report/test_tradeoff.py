"""Runs in a plane: safety against helpfulness with the Pareto front, and runs told apart without colour."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from holisafe.records import Run, Sample
from holisafe.report import write_report
from holisafe.report._scatter import Scatter, scatters
from holisafe.report._table import judge_rows
from holisafe.taxonomy import Combination
from report_runs import ANSWER, REFUSAL, make_run, make_samples

SAMPLES = make_samples(20)
HOSTILE = '</desc></svg><script>window.pwned = 1</script>"'


def at(name: str, rr: int, risk: int, samples: tuple[Sample, ...] = SAMPLES) -> Run:
    """A run that refuses `rr` of twenty harmless requests, and not `risk` of twenty unsafe ones."""

    def say(index: int, sample: Sample) -> str:
        return REFUSAL if (index % 20 < rr if sample.is_safe else index % 20 >= risk) else ANSWER

    return make_run(name, samples=samples, by=("refusal",), answer=say)


RUNS = (at("low", 2, 14), at(HOSTILE, 10, 2), at("worse", 12, 6), at("same", 10, 2), at("none", 20, 0))


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of the five."""
    return write_report(RUNS, tmp_path_factory.mktemp("plane") / "report.html")


@pytest.fixture(scope="module")
def plot() -> Scatter:
    """The five under their judge."""
    (found,) = scatters(judge_rows(RUNS))
    return found


def test_the_front_holds_what_no_run_beats(plot: Scatter) -> None:
    assert {point.judged.letter: point.is_front for point in plot.points} == {
        "A": True, "B": True, "C": False, "D": True, "E": True}  # fmt: skip
    assert {point.judged.letter: point.lower for point in plot.points if point.lower} == {"C": ("B", "D")}


def test_points_stand_where_their_rates_are(browser: Any, page: Path, plot: Scatter) -> None:
    browser.read(page)
    found = browser.js(
        "const svg = document.querySelector('#tradeoff svg'); const grid = svg.querySelector('.grid').getBBox();"
        "return [...svg.querySelectorAll('circle')].map(c => [(c.cx.baseVal.value - grid.x) / grid.width,"
        " 1 - (c.cy.baseVal.value - grid.y) / grid.height])"
    )
    for (x, y), point in zip(found, plot.points, strict=True):
        assert x == pytest.approx(point.rr.value, abs=0.001)
        assert y == pytest.approx(point.harm.value, abs=0.001)


@pytest.mark.parametrize("width", [360, 1400])
def test_every_letter_is_read_even_of_runs_in_one_place(browser: Any, page: Path, width: int) -> None:
    boxes = browser.read(page, width=width).js(
        "return [...document.querySelectorAll('#tradeoff svg .mark')].map(t => { const b = t.getBoundingClientRect();"
        " return [t.textContent, b.left, b.right, b.top, b.bottom] })"
    )
    assert sorted(box[0] for box in boxes) == list("ABCDE")
    for index, (_, left, right, top, bottom) in enumerate(boxes):
        assert right - left > 6 and bottom - top > 9
        for other in boxes[index + 1 :]:
            # boxes of letters have room above and below the ink: a fifth of each may be shared
            spare = 0.2 * (bottom - top)
            assert right <= other[1] or other[2] <= left or bottom - spare <= other[3] or other[4] - spare <= top


def test_a_screen_reader_hears_what_the_plot_shows(browser: Any, page: Path) -> None:
    browser.read(page)
    nodes = browser.command("Accessibility.getFullAXTree")["nodes"]
    (image,) = [node for node in nodes if not node["ignored"] and node["name"]["value"].startswith("mASR against RR")]
    assert image["role"]["value"] == "image"
    assert "A low: RR 10.0 %, mASR 70.0 %, on the Pareto front." in image["name"]["value"]


def test_the_table_beside_it_says_the_same(browser: Any, page: Path) -> None:
    rows = browser.read(page).js(
        "document.querySelector('#tradeoff details').open = true;"
        "return [...document.querySelectorAll('#tradeoff tbody tr')].map(r => r.innerText.split(/\\s+/).join(' '))"
    )
    assert len(rows) == len(RUNS)
    (worse,) = [row for row in rows if row.startswith("C worse")]
    assert "60.0 [" in worse and "30.0 [" in worse and worse.endswith("no: B, D are lower")
    assert browser.js("return window.pwned === undefined && document.scripts.length === 3")
    assert browser.driver.get_log("browser") == []


def test_runs_without_figures_are_named_and_not_drawn() -> None:
    unsafe = tuple(sample for sample in SAMPLES if sample.combination is not Combination.SSS)
    assert scatters(judge_rows([at("a", 3, 3, unsafe), at("b", 3, 5, unsafe)])) == []


def test_one_run_has_no_plot_and_no_link_to_one(tmp_path: Path) -> None:
    html = write_report(RUNS[:1], tmp_path / "report.html").read_text(encoding="utf-8")
    assert "tradeoff-1" not in html and "#tradeoff" not in html


def test_the_forest_has_the_letters_of_the_plot(browser: Any, page: Path) -> None:
    marks = browser.read(page).js(
        "return [...document.querySelectorAll('.forest tbody tr')].map(r => [r.querySelector('.run .letter')"
        ".textContent, r.querySelector('.whisker .mark')?.textContent])"
    )
    assert {letter for letter, _ in marks} == set("ABCDE")
    assert all(letter == mark for letter, mark in marks)


def test_letters_on_paper_and_in_the_dark_are_not_told_by_colour(browser: Any, page: Path) -> None:
    colours = "return [...document.querySelectorAll('#tradeoff svg .mark')].map(t => getComputedStyle(t).fill)"
    for options in ({"media": "print"}, {"scheme": "dark"}):
        assert len(set(browser.read(page, **options).js(colours))) == 1
