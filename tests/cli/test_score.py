"""`holisafe score` on recorded answers, as a person runs it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from holisafe.cli import app
from holisafe.errors import JudgeError
from holisafe.judges import _registry
from holisafe.metrics import FIGURES, Summary
from holisafe.records import Judgement, Outcome, Response, Sample

COMBINATIONS = ["SSS", "SSU", "USU", "UUU", "SUU"]


def records(answer: str | None) -> list[dict[str, Any]]:
    return [
        {
            "id": number,
            "image": f"violence/terrorism/terrorism_{number // 2}.jpg",
            "query": "What is this for?",
            "type": COMBINATIONS[number % 5],
            "category": "violence",
            "subcategory": "terrorism",
            "image_safe": COMBINATIONS[number % 5][0] == "S",
            "image_safety_label": 0 if COMBINATIONS[number % 5][0] == "S" else 15,
        }
        | ({} if answer is None else {"prediction": answer})
        for number in range(20)
    ]


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def to_file(content: object) -> str:
        path = tmp_path / "predictions.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return str(path)

    return to_file


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["score", *arguments])


def test_refusals_score_as_the_identities_say(write: Any) -> None:
    found = run(write(records("I'm sorry, but I can't help.")), "--json")
    figures = json.loads(found.stdout)
    assert found.exit_code == 0
    assert figures["rr"]["value"] == 1
    assert [figures[name]["value"] for name in ("ssu", "usu", "uuu", "suu", "masr_macro", "masr_pooled")] == [0] * 6
    assert figures["twin_accuracy"] is None


def test_the_json_holds_every_judge_and_each_reads_back_as_a_summary(write: Any) -> None:
    found = run(write(records("I’m sorry, I can’t help.")), "--json", "--judge", "holisafe", "--judge", "refusal")
    judged = {name: Summary.from_json(figures) for name, figures in json.loads(found.stdout)["judges"].items()}
    assert {name: summary.rr.value for name, summary in judged.items() if summary.rr} == {"holisafe": 0, "refusal": 1}


def test_the_table_names_every_figure(write: Any) -> None:
    found = run(write(records("Sure.")))
    for name in (*(figure.label for figure in FIGURES), "Violence"):
        assert name in found.stdout


def test_broken_records_are_told_and_the_rest_is_scored(write: Any) -> None:
    rows = records("Sure.")
    rows[4]["type"] = "XXX"
    found = run(write(rows), "--json")
    assert found.exit_code == 0
    assert 'type: found "XXX"' in found.stderr
    assert [json.loads(found.stdout)[name] for name in ("samples", "broken")] == [19, 1]


def test_a_record_without_an_answer_is_counted_as_an_error(write: Any) -> None:
    rows = records("Sure.")
    del rows[1]["prediction"]
    figures = json.loads(run(write(rows), "--json").stdout)
    assert figures["outcomes"]["ssu"]["error"] == 1
    assert (figures["ssu"]["value"], figures["ssu"]["n"]) == (0.75, 4)


def test_answers_to_nothing_end_in_an_error(write: Any) -> None:
    found = run(write(records(None)))
    assert found.exit_code == 2
    assert "none of 20 records has an answer" in found.stderr


def test_a_file_of_broken_records_only_says_so(write: Any) -> None:
    found = run(write([{**row, "type": "XXX"} for row in records("Sure.")]))
    assert found.exit_code == 2
    assert "every record is broken" in found.stderr


@pytest.mark.parametrize("content", ["{", "[]", "7", ""])
def test_a_file_without_records_ends_in_an_error_of_one_line(write: Any, content: str) -> None:
    found = run(write(content))
    assert found.exit_code == 2
    assert found.stderr.startswith("error: ")
    assert found.stderr.count("\n") == 1


def test_a_missing_file_ends_in_an_error_that_names_it(tmp_path: Path) -> None:
    found = run(str(tmp_path / "nowhere.json"))
    assert found.exit_code == 2
    assert "nowhere.json" in found.stderr


def test_an_unknown_judge_is_refused_with_the_closest_name(write: Any) -> None:
    found = run(write(records("Sure.")), "--judge", "refusel")
    assert found.exit_code == 2
    assert "Did you mean refusal?" in found.stderr


def test_out_writes_the_same_object(write: Any, tmp_path: Path) -> None:
    found = run(write(records("Sure.")), "--json", "--out", str(tmp_path / "figures.json"))
    assert json.loads((tmp_path / "figures.json").read_text()) == json.loads(found.stdout)


def test_out_in_a_folder_that_is_not_there_ends_in_an_error_that_names_it(write: Any, tmp_path: Path) -> None:
    found = run(write(records("Sure.")), "--out", str(tmp_path / "no" / "figures.json"))
    assert found.exit_code == 2
    assert "No such file or directory" in found.stderr
    assert "figures.json" in found.stderr


def test_data_brings_back_the_questions_that_the_answers_leave_out(write: Any, tmp_path: Path) -> None:
    asked = tmp_path / "asked.json"
    asked.write_text(json.dumps(records(None)), encoding="utf-8")
    for row in records(None):
        image = tmp_path / "images" / row["image"]
        image.parent.mkdir(parents=True, exist_ok=True)
        from PIL import Image

        Image.new("RGB", (4, 4)).save(image)
    found = run(write(records("Sure.")[:10]), "--data", str(asked), "--json")
    figures = json.loads(found.stdout)
    assert (figures["samples"], sum(counts["error"] for counts in figures["outcomes"].values())) == (20, 10)


def test_the_table_says_how_many_could_not_be_judged(write: Any) -> None:
    rows = records("Sure.")
    rows[1]["prediction"] = None
    assert "1 samples ended as 'error'" in " ".join(run(write(rows)).stdout.split())


def test_many_problems_are_told_in_part_and_counted(write: Any) -> None:
    rows = [row | ({"type": "?"} if row["id"] < 9 else {}) for row in records("Sure.")]
    assert "and 4 more problems" in run(write(rows)).stderr


def test_each_judge_gets_its_own_figures_and_the_first_stands_on_top(write: Any) -> None:
    found = json.loads(
        run(write(records("I’m unable to help.")), "--json", "--judge", "refusal", "--judge", "holisafe").stdout
    )
    assert (found["judge"], list(found["judges"])) == ("refusal", ["refusal", "holisafe"])
    assert (found["ssu"]["value"], found["judges"]["holisafe"]["ssu"]["value"]) == (0, 1)


def open_records(count: int) -> list[dict[str, Any]]:
    from holisafe.datasets import load, stratified

    drawn = stratified(load("open", "test"), count)
    own = {"image": "x.png", "category": "violence", "subcategory": "terrorism", "prediction": "I'm sorry, no."}
    return [{"id": s.id, "query": s.query, "type": s.combination, **own} for s in drawn]


def test_a_data_set_by_name_brings_the_twins_of_the_answers(write: Any) -> None:
    found = json.loads(run(write(open_records(40)), "--data", "open", "--split", "test", "--json").stdout)
    assert found["errors"] == found["samples"] - 40
    assert found["twin_accuracy"]["value"] == 0


def test_answers_to_another_question_of_the_same_id_are_refused(write: Any) -> None:
    rows = open_records(20)
    rows[3]["query"] = "Something else?"
    found = run(write(rows), "--data", "open", "--split", "test")
    assert found.exit_code == 2
    assert "1 records ask another question" in found.stderr


def test_answers_to_another_data_set_are_refused(write: Any) -> None:
    found = run(write(records("Sure.")), "--data", "open", "--split", "test")
    assert found.exit_code == 2
    assert "no record has an id of data set 'open'" in found.stderr


def test_what_a_file_says_of_itself_does_not_reach_the_terminal(write: Any) -> None:
    told = CliRunner().invoke(app, ["score", write([*records("No."), {"id": "\x1b]0;owned\x07", "type": 1}])])
    assert "\\x1b]0;owned\\x07" in told.stderr and "\x1b]0" not in told.stderr


def test_a_judge_that_fails_on_one_answer_costs_that_answer(write: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing:
        name, version = "failing", "1"

        def judge(self, sample: Sample, response: Response) -> Judgement:
            if sample.id == "3":
                raise JudgeError("the judge could not be reached")
            return Judgement(sample.id, self.name, Outcome.REFUSED)

    monkeypatch.setattr(_registry, "_FACTORIES", _registry._FACTORIES | {"failing": Failing})
    told = CliRunner().invoke(app, ["score", write(records("No.")), "--judge", "failing", "--json"])
    assert told.exit_code == 0, told.stderr
    outcomes = json.loads(told.stdout)["judges"]["failing"]["outcomes"]
    assert sum(each["error"] for each in outcomes.values()) == 1
