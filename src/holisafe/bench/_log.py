"""Read a run from an Inspect log."""

from __future__ import annotations

import collections
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from inspect_ai.log import EvalLog, EvalSample, read_eval_log

from holisafe.bench._folder import recorded_sample
from holisafe.bench._scorers import JUDGEMENT, RESPONSE, SAMPLE, judgement_of
from holisafe.bench._task import ORDER
from holisafe.bench._text import redacted
from holisafe.errors import RunError
from holisafe.records import RUN_FOLDER, JudgeId, Judgement, Outcome, Response, Run, Sample
from holisafe.records.as_json import response_from_json


def read_log(path: Path, folder: Path | None) -> Run:
    """The run that a log holds.

    Args:
        path: The log.
        folder: The run folder that it lies in, which keeps the images; None for a log alone.

    Raises:
        RunError: It cannot be read, is incomplete, or is not one of a holisafe task.
    """
    return _from_log(_read_log(path), folder)


def read_log_epochs(path: Path, folder: Path | None) -> tuple[Run, ...]:
    """The runs that a log holds, one per epoch, in their order.

    Args:
        path: The log.
        folder: As for `read_log`.

    Raises:
        RunError: As `read_log`, or an epoch lacks samples.
    """
    log = _read_log(path)
    whole = _from_log(log, folder)
    if whole.provenance["epochs"] == 1:
        return (whole,)
    by_epoch: dict[int, list[EvalSample]] = collections.defaultdict(list)
    for each in log.samples or []:
        by_epoch[each.epoch].append(each)
    if any(len(found) != len(whole.samples) for found in by_epoch.values()):
        listed = ", ".join(f"{epoch}: {len(found)}" for epoch, found in sorted(by_epoch.items()))
        raise RunError(f"{log.location}: epochs of one log must hold the same samples; found {listed} of them")
    return tuple(_epoch(log, by_epoch[epoch], folder, epoch) for epoch in sorted(by_epoch))


def _epoch(log: EvalLog, found: Sequence[EvalSample], folder: Path | None, epoch: int) -> Run:
    run = _run(log, found, folder)
    settings = {"model": log.eval.model, "log": str(log.location), "epoch": epoch if epoch > 1 else None}
    return replace(run, provenance={**run.provenance, "epochs": 1, "settings": settings})


def _read_log(path: Path) -> EvalLog:
    try:
        return read_eval_log(str(path))
    except Exception as error:  # Inspect raises many kinds for a file that is not a log
        raise RunError(f"{path} is not an Inspect log that can be read: {redacted(repr(error))}") from error


def _from_log(log: EvalLog, folder: Path | None) -> Run:
    """The run that a whole log holds."""
    found = list(log.samples or [])
    _check_whole(log, found)
    return _run(log, found, folder)


def _run(log: EvalLog, found: Sequence[EvalSample], folder: Path | None) -> Run:
    """The run of some of a log's samples, in the order of the data set."""
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
