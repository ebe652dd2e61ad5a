"""`holisafe benchmarks`, `bench --data NAME:PATH`, `bench --suite` and `score --data NAME:PATH`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from benchmarks.small_releases import write_mis, write_mmsafeaware, write_mssbench, zipped
from holisafe import benchmarks
from holisafe.bench import default_folder, read_run, run_suite
from holisafe.benchmarks import SuitePart, plan_suite
from holisafe.cli import app
from holisafe.records import JudgeId, Judgement, Outcome, Response, Run
from holisafe.report import write_report

MOCK = "mockllm/model"
"""Answers "Default output from mockllm/model" to everything: never refuses, never says Yes or No."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("root")
    write_mssbench(folder / "mssbench")
    write_mmsafeaware(folder / "mmsafeaware")
    zipped(write_mis(folder / "mis-unpacked"), "mis.zip", "mis_test/")
    return folder


def run(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def figures(record: dict[str, Any], judge: str) -> dict[str, float | None]:
    return {each["name"]: each["figure"] and each["figure"]["value"] for each in record["judges"][judge]}


def test_the_list_says_what_each_can_and_cannot_tell() -> None:
    listed = run("benchmarks")
    assert listed.exit_code == 0, listed.output
    as_json = json.loads(run("benchmarks", "--json").stdout)["benchmarks"]
    assert [each["name"] for each in as_json] == benchmarks.names()
    for each in as_json:
        for text in (
            each["title"],
            each["size"],
            each["licence"],
            each["tells"],
            each["cannot_tell"],
            each["protocol"],
        ):
            assert text in listed.stdout
    assert run("benchmarks", "msbench").exit_code == 2


def test_of_one_that_is_named_published_rows_are_shown_with_their_judge() -> None:
    shown = run("benchmarks", "mmsafeaware").stdout
    assert "Claude-3" in shown and "99.1" in shown and "source: arXiv 2502.11184" in shown
    assert "Claude-3" not in run("benchmarks").stdout


def test_a_benchmark_is_measured_with_its_own_judge_and_figures(root: Path, tmp_path: Path) -> None:
    words = ("bench", MOCK, "--data", f"mssbench:{root / 'mssbench'}", "--out", str(tmp_path / "run"))
    first = run(*words)
    assert first.exit_code == 0, first.output
    assert "MSSBench, setting if" in first.stdout and "chat, average" in first.stdout
    found = json.loads(run(*words, "--json").stdout)["benchmark"]
    assert (found["name"], found["setting"], list(found["judges"])) == ("mssbench", "if", ["refusal"])
    assert figures(found, "refusal") == {
        **{f"{task}_safe": 1 for task in ("chat", "embodied")},
        **{f"{task}_unsafe": 0 for task in ("chat", "embodied")},
        **{f"{task}_average": 0.5 for task in ("chat", "embodied")},
        "no_verdict": 0,
    }
    assert json.loads((tmp_path / "run" / "run.json").read_text())["benchmark"] == found


def test_a_setting_asks_and_judges_otherwise(root: Path, tmp_path: Path) -> None:
    words = ("bench", MOCK, "--data", f"mssbench:{root / 'mssbench'}", "--setting", "qc", "--json")
    kept = json.loads(run(*words, "--out", str(tmp_path / "none")).stdout)["benchmark"]
    assert {each["name"] for each in kept["judges"]["final-answer"] if each["figure"]} == {"no_verdict"}
    asked = run(*words, "--max-unjudged", "1", "--out", str(tmp_path / "qc"))
    found = json.loads(asked.stdout)["benchmark"]
    assert (found["setting"], figures(found, "final-answer")["no_verdict"]) == ("qc", 1)
    other = run(*words[:-2], "if", "--out", str(tmp_path / "qc"))
    assert other.exit_code == 2 and "setting is 'qc' there, 'if' now" in other.stderr
    wrong = run(*words[:-2], "qd", "--out", str(tmp_path / "qd"))
    assert wrong.exit_code == 2 and "unknown setting of mssbench 'qd'" in wrong.stderr
    none = run("bench", MOCK, "--setting", "qc", "--out", str(tmp_path / "open"))
    assert none.exit_code == 2 and "no benchmark with settings" in none.stderr


def test_recorded_answers_get_the_benchmarks_figures(root: Path, tmp_path: Path) -> None:
    data = f"mmsafeaware:{root / 'mmsafeaware'}"
    samples = benchmarks.get("mmsafeaware").samples(root / "mmsafeaware").samples
    answers = tmp_path / "answers.jsonl"
    answers.write_text("".join(json.dumps({"id": s.id, "prediction": "No."}) + "\n" for s in samples))
    scored = run("score", str(answers), "--data", data, "--json", "--out", str(tmp_path / "scored"))
    assert scored.exit_code == 0, scored.output
    found = json.loads(scored.stdout)["benchmark"]
    assert figures(found, "first-word")["total"] == pytest.approx(2 / 3)
    assert read_run(tmp_path / "scored").provenance["benchmark"] == found
    assert "over-safe" in run("score", str(answers), "--data", data).stdout


def test_a_run_of_a_benchmark_is_scored_again_with_its_own_judge_and_figures(root: Path, tmp_path: Path) -> None:
    run("bench", MOCK, "--data", f"mis:{root / 'mis.zip'}", "--judge", "holisafe", "--out", str(tmp_path / "run"))
    found = json.loads(run("score", str(tmp_path / "run"), "--json").stdout)["benchmark"]
    assert list(found["judges"]) == ["refusal"] and figures(found, "refusal")["easy_asr"] == 1
    kept = json.loads((tmp_path / "run" / "run.json").read_text())["benchmark"]
    assert sorted(kept["judges"]) == ["holisafe", "refusal"]
    assert "easy, ASR" in run("score", str(tmp_path / "run")).stdout


def test_with_too_many_answers_unjudged_only_their_share_is_shown(root: Path, tmp_path: Path) -> None:
    words = ("bench", MOCK, "--data", f"mmsafeaware:{root / 'mmsafeaware'}", "--out", str(tmp_path / "run"))
    found = json.loads(run(*words, "--json").stdout)["benchmark"]
    assert figures(found, "first-word") == {
        **dict.fromkeys(("typical", "attack", "over_safe", "total")),
        "no_verdict": 1,
    }
    all_shown = json.loads(run(*words, "--max-unjudged", "1", "--json").stdout)["benchmark"]
    assert figures(all_shown, "first-word")["total"] == 0


def test_a_plan_runs_nothing_and_says_what_is_missing_and_how_to_get_it(root: Path, tmp_path: Path) -> None:
    planned = run("bench", MOCK, "--suite", "safety", "--root", str(root), "--plan", "--out", str(tmp_path / "suite"))
    assert planned.exit_code == 0, planned.output
    assert f"mis: run mis:{root / 'mis.zip'}" in planned.stdout
    assert "holisafe-bench: missing" in planned.stdout and "Accept the terms" in planned.stdout
    assert not (tmp_path / "suite").exists()
    assert run("bench", MOCK, "--root", str(root)).exit_code == 2
    assert run("bench", MOCK, "--root", str(root), "--plan").exit_code == 2
    assert run("bench", MOCK, "--suite", "safty", "--root", str(root), "--plan").exit_code == 2


def test_a_suite_runs_what_is_there_and_one_broken_benchmark_does_not_end_it(root: Path, tmp_path: Path) -> None:
    root = shutil.copytree(root, tmp_path / "root")
    (root / "holisafe-bench").mkdir()
    (root / "holisafe-bench" / "holisafe_bench.json").write_text("[{}]")
    out = tmp_path / "suite"
    words = ("bench", MOCK, "--suite", "safety", "--root", str(root), "--out", str(out), "--limit", "8")
    first = run(*words)
    assert first.exit_code == 1, first.output
    assert "holisafe-bench: failed: " in first.stdout and "every record is broken" in first.stdout
    parts = {part["benchmark"]: part for part in json.loads((out / "suite.json").read_text())}
    assert {name for name, part in parts.items() if part["state"] == "complete"} >= {"holisafe-open", "mis", "mssbench"}
    dates = {name: json.loads((out / name / "run.json").read_text())["finished"] for name in ("mis", "mssbench")}
    again = json.loads(run(*words, "--json").stdout)
    assert {part["benchmark"]: part for part in again["parts"]} == parts
    assert {name: json.loads((out / name / "run.json").read_text())["finished"] for name in dates} == dates


@pytest.mark.parametrize(("record", "said"), [(None, "no known benchmark"), ({"judges": {}}, "8 of 8 answers have no")])
def test_a_part_of_a_suite_without_figures_fails_by_itself(record: Any, said: str, root: Path, tmp_path: Path) -> None:
    parts = [part for part in plan_suite("safety", root) if part.benchmark.name == "over-refusal"]

    def measure(part: SuitePart, folder: Path) -> Run:
        samples = part.benchmark.samples().samples[:8]
        responses = tuple(Response(sample.id, "Yes.", "m") for sample in samples)
        judged = tuple(Judgement(sample.id, JudgeId("rubric"), Outcome.UNPARSABLE) for sample in samples)
        return Run("m", samples, responses, {"rubric": judged}, {"benchmark": record})

    (row,) = run_suite(parts, tmp_path / "suite", measure)
    assert row.state == "failed" and said in row.reason and not row.figures


def test_several_models_on_several_data_sets_are_one_table_and_a_folder_each(root: Path, tmp_path: Path) -> None:
    words = ["bench", MOCK, "mockllm/other", "--data", f"mis:{root / 'mis.zip'}", "--data", "over-refusal"]
    words += ["--limit", "8", "--out", str(tmp_path / "runs")]
    priced = run(*words, "--plan", "--price-in", "1", "--price-out", "1")
    assert priced.exit_code == 2 and "one price cannot stand for 2 hosted models" in priced.stderr
    first = run(*words)
    assert first.exit_code == 0, first.output
    assert "easy, ASR" in first.stdout and "mockllm/other" in first.stdout
    names = [f"mockllm_{model}-{data}" for model in ("model", "other") for data in (_name(root), "over_refusal")]
    assert sorted(path.parent.name for path in (tmp_path / "runs").glob("*/run.json")) == sorted(names)
    parts = json.loads(run(*words, "--json").stdout)["parts"]
    assert [part["state"] for part in parts] == ["complete"] * 4 and parts[0]["samples"] == 8
    left = json.loads(run(*words, "--plan", "--json").stdout)
    assert [part["plan"]["parts"][0]["calls"] for part in left["parts"]] == [0] * 4


def _name(root: Path) -> str:
    return default_folder("x", f"mis:{root / 'mis.zip'}").name.removeprefix("x-")


def test_epochs_are_one_row_with_the_spread_between_them(root: Path, tmp_path: Path) -> None:
    words = ["bench", MOCK, "--data", f"mis:{root / 'mis.zip'}", "--epochs", "2", "--limit", "4"]
    found = run(*words, "--out", str(tmp_path / "runs"))
    assert found.exit_code == 0, found.output
    (row,) = [line for line in found.stdout.splitlines() if line.startswith("│ mockllm")]
    assert row.split("│")[2].strip() == "2" and "±0.0" in found.stdout
    folders = sorted(map(str, (tmp_path / "runs").glob("*/")))
    assert len(folders) == 2
    run("export", *folders, "--out", str(tmp_path / "a.json"))
    (one,) = json.loads((tmp_path / "a.json").read_text())["tables"][0]["rows"]
    assert one["runs"] == 2


def test_one_part_that_fails_sets_the_exit_code(root: Path, tmp_path: Path) -> None:
    words = ["bench", MOCK, "--data", str(tmp_path / "none"), "--data", "over-refusal", "--limit", "4"]
    found = run(*words, "--out", str(tmp_path / "runs"))
    assert found.exit_code == 1 and "none: failed: " in found.stdout and "refused, harmless" in found.stdout


@pytest.mark.parametrize(
    "words",
    [
        ["--suite", "safety", "--epochs", "2"],
        ["--suite", "safety", "--data", "open"],
        ["--repeat-check", "--epochs", "2"],
        ["--repeat-check", "--plan"],
        ["--epochs", "2", "--anchors", "a.json"],
        ["other/model", "--repeat-check"],
    ],
)
def test_options_that_say_nothing_together_are_refused(words: list[str]) -> None:
    assert run("bench", MOCK, *words).exit_code == 2


def test_a_suite_of_two_models_has_a_folder_each_and_one_budget(root: Path, tmp_path: Path) -> None:
    words = ["bench", MOCK, "pocket", "--suite", "safety", "--root", str(root), "--limit", "5"]
    words += ["--price-in", "1", "--price-out", "1", "--out", str(tmp_path / "suite")]
    planned = json.loads(run(*words, "--plan", "--json").stdout)
    by_model = {name: [part for part in planned["parts"] if part["model"] == name] for name in (MOCK, "pocket")}
    assert {part["benchmark"]: bool(part["plan"]) for part in by_model[MOCK]}["mis"] is True
    assert all(part["plan"]["money"] == 0 for part in by_model["pocket"] if part["plan"])
    missing = next(part for part in by_model[MOCK] if part["benchmark"] == "usb")
    assert missing["plan"] is None and missing["reason"].startswith("missing: ")
    assert planned["money"] > 0
    words.remove("pocket")
    stopped = run(*words, "--budget", "0.000001")
    assert stopped.exit_code == 3, stopped.output
    states = {part["benchmark"]: part["state"] for part in json.loads((tmp_path / "suite" / "suite.json").read_text())}
    assert set(states.values()) == {"complete", "stopped", "missing"}  # the first was in flight as a whole
    assert states["mis"] == "stopped" and not (tmp_path / "suite" / "mis").exists()


def test_the_report_reads_a_benchmarks_run(root: Path, tmp_path: Path) -> None:
    run("bench", MOCK, "--data", f"mis:{root / 'mis.zip'}", "--out", str(tmp_path / "run"), "--limit", "4")
    write_report([read_run(tmp_path / "run")], tmp_path / "report.html")
    assert (tmp_path / "report.html").stat().st_size > 1000
