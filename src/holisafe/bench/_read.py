"""Read a run back from its folder or from an Inspect log, and judge it again."""

from __future__ import annotations

import collections
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from inspect_ai.log import EvalLog, EvalSample, read_eval_log

from holisafe import judges as judging
from holisafe.bench._folder import RUN_FILE, SAMPLES, read_record, read_samples, recorded_sample
from holisafe.bench._journal import JUDGEMENTS, RESPONSES, recorded_judgements, recorded_responses
from holisafe.bench._scorers import JUDGEMENT, RESPONSE, SAMPLE, judgement_of
from holisafe.bench._task import ORDER
from holisafe.bench._text import redacted
from holisafe.errors import RunError
from holisafe.judges import Ask, Judge
from holisafe.records import RUN_FOLDER, JudgeId, Judgement, Outcome, Response, Run, Sample
from holisafe.records.as_json import response_from_json
from holisafe.records.folder import is_written_run, read_written_run


def read_run(path: str | Path) -> Run:
    """Read a run from its folder, which needs no log: samples, answers and judgements are files of their own.

    Args:
        path: A run folder, or an Inspect `.eval` log of a holisafe task (then the log is the provenance). Of several
            epochs of a sample, the first answer counts, with the outcome that most of them had.

    Raises:
        RunError: There is no finished run, or the log is incomplete or not one of a holisafe task.
    """
    place = Path(path)
    if place.is_dir() and is_written_run(place):
        return read_written_run(place)
    if place.is_dir():
        return _from_folder(place)
    if not place.is_file():
        raise RunError(f"no run at {place}; expected the --out folder of holisafe bench, or an .eval log")
    above = place.absolute().parent.parent  # of the log of a run folder, which keeps the images
    return _from_log(_read_log(place), above if (above / RUN_FILE).is_file() else None)


def rejudge(run: Run, judge: str | Judge, *, ask: Ask | None = None) -> Run:
    """The run with the judgements of one more judge, or with new ones if it was judged by it before.

    Args:
        run: The run.
        judge: The judge or its name.
        ask: How a judge reaches a model, where it needs one; `inspect_ask("openai/gpt-4o")`, for example.

    Raises:
        UnknownNameError: There is no such judge.
    """
    by = judging.get(judge) if isinstance(judge, str) else judge
    judgements = judging.judge_all(by, run.samples, run.responses, ask)
    versions = {**run.provenance.get("judges", {}), by.id.name: by.id.version}
    provenance = {**run.provenance, "judges": versions}
    return replace(run, judgements={**run.judgements, by.id.name: judgements}, provenance=provenance)


def recorded_run(folder: Path, record: dict[str, Any], judges: Sequence[JudgeId]) -> Run:
    """The run that a folder's files hold, whether it is finished or not; one response per sample, always.

    Raises:
        RunError: A file is damaged, or the samples were not recorded.
    """
    samples = read_samples(folder)
    if not samples:
        raise RunError(f"{folder / SAMPLES} holds no samples; run the bench again with another --out")
    if len({sample.id for sample in samples}) < len(samples):
        raise RunError(f"{folder / SAMPLES} holds a sample more than once; restore the file, or use another --out")
    found = recorded_responses(folder / RESPONSES)
    missing = "the run recorded no answer; start the same command again"
    responses = tuple(
        found.get(sample.id) or Response(sample.id, "", record["name"], finish_reason="error", error=missing)
        for sample in samples
    )
    judged = recorded_judgements(folder / JUDGEMENTS)
    judgements = {
        judge.name: tuple(
            judged.get((sample.id, judge)) or Judgement(sample.id, judge, Outcome.ERROR, "no judgement was recorded")
            for sample in samples
        )
        for judge in judges
    }
    return Run(record["name"], samples, responses, judgements, record)


def judge_ids(record: Mapping[str, Any]) -> list[JudgeId]:
    """The judges of a finished run.

    Raises:
        RunError: `run.json` does not name them as this version does.
    """
    try:
        return [JudgeId.from_json(each) for each in record["judge_ids"]]
    except (KeyError, TypeError) as error:
        raise RunError(
            f"{RUN_FILE} does not identify its judges ({error!r}); was it written by another version of holisafe? "
            "Run the bench again with another --out"
        ) from error


def _from_folder(folder: Path) -> Run:
    record = read_record(folder)
    if record is None:
        raise RunError(f"{folder} holds no {RUN_FILE}; expected the --out folder of holisafe bench, or an .eval log")
    if record["state"] != "complete":
        raise RunError(f"the run in {folder} is not complete; start the same command again to resume it")
    return recorded_run(folder, record, judge_ids(record))


def _read_log(path: Path) -> EvalLog:
    try:
        return read_eval_log(str(path))
    except Exception as error:  # Inspect raises many kinds for a file that is not a log
        raise RunError(f"{path} is not an Inspect log that can be read: {redacted(repr(error))}") from error


def _from_log(log: EvalLog, folder: Path | None) -> Run:
    """The run that a log holds, in the order of the data set."""
    found = list(log.samples or [])
    _check_whole(log, found)
    for each in found:
        if not isinstance(each.metadata.get(SAMPLE), dict):
            raise RunError(f"{log.location}: sample {each.id!r} is not one of a holisafe task")
    by_id: dict[str, list[EvalSample]] = collections.defaultdict(list)
    for each in sorted(found, key=lambda each: (_order(each), each.epoch)):
        by_id[str(each.id)].append(each)
    samples = tuple(recorded_sample(epochs[0].metadata[SAMPLE], folder) for epochs in by_id.values())
    pairs = list(zip(samples, by_id.values(), strict=True))
    names = list(dict.fromkeys(name for each in found for name, score in (each.scores or {}).items() if _ours(score)))
    provenance: Mapping[str, Any] = {
        "log": str(log.location),
        "model": {"id": log.eval.model},
        "task": log.eval.task,
        "epochs": log.eval.config.epochs or 1,
        "generation": log.eval.model_generate_config.model_dump(exclude_none=True),
        "date": log.eval.created,
        "status": log.status,
        RUN_FOLDER: str(folder) if folder else "",
        "data": {"name": log.eval.dataset.name or "", "samples": log.eval.dataset.samples},
        "versions": dict(log.eval.packages),
    }
    return Run(
        log.eval.model,
        samples,
        tuple(_response(sample, epochs[0]) for sample, epochs in pairs),
        {name: tuple(_judgement(sample, epochs, name) for sample, epochs in pairs) for name in names},
        provenance,
    )


def _check_whole(log: EvalLog, found: Sequence[EvalSample]) -> None:
    """Refuse a log of which samples are missing: figures on what is left would be those of another data set."""
    expected = log.results.total_samples if log.results else 0
    asked = log.eval.dataset.sample_ids
    expected = max(expected, (len(asked) if asked is not None else 0) * (log.eval.config.epochs or 1))
    if log.status == "success" and len(found) >= expected and found:
        return
    raise RunError(
        f"{log.location}: this log is not complete (status {log.status!r}, {len(found)} of {expected} samples); "
        "finish it with `inspect eval-retry`, or read the --out folder of holisafe bench"
    )


def _order(each: EvalSample) -> int:
    place = each.metadata.get(ORDER)
    return place if isinstance(place, int) else 0


def _ours(score: Any) -> bool:
    return JUDGEMENT in (score.metadata or {})


def _response(sample: Sample, each: EvalSample) -> Response:
    record = each.store.get(RESPONSE)
    if record is not None:
        return response_from_json(record)
    why = redacted(each.error.message) if each.error else "the log holds no response"
    return Response(sample.id, "", "", finish_reason="error", error=why)


def _judgement(sample: Sample, epochs: Sequence[EvalSample], judge: str) -> Judgement:
    """The judgement of one judge; of several epochs, the first with the outcome that most have."""
    scores = [(each.scores or {}).get(judge) for each in epochs]
    found = [judgement_of(score) for score in scores if score is not None and _ours(score)]
    if not found:
        return Judgement(sample.id, JudgeId(judge), Outcome.ERROR, "the log holds no judgement")
    most = collections.Counter(each.outcome for each in found).most_common(1)[0][0]
    return next(each for each in found if each.outcome is most)
