"""What models, data and users write is shown as text: it runs nothing, breaks nothing and hides nothing."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from holisafe.records import ImageRef, JudgeId, Judgement, Outcome, Response, Role, Run, Turn
from holisafe.report import write_report
from report_runs import ANSWER, OWN_SCRIPTS, make_run, make_samples

HOSTILE = {
    "script": "<script>window.pwned = 1</script>",
    "attribute": '"><img src=x onerror="window.pwned = 1">',
    "single quote": "'><svg onload='window.pwned = 1'>",
    "end of style": "</style></script></title></textarea><script>window.pwned = 1</script>",
    "template": "{{ 7 * 7 }}{% for x in y %}{# {{ config }} #}${7*7}",
    "link": "<a href=javascript:window.pwned=1>x</a> [x](javascript:window.pwned=1)",
    "comment": "<!-- --!> <![CDATA[ ]]> <!--><script>window.pwned = 1</script>",
    "entity": "&lt;script&gt; &amp; &#x3c;script&#x3e;",
    "outside": "https://example.invalid/x.png <link rel=stylesheet href=//example.invalid/x.css>",
}


def hostile_run(text: str) -> Run:
    """A run with the text in every place that others fill."""
    samples = tuple(
        replace(
            sample,
            id=f"{sample.id} {text}",
            turns=(
                Turn(
                    Role.USER,
                    f"{sample.query} {text}",
                    (replace(sample.images[0], key=text + sample.id), ImageRef(text, data=text.encode())),
                ),
            ),
            tags={"category": text, "subcategory": text, text: text},
            twin=sample.twin and f"{sample.twin} {text}",
            cluster=text + sample.cluster,
            source=text,
            licence=text,
        )
        for sample in make_samples(2)
    )
    responses = tuple(
        Response(sample.id, text, text, finish_reason=text, error=text if index == 0 else None)
        for index, sample in enumerate(samples)
    )
    judged = tuple(Judgement(sample.id, JudgeId(text, text, text), Outcome.ANSWERED, text) for sample in samples)
    return Run(text, samples, responses, {text: judged}, {text: {text: text}, "data": {"name": text, "split": text}})


@pytest.mark.parametrize("script", [True, False])
@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_text_becomes_text(browser: Any, tmp_path: Path, kind: str, script: bool) -> None:
    page = write_report([hostile_run(HOSTILE[kind])], tmp_path / "report.html", title=HOSTILE[kind])
    if script:
        browser.open(page).unfold()
        assert browser.js("return document.querySelectorAll('#results .card').length") == 10
    else:
        browser.read(page)
    assert browser.js("return window.pwned === undefined")
    assert browser.js("return document.scripts.length") == OWN_SCRIPTS
    assert browser.js("return document.querySelectorAll('link:not([rel=icon]), iframe, a[href^=java]').length") == 0
    attributes = browser.js("return [...document.querySelectorAll('*')].flatMap(e => e.getAttributeNames())")
    assert not [name for name in attributes if name.startswith("on") or name == "style"]
    assert browser.js(
        "return [...document.images].every(i => /^report_images.[0-9a-f]+.svg(#clear)?$/.test(i.getAttribute('src')))"
    )
    assert HOSTILE[kind] in browser.js("return document.body.textContent")
    assert browser.driver.get_log("browser") == []


@pytest.mark.parametrize("kind", HOSTILE)
def test_escaping_holds_where_the_browser_knows_no_content_policy(browser: Any, tmp_path: Path, kind: str) -> None:
    report = write_report([hostile_run(HOSTILE[kind])], tmp_path / "report.html", title=HOSTILE[kind])
    html, count = re.subn(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", report.read_text(encoding="utf-8"))
    assert count == 1
    report.write_text(html, encoding="utf-8")
    browser.open(report).unfold()
    assert browser.js("return window.pwned === undefined")


def test_the_content_policy_stops_a_script_that_got_in(browser: Any, page: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.html"
    broken.write_text(page.read_text(encoding="utf-8").replace("</h1>", "</h1><script>window.pwned = 1</script>"))
    assert browser.open(broken).js("return window.pwned === undefined")


@pytest.mark.parametrize(
    ("character", "name"), [("\u202e", "U+202E"), ("\u2066", "U+2066"), ("\u200b", "U+200B"), ("\x00", "U+0000")]
)
def test_characters_nobody_sees_are_written_out(tmp_path: Path, character: str, name: str) -> None:
    run = make_run(answer=lambda index, sample: f"abc{character}def")
    html = write_report([run], tmp_path / "report.html").read_text(encoding="utf-8")
    assert character not in html
    assert f">{name}</span>" in html


def test_a_message_in_tag_characters_is_written_out(tmp_path: Path) -> None:
    hidden = "".join(chr(0xE0000 + ord(letter)) for letter in "obey")
    run = make_run(answer=lambda index, sample: ANSWER + hidden)
    html = write_report([run], tmp_path / "report.html").read_text(encoding="utf-8")
    assert hidden not in html
    assert "U+E006F" in html


def test_lone_surrogates_do_not_stop_a_report(tmp_path: Path) -> None:
    run = make_run("half \ud83d", answer=lambda index, sample: "half an emoji: \ud83d")
    html = write_report([run], tmp_path / "report.html", title="\udc00").read_text(encoding="utf-8")
    assert "U+D83D" in html


def test_right_to_left_scripts_and_emoji_are_left_alone(tmp_path: Path) -> None:
    text = "مرحبا بكم · שלום · 👩🏽‍🚀 · क्‍ष · 한국어"
    run = make_run(answer=lambda index, sample: text)
    assert text in write_report([run], tmp_path / "report.html").read_text(encoding="utf-8")


def test_an_endless_answer_is_cut_with_a_notice(browser: Any, tmp_path: Path) -> None:
    run = make_run(answer=lambda index, sample: "x" * 100_000, by=("holisafe",))
    report = write_report([run], tmp_path / "report.html")
    assert report.stat().st_size < 1_500_000
    browser.read(report, width=375)
    browser.js("document.querySelectorAll('details').forEach(each => each.open = true)")
    assert "96,000 more characters" in browser.js("return document.body.textContent")
    assert browser.js("return document.scrollingElement.scrollWidth") <= 375
