"""`--plan` asks nothing; `--budget` ends with exit code 3; what is withheld is withheld everywhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import Result
from PIL import Image
from typer.testing import CliRunner

from holisafe._files import hold
from holisafe.cli import app
from holisafe.errors import RunError
from small_bench import write_small_bench

MOCK = "mockllm/model"
PRICES = ["--price-in", "1000000", "--price-out", "1000000"]
JUDGE_PRICES = ["--judge-price-in", "1000000", "--judge-price-out", "1000000"]
NO_VERDICT = 2
"""How a command ends whose judge cannot be read on any answer, as the mock model's replies cannot."""
JUDGED = ["--judge", "rubric", "--judge-model", MOCK]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_bench(tmp_path_factory.mktemp("small_bench"))


def bench(data: Path, out: Path, *more: str) -> Result:
    return CliRunner().invoke(app, ["bench", MOCK, "--data", str(data), "--out", str(out), *more])


@pytest.fixture
def answers(tmp_path: Path) -> Path:
    rows = [
        {
            **{"id": i, "image": "x.png", "query": "What is this?", "type": kind},
            **{"category": "violence", "subcategory": "terrorism", "prediction": "I can't help with that."},
        }
        for i, kind in enumerate(("SSS", "SUU"))
    ]
    (tmp_path / "images").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "images" / "x.png")
    (tmp_path / "answers.json").write_text(json.dumps(rows), encoding="utf-8")
    return tmp_path / "answers.json"


def test_a_plan_is_printed_and_nothing_else_happens(data: Path, tmp_path: Path) -> None:
    told = bench(data, tmp_path / "run", *JUDGED, "--judge", "refusal", "--plan", *PRICES, *JUDGE_PRICES)
    assert told.exit_code == 0, told.output
    assert "Plan of 20 samples; nothing was asked." in told.stdout
    for words in ("calls to make", "judge rubric", "unknown for this model", "Time: unknown", "tokens are unknown"):
        assert words in told.stdout, words
    assert "…" not in told.stdout
    assert not (tmp_path / "run").exists()


def test_a_plan_is_one_json_object(data: Path, tmp_path: Path) -> None:
    told = bench(data, tmp_path / "run", *JUDGED, "--plan", "--json", "--limit", "10")
    found = json.loads(told.stdout)
    assert (found["samples"], [part["calls"] for part in found["parts"]]) == (10, [10, 10])
    assert found["money"] is None and found["images_are_known"] is False
    assert found["spent"] == {"by": [], "money": 0, "prices": dict.fromkeys(found["spent"]["prices"])}


def test_a_local_model_costs_no_money_so_that_the_money_of_the_judge_is_told(data: Path, tmp_path: Path) -> None:
    words = ["bench", "pocket", "--data", str(data), "--out", str(tmp_path / "run"), "--plan", "--json", *JUDGE_PRICES]
    found = json.loads(CliRunner().invoke(app, [*words, "--judge", "rubric", "--judge-model", "openai/gpt-4o"]).stdout)
    local, judge = found["parts"]
    assert local["money"] == 0 and judge["money"] > 0
    assert found["money"] == judge["money"]


def test_a_budget_ends_with_exit_code_3_and_a_larger_one_resumes(data: Path, tmp_path: Path) -> None:
    stopped = bench(data, tmp_path / "run", "--budget", "1", *PRICES)
    assert stopped.exit_code == 3, stopped.output
    assert "stopped at the budget of 1.00" in stopped.stderr and str(tmp_path / "run") in stopped.stderr
    assert stopped.stdout == ""
    resumed = bench(data, tmp_path / "run", "--budget", "1000000", *PRICES, "--json")
    assert resumed.exit_code == 0, resumed.output
    spending = json.loads(resumed.stdout)["spending"]
    assert [row["calls"] for row in spending["by"]] == [20]
    assert "on 20 calls" in resumed.stderr


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--price-in", "-1", "--price-out", "1"], "--price-in"),
        (["--price-in", "nan", "--price-out", "1"], "'--price-in'"),
        (["--price-in", "1"], "--price-out is not"),
        (["--budget", "1"], "--price-in and --price-out"),
        (["--budget", "-1", *PRICES], "--budget"),
        (["--budget", "0", *PRICES], "above 0"),
        (["--budget", "1", *PRICES, *JUDGED], "--judge-price-in and --judge-price-out"),
    ],
)
def test_prices_and_budgets_that_mean_nothing_are_refused(
    more: list[str], said: str, data: Path, tmp_path: Path
) -> None:
    told = bench(data, tmp_path / "run", *more)
    assert (told.exit_code, told.stdout) == (2, "")
    assert said in " ".join(told.stderr.split())
    assert not (tmp_path / "run").exists()


def test_score_plans_the_judging_and_subtracts_what_is_kept(answers: Path, tmp_path: Path) -> None:
    score = ["score", str(answers), *JUDGED, "--out", str(tmp_path / "run"), "--json"]
    before = CliRunner().invoke(app, [*score, "--plan"])
    assert before.exit_code == 0, before.output
    (part,) = json.loads(before.stdout)["parts"]
    assert (part["role"], part["calls"], part["recorded"]) == ("judge", 2, 0)
    assert not (tmp_path / "run").exists()
    assert CliRunner().invoke(app, score).exit_code == NO_VERDICT
    (part,) = json.loads(CliRunner().invoke(app, [*score, "--plan"]).stdout)["parts"]
    assert (part["calls"], part["recorded"], part["measured"]) == (0, 2, 2)


def test_judging_a_run_again_has_a_plan_and_a_budget(data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert bench(data, run).exit_code == 0
    score = ["score", str(run), *JUDGED, *JUDGE_PRICES, "--json"]
    (part,) = json.loads(CliRunner().invoke(app, [*score, "--plan"]).stdout)["parts"]
    assert (part["calls"], part["recorded"]) == (20, 0)
    stopped = CliRunner().invoke(app, [*score, "--budget", "1"])
    assert stopped.exit_code == 3, stopped.output
    assert "stopped at the budget" in stopped.stderr and str(run) in stopped.stderr
    done = len((run / "judgements.jsonl").read_text("utf-8").splitlines()) - 20
    assert 0 < done < 20
    (part,) = json.loads(CliRunner().invoke(app, [*score, "--plan"]).stdout)["parts"]
    assert (part["calls"], part["recorded"]) == (20 - done, done)
    assert CliRunner().invoke(app, [*score, "--budget", "1000000000"]).exit_code == NO_VERDICT
    record = json.loads((run / "run.json").read_text("utf-8"))
    assert [row["calls"] for row in record["spending"]["by"] if row["role"] == "judge"] == [20]


def test_score_takes_the_prices_of_its_only_model_by_both_names_and_its_retries(answers: Path) -> None:
    score = ["score", str(answers), "--judge", "rubric", "--judge-model", "openai/gpt-4o", "--plan", "--json"]
    short = CliRunner().invoke(app, [*score, *PRICES, "--max-retries", "0", "--timeout", "9"])
    long = CliRunner().invoke(app, [*score, *JUDGE_PRICES])
    assert json.loads(short.stdout)["money"] == json.loads(long.stdout)["money"] > 0


def test_a_budget_of_score_needs_a_folder(answers: Path) -> None:
    told = CliRunner().invoke(app, ["score", str(answers), *JUDGED, *JUDGE_PRICES, "--budget", "1"])
    assert told.exit_code == 2 and "--out" in told.stderr


def test_a_second_call_into_the_same_folder_judges_nothing(answers: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with hold(out, RunError):
        told = CliRunner().invoke(app, ["score", str(answers), *JUDGED, "--out", str(out)])
    assert told.exit_code == 2 and "another run is active" in " ".join(told.stderr.split())
    assert not list(out.glob("*.jsonl"))
    told = CliRunner().invoke(app, ["score", str(answers), *JUDGED, "--out", str(out)])
    assert told.exit_code == NO_VERDICT and "gave no verdict on any of 2 answers" in told.stderr


def test_withheld_figures_are_in_no_file(data: Path, answers: Path, tmp_path: Path) -> None:
    unread = bench(data, tmp_path / "bench", *JUDGED, "--judge", "refusal")
    assert unread.exit_code == NO_VERDICT, unread.output
    scored = CliRunner().invoke(app, ["score", str(answers), *JUDGED, "--out", str(tmp_path / "score")])
    assert scored.exit_code == NO_VERDICT, scored.output
    for name in ("bench", "score"):
        summary = json.loads((tmp_path / name / "run.json").read_text("utf-8"))["summaries"]["rubric"]
        assert {summary[figure] for figure in ("rr", "suu", "masr_pooled")} == {None} and summary["by"] == {}
        assert sum(summary["outcomes"]["sss"].values()) > 0
        report = tmp_path / f"{name}.html"
        told = CliRunner().invoke(app, ["report", str(tmp_path / name), "--out", str(report)])
        assert told.exit_code == 0, told.output
        assert "has no figures:" in (page := report.read_text("utf-8")), page[:200]
        assert "no figures, because" in page
        csv = tmp_path / f"{name}.csv"
        told = CliRunner().invoke(app, ["report", str(tmp_path / name), "--format", "csv", "--out", str(csv)])
        rows = [line.split(",") for line in csv.read_text("utf-8").splitlines() if ",rubric," in line]
        assert rows and {row[3] for row in rows} == {""}


def test_they_come_back_where_the_share_is_accepted(data: Path, tmp_path: Path) -> None:
    bench(data, tmp_path / "run", *JUDGED)
    again = bench(data, tmp_path / "run", *JUDGED, "--max-unjudged", "1")
    assert again.exit_code == NO_VERDICT, again.output
    record = json.loads((tmp_path / "run" / "run.json").read_text("utf-8"))
    assert record["summaries"]["rubric"]["rr"]["value"] == 0.0
    bench(data, tmp_path / "run", *JUDGED)
    record = json.loads((tmp_path / "run" / "run.json").read_text("utf-8"))
    assert record["summaries"]["rubric"]["rr"] is None


def test_a_retired_judge_is_warned_of_before_and_in_the_report(data: Path, tmp_path: Path) -> None:
    told = bench(data, tmp_path / "run", "--judge-model", "openai/gpt-4", "--judge", "rubric", "--plan")
    assert "warning: openai/gpt-4, the model that judges ask, was retired on 2026-10-23" in told.stderr
    assert "warning" not in bench(data, tmp_path / "run", *JUDGED, "--plan").stderr
