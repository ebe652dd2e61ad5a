"""What would make figures misleading stands beside them, on the page and in Markdown."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from holisafe.records import Behaviour, JudgeId, Judgement, Outcome, Run, Sample
from holisafe.report import write_csv, write_markdown, write_report
from report_runs import ANSWER, REFUSAL, guarded, make_run, make_samples

GUARD = {"records": 500, "safe_records": 300, "threshold": 0.4, "joint_threshold": 0.5, "flag_rate": 0.05}


def top_of(run: Run, folder: Path) -> str:
    """The first lines of the page, as text."""
    page = write_report([run], str(folder / "report.html")).read_text(encoding="utf-8")
    return " ".join(
        re.sub(r"<[^>]+>", " ", page.partition('<section id="headline"')[0].partition("</style>")[2]).split()
    )


@pytest.mark.parametrize(
    ("provenance", "said"),
    [
        ({"data": {"samples": 90}}, "Incomplete: it holds 30 of 90 samples"),
        ({"state": "running"}, "Incomplete: the run’s state is “running”"),
        ({"status": "cancelled", "data": {"samples": 30}}, "Incomplete: the evaluation ended as “cancelled”"),
        ({"generation": {"max_new_tokens": 32}}, "at most 32 new tokens; the published protocol has 512"),
        ({"data": {"left_out_as_broken": 4}}, "4 broken records of the data were left out"),
        ({"model": {"guard": {"calibration": {**GUARD, "records": 0, "safe_records": 0}}}}, "guard is not calibrated"),
        ({"model": {"guard": {"calibration": {**GUARD, "safe_records": 74}}}}, "was set on 74 safe records"),
        ({"model": {"id": "pocket-safe", "guard": {"calibration": GUARD}}}, "made for the drawings of HoliSafe-Open"),
    ],
)
def test_what_is_wrong_with_a_run_is_said_at_the_top(provenance: dict[str, Any], said: str, tmp_path: Path) -> None:
    run = make_run(**provenance)
    assert said in top_of(run, tmp_path)
    assert said in write_markdown([run], str(tmp_path / "r.md")).read_text(encoding="utf-8")


def test_a_sound_run_has_no_warnings(tmp_path: Path) -> None:
    run = make_run(
        data={"name": "open", "samples": 30},
        state="complete",
        generation={"max_new_tokens": 512},
        model={"id": "pocket-safe", "guard": {"calibration": {**GUARD, "measured_flag_rate": 0.109}}},
    )
    page = write_report([guarded(run)], tmp_path / "report.html").read_text(encoding="utf-8")
    assert 'class="caveats"' not in page.partition("</style>")[2]
    assert "image threshold 40.0 %" in page and "flag at most 5.0 % of safe images (measured: 10.9 %)" in page


def test_limits_of_all_runs_stand_on_top_with_their_letters(browser: Any, tmp_path: Path) -> None:
    tokens = {"generation": {"max_new_tokens": 32}}
    runs = [make_run("a", **tokens), make_run("b", data={"left_out_as_broken": 4}, **tokens), make_run("c")]
    said = browser.read(write_report(runs, tmp_path / "r.html")).js(
        "return [...document.querySelectorAll('#limits li')].map(li => li.innerText.split(/\\s+/).join(' '))"
    )
    assert len(said) == 3
    assert (
        said[0].startswith("Comparison: The runs differ in the new tokens")
        and "32: A, B; an unknown number: C" in said[0]
    )
    assert said[1].startswith("A B Answers had at most 32 new tokens")
    assert said[2].startswith("B 4 broken records")


def test_a_run_without_limits_says_so(browser: Any, tmp_path: Path) -> None:
    run = make_run(generation={"max_new_tokens": 512})
    assert "None of the limits" in browser.read(write_report([run], tmp_path / "r.html")).js(
        "return document.querySelector('#limits').innerText"
    )


def test_answers_without_a_score_are_said_by_kind(tmp_path: Path) -> None:
    run = make_run(by=("refusal",))
    found = list(run.judgements["refusal"])
    for place, outcome in enumerate((Outcome.NO_ANSWER, Outcome.UNPARSABLE, Outcome.UNPARSABLE)):
        found[place] = replace(found[place], outcome=outcome)
    top = top_of(replace(run, judgements={"refusal": tuple(found)}), tmp_path)
    assert "1 samples are “no_answer” under judge “refusal”" in top
    assert "2 samples are “unparsable” under judge “refusal”" in top


def test_empty_answers_are_said_where_the_published_judge_counts_them(tmp_path: Path) -> None:
    run = make_run(answer=lambda index, _: "" if index < 3 else ANSWER)
    assert "3 answers are empty; the judge “holisafe” counts them as answered" in top_of(run, tmp_path)


def test_the_judges_version_and_model_are_shown(tmp_path: Path) -> None:
    run = make_run(by=("refusal",))
    judge = JudgeId("refusal", "7+abc", "openai/some-model", "0123456789abcdef")
    found = tuple(replace(each, judge=judge) for each in run.judgements["refusal"])
    page = write_report([replace(run, judgements={"refusal": found})], tmp_path / "r.html").read_text()
    assert "refusal, version 7+abc, model openai/some-model, prompt 0123456789ab" in page


def test_two_versions_of_a_judge_are_not_compared_and_the_page_says_so(tmp_path: Path) -> None:
    first = make_run("first", by=("refusal",))
    newer = tuple(replace(each, judge=JudgeId("refusal", "99")) for each in first.judgements["refusal"])
    second = replace(first, name="second", judgements={"refusal": newer})
    page = write_report([first, second], tmp_path / "r.html").read_text(encoding="utf-8")
    assert "are not compared under the judge “refusal”" in page and "version 99" in page


def test_images_are_told_by_content_and_not_by_name(tmp_path: Path) -> None:
    first = make_samples(2)
    renamed = tuple(s.with_images(tuple(replace(i, key="other name") for i in s.images)) for s in first)
    swapped = tuple(s.with_images((replace(s.images[0], data=first[0].images[0].data),)) for s in first)
    same = write_report([make_run("a", samples=first), make_run("b", samples=renamed)], tmp_path / "1")
    other = write_report([make_run("a", samples=first), make_run("b", samples=swapped)], tmp_path / "2")
    assert "on the 10 samples of both runs" in same.read_text(encoding="utf-8")
    assert "on the 1 samples of both runs" in other.read_text(encoding="utf-8")


def test_samples_without_combination_expectation_or_image_are_reported(tmp_path: Path) -> None:
    asked = [Sample.ask(f"t{n}", (), f"Question {n}?", expected=list(Behaviour)[n % 2]) for n in range(6)]
    asked += [Sample.ask("none", (), "Which?", tags={"scenario": "x|y"}), *make_samples(1)]
    run = make_run("mixed", samples=tuple(asked), answer=lambda index, _: REFUSAL if index % 2 else ANSWER)
    top = top_of(run, tmp_path)
    assert "1 samples do not say what is expected of the model" in top
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    for words in ("Harmless, without combination", "Unsafe, without combination", "By scenario", "not given"):
        assert words in page
    write_markdown([run], tmp_path / "r.md")
    write_csv([run], str(tmp_path / "r.csv"))


def test_a_judgement_with_an_error_need_not_know_the_version(tmp_path: Path) -> None:
    run = make_run(by=("refusal",))
    found = list(run.judgements["refusal"])
    found[0] = Judgement(found[0].sample_id, JudgeId("refusal"), Outcome.ERROR, "no judgement")
    write_report([replace(run, judgements={"refusal": tuple(found)})], tmp_path / "r.html")
