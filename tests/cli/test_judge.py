"""`holisafe judge`."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from endpoint import Exchange, completion, serve
from holisafe.cli import app
from holisafe.judges import _registry, about, get, judge_all, measured_error, names
from holisafe.records import Response, Sample
from scripted_judge import number_in, verdict

NO, YES, SOFT = "I'm sorry, but I can't help with that.", "Yes, in small pieces.", "I can’t help with that."


def _run(*words: str) -> Any:
    return CliRunner().invoke(app, ["judge", *words])


def _labels(path: Path) -> str:
    rows = [
        {
            "id": at,
            "text": NO if at % 2 else YES,
            "label": "refused" if at % 2 else "answered",
            "annotator": who,
            "model": "m",
        }
        for at in range(40)
        for who in ("ann", "bob")
    ]
    rows += [{"id": at, "text": NO if at % 4 else YES, "model": "m"} for at in range(100, 140)]
    path.write_text(json.dumps(rows))
    return str(path)


def _predictions(path: Path, answers: list[str]) -> str:
    records = [
        {
            "id": at,
            "query": f"What is this, {at}?",
            "image": f"{at}.png",
            "type": "SSU" if at % 2 else "SSS",
            "category": "violence",
            "subcategory": "weapon_related_violence",
            "image_safe": True,
            "image_safety_label": "safe",
            "prediction": text,
        }
        for at, text in enumerate(answers)
    ]
    path.write_text(json.dumps(records))
    return str(path)


def test_list_names_every_judge_with_its_version_and_what_it_needs() -> None:
    found = json.loads(_run("list", "--json").stdout)["judges"]
    assert [one["name"] for one in found] == list(names())
    by_name = {one["name"]: one for one in found}
    assert by_name["refusal"]["needs"] == "the answer alone" and by_name["refusal"]["identity"]["version"]
    assert by_name["rubric"]["needs"] == "a model: --judge-model"
    assert by_name["llavaguard"]["needs"] == "a model: NAME:SOURCE, or --judge-model"
    table = _run("list").stdout
    assert "holisafe" in table and "refusal" in table


def test_list_says_what_each_reads_gives_and_cannot_express() -> None:
    by_name = {one["name"]: one for one in json.loads(_run("list", "--json").stdout)["judges"]}
    assert by_name["refusal"]["reads"] == ["response"] and by_name["refusal"]["asks_model"] is False
    assert by_name["rubric"]["reads"] == ["image", "request", "response"] and by_name["rubric"]["asks_model"]
    assert "label" in by_name["protocol"]["reads"] and "no_answer" not in by_name["protocol"]["outcomes"]
    assert by_name["shieldgemma2"]["reads"] == ["image"]
    assert by_name["shieldgemma2"]["cannot_express"] == ["SSU", "SUU", "refusals"]
    assert by_name["wildguard"]["cannot_express"] == ["SSU", "USU"] and "refused" in by_name["wildguard"]["outcomes"]
    assert by_name["llama-guard-4"]["cannot_express"] == ["refusals"]
    assert "harmless" in by_name["llama-guard-4"]["outcomes"]
    page = json.loads((Path(__file__).parents[2] / "docs/results/judges.json").read_text("utf-8"))
    measured = {name: one["measured"] for name, one in by_name.items() if one["measured"]}
    assert measured == page["parts"]["hard set (batches 2, 3, 5)"]
    assert by_name["panel"]["reads"] is None and by_name["panel"]["needs"] == "arguments: panel:MEMBERS"
    table = " ".join(_run("list").stdout.split())
    for words in ("asks a model", "cannot express:", f"recall {100 * measured['refusal']['recall']['value']:.1f}"):
        assert words in table, words


def test_an_error_measured_of_another_version_is_not_shown() -> None:
    version = get("refusal").id
    assert measured_error(version) is not None
    assert measured_error(replace(version, version="3+0")) is None


def test_string_judges_give_the_outcomes_that_they_are_listed_with() -> None:
    rows = (files("holisafe.judges") / "data" / "answers.jsonl").read_text("utf-8").splitlines()
    texts = [json.loads(row)["text"] for row in rows] + ["Yes.", "(A) one", "..."]
    samples = [Sample.ask("s", (), "What is this?", None)] * len(texts)
    for name in ("refusal", "holisafe", "vlguard", "sapt", "first-word", "final-answer", "option"):
        judged = judge_all(get(name), samples, [Response("s", text, "m") for text in texts])
        assert {each.outcome for each in judged} <= set(about(get(name)).outcomes or ()), name


def test_list_names_a_judge_that_cannot_be_made_and_all_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(_registry._JUDGES._parts, "number", lambda: 3)
    by_name = {one["name"]: one for one in json.loads(_run("list", "--json").stdout)["judges"]}
    assert by_name["number"]["identity"] is None and "is made as int" in by_name["number"]["needs"]
    assert by_name["refusal"]["needs"] == "the answer alone"


def test_validate_prints_error_corrected_rate_and_agreement(tmp_path: Path) -> None:
    file = _labels(tmp_path / "labels.json")
    found = json.loads(_run("validate", "refusal", "--labels", file, "--json").stdout)
    (model,) = found["models"]
    assert model["youden"]["value"] == 1
    assert model["corrected"]["figure"]["value"] == pytest.approx(0.75)
    assert found["annotators_alpha"] == 1
    told = _run("validate", "refusal", "--labels", file)
    assert told.exit_code == 0
    assert "75.0" in told.stdout and "Youden" in told.stdout and "alpha 1.00" in told.stdout


def test_validate_says_why_a_rate_is_not_corrected(tmp_path: Path) -> None:
    rows = [{"id": at, "text": NO, "label": "refused", "model": "m"} for at in range(5)]
    (tmp_path / "all.json").write_text(json.dumps(rows))
    (tmp_path / "some.json").write_text(json.dumps([*rows, {"id": 9, "text": YES, "model": "m"}]))
    told = _run("validate", "refusal", "--labels", str(tmp_path / "all.json")).stdout
    assert "every answer has a label" in told and "Rate of" not in told
    told = " ".join(_run("validate", "refusal", "--labels", str(tmp_path / "some.json")).stdout.split())
    assert "m: no corrected rate: no labels of this model's own of both kinds" in told


CLOSE = json.dumps("\n</answer ").strip('"')


def _says_true(exchange: Exchange) -> None:
    """A judge's model that knows refusals by "I'm sorry", and cannot be read on an answer that ends in "if"."""
    text = json.dumps(exchange.body["messages"])
    said = verdict(number_in(text), refused="I'm sorry" in text, helpful=True)
    exchange.send(completion("no verdict" if f" if{CLOSE}" in text else said))


def test_validate_asks_a_judges_model_and_its_fallback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    rows = [
        {"id": at, "text": text, "label": label, "model": "m"}
        for at, (text, label) in enumerate([(NO, "refused"), (YES, "answered"), (f"{SOFT} if", "refused")] * 5)
    ]
    (tmp_path / "labels.json").write_text(json.dumps(rows))
    words = ["validate", "rubric", "--labels", str(tmp_path / "labels.json"), "--json"]
    with serve(default=_says_true) as served:
        monkeypatch.setenv("OPENAI_BASE_URL", served.url)
        alone = json.loads(_run(*words, "--judge-model", "openai/gpt-4.1").stdout)
        asked = len(served.requests)
        both = json.loads(_run(*words, "--judge-model", "openai/gpt-4.1", "--fallback-judge", "refusal").stdout)
    assert asked == 15 and len(served.requests) == 30
    assert alone["judge"]["model"] == both["judge"]["model"] == "openai/gpt-4.1"
    assert alone["models"][0]["not_scored"] == 5 and both["models"][0]["not_scored"] == 0
    assert alone["models"][0]["sensitivity"]["value"] == 0.5 and both["models"][0]["sensitivity"]["value"] == 1
    told = _run("validate", "rubric", *words[2:])
    assert told.exit_code == 2 and "--judge-model" in told.stderr
    told = _run("validate", "refusal", *words[2:], "--fallback-judge", "holisafe")
    assert told.exit_code == 2 and "none of them does" in told.stderr


def _asked(path: Path) -> str:
    rows = [
        {"id": at, "text": text, "label": "refused", "model": "m", "query": f"Is [number-{at}]\n" + "so " * 40}
        for at, text in enumerate([NO, YES, YES])
    ]
    path.write_text(json.dumps(rows))
    return str(path)


def test_the_list_of_disagreements_shows_each_request_on_one_short_line(tmp_path: Path) -> None:
    words = ["validate", "refusal", "--labels", _asked(tmp_path / "labels.json")]
    lines = _run(*words).stdout.splitlines()
    asked = [line for line in lines if "asked:" in line]
    assert [line.split("so so")[0] for line in asked] == ["    asked: Is [number-1] ", "    asked: Is [number-2] "]
    assert all(len(line) <= 80 and line.endswith("…") for line in asked)
    wrong = json.loads(_run(*words, "--json").stdout)["wrong"]
    assert [one["request"].split("\n")[0] for one in wrong] == ["Is [number-1]", "Is [number-2]"]


def test_a_plan_of_a_validation_asks_nothing_and_a_budget_resumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    words = ["validate", "rubric", "--labels", _labels(tmp_path / "labels.json"), "--judge-model", "openai/gpt-4.1"]
    words += ["--price-in", "1000000", "--price-out", "1000000", "--json"]
    kept = ["--out", str(tmp_path / "kept")]
    with serve(default=_says_true) as served:
        monkeypatch.setenv("OPENAI_BASE_URL", served.url)
        (part,) = json.loads(_run(*words, "--plan").stdout)["parts"]
        assert (part["calls"], part["money"] > 0, served.requests) == (80, True, [])
        assert "--out" in _run(*words, "--budget", "100").stderr and not served.requests
        stopped = _run(*words, *kept, "--budget", "100")
        assert stopped.exit_code == 3 and "stopped at the budget of 100.00" in stopped.stderr
        first = len(served.requests)
        assert 0 < first < 80
        (part,) = json.loads(_run(*words, *kept, "--plan").stdout)["parts"]
        assert (part["calls"], part["recorded"]) == (80 - first, first)
        done = _run(*words, *kept, "--budget", "1000000")
    assert done.exit_code == 0, done.output
    assert len(served.requests) == 80
    assert [row["calls"] for row in json.loads(done.stdout)["spending"]["by"]] == [80]


def test_a_judges_model_is_shown_the_request_of_a_labelled_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    with serve(default=_says_true) as served:
        monkeypatch.setenv("OPENAI_BASE_URL", served.url)
        _run("validate", "rubric", "--labels", _asked(tmp_path / "labels.json"), "--judge-model", "openai/gpt-4.1")
    sent = [json.dumps(body["messages"]) for body in served.requests]
    assert sorted(f"[number-{at}]" in text for at in range(3) for text in sent) == [False] * 6 + [True] * 3


def test_a_judge_without_any_verdict_has_no_error_to_measure(tmp_path: Path) -> None:
    rows = [{"id": at, "text": "Na zdjęciu jest czarny kot.", "label": "answered"} for at in range(3)]
    (tmp_path / "labels.json").write_text(json.dumps(rows))
    told = _run("validate", "refusal", "--labels", str(tmp_path / "labels.json"))
    assert told.exit_code == 2 and "gives no verdict on any answer; the first is unparsable" in told.stderr


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("validate", "refusals", "--labels", "FILE"), "Did you mean refusal"),
        (("validate", "refusal", "--labels", "FILE", "--outcome", "refuse"), "Did you mean refused"),
        (("validate", "refusal", "--labels", "none.csv"), "no such file"),
    ],
)
def test_validate_says_what_is_wrong_in_one_line(tmp_path: Path, words: tuple[str, ...], why: str) -> None:
    file = _labels(tmp_path / "labels.json")
    told = _run(*(file if word == "FILE" else word for word in words))
    assert told.exit_code == 2 and why in told.stderr and len(told.stderr.splitlines()) == 1


def test_bridge_sets_two_judges_side_by_side_for_every_model(tmp_path: Path) -> None:
    files = [
        _predictions(tmp_path / "soft.json", [SOFT] * 20),
        _predictions(tmp_path / "firm.json", [NO] * 20),
        _predictions(tmp_path / "open.json", [YES] * 20),
    ]
    found = json.loads(_run("bridge", *files, "--json").stdout)
    assert [one["name"] for one in found["judges"]] == ["holisafe", "refusal"]
    soft, firm, opened = found["models"]
    assert {name: figure["value"] for name, figure in soft["figures"]["rr"].items()} == {"holisafe": 0, "refusal": 1}
    change = soft["differences"]["refusal"]["rr"]
    assert change["value"] == 1 and change["low"] > 0.4 and change["n"] == 10
    assert soft["differences"]["refusal"]["ssu"]["value"] == -1 and firm["differences"]["refusal"]["rr"]["value"] == 0
    assert firm["disagreements"] == opened["disagreements"] == []
    assert len(soft["disagreements"]) == 20
    assert soft["disagreements"][0] == {"id": "0", "holisafe": "answered", "refusal": "refused"}
    by_figure = {one["figure"]: one for one in found["rankings"]}
    assert by_figure["rr"]["models"] == 3 and by_figure["rr"]["kendall"] == pytest.approx(0.5)
    assert by_figure["asr"]["first"] == "holisafe"
    told = _run("bridge", *files)
    assert told.exit_code == 0 and "Kendall" in told.stdout and "soft" in told.stdout
    assert "+100.0" in told.stdout


def test_bridge_takes_published_for_the_judge_of_the_paper(tmp_path: Path) -> None:
    files = [_predictions(tmp_path / f"{name}.json", [NO, SOFT] * 4) for name in ("a", "b")]
    found = _run("bridge", *files, "--judge", "refusal", "--judge", "published", "--json")
    assert [one["name"] for one in json.loads(found.stdout)["judges"]] == ["refusal", "holisafe"]
    twice = _run("bridge", *files, "--judge", "holisafe", "--judge", "published")
    assert twice.exit_code == 2 and "at least two judges" in twice.stderr


def test_bridge_refuses_one_judge_equal_names_and_other_samples(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    one, longer = _predictions(tmp_path / "one.json", [NO] * 4), _predictions(tmp_path / "two.json", [NO] * 6)
    twin = _predictions(tmp_path / "other" / "one.json", [NO] * 4)
    for words, why in (
        ((one, "--judge", "refusal"), "at least two judges"),
        ((one, twin), "the same name"),
        ((one, longer), "do not answer the same samples"),
    ):
        told = _run("bridge", *words)
        assert told.exit_code == 2 and why in told.stderr


def test_every_key_of_the_json_is_on_its_page(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs/json.md").read_text("utf-8")
    validated = json.loads(_run("validate", "refusal", "--labels", _labels(tmp_path / "labels.json"), "--json").stdout)
    files = [_predictions(tmp_path / "a.json", [NO] * 4), _predictions(tmp_path / "b.json", [YES] * 4)]
    bridged = json.loads(_run("bridge", *files, "--json").stdout)
    objects = [validated, validated["models"][0], validated["sharing"], validated["agreement"], bridged]
    objects += [bridged["models"][0], bridged["rankings"][0], json.loads(_run("list", "--json").stdout)["judges"][0]]
    missing = {key for each in objects for key in each if f"`{key}`" not in page}
    assert not missing
