"""What a report writes: one file below 5 MB, a folder of blurred images, and neither words nor images with `share`."""

from __future__ import annotations

import base64
import gzip
import json
import random
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from holisafe.records import ImageRef, Response, Run
from holisafe.report import _page_data, write_report
from report_runs import ANSWER, draw, guarded, make_run, make_samples

SECRET = "zebra"


def secret_run() -> Run:
    """A run whose every text, but names, holds a word."""
    samples = tuple(replace(sample.with_query(f"{SECRET} {sample.query}"), source=SECRET) for sample in make_samples(2))
    run = guarded(make_run(samples=samples, answer=lambda *_: f"{SECRET} {ANSWER}"))
    judgements = {name: tuple(replace(each, rationale=SECRET) for each in found)
                  for name, found in run.judgements.items()}  # fmt: skip
    broken = Response(samples[0].id, "", "model", error=SECRET)
    return replace(run, responses=(broken, *run.responses[1:]), judgements=judgements)


def packed(page: str, name: str) -> Any:
    (found,) = re.findall(rf'id="{name}">([^<]*)<', page)
    return json.loads(gzip.decompress(base64.b64decode(found))) if found else None


def test_share_leaves_out_images_questions_and_answers(tmp_path: Path) -> None:
    page = write_report([secret_run(), make_run()], tmp_path / "r.html", share=True).read_text(encoding="utf-8")
    assert [path.name for path in tmp_path.iterdir()] == ["r.html"]
    assert SECRET not in page and "<img" not in page and "<blockquote" not in page
    assert SECRET not in json.dumps(packed(page, "samples")) and SECRET not in json.dumps(packed(page, "boards"))
    assert len(packed(page, "samples")["samples"]) == 10 + 30
    whole = write_report([secret_run()], tmp_path / "r.html").read_text(encoding="utf-8")
    assert SECRET in whole and SECRET in json.dumps(packed(whole, "samples"))


def test_share_takes_the_images_of_an_earlier_report_away(tmp_path: Path) -> None:
    write_report([make_run()], tmp_path / "r.html")
    folder = tmp_path / "r_images"
    assert len(list(folder.iterdir())) == 30
    write_report([make_run()], tmp_path / "r.html", share=True)
    assert not folder.exists()


def test_images_that_are_no_longer_shown_go_and_other_files_stay(tmp_path: Path) -> None:
    write_report([make_run()], tmp_path / "r.html")
    mine = tmp_path / "r_images" / "mine.svg"
    mine.write_text("mine", encoding="utf-8")
    write_report([make_run(samples=make_samples(1))], tmp_path / "r.html")
    assert len(list(mine.parent.iterdir())) == 5 + 1 and mine.exists()


def test_a_link_in_the_folder_is_not_written_through(tmp_path: Path) -> None:
    from holisafe.errors import RunError

    page = write_report([make_run()], tmp_path / "r.html")
    image = sorted((tmp_path / "r_images").iterdir())[0]
    target = tmp_path / "target"
    target.write_text("kept", encoding="utf-8")
    image.unlink()
    image.symlink_to(target)
    with pytest.raises(RunError, match="cannot write"):
        write_report([make_run()], page)
    assert target.read_text(encoding="utf-8") == "kept"


def test_a_name_of_any_characters_finds_its_folder(browser: Any, tmp_path: Path) -> None:
    page = write_report([make_run(samples=make_samples(1))], tmp_path / "100 % #1? \u00e4.html")
    browser.read(page)
    browser.js("document.querySelectorAll('img').forEach(each => each.loading = 'eager')")
    sizes = browser.driver.execute_async_script(
        "const done = arguments[0]; Promise.all([...document.images].map(i => i.decode())).then("
        "() => done([...document.images].map(i => i.naturalWidth)), e => done(String(e)))"
    )
    assert set(sizes) == {120}


def test_texts_are_cut_before_a_page_grows_too_long(
    browser: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    letters = random.Random(0)
    run = make_run(answer=lambda *_: "".join(letters.choices("abcdefghijklmnop", k=3000)))
    most = write_report([run], tmp_path / "r.html").stat().st_size - 20_000
    monkeypatch.setattr("holisafe.report._page.MAX_BYTES", most)
    page = write_report([run], tmp_path / "r.html")
    assert page.stat().st_size <= most
    longest = packed(page.read_text(encoding="utf-8"), "samples")["longest"]
    assert longest in _page_data.LENGTHS[1:]
    browser.open(page).unfold()
    assert f"texts are cut after {longest} characters" in browser.js("return document.body.innerText")
    assert f"{3000 - longest:,} more characters" in browser.js("return document.querySelector('#results').textContent")


def test_without_room_for_samples_the_selection_stays(
    browser: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holisafe.report._page.MAX_BYTES", 1000)
    page = write_report([make_run()], tmp_path / "r.html")
    assert packed(page.read_text(encoding="utf-8"), "samples") is None
    browser.open(page)
    browser.js("document.querySelector('#gallery > details').open = true")
    assert browser.js("return document.querySelectorAll('#selection .card').length") == 30
    assert "too many to be searched here" in browser.js("return document.querySelector('#selection').innerText")


@pytest.mark.slow
def test_ten_thousand_samples_of_six_runs_stay_below_five_megabytes(tmp_path: Path) -> None:
    images = [ImageRef(f"i{seed}", data=draw(seed)) for seed in range(25)]
    asked = [sample.with_images((images[number % 25],)) for number, sample in enumerate(make_samples(2000))]
    runs = [make_run(f"run {n}", samples=tuple(asked), by=("refusal",)) for n in range(6)]
    assert write_report(runs, tmp_path / "r.html").stat().st_size < 5_000_000
