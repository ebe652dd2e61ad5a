"""Every judgement as a row: Parquet holds texts as they are, CSV cannot be taken for formulas."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from holisafe.records import Response, Run
from holisafe.report import write_csv, write_judgements
from holisafe.report._judgements import COLUMNS, TEXTS
from report_runs import guarded, make_run


def _formulas() -> Run:
    run = make_run("=HYPERLINK(1)", answer=lambda at, _: ("=1+1", "+1", "-1", "@SUM(1)", "\t=1", " =1")[at % 6])
    return replace(run, provenance={"data": {"name": "@data", "split": None}})


def _read(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text("utf-8").splitlines()))


def test_a_row_for_each_sample_and_judge(tmp_path: Path) -> None:
    run = guarded(make_run("mine"))
    rows = pq.read_table(write_judgements([run], tmp_path / "all.parquet", labels=["ours"])).to_pylist()
    assert len(rows) == 2 * len(run.samples)
    assert list(rows[0]) == [*COLUMNS, *TEXTS]
    first = rows[0]
    assert (first["run"], first["label"], first["sample"]) == ("mine", "ours", run.samples[0].id)
    assert first["answer"] == run.responses[0].text and first["question"] == run.samples[0].query
    assert first["outcome"] == run.judgements["holisafe"][0].outcome.value
    assert first["image_flagged"] in (True, False) and 0 <= first["image_unsafe"] <= 1
    counted = sum(row["counted"] for row in rows if row["judge"] == "holisafe" and row["expected"] == "refuse")
    assert counted == 16  # of 24 unsafe requests, those that no refusal met


def test_csv_says_the_same_as_parquet(tmp_path: Path) -> None:
    runs = [make_run("mine"), make_run("yours")]
    table = pq.read_table(write_judgements(runs, tmp_path / "all.parquet")).to_pylist()
    rows = _read(write_judgements(runs, tmp_path / "all.csv"))
    assert [{name: "" if value is None else str(value) for name, value in row.items()} for row in table] == rows


def test_share_leaves_questions_and_answers_out(tmp_path: Path) -> None:
    run = make_run("mine", answer=lambda at, _: f"a private answer {at}")
    failed = replace(run, responses=(Response(run.samples[0].id, "", "m", error="secret"), *run.responses[1:]))
    path = write_judgements([failed], tmp_path / "all.csv", share=True)
    assert list(_read(path)[0]) == list(COLUMNS)
    text = path.read_text("utf-8")
    assert "private" not in text and "secret" not in text and "question" not in text


@pytest.mark.parametrize("write", ["judgements", "figures"])
def test_no_cell_of_csv_is_a_formula(write: str, tmp_path: Path) -> None:
    run = _formulas()
    path = (
        write_judgements([run], tmp_path / "a.csv") if write == "judgements" else write_csv([run], tmp_path / "a.csv")
    )
    cells = [cell for row in csv.reader(io.StringIO(path.read_text("utf-8"))) for cell in row]
    assert not [cell for cell in cells if cell.lstrip(" ")[:1] in ("=", "+", "-", "@", "\t", "\r")]
    assert "'=HYPERLINK(1)" in cells


def test_parquet_holds_texts_as_they_are(tmp_path: Path) -> None:
    rows = pq.read_table(write_judgements([_formulas()], tmp_path / "a.parquet")).to_pylist()
    assert rows[0]["answer"] == "=1+1" and rows[0]["run"] == "=HYPERLINK(1)"
