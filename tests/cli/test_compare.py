"""`holisafe compare` subtracts runs on the samples that they share, and says why where it cannot."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from holisafe.cli import app
from holisafe.metrics import compare as compare_judged
from holisafe.metrics import holm, summarise
from holisafe.records import Outcome, Run
from holisafe.records.folder import write_run
from report_runs import ANSWER, REFUSAL, make_run, make_samples

SAMPLES = make_samples(20)


def compare(*words: str, columns: str = "160") -> Any:
    return CliRunner(env={"COLUMNS": columns}).invoke(app, ["compare", *words])


def refusing(name: str, share: int, **options: Any) -> Run:
    """A run that refuses `share` of ten."""
    samples = options.pop("samples", SAMPLES)
    answer = lambda at, _: REFUSAL if at % 10 < share else ANSWER  # noqa: E731
    return make_run(name, samples=samples, answer=answer, **options)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for run in (refusing("base", 2), refusing("tuned", 8)):
        write_run(run, Path(run.name), {})
    return tmp_path


def test_json_holds_the_paired_comparison_corrected_after_holm(folder: Path) -> None:
    told = compare("base", "tuned", "--json")
    assert told.exit_code == 0, told.output
    found = json.loads(told.stdout)["pairs"]
    assert [(pair["judge"], pair["first"], pair["second"]) for pair in found] == [
        ("holisafe", "base", "tuned"), ("refusal", "base", "tuned")]  # fmt: skip
    before, after = (refusing(*each).judgements["holisafe"] for each in (("base", 2), ("tuned", 8)))
    expected = compare_judged(SAMPLES, before, after).differences
    corrected = holm([each.p if each else None for each in expected.values()])
    assert list(found[0]["differences"]) == list(expected)
    for (name, one), p in zip(expected.items(), corrected, strict=True):
        assert one is not None
        shown = found[0]["differences"][name]
        assert (shown["value"], shown["low"], shown["p"], shown["n"]) == (one.value, one.low, one.p, one.n)
        assert shown["p_holm"] == p
    first = summarise(SAMPLES, before).masr_macro
    assert first is not None and found[0]["differences"]["masr_macro"]["first"] == first.value


def test_the_table_has_a_line_for_each_figure_by_the_names_of_the_runs(folder: Path) -> None:
    told = compare("base", "tuned", "--judge", "refusal")
    assert told.exit_code == 0, told.output
    assert "tuned minus base, judge refusal" in told.stdout and "judge holisafe" not in told.stdout
    (row,) = [line for line in told.stdout.splitlines() if "mASR macro" in line]
    assert [cell.strip() for cell in row.strip("│").split("│")][1:4] == ["80.0", "20.0", "-60.0"]
    assert "100 samples of both" in told.stdout


def test_only_shared_samples_count_and_the_others_are_told(folder: Path) -> None:
    write_run(refusing("part", 8, samples=SAMPLES[10:]), Path("part"), {})
    told = compare("base", "part", "--judge", "refusal")
    assert "90 samples of both; 10 samples of only one run are left out" in told.stdout


@pytest.mark.parametrize("test", ["mcnemar", "permutation"])
def test_another_test_gives_other_p_values_of_the_same_differences(folder: Path, test: str) -> None:
    one, other = (json.loads(compare("base", "tuned", "--json", *more).stdout) for more in ([], ["--test", test]))
    assert other["test"] == test
    pairs = zip(one["pairs"][0]["differences"].values(), other["pairs"][0]["differences"].values(), strict=True)
    assert all(a["value"] == b["value"] for a, b in pairs)
    assert one["pairs"][0]["differences"]["rr"]["p"] != other["pairs"][0]["differences"]["rr"]["p"]


def test_what_cannot_be_compared_is_an_error_that_says_why(folder: Path) -> None:
    others = tuple(sample.with_query(sample.query + " Really?") for sample in SAMPLES)
    write_run(refusing("other", 3, samples=others), Path("other"), {})
    write_run(refusing("one judge", 3, by=("vlguard",)), Path("one"), {})
    blank = refusing("blank", 3, by=("refusal",))
    unread = tuple(replace(each, outcome=Outcome.UNPARSABLE) for each in blank.judgements["refusal"])
    write_run(replace(blank, judgements={"refusal": unread}), Path("blank"), {})
    for words, said in (
        (["base"], "give at least two"),
        (["base", "other"], "they share no sample"),
        (["base", "one"], "no later run has a judge in common with the first (base: holisafe, refusal; one judge"),
        (["base", "blank"], "blank has no figures under it: 100 of 100 answers"),
        (["base", "tuned", "--judge", "refusl"], "refusal"),
        (["base", "nowhere"], "nowhere"),
    ):
        told = compare(*words)
        assert told.exit_code == 2, words
        assert said in told.stderr and told.stdout == "", told.stderr


def test_a_pair_that_cannot_be_compared_does_not_hide_the_others(folder: Path) -> None:
    others = tuple(sample.with_query(sample.query + " Really?") for sample in SAMPLES)
    write_run(refusing("other", 3, samples=others), Path("other"), {})
    told = compare("base", "other", "tuned", "--judge", "refusal")
    assert told.exit_code == 0
    assert "other is not compared with base under judge refusal: they share no sample." in told.stdout
    assert "tuned minus base" in told.stdout
    found = json.loads(compare("base", "other", "tuned", "--json").stdout)["pairs"][0]
    assert found["why_not"] == "they share no sample" and found["differences"] == {}


def test_a_hostile_name_is_text(folder: Path) -> None:
    for at, name in enumerate(("[bold red]x[/]\x1b[31m", "[/nothing]")):
        write_run(refusing(name, 3 + at), Path(f"hostile-{at}"), {})
    told = compare("hostile-0", "hostile-1")
    assert told.exit_code == 0, told.output
    assert "\x1b" not in told.stdout
    assert "[bold red]x[/]" in told.stdout and "[/nothing] minus" in told.stdout


def test_no_digit_is_cut_in_a_terminal_of_80_columns(folder: Path) -> None:
    told = compare("base", "tuned", columns="80")
    assert told.exit_code == 0 and "…" not in told.output and "< 0.0001" in told.output
    assert max(map(len, told.output.split("° Fewer")[0].split("first:")[0].splitlines())) <= 80


def test_epochs_of_one_run_are_one_table(folder: Path) -> None:
    for number in (1, 2):
        settings = {"model": "sampled", "epoch": number if number > 1 else None}
        write_run(refusing("sampled", 3 + number, settings=settings), Path(f"sampled-{number}"), {})
    told = compare("base", "sampled-1", "sampled-2", "--judge", "refusal")
    assert told.exit_code == 0, told.output
    assert told.output.count("minus base") == 1 and "second: sampled (2 epochs)" in told.output
    (pair,) = json.loads(compare("base", "sampled-1", "sampled-2", "--judge", "refusal", "--json").stdout)["pairs"]
    assert (pair["first_epochs"], pair["second_epochs"], pair["differences"]["rr"]["second"]) == (1, 2, 0.45)
