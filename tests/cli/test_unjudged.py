import json
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from endpoint import completion, failure, serve
from holisafe.cli import app
from scripted_judge import number_in, verdict


def _row(number: int, kind: str, answer: str) -> dict[str, object]:
    return {
        **{"id": number, "image": "x.png", "query": "What is this?", "type": kind},
        **{"category": "violence", "subcategory": "terrorism", "prediction": answer},
    }


def scored(tmp_path: Path, *more: str, code: int = 0) -> tuple[dict[str, object], str]:
    """Answers judged by a model whose replies cannot be read; the command ends with `code`."""
    rows = [_row(i, kind, "I can't help with that.") for i, kind in enumerate(("SSS", "SUU"))]
    (tmp_path / "images").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "images" / "x.png")
    (tmp_path / "answers.json").write_text(json.dumps(rows), encoding="utf-8")
    arguments = ["score", str(tmp_path / "answers.json"), "--judge", "rubric", "--judge-model", "mockllm/model"]
    told = CliRunner().invoke(app, [*arguments, "--json", *more])
    assert told.exit_code == code, told.stderr
    return json.loads(told.stdout), told.stderr


def test_figures_are_withheld_where_too_many_answers_have_no_verdict(tmp_path: Path) -> None:
    found, said = scored(tmp_path, "--judge", "refusal", code=2)
    assert found["unjudged"] == {"count": 2, "n": 2, "share": 1.0} and found["rr"] is None
    assert "no figures" in said and "2 unparsable" in said and "--max-unjudged" in said


def test_they_are_printed_where_that_share_is_accepted(tmp_path: Path) -> None:
    found, said = scored(tmp_path, "--max-unjudged", "1", code=2)
    assert found["rr"] is not None and "no figures" not in said


def test_a_fallback_decides_and_is_named(tmp_path: Path) -> None:
    found, said = scored(tmp_path, "--fallback-judge", "refusal")
    assert found["unjudged"] == {"count": 0, "n": 2, "share": 0.0} and found["rr"] is not None
    assert "verdicts given by refusal 2" in said


def test_a_judge_without_any_verdict_is_no_success_and_the_line_says_why(tmp_path: Path) -> None:
    _, said = scored(tmp_path, "--judge", "refusal", code=2)
    (line,) = [line for line in said.splitlines() if line.startswith("error: ")]
    assert "judge rubric gave no verdict on any of 2 answers (2 unparsable); the first reason: " in line
    assert "judge refusal" not in line and "JSON" in line


def test_one_verdict_is_enough_and_the_share_is_told(tmp_path: Path) -> None:
    rows = [_row(0, "SSS", "I can't help with that."), *(_row(i, "SUU", "Na zdjęciu jest czarny kot.") for i in (1, 2))]
    (tmp_path / "answers.json").write_text(json.dumps(rows), encoding="utf-8")
    told = CliRunner().invoke(app, ["score", str(tmp_path / "answers.json"), "--judge", "refusal"])
    assert told.exit_code == 0
    assert "no figures, because 2 of 3 answers (66.7 %) have no verdict (2 unparsable)" in told.stderr
    rows[0]["prediction"] = rows[1]["prediction"]
    (tmp_path / "answers.json").write_text(json.dumps(rows), encoding="utf-8")
    told = CliRunner().invoke(app, ["score", str(tmp_path / "answers.json"), "--judge", "refusal"])
    assert told.exit_code == 2
    assert "no verdict on any of 3 answers (3 unparsable); the first reason: no rules for this language" in told.stderr


def test_answers_without_text_are_not_for_a_judge_to_decide(tmp_path: Path) -> None:
    (tmp_path / "answers.json").write_text(json.dumps([_row(0, "SSS", ""), _row(1, "SUU", " ")]), encoding="utf-8")
    assert CliRunner().invoke(app, ["score", str(tmp_path / "answers.json"), "--judge", "refusal"]).exit_code == 0


def test_a_server_that_fails_is_no_success_and_the_same_command_asks_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    (tmp_path / "answers.json").write_text(
        json.dumps([_row(i, kind, "I can't help with that.") for i, kind in enumerate(("SSS", "SUU"))]), "utf-8"
    )
    score = ["score", str(tmp_path / "answers.json"), "--judge", "rubric", "--judge-model", "openai/gpt-4.1"]
    score += ["--out", str(tmp_path / "out"), "--max-retries", "0", "--timeout", "20"]
    (tmp_path / "images").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "images" / "x.png")
    with serve(default=lambda each: each.send(failure("out of order"), 500)) as served:
        monkeypatch.setenv("OPENAI_BASE_URL", served.url)
        told = CliRunner().invoke(app, score)
        assert told.exit_code == 2 and "gave no verdict on any of 2 answers (2 error)" in told.stderr
        assert "out of order" in told.stderr
    with serve(default=lambda each: each.send(completion(verdict(number_in(json.dumps(each.body)))))) as served:
        monkeypatch.setenv("OPENAI_BASE_URL", served.url)
        assert CliRunner().invoke(app, score).exit_code == 0
        assert CliRunner().invoke(app, score).exit_code == 0
    assert len(served.requests) == 2
