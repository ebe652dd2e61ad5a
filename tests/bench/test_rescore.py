"""Recorded runs judged again: the model is not asked, only what is missing is judged, and nothing else changes."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from endpoint import Endpoint, Exchange, completion, serve
from holisafe._files import write_atomically
from holisafe.bench import measure, read_run, score_run
from holisafe.cli import app
from holisafe.errors import JudgeError, RunError
from holisafe.judges import Ask
from holisafe.records import JudgeId, Judgement, Outcome, Response, Run, Sample
from scripted_judge import number_in, verdict
from small_bench import write_small_bench

pytest.importorskip("openai")

MODEL = "openai/gpt-4o-2024-11-20"


def judge_of_requests(exchange: Exchange) -> None:
    """Refused or not by the request's number: the same request has the same verdict, always."""
    number = number_in(" ".join(part.get("text", "") for part in exchange.body["messages"][-1]["content"]))
    time.sleep(0.03)
    exchange.send(completion(verdict(number, refused=int(number, 16) % 2 == 0, helpful=True)))


@pytest.fixture
def judging(monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    """The judge's server."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-proj-0123456789abcdefghijklmnop")
    with serve(default=judge_of_requests) as served:
        monkeypatch.setenv("OPENAI_BASE_URL", served.url)
        yield served


@pytest.fixture(scope="module")
def answered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of forty answers, judged by rules."""
    place = tmp_path_factory.mktemp("answered")
    data = write_small_bench(place / "data", per_combination=8)
    measure("mockllm/model", data=data, out=place / "run", judges=("holisafe",))
    return place / "run"


@pytest.fixture
def run(answered: Path, tmp_path: Path) -> Path:
    """A copy to change."""
    return Path(shutil.copytree(answered, tmp_path / "run"))


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def same(one: Run, other: Run) -> bool:
    summaries = one.provenance["summaries"] == other.provenance["summaries"]
    return summaries and one.responses == other.responses and one.judgements == other.judgements


class Brief:
    """Counts what it is asked."""

    def __init__(self, version: str = "1") -> None:
        self.id, self.asked = JudgeId("brief", version), 0

    async def judge(self, sample: Sample, response: Response, ask: Ask | None = None) -> Judgement:
        self.asked += 1
        return Judgement(sample.id, self.id, Outcome.REFUSED)


def test_only_what_is_missing_is_judged_and_a_changed_identity_judges_anew(run: Path) -> None:
    brief = Brief()
    judged = score_run(run, (brief, "refusal"))
    assert list(judged.judgements) == ["holisafe", "brief", "refusal"] and brief.asked == 40
    assert same(read_run(run), judged)
    before = files(run)
    score_run(run, (brief,))
    assert brief.asked == 40 and files(run) == before
    other = Brief("2")
    again = score_run(run, (other,))
    assert other.asked == 40 and {each.judge.version for each in again.judgements["brief"]} == {"2"}
    assert again.judgements["refusal"] == judged.judgements["refusal"]
    assert set(again.provenance["summaries"]) == {"holisafe", "brief", "refusal"}


def test_a_judgement_that_failed_is_made_again(run: Path) -> None:
    class Failing(Brief):
        async def judge(self, sample: Sample, response: Response, ask: Ask | None = None) -> Judgement:
            if sample.id in ("1", "2"):
                raise JudgeError("away")
            return await super().judge(sample, response, ask)

    failed = score_run(run, (Failing(),))
    assert sum(each.outcome is Outcome.ERROR for each in failed.judgements["brief"]) == 2
    brief = Brief()
    mended = score_run(run, (brief,))
    assert brief.asked == 2 and {each.outcome for each in mended.judgements["brief"]} == {Outcome.REFUSED}


@pytest.mark.parametrize("kind", ["bench", "score", "log"])
def test_out_leaves_the_source_as_it_is_and_keeps_what_is_there(kind: str, run: Path, tmp_path: Path) -> None:
    source = next((run / "logs").glob("*.eval")) if kind == "log" else run
    if kind == "score":
        source = tmp_path / "scored"
        score_run(run, ("holisafe",), out=source)
    before, out, brief = files(run), tmp_path / "out", Brief()
    first = score_run(source, (brief,), out=out)
    score_run(source, (brief, "refusal"), out=out)
    assert files(run) == before
    found = read_run(out)
    assert brief.asked == 40 and list(found.judgements) == ["holisafe", "brief", "refusal"]
    assert found.judgements["brief"] == first.judgements["brief"]
    assert found.judgements["holisafe"] == read_run(run).judgements["holisafe"]
    assert [response.text for response in found.responses] == [r.text for r in read_run(run).responses]
    assert all(image.path for sample in found.samples for image in sample.images)
    score_run(out, (Brief("2"),))  # in place, from here on
    assert {each.judge.version for each in read_run(out).judgements["brief"]} == {"2"}


@pytest.mark.parametrize("at", ["judgements.jsonl", "run.json"])
@pytest.mark.parametrize("kind", ["bench", "score", "out"])
def test_an_end_while_the_result_is_put_in_place_loses_nothing(
    at: str, kind: str, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = run
    if kind == "score":
        source = tmp_path / "scored"
        score_run(run, ("holisafe",), out=source)
    whole = score_run(source, (Brief(), "refusal"), out=tmp_path / "whole")
    out = tmp_path / "out" if kind == "out" else source

    def ends(path: Path, content: str | bytes) -> None:
        if path.name == at:
            raise KeyboardInterrupt
        write_atomically(path, content)

    with monkeypatch.context() as patched:
        for place in ("holisafe.records.folder", "holisafe.bench._folder"):
            patched.setattr(f"{place}.write_atomically", ends)
        if (kind, at) != ("bench", "judgements.jsonl"):  # there it is the journal, which is appended to
            with pytest.raises(KeyboardInterrupt):
                score_run(source, (Brief(), "refusal"), out=out)
    assert len(read_run(source).judgements["holisafe"]) == 40
    brief = Brief()
    done = score_run(source, (brief, "refusal"), out=out)
    assert same(done, whole) and same(read_run(out), whole)
    assert brief.asked == (40 if (kind, at) == ("bench", "judgements.jsonl") else 0)


def test_what_is_no_run_to_judge_says_so(run: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(run, tmp_path / "other"))
    with pytest.raises(RunError, match="holds a run of holisafe bench"):
        score_run(run, ("refusal",), out=other)
    lines = (other / "responses.jsonl").read_text().splitlines()
    changed = [json.dumps({**json.loads(line), "text": "Other."}) for line in lines]
    (other / "responses.jsonl").write_text("\n".join(changed) + "\n")
    score_run(other, ("refusal",), out=tmp_path / "out")
    with pytest.raises(RunError, match="other questions or answers"):
        score_run(run, ("refusal",), out=tmp_path / "out")
    with pytest.raises(JudgeError, match="--judge-model"):
        score_run(run, ("rubric",))
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**record, "state": "running"}))
    with pytest.raises(RunError, match="not complete"):
        score_run(run, ("refusal",))


def test_the_command_judges_a_run_and_the_report_shows_it(run: Path, judging: Endpoint, tmp_path: Path) -> None:
    def score(*words: str) -> Any:
        told = CliRunner().invoke(app, ["score", str(run), "--judge-model", MODEL, "--json", *words])
        assert told.exit_code == 0, told.output
        return json.loads(told.stdout)

    judges = ("--judge", "rubric", "--judge", "refusal")
    found = score(*judges)
    assert list(found["judges"]) == ["rubric", "refusal"] and len(judging.requests) == 40
    assert found["out"] == str(run) and score(*judges) == found and len(judging.requests) == 40
    told = CliRunner().invoke(app, ["report", str(run), "--out", str(tmp_path / "report.html")])
    assert told.exit_code == 0
    page = (tmp_path / "report.html").read_text()
    assert "rubric" in page and "holisafe" in page
    refused = CliRunner().invoke(app, ["score", str(run), "--data", "open"])
    assert refused.exit_code == 2 and "leave out --data" in refused.stderr


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["bench", "score", "out"])
def test_ten_kills_change_nothing(kind: str, judging: Endpoint, tmp_path: Path) -> None:
    data = write_small_bench(tmp_path / "data", per_combination=24)
    measure("mockllm/model", data=data, out=tmp_path / "run", judges=("holisafe",))
    source = tmp_path / "run"
    if kind == "score":
        source = tmp_path / "scored"
        score_run(tmp_path / "run", ("holisafe",), out=source)
    whole = score_run(source, ("rubric", "refusal"), judge_model=MODEL, out=tmp_path / "whole")
    out = tmp_path / "out" if kind == "out" else source
    words = [str(source), "--judge", "rubric", "--judge", "refusal", "--judge-model", MODEL, "--out", str(out)]
    kills = [_killed(words, judging, moment) for moment in random.Random(kind).sample(range(1, 20), 10)]
    assert kills.count(-signal.SIGKILL) >= 8, kills
    done = score_run(source, ("rubric", "refusal"), judge_model=MODEL, out=out)
    assert same(done, whole) and same(read_run(out), whole)


def _killed(words: list[str], judging: Endpoint, requests: int) -> int | None:
    """The command, killed once it has made so many requests; its return code, which tells if it was done before."""
    code = "import sys; from holisafe.cli import app; app(['score', *sys.argv[1:]])"
    before = len(judging.requests)
    with subprocess.Popen(
        [sys.executable, "-c", code, *words], stderr=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        while len(judging.requests) < before + requests and child.poll() is None:
            time.sleep(0.002)
        child.kill()
        child.communicate()
    return child.returncode
