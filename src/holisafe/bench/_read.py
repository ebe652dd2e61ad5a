"""Read a run back from its folder or its log, and judge it again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from inspect_ai.log import EvalLog, EvalSample, read_eval_log

from holisafe import judges as judging
from holisafe.bench._task import ORDER, RESPONSE, SAMPLE
from holisafe.errors import RunError
from holisafe.records.folder import is_written_run, read_written_run
from holisafe.records import RUN_FOLDER, JudgeId, Judgement, Outcome, Response, Run
from holisafe.records.as_json import response_from_json, sample_from_json

RUN_FILE = "run.json"
IMAGES = "images"
"""Folder below a run folder with the images that were only in memory, each once, named by its digest."""


def read_run(path: str | Path) -> Run:
    """Read a run: samples, responses and verdicts come from the Inspect log, the provenance from `run.json`.

    Args:
        path: A run folder, or an Inspect `.eval` log of a holisafe task (then the log is the provenance).

    Raises:
        RunError: There is no finished run, or the log is not one of a holisafe task.
    """
    place = Path(path)
    if place.is_dir() and is_written_run(place):
        return read_written_run(place)
    if place.is_dir():
        record = read_record(place)
        if record is None:
            raise RunError(f"{place} holds no {RUN_FILE}; expected the --out folder of holisafe bench, or an .eval log")
        if record["state"] != "complete":
            raise RunError(f"the run in {place} is not complete; start the same command again and it goes on")
        run = read_log(place / record["log"], place)
        return replace(run, name=record["name"], provenance={**record, RUN_FOLDER: str(place)})
    if not place.is_file():
        raise RunError(f"no run at {place}; expected the --out folder of holisafe bench, or an .eval log")
    above = place.absolute().parent.parent  # of the log of a run folder, which keeps the images
    return read_log(place, above if (above / RUN_FILE).is_file() else None)


def read_log(path: Path, folder: Path | None) -> Run:
    """The run that a log holds; images in memory are looked for in the folder `images` there.

    Raises:
        RunError: It is not a log of a holisafe task.
    """
    return _from_log(_read_log(path), folder)


def rejudge(run: Run, judge: str) -> Run:
    """The run with the verdicts of one more judge, or with new ones if it was judged by it before.

    Raises:
        UnknownNameError: There is no such judge.
    """
    by = judging.get(judge)
    judgements = judging.judge_all(by, run.samples, run.responses)
    versions = dict(run.provenance.get("judges", {})) | {judge: by.id.version}
    provenance = dict(run.provenance) | {"judges": versions}
    return replace(run, judgements={**run.judgements, judge: judgements}, provenance=provenance)


def read_record(folder: Path) -> dict[str, Any] | None:
    """The contents of `run.json`; None where there is none.

    Raises:
        RunError: It cannot be read.
    """
    path = folder / RUN_FILE
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be read ({error}); use another --out, or remove the folder") from error
    if not isinstance(record, dict) or not {"state", "settings"} <= record.keys():
        raise RunError(f"{path} was not written by holisafe bench; use another --out")
    return record


def _read_log(path: Path) -> EvalLog:
    try:
        return read_eval_log(str(path))
    except Exception as error:  # Inspect raises many kinds for a file that is not a log
        raise RunError(f"{path} is not an Inspect log that can be read: {type(error).__name__}: {error}") from error


def _from_log(log: EvalLog, folder: Path | None) -> Run:
    """The run that a log holds, in the order of the data set."""
    found = sorted(log.samples or [], key=lambda each: each.metadata.get(ORDER, 0))
    broken = [each.id for each in found if SAMPLE not in each.metadata]
    if broken or not found:
        what = f"sample {broken[0]} is not one of a holisafe task" if broken else "it holds no samples"
        raise RunError(f"{log.location}: {what}")
    samples = tuple(sample_from_json(each.metadata[SAMPLE], folder and folder / IMAGES) for each in found)
    responses = tuple(_response(each) for each in found)
    names = list(dict.fromkeys(name for each in found for name in each.scores or {}))
    verdicts = {name: tuple(_verdict(each, name) for each in found) for name in names}
    provenance: Mapping[str, Any] = {
        "log": str(log.location),
        "model": {"id": log.eval.model},
        "task": log.eval.task,
        "generation": log.eval.model_generate_config.model_dump(exclude_none=True),
        "date": log.eval.created,
        "status": log.status,
        RUN_FOLDER: str(folder) if folder else "",
        "data": {"name": log.eval.dataset.name or "", "samples": log.eval.dataset.samples},
        "versions": dict(log.eval.packages),
    }
    return Run(log.eval.model, samples, responses, verdicts, provenance)


def _response(each: EvalSample) -> Response:
    if RESPONSE in each.store:
        return response_from_json(each.store[RESPONSE])
    why = each.error.message if each.error else "the log holds no response"
    return Response(str(each.id), "", "", finish_reason="error", error=why)


def _verdict(each: EvalSample, judge: str) -> Judgement:
    score = (each.scores or {}).get(judge)
    if score is None:
        return Judgement(str(each.id), JudgeId(judge), Outcome.ERROR, "the log holds no judgement")
    version = str((score.metadata or {}).get("version", ""))
    return Judgement(str(each.id), JudgeId(judge, version), Outcome(str(score.value)), score.explanation or "")
