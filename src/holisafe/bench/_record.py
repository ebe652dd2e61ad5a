"""What `run.json` says: settings and provenance from the start, figures at the end."""

from __future__ import annotations

import contextlib
import importlib.metadata
import platform
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean
from typing import Any

from holisafe._version import __version__
from holisafe.bench._folder import write_record
from holisafe.bench._read import recorded_run
from holisafe.bench._request import RunRequest
from holisafe.bench._retirement import retirements
from holisafe.bench._spending import JUDGE
from holisafe.benchmarks import benchmark_record
from holisafe.errors import RunError
from holisafe.guard import guard_findings, guard_rates
from holisafe.metrics import checked_summary, judges_with_figures, summarise
from holisafe.records import MAX_UNJUDGED, JudgeId, Run

LIBRARIES = ("inspect-ai", "torch", "transformers", "tokenizers", "peft", "numpy", "pillow", "pyarrow")


def new_record(request: RunRequest) -> dict[str, Any]:
    """The record of a run that begins."""
    settings = request.settings
    return {
        "holisafe": __version__,
        "name": " + ".join([settings["model"], *settings.get("defence", [])]),
        "state": "running",
        "date": _now(),
        "settings": settings,
        "data": {
            "name": settings["data"],
            "split": settings["split"],
            "sha256": settings["data_sha256"],
            "samples": len(request.samples),
            "left_out_as_broken": request.broken_records,
        },
        **judges_record(request.judge_ids),
        **noted(request),
        "generation": {
            "greedy": True,
            "max_new_tokens": settings["max_new_tokens"],
            "seed": settings["seed"],
            "repetition_penalty": 1.0,
            "system_prompt": settings["system_prompt"],
        },
        "versions": _versions(),
        "platform": platform.platform(),
    }


def judges_record(judges: Sequence[JudgeId]) -> dict[str, Any]:
    """The judges of a run as `run.json` names them."""
    return {
        "judges": {each.name: each.version for each in judges},
        "judge_ids": [each.to_json() for each in judges],
    }


def noted(request: RunRequest) -> dict[str, Any]:
    """What figures are withheld by, and the retirements to warn of on the day of the run."""
    model = None if request.model.is_local else request.model.name
    asks = request.hosted.get(JUDGE)
    found = retirements(model, asks, datetime.now(UTC).date())
    return {"max_unjudged": request.max_unjudged, "retirements": [each.to_json() for each in found]}


def finish(folder: Path, record: dict[str, Any], judges: Sequence[JudgeId]) -> Run:
    """Write the figures, and give the run as its files hold it.

    Raises:
        RunError: No sample could be answered, or the folder cannot be written.
    """
    measured = recorded_run(folder, record, judges)
    most = record.get("max_unjudged", MAX_UNJUDGED)
    failed = [response for response in measured.responses if response.error is not None]
    record["errors"] = len(failed)
    record["finished"] = _now()
    record["summaries"] = {
        judge: checked_summary(summarise(measured.samples, found), measured.responses, found, most).to_json()
        for judge, found in measured.judgements.items()
    }
    shown = judges_with_figures(measured.responses, measured.judgements, most)
    record["benchmark"] = benchmark_record(measured.samples, measured.responses, measured.judgements, most)
    findings = guard_findings(replace(measured, judgements={judge: tuple(found) for judge, found in shown.items()}))
    if findings is not None:
        record["guard_findings"] = findings.to_json()
    if rates := guard_rates(measured):
        record["guard_rates"] = [each.to_json() for each in rates]
    if costs := [response.cost for response in measured.responses if response.cost is not None]:
        record["cost"] = {
            name: fmean(getattr(each, name) for each in costs) for name in ("generations", "passes", "seconds")
        }
    record["state"] = "complete"  # in one piece with its figures: a run that ends before resumes
    write_record(folder, record)
    if len(failed) == len(measured.samples):
        raise RunError(f"no sample could be answered; the first error was: {failed[0].error}")
    return replace(measured, provenance=record)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for library in LIBRARIES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[library] = importlib.metadata.version(library)
    return versions
