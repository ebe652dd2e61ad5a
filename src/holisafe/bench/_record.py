"""What `run.json` says: settings and provenance from the start, figures at the end."""

from __future__ import annotations

import contextlib
import importlib.metadata
import platform
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from holisafe._version import __version__
from holisafe.bench._folder import write_record
from holisafe.bench._read import recorded_run
from holisafe.bench._request import RunRequest
from holisafe.benchmarks import benchmark_record
from holisafe.errors import RunError
from holisafe.guard import guard_findings
from holisafe.metrics import summarise
from holisafe.records import JudgeId, Run

LIBRARIES = ("inspect-ai", "torch", "transformers", "tokenizers", "peft", "numpy", "pillow", "pyarrow")


def new_record(request: RunRequest) -> dict[str, Any]:
    """The record of a run that begins."""
    settings = request.settings
    return {
        "holisafe": __version__,
        "name": settings["model"],
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


def finish(folder: Path, record: dict[str, Any], judges: Sequence[JudgeId]) -> Run:
    """Write the figures, and give the run as its files hold it.

    Raises:
        RunError: No sample could be answered, or the folder cannot be written.
    """
    measured = recorded_run(folder, record, judges)
    failed = [response for response in measured.responses if response.error is not None]
    record["errors"] = len(failed)
    record["finished"] = _now()
    record["summaries"] = {
        judge: summarise(measured.samples, verdicts).to_json() for judge, verdicts in measured.judgements.items()
    }
    record["benchmark"] = benchmark_record(measured.samples, measured.responses, measured.judgements)
    findings = guard_findings(measured)
    if findings is not None:
        record["guard_findings"] = findings.to_json()
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
