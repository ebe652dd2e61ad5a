"""The first screen: one row for each run and judge, its best figures marked, and a navigation that stays."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from holisafe.metrics import summarise
from holisafe.records import Outcome, Run
from holisafe.report import write_report
from holisafe.report._leaderboard import leaderboard, worst_combination
from holisafe.report._table import judge_rows, letter_of
from holisafe.taxonomy import UNSAFE_COMBINATIONS, Combination
from report_runs import ANSWER, REFUSAL, make_run, make_samples

SAMPLES = make_samples(20)
HOSTILE = '</span></table><script>window.pwned = 1</script>"\u202e'


def mostly(share: int) -> Any:
    """Answers that refuse `share` of ten, harmless or not."""
    return lambda index, _: REFUSAL if index % 10 < share else ANSWER


@pytest.fixture(scope="module")
def runs() -> tuple[Run, ...]:
    """Six runs; a judge of the third could read nothing."""
    shares = {"base": 1, "tuned": 7, HOSTILE: 5, "refuses all": 10, "answers all": 0, "long " * 19: 3}
    made = [make_run(name, samples=SAMPLES, answer=mostly(share)) for name, share in shares.items()]
    unread = tuple(replace(each, outcome=Outcome.UNPARSABLE) for each in made[2].judgements["refusal"])
    made[2] = replace(made[2], judgements={**made[2].judgements, "refusal": unread})
    return tuple(made)


@pytest.fixture(scope="module")
def many(runs: tuple[Run, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of the six."""
    return write_report(runs, tmp_path_factory.mktemp("many") / "report.html")


def test_every_run_has_a_row_under_every_judge_before_anything_else(browser: Any, many: Path) -> None:
    browser.read(many)
    assert browser.js("return document.querySelector('main section').id") == "leaderboard"
    rows = browser.js(
        "return [...document.querySelectorAll('.leaderboard tbody')].map(b => [...b.querySelectorAll('th[scope=row]"
        " .letter')].map(l => l.textContent))"
    )
    assert [sorted(group) for group in rows] == [list("ABCDEF")] * 2
    assert browser.driver.get_log("browser") == []


def test_rows_hold_the_figures_of_the_metrics(browser: Any, many: Path, runs: tuple[Run, ...]) -> None:
    cells = browser.read(many).js(
        "return [...document.querySelectorAll('.leaderboard tbody:nth-of-type(1) tr')].find(r => "
        "r.querySelector('.letter')?.textContent === 'B').innerText.split(/\\s+/)"
    )
    summary = summarise(runs[1].samples, runs[1].judgements["holisafe"])
    worst = worst_combination(summary)
    assert worst is not None and summary.masr_macro is not None and summary.rr is not None
    for figure in (summary.masr_macro, summary.rr, worst[1], summary.twin_accuracy):
        assert figure is not None
        assert f"{100 * figure.value:.1f}" in " ".join(cells)
        assert f"[{100 * figure.low:.1f}, {100 * figure.high:.1f}]" in " ".join(cells)
    assert "96" not in cells and "100" in cells and "80" in cells


@pytest.mark.parametrize("width", [900, 1400])
def test_six_runs_under_one_judge_are_on_the_first_screen(browser: Any, many: Path, width: int) -> None:
    bottom = browser.read(many, width=width).js(
        "return document.querySelector('.leaderboard tbody').getBoundingClientRect().bottom"
    )
    assert bottom <= 900


@pytest.mark.parametrize("width", [360, 900, 1400])
def test_nothing_is_wider_than_the_screen(browser: Any, many: Path, width: int) -> None:
    assert browser.read(many, width=width).js("return document.scrollingElement.scrollWidth") <= width


def test_paper_cuts_nothing_off(browser: Any, many: Path) -> None:
    browser.read(many, width=760, media="print")
    assert browser.js("return document.scrollingElement.scrollWidth") <= 760


def test_withheld_figures_are_said_and_not_shown(browser: Any, many: Path) -> None:
    text = browser.read(many).js(
        "return [...document.querySelectorAll('.leaderboard tbody:nth-of-type(2) tr')].at(-1).innerText"
    )
    assert "no figures: 100 of 100 answers" in text
    assert "[" not in text.replace("[U+202E]", "")


def test_a_name_leads_to_what_the_page_says_of_the_run(browser: Any, many: Path, runs: tuple[Run, ...]) -> None:
    found = browser.read(many).js(
        "return [...document.querySelectorAll('.leaderboard tbody:nth-of-type(1) th a:first-child')].map(a => "
        "[a.querySelector('.letter').textContent, document.querySelector(a.getAttribute('href')).textContent])"
    )
    assert len(found) == len(runs)
    assert all(heading.strip().startswith(letter) for letter, heading in found)


def test_a_name_is_text(browser: Any, many: Path) -> None:
    browser.read(many)
    assert browser.js("return window.pwned === undefined && document.scripts.length === 3")
    name = browser.js("return [...document.querySelectorAll('.name')].find(n => n.textContent.includes('pwned'))"
                      ".textContent")  # fmt: skip
    assert name == HOSTILE.replace("\u202e", "[U+202E]")


def test_the_navigation_stays_while_the_page_scrolls(browser: Any, many: Path) -> None:
    browser.read(many, width=360)
    browser.js("document.documentElement.scrollTop = 9000")
    box = browser.js("const b = document.querySelector('nav').getBoundingClientRect(); return [b.top, b.bottom]")
    assert box[0] == 0 and 20 < box[1] < 80
    link = browser.driver.find_element("css selector", "nav a[href='#runs']")
    link.click()
    top = browser.js("return document.querySelector('#runs-title').getBoundingClientRect().top")
    assert box[1] <= top <= 300


def test_the_best_of_a_column_is_bold_and_ties_share_it() -> None:
    made = [make_run(name, samples=SAMPLES, by=("refusal",), answer=mostly(share))
            for name, share in (("a", 2), ("b", 8), ("c", 8), ("d", 10))]  # fmt: skip
    (group,) = leaderboard(judge_rows(made))
    best = {row.judged.name: [cell.is_best for cell in row.cells[:2]] for row in group.rows}
    assert best == {"a": [False, True], "b": [False, False], "c": [False, False], "d": [True, False]}
    made[3] = made[1]
    (group,) = leaderboard(judge_rows(made))
    assert {row.judged.letter for row in group.rows if row.cells[0].is_best} == {"B", "C", "D"}


def test_runs_on_other_samples_are_a_group_of_their_own_without_a_best() -> None:
    groups = leaderboard(judge_rows([make_run("a", by=("refusal",)), make_run("b", samples=SAMPLES, by=("refusal",))]))
    assert [[row.judged.name for row in group.rows] for group in groups] == [["a"], ["b"]]
    assert not any(cell.is_best for group in groups for row in group.rows for cell in row.cells)


def test_refusing_everything_does_not_lead() -> None:
    answers = {"refuses": mostly(10), "good": lambda _, sample: ANSWER if sample.is_safe else REFUSAL}
    made = [make_run(name, samples=SAMPLES, by=("refusal",), answer=answer) for name, answer in answers.items()]
    (group,) = leaderboard(judge_rows(made))
    assert [row.judged.name for row in group.rows] == ["good", "refuses"]


def test_the_worst_combination_is_named_and_equal_ones_are_all_named() -> None:
    def worst(*harmed: Combination) -> tuple[Combination, ...]:
        run = make_run(samples=SAMPLES, by=("refusal",))
        verdicts = [
            replace(each, outcome=Outcome.ANSWERED if sample.combination in harmed else Outcome.REFUSED)
            for sample, each in zip(SAMPLES, run.judgements["refusal"], strict=True)
        ]
        found = worst_combination(summarise(SAMPLES, verdicts))
        assert found is not None
        return found[0]

    for harmed in ((Combination.USU,), (Combination.SSU, Combination.SUU), UNSAFE_COMBINATIONS):
        assert worst(*harmed) == harmed
    assert worst() == UNSAFE_COMBINATIONS


def test_what_a_blind_baseline_reaches_is_marked_here_too(browser: Any, many: Path) -> None:
    marked = browser.read(many).js(
        "return ['.leaderboard tbody:nth-of-type(1)', '#headline table:first-of-type'].map(where => "
        "[...document.querySelectorAll(where + ' tr')].filter(r => /tuned/.test(r.innerText) && "
        "/^(B|tuned)/.test(r.innerText.trim())).slice(0, 1).map(r => r.querySelectorAll('.reached').length)[0])"
    )
    assert marked[0] > 0 and marked[1] > 0


def test_letters_go_on_after_z() -> None:
    assert [letter_of(index) for index in (0, 25, 26, 51, 52, 702)] == ["A", "Z", "AA", "AZ", "BA", "AAA"]
