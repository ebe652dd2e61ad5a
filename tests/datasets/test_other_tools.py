"""Logs of lmms-eval and tables of VLMEvalKit become answers to the samples that they belong to, or are refused.

The lmms-eval records have the fields that `save_results_samples` of lmms-eval 0.7.3 writes, and `doc`, which earlier
versions wrote too. The tables have the columns that `vlmeval.inference` writes with pandas.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from holisafe.datasets import Loaded, _other_tools, load, read_predictions
from holisafe.errors import DataError
from report_runs import make_samples

SAMPLES = make_samples(2)
LOGGED = Path(__file__).parent / "lmms_eval_0_7_3" / "20260101_101010_samples_holisafe_open.jsonl"


def _lmms_lines(**change: Any) -> list[dict[str, Any]]:
    return [
        {
            "doc_id": at,
            "target": sample.combination.value if sample.combination else "",
            "filtered_resps": f"Answer {at}.",
            "token_counts": [{"input_tokens": 300 + at, "output_tokens": 4}],
            "doc_hash": "ab" * 32,
            "holisafe_rr": {"type": "SSS", "subcategory": "gender", "error": 0},
            "input": f"{sample.query}\nAnswer briefly.",
            **change,
        }
        for at, sample in enumerate(SAMPLES)
    ]


def _write_lines(folder: Path, lines: Sequence[Any], name: str = "20260101_101010_samples_holisafe.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return path


def _write_book(folder: Path, rows: Sequence[Sequence[Any]], name: str = "model_HoliSafe.xlsx") -> Path:
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(list(row))
    book.save(folder / name)
    return folder / name


def _book_rows(**answers: Any) -> list[list[Any]]:
    head = ["index", "question", "category", "prediction"]
    return [head, *([at, s.query, "x", answers.get(f"at{at}", f"Answer {at}.")] for at, s in enumerate(SAMPLES))]


def _texts(loaded: Loaded) -> list[str]:
    return [response.text for response in loaded.responses]


def test_a_log_of_lmms_eval_is_joined_by_position_and_checked_by_the_question(tmp_path: Path) -> None:
    loaded = read_predictions(_write_lines(tmp_path, _lmms_lines()), SAMPLES)
    assert _texts(loaded) == [f"Answer {at}." for at in range(len(SAMPLES))]
    assert loaded.samples == SAMPLES and not loaded.problems
    assert (loaded.responses[1].input_tokens, loaded.responses[1].output_tokens) == (301, 4)
    assert loaded.origin["tool"] == "lmms-eval"


def test_a_log_in_another_order_or_of_fewer_samples_is_joined_all_the_same(tmp_path: Path) -> None:
    loaded = read_predictions(_write_lines(tmp_path, _lmms_lines()[::-2]), SAMPLES)
    assert _texts(loaded)[1::2] == [f"Answer {at}." for at in range(1, len(SAMPLES), 2)]
    assert all(response.error for response in loaded.responses[::2])


def test_the_results_beside_a_log_name_the_model_and_the_token_limit(tmp_path: Path) -> None:
    path = _write_lines(tmp_path, _lmms_lines())
    record = {
        "model_name": "org/model",
        "lmms_eval_version": "0.7.3",
        "configs": {"holisafe": {"generation_kwargs": {"max_new_tokens": 512, "temperature": 0.0}}},
    }
    (tmp_path / "20260101_101010_results.json").write_text(json.dumps(record), "utf-8")
    loaded = read_predictions(path, SAMPLES)
    assert loaded.origin["generation"]["max_new_tokens"] == 512
    assert {response.model for response in loaded.responses} == {"org/model"}


def test_a_log_that_lmms_eval_wrote_is_read_as_it_is() -> None:
    """Six records of a run of lmms-eval 0.7.3 on Pocket and HoliSafe-Open, of at most 16 tokens; paths are replaced."""
    ids = [f"open-test-{number:05}" for number in (0, 3, 4, 1, 2, 5)]
    by_id = {sample.id: sample for sample in load("open@1", "test")}
    samples = [by_id[name] for name in ids]
    loaded = read_predictions(LOGGED, samples)
    assert [response.sample_id for response in loaded.responses] == ids and not loaded.problems
    assert all(response.model == "org/pocket" and response.error is None for response in loaded.responses)
    assert loaded.responses[0].text.startswith("That is all right: the picture shows a glass of wine.")
    assert {response.finish_reason for response in loaded.responses if response.output_tokens == 16} == {"length"}
    assert "version" not in loaded.origin  # the log says "unknown@unknown"
    with pytest.raises(DataError, match="another question"):
        read_predictions(LOGGED, samples[::-1])


@pytest.mark.parametrize(
    ("text", "counts", "size", "fields"),
    [
        ("Yes.", [{"output_tokens": 16}], "1", {"finish_reason": "length", "error": None}),
        ("Yes.", [{"output_tokens": 16}], "8", {"finish_reason": None, "error": None}),  # padded in a batch
        ("Yes.", [{"output_tokens": 15}], "1", {"finish_reason": None, "error": None}),
        ("Yes.", [None], "1", {"finish_reason": None, "error": None}),
    ],
)
def test_an_answer_is_cut_where_it_has_as_many_tokens_as_it_may(
    text: str, counts: list[Any], size: str, fields: dict[str, Any], tmp_path: Path
) -> None:
    path = _write_lines(tmp_path, _lmms_lines(filtered_resps=text, token_counts=counts))
    configs = {"holisafe": {"generation_kwargs": {"max_new_tokens": 16}}}
    record = {"configs": configs, "config": {"batch_size": size}}
    (tmp_path / "20260101_101010_results.json").write_text(json.dumps(record), "utf-8")
    (first, *_) = read_predictions(path, SAMPLES).responses
    assert {name: getattr(first, name) for name in fields} == fields


def test_an_empty_text_without_tokens_is_a_failure_and_no_answer(tmp_path: Path) -> None:
    loaded = read_predictions(_write_lines(tmp_path, _lmms_lines(filtered_resps="", token_counts=[None])), SAMPLES)
    assert all(response.error and "where generation failed" in response.error for response in loaded.responses)


def test_records_with_their_document_are_joined_by_its_id(tmp_path: Path) -> None:
    lines = [
        {**line, "doc_id": 99 - at, "doc": {"id": sample.id, "query": sample.query}, "filtered_resps": [[f"A{at}"]]}
        for at, (line, sample) in enumerate(zip(_lmms_lines(), SAMPLES, strict=True))
    ]
    loaded = read_predictions(_write_lines(tmp_path, lines), SAMPLES)
    assert _texts(loaded) == [f"A{at}" for at in range(len(SAMPLES))]


def test_of_repeated_answers_the_first_counts_and_is_noted(tmp_path: Path) -> None:
    loaded = read_predictions(_write_lines(tmp_path, _lmms_lines(filtered_resps=["one", "two"])), SAMPLES)
    assert set(_texts(loaded)) == {"one"}
    assert len(loaded.notes) == len(SAMPLES) and not loaded.broken
    assert "2 answers" in str(loaded.notes[0])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"input": "What else?"}, "another question than sample"),
        ({"doc_id": 99}, "not one of the data set's 10 samples"),
        ({"doc_id": None}, "position None"),
        ({"doc_id": -1}, "position -1"),
        ({"input": None}, "only by its place"),
    ],
)
def test_a_log_of_other_data_is_refused(change: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=words):
        read_predictions(_write_lines(tmp_path, _lmms_lines(**change)), SAMPLES)


@pytest.mark.parametrize("dropped", ["doc_id", "filtered_resps"])
def test_a_log_of_an_unknown_version_is_refused(dropped: str, tmp_path: Path) -> None:
    lines = [{name: value for name, value in line.items() if name != dropped} for line in _lmms_lines()]
    with pytest.raises(DataError, match=f"without {dropped}.*version that is not known"):
        read_predictions(_write_lines(tmp_path, lines), SAMPLES)


def test_a_file_of_results_and_an_old_log_say_what_to_give_instead(tmp_path: Path) -> None:
    results, old = tmp_path / "a_results.json", tmp_path / "old.json"
    results.write_text(json.dumps({"results": {"holisafe": {}}, "configs": {"holisafe": {}}}), "utf-8")
    with pytest.raises(DataError, match=r"\*_samples_\*\.jsonl"):
        read_predictions(results, SAMPLES)
    old.write_text(json.dumps({"args": {}, "model_configs": {}, "logs": _lmms_lines()}), "utf-8")
    with pytest.raises(DataError, match="'logs' as a file of its own"):
        read_predictions(old, SAMPLES)


@pytest.mark.parametrize("tool", ["lmms-eval", "VLMEvalKit"])
def test_without_the_data_it_is_refused_with_the_option(tool: str, tmp_path: Path) -> None:
    path = _write_lines(tmp_path, _lmms_lines()) if tool == "lmms-eval" else _write_book(tmp_path, _book_rows())
    with pytest.raises(DataError, match=f"a log of {tool}.*--data"):
        read_predictions(path)


def test_a_workbook_is_joined_by_position_and_question(tmp_path: Path) -> None:
    loaded = read_predictions(_write_book(tmp_path, _book_rows()), SAMPLES)
    assert _texts(loaded) == [f"Answer {at}." for at in range(len(SAMPLES))]
    assert loaded.origin == {"tool": "VLMEvalKit"} and not loaded.problems


def test_a_table_of_tabs_is_read_as_a_workbook_is(tmp_path: Path) -> None:
    path = tmp_path / "model_HoliSafe.tsv"
    path.write_text("\n".join("\t".join(f'"{cell}"' for cell in row) for row in _book_rows()), "utf-8")
    assert _texts(read_predictions(path, SAMPLES)) == [f"Answer {at}." for at in range(len(SAMPLES))]


def test_a_workbook_with_ids_is_joined_by_them(tmp_path: Path) -> None:
    rows = [["id", "prediction"], *([sample.id, f"To {sample.id}"] for sample in reversed(SAMPLES))]
    assert _texts(read_predictions(_write_book(tmp_path, rows), SAMPLES)) == [f"To {sample.id}" for sample in SAMPLES]


def test_an_answer_that_fills_its_cell_was_cut_and_says_so(tmp_path: Path) -> None:
    loaded = read_predictions(_write_book(tmp_path, _book_rows(at3="x" * 32_767, at4="y" * 32_766)), SAMPLES)
    assert [response.finish_reason for response in loaded.responses[3:5]] == ["length", None]
    assert len(loaded.notes) == 1 and "32,767 characters" in str(loaded.notes[0])


def test_a_formula_is_the_text_that_the_model_wrote_and_is_never_computed(tmp_path: Path) -> None:
    loaded = read_predictions(_write_book(tmp_path, _book_rows(at0='=HYPERLINK("x")', at1="=1+1")), SAMPLES)
    assert _texts(loaded)[:2] == ['=HYPERLINK("x")', "=1+1"]
    assert [problem.found for problem in loaded.notes] == ["a formula", "a formula"]


def test_numbers_and_empty_cells_are_answers_and_failures_of_an_api_are_errors(tmp_path: Path) -> None:
    answers = {"at0": 42, "at1": None, "at2": "Failed to obtain answer via API.", "at3": True}
    loaded = read_predictions(_write_book(tmp_path, _book_rows(**answers)), SAMPLES)
    assert _texts(loaded)[:4] == ["42", "", "", "True"]
    assert [bool(response.error) for response in loaded.responses[:4]] == [False, False, True, False]


def test_a_workbook_without_the_columns_or_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="names the columns index, answer; expected prediction"):
        read_predictions(_write_book(tmp_path, [["index", "answer"], [0, "x"]]), SAMPLES)
    with pytest.raises(DataError, match="names the columns none"):
        read_predictions(_write_book(tmp_path, []), SAMPLES)
    (tmp_path / "no.xlsx").write_bytes(b"PK\x03\x04 no workbook")
    with pytest.raises(DataError, match="not a workbook"):
        read_predictions(tmp_path / "no.xlsx", SAMPLES)


@pytest.mark.parametrize(("suffix", "words"), [("pkl", "runs code"), ("xls", "not read")])
def test_files_that_are_not_read_say_what_to_save_instead(suffix: str, words: str, tmp_path: Path) -> None:
    (tmp_path / f"a.{suffix}").write_bytes(b"x")
    with pytest.raises(DataError, match=words):
        read_predictions(tmp_path / f"a.{suffix}", SAMPLES)


def test_a_workbook_of_other_questions_is_refused(tmp_path: Path) -> None:
    rows = [["index", "question", "prediction"], *([at, "Which?", "x"] for at in range(len(SAMPLES)))]
    with pytest.raises(DataError, match="another question"):
        read_predictions(_write_book(tmp_path, rows), SAMPLES)


def test_a_workbook_that_unpacks_to_too_much_or_to_entities_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = _write_book(tmp_path, _book_rows())
    monkeypatch.setattr(_other_tools, "MAX_JSON_BYTES", 1000)
    with pytest.raises(DataError, match="unpacks to"):
        read_predictions(good, SAMPLES)
    monkeypatch.undo()
    entities = "<!DOCTYPE a [<!ENTITY a0 'AAAAAAAAAA'>"
    entities += "".join(f"<!ENTITY a{at} '{f'&a{at - 1};' * 10}'>" for at in range(1, 10)) + "]>"
    hostile = tmp_path / "hostile.xlsx"
    with zipfile.ZipFile(good) as old, zipfile.ZipFile(hostile, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name.endswith("sheet1.xml"):
                content = entities.encode() + content.replace(b"<v>1</v>", b"<v>&a9;</v>", 1)
            new.writestr(name, content)
    with pytest.raises(DataError, match=r"hostile\.xlsx: its first sheet cannot be read"):
        read_predictions(hostile, SAMPLES)


def test_two_columns_of_one_name_are_refused_and_a_short_row_is_no_answer(tmp_path: Path) -> None:
    head, *rows = _book_rows()
    with pytest.raises(DataError, match="two columns are named 'prediction'"):
        read_predictions(_write_book(tmp_path, [[*head, "prediction"], *([*row, "other"] for row in rows)]), SAMPLES)
    lacking = _write_book(tmp_path, [head, *rows[:-1], rows[-1][: head.index("prediction")]], "short.xlsx")
    assert _texts(read_predictions(lacking, SAMPLES))[-1] == ""


def test_a_quote_that_swallows_lines_is_refused(tmp_path: Path) -> None:
    place = tmp_path / "model_HoliSafe.tsv"
    lines = [f'{at}\t{sample.query}\t"open' for at, sample in enumerate(SAMPLES)]
    place.write_text("\n".join(["index\tquestion\tprediction", *lines, ""]))
    with pytest.raises(DataError, match="not readable as CSV"):
        read_predictions(place, SAMPLES)


@pytest.mark.parametrize("count", [-1, 10**30, True, "5"])
def test_a_count_of_tokens_that_is_none_is_not_known(count: object, tmp_path: Path) -> None:
    lines = _lmms_lines(token_counts=[{"input_tokens": count, "output_tokens": 7}])
    loaded = read_predictions(_write_lines(tmp_path, lines), SAMPLES)
    assert {(each.input_tokens, each.output_tokens) for each in loaded.responses} == {(None, 7)}
