"""The script of a report: a judge and data chosen, rows sorted, samples searched; and the page without it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from holisafe.metrics import summarise
from holisafe.records import Run
from holisafe.report import write_report
from report_runs import ANSWER, REFUSAL, make_run, make_samples

SAMPLES = make_samples(10)
OTHERS = tuple(replace(sample, id=f"x-{sample.id}", twin=None) for sample in make_samples(2))
CHOOSE = "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('change', {bubbles: true}))"
ROWS = ("return [...document.querySelectorAll('.leaderboard tr[data-run]')].filter(r => r.checkVisibility())"
        ".map(r => r.dataset.run)")  # fmt: skip
FOUND = "return document.getElementById('found').textContent"


def sometimes(share: int) -> Any:
    return lambda index, sample: f"{REFUSAL} Case {sample.id}." if index % 10 < share else f"{ANSWER} Case {sample.id}."


@pytest.fixture(scope="module")
def runs() -> tuple[Run, ...]:
    """Three runs on the same samples, one on others."""
    found = [make_run(f"run {share}", samples=SAMPLES, answer=sometimes(share)) for share in (2, 9, 5)]
    other = make_run("other", samples=OTHERS, by=("refusal",), data={"name": "elsewhere"})
    return (*found, other)


@pytest.fixture(scope="module")
def report(runs: tuple[Run, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(runs, tmp_path_factory.mktemp("script") / "report.html")


def choose(browser: Any, name: str, value: str) -> None:
    browser.js(CHOOSE, browser.driver.find_element(By.ID, name), value)


def until(browser: Any, condition: str) -> None:
    WebDriverWait(browser.driver, 60).until(lambda _: browser.js(condition))


def gallery(browser: Any, report: Path, **options: Any) -> Any:
    browser.open(report, **options)
    browser.js("document.querySelector('#gallery > details').open = true")
    until(browser, "return document.querySelector('#results').childElementCount > 0")
    return browser


def search(browser: Any, text: str) -> str:
    field = browser.driver.find_element(By.ID, "find-text")
    field.clear()
    field.send_keys(text)
    return str(browser.js(FOUND))


def test_one_judge_is_shown_until_another_is_chosen(browser: Any, report: Path) -> None:
    browser.open(report)
    assert sorted(browser.js(ROWS)) == ["A", "B", "C"]
    choose(browser, "pick-judge", "1")
    assert sorted(browser.js(ROWS)) == ["A", "B", "C", "D"]
    browser.js("document.querySelectorAll('details').forEach(each => each.open = true)")
    captions = browser.js("return [...document.querySelectorAll('caption')].filter(c => c.checkVisibility())"
                          ".map(c => c.textContent).filter(t => /judge “/i.test(t))")  # fmt: skip
    assert captions and not any("judge “holisafe”" in text.lower() for text in captions if "published" not in text)
    choose(browser, "pick-judge", "")
    assert len(browser.js(ROWS)) == 7
    assert browser.driver.get_log("browser") == []


def test_data_are_chosen(browser: Any, report: Path) -> None:
    browser.open(report)
    choose(browser, "pick-judge", "")
    choose(browser, "pick-set", "1")
    assert browser.js(ROWS) == ["D"]


def test_a_column_sorts_rows_both_ways_and_back(browser: Any, report: Path) -> None:
    browser.open(report)
    before = browser.js(ROWS)
    button = browser.driver.find_elements(By.CSS_SELECTOR, ".leaderboard .sort")[2]  # RR
    assert "RR" in button.text
    for expected, order in ((["A", "C", "B"], "ascending"), (["B", "C", "A"], "descending"), (before, None)):
        button.send_keys(Keys.ENTER)
        assert browser.js(ROWS) == expected
        assert browser.js("return arguments[0].parentElement.getAttribute('aria-sort')", button) == order


def test_samples_of_a_tag_have_the_figures_of_the_metrics(browser: Any, report: Path, runs: tuple[Run, ...]) -> None:
    browser.open(report)
    cells = "return [...document.querySelector('.leaderboard tr[data-run=A]').cells].map(c => c.innerText)"
    before = browser.js(cells)
    (value,) = browser.js("return [...document.querySelectorAll('#pick-tag option')].filter(o => "
                          "o.textContent === 'Property crime').map(o => o.value)")  # fmt: skip
    choose(browser, "pick-tag", value)
    until(browser, "return !document.querySelector('.all-samples').hidden")
    chosen = [at for at, sample in enumerate(SAMPLES) if sample.tags["subcategory"] == "property_crime"]
    summary = summarise([SAMPLES[at] for at in chosen], [runs[0].judgements["holisafe"][at] for at in chosen])
    shown = browser.js(cells)
    for figure, cell in zip((summary.masr_macro, summary.rr), shown[1:3], strict=True):
        assert figure is not None
        assert f"{100 * figure.value:.1f}" in cell
        assert f"[{100 * figure.low:.1f}, {100 * figure.high:.1f}]" in cell
    assert shown[-1].split()[0] == str(len(chosen))
    choose(browser, "pick-tag", "")
    until(browser, "return document.querySelector('.all-samples').hidden")
    assert browser.js(cells) == before


def test_a_link_unfolds_the_section_that_it_leads_to(browser: Any, report: Path) -> None:
    browser.open(report)
    is_open = "return document.querySelector('#differences > details').open"
    assert not browser.js(is_open)
    browser.driver.find_element(By.CSS_SELECTOR, "nav a[href='#differences']").click()
    assert browser.js(is_open)
    top = browser.js("return document.querySelector('#differences-title').getBoundingClientRect().top")
    assert 0 < top < 300


def test_the_gallery_has_every_sample_page_by_page(browser: Any, report: Path) -> None:
    gallery(browser, report)
    total = len(SAMPLES) + len(OTHERS)
    seen: list[str] = []
    ids = "return [...document.querySelectorAll('#results .id')].map(e => e.textContent)"
    while True:
        seen += browser.js(ids)
        following = browser.driver.find_element(By.ID, "page-after")
        if not following.is_enabled():
            break
        following.send_keys(Keys.ENTER)
    assert sorted(seen) == sorted(sample.id for sample in (*SAMPLES, *OTHERS))
    assert browser.js(FOUND).startswith(f"{total} of {total} samples")


def test_search_looks_at_questions_answers_and_names(browser: Any, report: Path) -> None:
    gallery(browser, report)
    assert search(browser, "USU question 3?").startswith("1 of 60")
    assert search(browser, "case SUU-7.").startswith("1 of 60")
    assert search(browser, "nowhere to be found").startswith("0 of 60")


def test_samples_are_filtered_by_what_runs_got_wrong(browser: Any, report: Path, runs: tuple[Run, ...]) -> None:
    gallery(browser, report)
    wrong = sum(sample.is_safe == (verdict.outcome == "refused") for sample, verdict in
                zip(SAMPLES, runs[1].judgements["holisafe"], strict=True))  # fmt: skip
    browser.js("arguments[0].value = '1'; arguments[0].dispatchEvent(new Event('input'))",
               browser.driver.find_element(By.ID, "find-kind"))  # fmt: skip
    assert browser.js(FOUND).startswith(f"{wrong} of 60")


def test_one_sample_is_read_across_all_runs_side_by_side(browser: Any, report: Path) -> None:
    gallery(browser, report, width=1400)
    search(browser, "USU-3")
    browser.driver.find_element(By.CSS_SELECTOR, "#results .answers summary").click()
    until(browser, "return document.querySelectorAll('#results .answer').length === 3")
    boxes = browser.js("return [...document.querySelectorAll('#results .answer')].map(e => {"
                       "const b = e.getBoundingClientRect(); return [b.left, b.top]})")  # fmt: skip
    assert len({left for left, _ in boxes}) == 3 and len({top for _, top in boxes}) == 1
    names = browser.js("return [...document.querySelectorAll('#results .answer .name')].map(e => e.textContent)")
    assert names == ["run 2", "run 9", "run 5"]


def test_a_sample_is_shown_with_its_twin(browser: Any, report: Path) -> None:
    gallery(browser, report)
    search(browser, "SSU-2")
    browser.driver.find_element(By.CSS_SELECTOR, "#results .link").click()
    assert sorted(browser.js("return [...document.querySelectorAll('#results .id')].map(e => e.textContent)")) == [
        "SSS-2", "SSU-2"]  # fmt: skip


def test_both_answers_to_a_twin_pair_stand_side_by_side(browser: Any, report: Path) -> None:
    browser.read(report)
    fold = browser.driver.find_element(By.CSS_SELECTOR, "#twins .answers")
    browser.js("arguments[0].open = true", fold)
    answers = browser.js(
        "return [...arguments[0].querySelectorAll('blockquote')].map(e => {"
        "const b = e.getBoundingClientRect(); return [e.textContent, b.left, b.top]})",
        fold,
    )
    assert len(answers) == 6
    (safe, left, top), (unsafe, right, beside) = answers[:2]
    assert "Case SSS-" in safe and "Case SSU-" in unsafe
    assert right > left + 200 and abs(beside - top) < 2


def test_without_its_script_the_page_has_all_figures_and_a_selection(browser: Any, report: Path) -> None:
    browser.open(report, script=False)
    assert len(browser.js(ROWS)) == 7
    assert not browser.js("return [...document.querySelectorAll('select, input[type=search], button')].some("
                          "e => e.checkVisibility())")  # fmt: skip
    browser.js("document.querySelectorAll('details.part').forEach(each => each.open = true)")
    shown = browser.js("return [...document.querySelectorAll('#selection .card')].filter(c => c.checkVisibility())"
                       ".length")  # fmt: skip
    assert shown == 30


def test_fields_have_names_and_the_keyboard_reaches_them(browser: Any, report: Path) -> None:
    gallery(browser, report, width=360)
    unnamed = browser.js("return [...document.querySelectorAll('select, input')].filter(e => !e.labels?.length).length")
    assert unnamed == 0
    nodes = browser.command("Accessibility.getFullAXTree")["nodes"]
    shown = [node for node in nodes if not node["ignored"]]
    for role in ("combobox", "searchbox", "button", "status"):
        names = [node["name"]["value"] for node in shown if node["role"]["value"] == role]
        assert names and (role == "status" or all(name.strip() for name in names))
    assert browser.js("return document.scrollingElement.scrollWidth") <= 360


def test_paper_has_every_section_without_fields(browser: Any, report: Path) -> None:
    browser.open(report, media="print")
    assert browser.js(
        "return document.querySelector('#differences table').checkVisibility({contentVisibilityAuto: true})"
    )
    height = browser.js("return document.querySelector('#differences table').getBoundingClientRect().height")
    assert height > 100
    assert not browser.js("return [...document.querySelectorAll('select')].some(e => e.checkVisibility())")
