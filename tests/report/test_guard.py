"""The guard's part of a report: there when a run has verdicts, right, safe to open, and readable by all."""

from __future__ import annotations

import csv
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from holisafe.guard import DecideBy, guard_findings
from holisafe.records import JudgeId, Run
from holisafe.report import write_csv, write_markdown, write_report
from report_runs import OWN_SCRIPTS, guarded, make_run, make_samples

SCRIPT = '"><script>window.pwned = 1</script>'


@pytest.fixture(scope="module")
def run() -> Run:
    return guarded(make_run("watched"))


@pytest.fixture(scope="module")
def guard_page(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a run with a guard beside one without."""
    folder = tmp_path_factory.mktemp("guard")
    return write_report([run, make_run("unwatched")], folder / "report.html")


def table_of(browser: Any, caption: str) -> list[list[str]]:
    """Cells of the first table of the section whose caption has these words, row by row, heads included."""
    rows = browser.js(
        "const table = [...document.querySelectorAll('#guard table')].find("
        "t => t.caption.textContent.includes(arguments[0]));"
        "return [...table.rows].map(r => [...r.cells].map(c => c.textContent))",
        caption,
    )
    return [[" ".join(cell.replace("−", "-").split()) for cell in row] for row in rows]


def test_a_report_without_verdicts_has_no_part_about_a_guard(tmp_path: Path) -> None:
    html = write_report([make_run()], tmp_path / "report.html").read_text(encoding="utf-8")
    assert 'id="guard"' not in html
    assert "#guard" not in html


def test_the_table_of_flags_and_answers_holds_the_findings(browser: Any, guard_page: Path, run: Run) -> None:
    found = guard_findings(run)
    assert found is not None
    rows = table_of(browser.read(guard_page), "Request verdict, judge “refusal”")
    cells = found.flag_tables["refusal", DecideBy.REQUEST]
    for row, (safe, flag) in zip(rows[1:], [(True, True), (True, False), (False, True), (False, False)], strict=True):
        cell, of = cells[safe, flag], sum(cells[safe, each].total for each in (True, False))
        assert row[:2] == ["safe" if safe else "unsafe", "flagged" if flag else "not flagged"]
        counts = (cell.refused, cell.answered, cell.not_scored, cell.total)
        assert row[2:] == [f"{count} {100 * count / of:.1f} %" for count in counts]


def test_the_table_of_policies_holds_rates_and_changes(browser: Any, guard_page: Path, run: Run) -> None:
    found = guard_findings(run)
    assert found is not None
    rows = table_of(browser.read(guard_page), "Judge “holisafe”")
    assert [row[0] for row in rows[1:]] == [
        "observeas measured",
        "warnby the image verdict",
        "refuseby the image verdict",
        "warnby the request verdict",
        "refuseby the request verdict",
        "warnby the image or request verdict",
        "refuseby the image or request verdict",
    ]
    refuse = found.policies["holisafe"][2]
    assert refuse.versus_observe is not None and refuse.summary.rr is not None
    change = refuse.versus_observe.differences["rr"]
    assert change is not None
    assert rows[3][1] == f"{refuse.flagged_safe} / {refuse.flagged_unsafe}"
    rate, rest = rows[3][2].split(" ", 1)
    assert rate == f"{100 * refuse.summary.rr.value:.1f}°"
    assert f"{100 * change.value:+.1f} [{100 * change.low:+.1f}, {100 * change.high:+.1f}]" in rest
    assert rows[2][2].endswith("as observed")


def test_image_verdicts_are_shown_against_labels(browser: Any, guard_page: Path, run: Run) -> None:
    found = guard_findings(run)
    assert found is not None and found.images is not None
    browser.read(guard_page)
    rows = table_of(browser, "Number of images by what they show")
    assert rows[1][1:] == [str(count) for count in (*found.images.confusion[0], sum(found.images.confusion[0]))]
    labels = {row[0]: row[1:] for row in table_of(browser, "Labels that occur")[1:]}
    scores = found.images.per_class
    assert labels.keys() == {
        label.value.replace("_", " ") for label, each in scores.items() if each.support or each.predicted
    }
    assert len(table_of(browser, "Calibration of the most probable label")) == 1 + len(found.images.reliability)


def test_each_answer_stands_beside_what_the_guard_said(browser: Any, guard_page: Path) -> None:
    said = browser.read(guard_page).js(
        "return [...document.querySelectorAll('#gallery .answer')].map("
        "a => [a.querySelector('.name').textContent,"
        " [...a.querySelectorAll('.verdicts .tag')].map(t => t.textContent)])"
    )
    assert all(len(tags) == (2 if run == "watched" else 0) for run, tags in said)
    texts = [" ".join(text.split()) for _, tags in said for text in tags]
    assert any(re.match(r"⚑ image: flagged, P\(unsafe\) \S+ % ≥ threshold 50.0 %: property crime$", t) for t in texts)
    assert "request: not flagged, P(unsafe) 20.0 % < threshold 50.0 %: SSS" in texts


def test_several_images_have_a_verdict_each(browser: Any, tmp_path: Path) -> None:
    samples = tuple(
        replace(each.with_images(each.images * 2), image_labels=each.image_labels * 2) for each in make_samples()
    )
    page = write_report([guarded(make_run(samples=samples))], tmp_path / "report.html")
    tags = browser.read(page).js(
        "return [...document.querySelector('#gallery .verdicts').children].map(t => t.textContent)"
    )
    assert "image 1:" in tags[1] and "image 2:" in tags[2]


@pytest.mark.parametrize("without", ["images", "joint"])
def test_a_guard_of_one_kind_of_verdict_is_shown_as_far_as_it_goes(
    browser: Any, run: Run, tmp_path: Path, without: str
) -> None:
    lacking: dict[str, Any] = {"images": ()} if without == "images" else {"request": None}
    responses = tuple(replace(each, verdict=replace(each.verdict, **lacking)) for each in run.responses)
    partly = replace(run, responses=responses)
    browser.read(write_report([partly], tmp_path / "report.html"))
    assert browser.js("return document.querySelectorAll('#guard .policies tbody tr').length") == 2 * 3
    assert browser.js("return document.querySelectorAll('#guard .confusion').length") == (without == "joint")


def test_names_of_runs_and_judges_are_text_there_too(browser: Any, run: Run, tmp_path: Path) -> None:
    judgements = tuple(
        replace(each, judge=JudgeId(SCRIPT, SCRIPT, SCRIPT), rationale=SCRIPT) for each in run.judgements["holisafe"]
    )
    hostile = replace(run, name=SCRIPT, judgements={SCRIPT: judgements}, provenance={"model": {"guard": SCRIPT}})
    browser.read(write_report([hostile], tmp_path / "report.html"))
    assert browser.js("return window.pwned === undefined")
    assert browser.js("return document.scripts.length") == OWN_SCRIPTS
    assert SCRIPT in browser.js("return document.querySelector('#guard').textContent")
    attributes = browser.js("return [...document.querySelectorAll('*')].flatMap(e => e.getAttributeNames())")
    assert not [name for name in attributes if name.startswith("on") or name == "style"]
    assert browser.driver.get_log("browser") == []


@pytest.mark.parametrize("width", [320, 375, 768])
def test_a_narrow_screen_does_not_scroll_sideways(browser: Any, guard_page: Path, width: int) -> None:
    browser.read(guard_page, width=width)
    browser.js("document.querySelectorAll('details').forEach(each => each.open = true)")
    assert browser.js("return document.scrollingElement.scrollWidth") <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(browser: Any, guard_page: Path, scheme: str) -> None:
    browser.read(guard_page, scheme=scheme)
    browser.js("document.querySelectorAll('details').forEach(each => each.open = true)")
    pairs = browser.js(
        "const rgb = text => text.match(/[\\d.]+/g).map(Number);"
        "const ground = e => { for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor);"
        " if (c.length === 3 || c[3] === 1) return c.slice(0, 3); } };"
        "return [...document.querySelectorAll('#guard :is(th, td, b, span, p, caption), .verdicts .tag')]"
        ".filter(e => e.checkVisibility()).map(e => [rgb(getComputedStyle(e).color).slice(0, 3), ground(e)])"
    )
    assert len(pairs) > 200
    assert min(contrast(ink, ground) for ink, ground in pairs) >= 4.5


def test_tables_have_captions_heads_a_scope_and_ids_are_unique(browser: Any, guard_page: Path) -> None:
    browser.read(guard_page)
    assert browser.js("return [...document.querySelectorAll('#guard table')].filter(t => !t.caption).length") == 0
    assert browser.js("return document.querySelectorAll('#guard th:not([scope])').length") == 0
    ids = browser.js("return [...document.querySelectorAll('[id]')].map(e => e.id)")
    assert len(set(ids)) == len(ids)


def test_markdown_and_csv_hold_the_same_figures(run: Run, tmp_path: Path) -> None:
    found = guard_findings(run)
    assert found is not None and found.images is not None
    text = write_markdown([run], tmp_path / "report.md").read_text(encoding="utf-8")
    with write_csv([run], tmp_path / "report.csv").open(encoding="utf-8", newline="") as file:
        rows = {(row["judge"], row["figure"]): row for row in csv.DictReader(file)}
    refuse = found.policies["refusal"][2]
    assert refuse.summary.masr_macro is not None and refuse.versus_observe is not None
    change = refuse.versus_observe.differences["masr_macro"]
    assert change is not None
    assert float(rows["refusal", "guard.refuse.image.masr_macro"]["value"]) == refuse.summary.masr_macro.value
    assert float(rows["refusal", "guard.refuse.image.masr_macro.versus_observe"]["low"]) == change.low
    answered = found.flag_tables["refusal", DecideBy.IMAGE][True, True].answered
    assert float(rows["refusal", "guard.image.sss.flagged.answered"]["value"]) == answered / 6
    assert found.images.auroc is not None
    assert float(rows["", "guard.images.auroc"]["value"]) == found.images.auroc.value
    assert f"{100 * refuse.summary.masr_macro.value:.1f} ({100 * change.value:+.1f})" in text
    assert f"| AUROC, safe or unsafe, % | {100 * found.images.auroc.value:.1f} [" in text
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert all(line.endswith("|") for line in tables)


def contrast(one: list[float], other: list[float]) -> float:
    """Contrast ratio of two colours, 1 to 21 (WCAG 2.2)."""

    def luminance(colour: list[float]) -> float:
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in (c / 255 for c in colour)]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)
