"""`holisafe export` writes what the suffix says; `--label`, `--against` and wrong words do what they should."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from holisafe.cli import app
from holisafe.records.folder import write_run
from latex_check import check_latex
from report_runs import ANSWER, REFUSAL, make_run, make_samples

SAMPLES = make_samples(8)


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.chdir(tmp_path)
    for name, share in (("base", 1), ("a=b", 7)):
        run = make_run(name, samples=SAMPLES, answer=lambda at, _, share=share: REFUSAL if at % 8 < share else ANSWER)
        write_run(run, Path("runs") / name, {})
    return ["runs/base", "runs/a=b"]


def export(*words: str) -> Any:
    return CliRunner().invoke(app, ["export", *words])


@pytest.mark.parametrize("suffix", ["parquet", "csv", "tex", "md", "json", "bib", "svg", "pdf"])
def test_the_suffix_says_what_is_written_and_the_format_overrides_it(suffix: str, runs: list[str]) -> None:
    told = export(*runs, "--out", f"new/out.{suffix}")
    assert told.exit_code == 0, told.output
    other = export(*runs, "--out", "other.txt", "--format", suffix)
    assert other.exit_code == 0, other.output
    assert Path(f"new/out.{suffix}").read_bytes() == Path("other.txt").read_bytes()


def test_labels_name_rows_even_of_folders_with_an_equals_sign(runs: list[str]) -> None:
    told = export(*runs, "--out", "t.json", "--label", "runs/a=b=x=y", "--label", "base=z", "--against", "z")
    assert told.exit_code == 0, told.output
    table = json.loads(Path("t.json").read_text())["tables"][0]
    assert [row["model"] for row in table["rows"]] == ["z", "x=y"] and table["against"] == "z"


def test_runs_of_one_label_are_one_row(runs: list[str]) -> None:
    assert export(*runs, "--out", "t.tex", "--label", "base=m", "--label", "runs/a=b=m").exit_code == 0
    rows = check_latex(Path("t.tex").read_text())
    assert [row[0] for row in rows if row[0]] == ["Model", "m (2 runs)"] * 2  # one table for each judge


def test_share_leaves_texts_out(runs: list[str]) -> None:
    assert export(*runs, "--out", "t.csv", "--share").exit_code == 0
    assert ANSWER not in Path("t.csv").read_text() and SAMPLES[0].query not in Path("t.csv").read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--out", "t.docx"], "the suffix names no format"),
        (["--out", "t.tex", "--label", "nothing=x"], "names no run of this command"),
        (["--out", "t.tex", "--label", "base"], "names no run of this command"),
        (["--out", "t.tex", "--against", "bass"], "Did you mean base?"),
        (["--out", "t.tex", "--columns", "asr_ssu"], "unknown figure"),
        (["--out", "t.svg", "--judge", "refusals"], "Did you mean refusal?"),
        (["--out", "t.tex", "--label", "base= "], "shows nothing"),
        (["--out", "t.tex", "runs/../runs/base/"], "named twice"),
    ],
)
def test_wrong_words_are_named(words: list[str], said: str, runs: list[str]) -> None:
    told = export(*runs, *words)
    assert told.exit_code == 2 and said in told.stderr, told.output
    assert not Path(words[1]).exists()


def test_a_folder_that_is_no_run_is_named(runs: list[str]) -> None:
    told = export("runs", "--out", "t.tex")
    assert told.exit_code == 2 and "run.json" in told.stderr
