"""Read a run back from its folder or its log, and judge it again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from inspect_ai.log import EvalLog, EvalSample, read_eval_log

from holisafe import judges as judging
from holisafe.bench._records import response_from_json, sample_from_json
from holisafe.bench._task import ORDER, RESPONSE, SAMPLE
from holisafe.errors import RunError
from holisafe.records import Outcome, Response, Run, Verdict

RUN_FILE = "run.json"


def read_run(path: str | Path) -> Run:
    """Read a run: samples, responses and verdicts come from the Inspect log, the provenance from `run.json`.

    Args:
        path: A run folder, or an Inspect `.eval` log of a holisafe task (then the log is the provenance).

    Raises:
        RunError: There is no finished run, or the log is not one of a holisafe task.
    """
    place = Path(path)
    if place.is_dir():
        record = read_record(place)
        if record is None:
            raise RunError(f"{place} holds no {RUN_FILE}; expected the --out folder of holisafe bench, or an .eval log")
        if record["state"] != "complete":
            raise RunError(f"the run in {place} is not complete; start the same command again and it goes on")
        run = read_log(place / record["log"], place)
        return replace(run, name=record["name"], provenance=record)
    if not place.is_file():
        raise RunError(f"no run at {place}; expected the --out folder of holisafe bench, or an .eval log")
    above = place.absolute().parent.parent  # of the log of a run folder, which keeps the images
    return read_log(place, above if (above / RUN_FILE).is_file() else None)


def read_log(path: Path, folder: Path | None) -> Run:
    """The run that a log holds; images in memory are looked for in `folder`.

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
    pairs = zip(run.samples, run.responses, strict=True)
    verdicts = tuple(judging.verdict_of(by, sample, response) for sample, response in pairs)
    versions = dict(run.provenance.get("judges", {})) | {judge: by.version}
    provenance = dict(run.provenance) | {"judges": versions}
    return replace(run, verdicts={**run.verdicts, judge: verdicts}, provenance=provenance)


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
    """The run that a log holds, in the order of the data set; images in memory are looked for in `folder`."""
    found = sorted(log.samples or [], key=lambda each: each.metadata.get(ORDER, 0))
    broken = [each.id for each in found if SAMPLE not in each.metadata]
    if broken or not found:
        what = f"sample {broken[0]} is not one of a holisafe task" if broken else "it holds no samples"
        raise RunError(f"{log.location}: {what}")
    samples = tuple(sample_from_json(each.metadata[SAMPLE], folder) for each in found)
    responses = tuple(_response(each) for each in found)
    names = list(dict.fromkeys(name for each in found for name in each.scores or {}))
    verdicts = {name: tuple(_verdict(each, name) for each in found) for name in names}
    provenance: Mapping[str, Any] = {
        "log": str(log.location),
        "model": {"id": log.eval.model},
        "task": log.eval.task,
        "generation": log.eval.model_generate_config.model_dump(exclude_none=True),
        "date": log.eval.created,
        "versions": dict(log.eval.packages),
    }
    return Run(log.eval.model, samples, responses, verdicts, provenance)


def _response(each: EvalSample) -> Response:
    if RESPONSE in each.store:
        return response_from_json(each.store[RESPONSE])
    why = each.error.message if each.error else "the log holds no response"
    return Response(str(each.id), "", "", finish_reason="error", error=why)


def _verdict(each: EvalSample, judge: str) -> Verdict:
    score = (each.scores or {}).get(judge)
    if score is None:
        return Verdict(str(each.id), judge, Outcome.ERROR, "the log holds no verdict")
    return Verdict(str(each.id), judge, Outcome(str(score.value)), score.explanation or "")
