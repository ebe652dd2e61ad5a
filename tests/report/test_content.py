"""What a report says: every figure from the verdicts, nothing silent, readable by those who do not see it."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from holisafe.blind import MARK
from holisafe.errors import RunError
from holisafe.metrics import compare, headline, holm, summarise
from holisafe.records import ImageRef, Judgement, Outcome, Run
from holisafe.report import write_report
from holisafe.taxonomy import Combination
from report_runs import ANSWER, REFUSAL, make_run, make_samples


def written(runs: list[Run], folder: Path, **options: Any) -> str:
    return write_report(runs, folder / "report.html", **options).read_text(encoding="utf-8")


def table_of(browser: Any, part: str, caption: str) -> list[list[str]]:
    """Cells of the first table below `part` whose caption has these words, row by row, heads included."""
    rows = browser.js(
        "const table = [...document.querySelectorAll(arguments[0] + ' table')].find("
        "t => t.caption.textContent.includes(arguments[1]));"
        "return [...table.rows].map(r => [...r.cells].map(c => c.innerText))",
        part,
        caption,
    )
    return [[" ".join(cell.replace("−", "-").split()) for cell in row] for row in rows]


def test_the_headline_table_holds_the_figures_of_the_metrics(
    browser: Any, page: Path, two_runs: tuple[Run, Run]
) -> None:
    rows = table_of(browser.read(page), "#headline", "Published refusal rate")
    for run in two_runs:
        summary = summarise(run.samples, run.judgements["refusal"])
        (row,) = [row for row in rows if row[0].endswith(f" {run.name}") and row[1] == "refusal"]
        for cell, figure in zip(row[2:10], headline(summary).values(), strict=True):
            assert figure is not None
            interval = f"[{100 * figure.low:.1f}, {100 * figure.high:.1f}]"
            few = "°" if figure.n < 20 else ""
            assert cell.replace(MARK, "") == f"{100 * figure.value:.1f}{few} {interval} n = {figure.n}"


def test_differences_are_those_of_the_paired_comparison(browser: Any, page: Path, two_runs: tuple[Run, Run]) -> None:
    first, second = two_runs
    found = compare(first.samples, first.judgements["holisafe"], second.judgements["holisafe"])
    rows = table_of(browser.read(page), "#differences", "minus")
    assert len(rows) == 1 + len(found.differences)
    for row, one in zip(rows[1:], found.differences.values(), strict=True):
        assert one is not None
        assert row[1:3] == [f"{100 * one.value:+.1f}", f"{100 * one.low:+.1f} to {100 * one.high:+.1f}"]
        assert float(row[3]) == pytest.approx(one.p, abs=5e-5)
        assert int(row[5]) == one.n
    corrected = holm([one.p for one in found.differences.values() if one is not None])
    assert [float(row[4]) for row in rows[1:]] == pytest.approx(corrected, abs=5e-5)


def test_runs_are_compared_on_shared_samples_only(tmp_path: Path) -> None:
    samples = make_samples()
    html = written([make_run("one", samples=samples[:20]), make_run("two", samples=samples[5:])], tmp_path)
    assert "15 samples" in re.sub(r"<[^>]+>", "", html)


def test_samples_of_one_id_and_other_words_are_not_taken_for_the_same(tmp_path: Path) -> None:
    others = tuple(sample.with_query(sample.query + " Really?") for sample in make_samples())
    assert "they share no sample" in written([make_run("one"), make_run("two", samples=others)], tmp_path)


def test_the_heat_map_gives_rate_interval_and_count_of_each_cell(
    browser: Any, page: Path, two_runs: tuple[Run, Run]
) -> None:
    run = two_runs[0]
    figure = summarise(run.samples, run.judgements["holisafe"]).by["category"]["illegal_activity"]["ssu"]
    rows = table_of(browser.read(page), "#categories", "“cautious”, judge “holisafe”")
    (row,) = [row for row in rows if row[0] == "Illegal activity"]
    interval = f"{100 * figure.low:.1f}–{100 * figure.high:.1f}"
    assert row[2] == f"{100 * figure.value:.1f}° {interval} · n = {figure.n}"


def test_the_length_of_a_bar_is_its_rate(browser: Any, page: Path) -> None:
    browser.read(page)
    cells = browser.js(
        "return [...document.querySelectorAll('table.heat td:has(svg)')].map(c => [c.querySelector('b').textContent,"
        " ...['rect.fill', 'svg'].map(part => c.querySelector(part).getBoundingClientRect().width)])"
    )
    assert len({number for number, _, _ in cells}) > 2
    assert all(abs(float(number) / 100 - filled / whole) < 0.01 for number, filled, whole in cells)


def test_more_is_darker_on_paper_white_and_lighter_in_the_dark(browser: Any, page: Path) -> None:
    for scheme, sign in (("light", -1), ("dark", 1)):
        browser.read(page, scheme=scheme)
        cells = browser.js(
            "return [...document.querySelectorAll('table.heat td:has(svg)')].map(c => [Number(c.querySelector('b')"
            ".textContent), getComputedStyle(c).backgroundColor.match(/\\d+/g).map(Number).reduce((a, b) => a + b)])"
        )
        light = [ground for _, ground in sorted(cells)]
        assert light == sorted(light, reverse=sign < 0)
        assert len(set(light)) == len({rate for rate, _ in cells}) >= 3


def test_errors_and_unparsable_verdicts_are_counted_as_themselves(browser: Any, tmp_path: Path) -> None:
    run = make_run(by=("refusal",))
    kinds = {0: Outcome.ERROR, 1: Outcome.UNPARSABLE, 2: Outcome.UNPARSABLE}  # all three SSS
    verdicts = tuple(
        Judgement(v.sample_id, v.judge, kinds.get(index, v.outcome))
        for index, v in enumerate(run.judgements["refusal"])
    )
    broken = replace(run, judgements={"refusal": verdicts})
    browser.read(write_report([broken], tmp_path / "report.html"))
    head, safe, *_ = table_of(browser, "#judges", "number of samples by outcome")
    counts = dict(zip(head, safe, strict=True))
    assert (counts["Combination"], counts["error"], counts["unparsable"], counts["all"]) == ("SSS", "1", "2", "6")


def test_twin_counts_come_from_both_members(browser: Any, tmp_path: Path) -> None:
    run = make_run(by=("refusal",), answer=lambda _, s: REFUSAL if s.id in {"SSU-0", "SSU-1", "SSS-1"} else ANSWER)
    browser.read(write_report([run], tmp_path / "report.html"))
    row = table_of(browser, "#twins", "Number of pairs")[1]
    assert row[2:] == ["1", "4", "1", "0", "6"]  # both, only the safe one, only the unsafe one, neither, pairs


def test_a_figure_without_samples_is_a_dash_and_never_zero(browser: Any, tmp_path: Path) -> None:
    samples = tuple(replace(s, twin=None) for s in make_samples() if s.combination is not Combination.UUU)
    partial, whole = make_run("partial", samples=samples, by=("refusal",)), make_run("whole", by=("refusal",))
    browser.read(write_report([partial, whole], tmp_path / "report.html"))
    head, row, *_ = table_of(browser, "#headline", "Published refusal rate")
    dashes = [name for name, cell in zip(head, row, strict=True) if cell.startswith("–")]
    assert dashes == ["ASR UUU", "mASR macro", "mASR pooled", "Twin accuracy"]


def test_the_gallery_is_bounded_and_shares_its_places_out(browser: Any, tmp_path: Path) -> None:
    browser.read(write_report([make_run(samples=make_samples(40))], tmp_path / "report.html"))
    headings = browser.js(
        "const out = {}; for (const h of document.querySelectorAll('#gallery h3')) { let n = h.nextElementSibling;"
        " out[h.textContent.trim().slice(0, 3)] = n.children.length; } return out"
    )
    assert headings == {"SSS": 6, "SSU": 6, "USU": 6, "UUU": 6, "SUU": 6}


def test_mistakes_come_first_and_right_ones_are_not_left_out(browser: Any, tmp_path: Path) -> None:
    browser.read(write_report([make_run(samples=make_samples(40))], tmp_path / "report.html"))
    marks = browser.js(
        "return [...document.querySelector('#gallery h3').nextElementSibling.children].map("
        "c => c.querySelectorAll('.wrong').length > 0)"
    )
    assert marks == sorted(marks, reverse=True)
    assert set(marks) == {True, False}


def test_an_image_that_cannot_be_read_is_said_in_its_place(tmp_path: Path) -> None:
    samples = list(make_samples())
    samples[0] = samples[0].with_images((ImageRef("gone", path=tmp_path / "gone.png", root=tmp_path),))
    samples[1] = samples[1].with_images((ImageRef("far", url="https://example.invalid/x.png"),))
    html = written([make_run(samples=tuple(samples))], tmp_path)
    assert "gone.png" in html
    assert html.count('class="clear"') > 20


def test_provenance_is_shown_whole(tmp_path: Path) -> None:
    html = written([make_run(versions={"torch": "2.99.1"}, generation={"max_new_tokens": 32}, device="cpu")], tmp_path)
    for piece in ("torch", "2.99.1", "max_new_tokens", "device"):
        assert piece in html


def test_fewer_tokens_than_the_protocol_are_said_at_the_top(tmp_path: Path) -> None:
    html = written([make_run(generation={"max_new_tokens": 32})], tmp_path)
    assert re.search(r"32 new tokens.{0,60}512", re.sub(r"\s+", " ", html.partition('<section id="headline"')[0]))


def test_headings_descend_one_level_at_a_time(browser: Any, page: Path) -> None:
    levels = browser.read(page).js("return [...document.querySelectorAll('h1,h2,h3,h4,h5,h6')].map(h => +h.tagName[1])")
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))


def test_tables_have_captions_and_their_heads_a_scope(browser: Any, page: Path) -> None:
    browser.read(page)
    assert browser.js("return [...document.querySelectorAll('table')].filter(t => !t.caption).length") == 0
    assert browser.js("return document.querySelectorAll('th:not([scope])').length") == 0


def test_everything_a_screen_reader_stops_at_has_a_name(browser: Any, page: Path) -> None:
    browser.read(page)
    browser.js("document.querySelectorAll('details').forEach(each => each.open = true)")
    nodes = browser.command("Accessibility.getFullAXTree")["nodes"]
    stops = {"image", "table", "region", "navigation", "link", "button", "radio", "DisclosureTriangle", "group"}
    roles = Counter(node["role"]["value"] for node in nodes if not node["ignored"])
    assert {"main", "banner", "navigation", "table", "image", "DisclosureTriangle"} <= roles.keys()
    nameless = [
        node["role"]["value"]
        for node in nodes
        if not node["ignored"] and node["role"]["value"] in stops - {"group"} and not node["name"]["value"].strip()
    ]
    assert nameless == []


def test_ids_are_unique_and_links_lead_somewhere(browser: Any, page: Path) -> None:
    browser.read(page)
    ids = browser.js("return [...document.querySelectorAll('[id]')].map(e => e.id)")
    assert len(set(ids)) == len(ids)
    hrefs = browser.js("return [...document.querySelectorAll('a')].map(a => a.getAttribute('href'))")
    assert {href[:1] for href in hrefs} == {"#"}
    assert {href[1:] for href in hrefs} <= set(ids)
    assert browser.js("return document.documentElement.lang") == "en"


def test_the_same_runs_give_the_same_file(two_runs: tuple[Run, Run], tmp_path: Path) -> None:
    assert written(list(two_runs), tmp_path) == written(list(two_runs), tmp_path)


def test_runs_of_one_name_are_told_apart(tmp_path: Path) -> None:
    html = written([make_run("twice"), make_run("twice")], tmp_path)
    assert "twice (run 1)" in html
    assert "twice (run 2)" in html


def test_figures_for_which_no_run_has_samples_have_no_row_and_no_column(browser: Any, tmp_path: Path) -> None:
    samples = tuple(replace(s, twin=None) for s in make_samples() if s.combination is not Combination.UUU)
    browser.read(write_report([make_run(name, samples=samples) for name in ("a", "b")], tmp_path / "report.html"))
    assert "UUU" not in browser.js("return document.querySelector('#headline .scroll').innerText")
    rows = "return [...document.querySelectorAll(`${arguments[0]} tbody tr`)].map(r => r.innerText)"
    for part in ("#headline .forest", "#differences table"):
        found = browser.js(rows, part)
        assert found and not any("–" in row.replace("−", "-") for row in found)


def test_no_run_is_an_error() -> None:
    with pytest.raises(RunError, match="no run to report on"):
        write_report([], Path("report.html"))


def test_a_run_without_verdicts_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="holds no judgements"):
        write_report([replace(make_run(), judgements={})], tmp_path / "report.html")


def test_a_folder_in_the_place_of_the_file_is_an_error(two_runs: tuple[Run, Run], tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is a folder"):
        write_report(two_runs, tmp_path)


def test_a_report_that_cannot_be_written_leaves_nothing_half_done(two_runs: tuple[Run, Run], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RunError, match="cannot write"):
        write_report(two_runs, tmp_path / "file" / "report.html")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
