"""One measured run, from data to figures, in a folder of its own.

The folder holds `responses.jsonl` (every answer, on the disk as soon as it is there), `logs/` (Inspect logs),
`images/` (images that were only in memory) and `run.json` (settings, provenance, figures). Whatever ends a run early,
the same command goes on where it was.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import inspect_ai
from inspect_ai._util.error import PrerequisiteError
from inspect_ai.log import EvalLog
from inspect_ai.model import Model, get_model
from rich.text import Text

from holisafe import __version__, datasets
from holisafe import judges as judging
from holisafe._files import hold
from holisafe.bench._journal import Journal
from holisafe.bench._names import inspect_name
from holisafe.bench._read import IMAGES, RUN_FILE, read_log, read_record, read_run
from holisafe.bench._task import build_task
from holisafe.errors import DataError, GuardError, MissingDependencyError, ModelError, RunError
from holisafe.guard import guard_findings
from holisafe.images import content_hash
from holisafe.metrics import summarise
from holisafe.models.loading import OWN_GUARD
from holisafe.records import Response, Run, Sample
from holisafe.records.as_json import image_file

LIBRARIES = ("inspect-ai", "torch", "transformers", "tokenizers", "peft", "numpy", "pillow", "pyarrow")

Progress = Callable[[int, int], None]
"""Called with the number of samples done and the number in all."""


def run(
    model: str,
    *,
    data: str = "open",
    split: str | None = "test",
    judges: Sequence[str] = ("holisafe",),
    limit: int | None = None,
    out: str | Path,
    max_tokens: int = 512,
    seed: int = 0,
    device: str | None = None,
    dtype: str | None = None,
    attention: str | None = None,
    revision: str | None = None,
    batch_size: int = 16,
    image_reuse: bool = True,
    trust_remote_code: bool = False,
    guard: str | None = None,
    resamples: int = 10_000,
    progress: Progress | None = None,
) -> Run:
    """Measure a model on a data set and keep everything in `out`.

    A run that was interrupted goes on where it was when called again with the same arguments; one that is complete
    is read back, and only what ended in an error is tried again.

    Args:
        model: "pocket", a folder with a checkpoint, a Hub id, or any Inspect model name ("openai/gpt-4o",
            "mockllm/model"). A Hub id whose organisation is also an Inspect provider wants the prefix "holisafe/".
        data: Name of a data set, a path, or a Hub id.
        split: The split, where the data have splits.
        judges: Names of the judges.
        limit: Stratified limit on the number of samples: every combination keeps its share.
        out: Folder of the run; made if missing.
        max_tokens: Most new tokens per answer.
        seed: Seed of the draw under `limit`, of the bootstrap, and of models that take one.
        device: For local models, as for `holisafe.models.load`; likewise `dtype`, `attention`, `revision` and
            `trust_remote_code`.
        dtype: Number format of a local model.
        attention: Attention implementation of a local model.
        revision: Hub revision of a local model.
        batch_size: Most prompts a local model answers at once.
        image_reuse: Whether a local model computes what prompts with one image share only once.
        trust_remote_code: Whether code that comes with a local model's checkpoint is run.
        guard: Guard of a local model: "own", a folder or a Hub id, as for `holisafe.models.load`. Its verdicts are
            recorded with every answer, which stays as it is.
        resamples: Resamples behind each interval.
        progress: Called after every sample.

    Raises:
        DataError: The data cannot be read or hold no samples.
        ModelError: The model cannot be loaded, or a guard is asked for that is not there or for a model that is not
            local.
        GuardError: The guard does not fit the model.
        RunError: The folder cannot be written, belongs to a run with other settings or one still going, or no sample
            could be answered. What was done is kept.
        UnknownNameError: There is no such model, data set or judge.
    """
    folder = Path(out)
    if not judges or len(set(judges)) < len(judges):
        raise RunError(f"the judges are {list(judges)}; expected at least one, and each once")
    versions = {name: judging.get(name).id.version for name in judges}
    name = inspect_name(model)
    loaded = datasets.read(data, split)
    chosen = _chosen(loaded.samples, limit, seed, f"{data} (split {split})")
    local = name.startswith("holisafe/")
    settings: dict[str, Any] = {
        "model": model,
        "data": data,
        "data_sha256": datasets.fingerprint(chosen),
        "split": split,
        "limit": limit,
        "seed": seed,
        "max_tokens": max_tokens,
        "judges": list(judges),
    }
    options: dict[str, Any] = {
        "device": device,
        "dtype": dtype,
        "attention": attention,
        "revision": revision,
        "batch_size": batch_size,
        "image_reuse": image_reuse,
        "trust_remote_code": trust_remote_code,
        "guard": guard,
    }
    if guard is not None and not local:
        raise ModelError(f"a guard plugs into local models only, and {name} is not one; leave it out")
    settings |= options if local else {}
    with hold(folder, RunError):
        before = read_record(folder)
        _check_same(folder, before, settings)
        if before is not None and before["state"] == "complete" and not before["errors"]:
            _check_complete(folder, before, name, options if local else None)
            return read_run(folder)
        record: dict[str, Any] = {
            "holisafe": __version__,
            "name": model,
            "state": "running",
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "settings": settings,
            "data": {
                "name": data,
                "split": split,
                "sha256": settings["data_sha256"],
                "samples": len(chosen),
                "left_out_as_broken": loaded.broken_records,
            },
            "judges": versions,
            "generation": {"greedy": True, "max_new_tokens": max_tokens, "seed": seed, "repetition_penalty": 1.0},
            "versions": _versions(),
            "platform": platform.platform(),
        }
        _keep_images(folder, chosen)
        answerer = _model(name, options if local else {})
        with contextlib.closing(answerer.api), Journal(folder / "responses.jsonl") as journal:
            record["model"] = answerer.api.describe() if local else {"id": name}  # type: ignore[attr-defined]
            _check_same_model(folder, before, record["model"])
            _write_record(folder, record)
            task_log = _evaluate(answerer, chosen, judges, folder, journal, max_tokens, seed, progress, data)
        return _finish(folder, record, task_log, resamples, seed)


def _chosen(samples: Sequence[Sample], limit: int | None, seed: int, what: str) -> list[Sample]:
    if not samples:
        raise DataError(f"{what} holds no samples, so there is nothing to ask; check the path and the split")
    return list(samples) if limit is None else datasets.stratified(samples, limit, seed)


def _model(name: str, options: dict[str, Any]) -> Model:
    """The model behind Inspect's interface.

    Raises:
        ModelError: It cannot be had, for example because its key or its client library is missing.
    """
    given = {key: value for key, value in options.items() if value is not None}
    try:
        return get_model(name, memoize=False, **given)
    except (PrerequisiteError, ValueError) as error:
        raise ModelError(f"{name}: {' '.join(Text.from_markup(str(error)).plain.split())}") from error


def _evaluate(
    model: Model,
    samples: Sequence[Sample],
    judges: Sequence[str],
    folder: Path,
    journal: Journal,
    max_tokens: int,
    seed: int,
    progress: Progress | None,
    data: str,
) -> EvalLog:
    """Let Inspect ask and judge.

    Raises:
        RunError: It could not; the journal keeps what was answered.
    """
    done = 0

    def count(_: Response) -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, len(samples))

    name = data if data.isidentifier() else "holisafe_bench"
    task = build_task(samples, judges, name=name, max_tokens=max_tokens, seed=seed, journal=journal, on_response=count)
    try:
        logs = inspect_ai.eval(
            task,
            model=model,
            log_dir=str(folder / "logs"),
            log_format="eval",
            log_images=False,
            log_realtime=False,
            log_model_api=False,
            score_display=False,
            display="none",
            fail_on_error=True,
            max_samples=model.api.max_connections(),
            acp_server=False,
            ctl_server=False,
        )
    except OSError as error:
        raise RunError(
            f"cannot write to {folder}: {error.strerror or error}; make room there and start the same command again: "
            f"the {len(journal)} answers so far are kept"
        ) from error
    if not logs or logs[0].status == "cancelled":  # Ctrl-C, which Inspect keeps to itself
        raise KeyboardInterrupt
    (log,) = logs
    if log.status != "success":
        why = log.error.message if log.error else log.status
        raise RunError(
            f"the run in {folder} stopped: {why}. The {len(journal)} answers so far are kept; start the same command "
            "again to go on"
        )
    return log


def _finish(folder: Path, record: dict[str, Any], log: EvalLog, resamples: int, seed: int) -> Run:
    """Write the figures beside the log, and read the run back."""
    record["log"] = os.path.relpath(log.location, folder)
    measured = replace(read_log(folder / record["log"], folder), name=record["name"], provenance=record)
    failed = [response for response in measured.responses if response.error is not None]
    record["errors"] = len(failed)
    record["finished"] = datetime.now(UTC).isoformat(timespec="seconds")
    record["summaries"] = {
        judge: summarise(measured.samples, verdicts, resamples=resamples, seed=seed).to_json()
        for judge, verdicts in measured.judgements.items()
    }
    findings = guard_findings(measured, resamples=resamples, seed=seed)
    if findings is not None:
        record["guard_findings"] = findings.to_json()
    record["state"] = "complete"  # in one piece with its figures: a run that ends before goes on
    _write_record(folder, record)
    if len(failed) == len(measured.samples):
        raise RunError(f"no sample could be answered; the first error was: {failed[0].error}")
    return read_run(folder)


def _check_same(folder: Path, before: dict[str, Any] | None, settings: dict[str, Any]) -> None:
    """Refuse to mix two runs.

    Raises:
        RunError: Names each setting that differs.
    """
    journal = folder / "responses.jsonl"
    answered = journal.exists() and journal.stat().st_size > 0
    if before is None and answered:
        raise RunError(f"{folder} holds answers but no {RUN_FILE}; use another --out")
    if before is None or (before["state"] != "complete" and not answered):
        return
    there = before["settings"]
    keys = [key for key in {**there, **settings} if there.get(key) != settings.get(key)]
    if keys:
        differences = "; ".join(f"{key} is {there.get(key)!r} there, {settings.get(key)!r} now" for key in keys)
        raise RunError(f"{folder} holds a run with other settings: {differences}. Use the same, or another --out")


def _check_complete(folder: Path, before: dict[str, Any], name: str, options: dict[str, Any] | None) -> None:
    """Refuse to give a finished run for one of a local model that has other weights by now.

    A model or guard that is there no longer, or a hosted one (without options), is not compared.

    Raises:
        RunError: Names what changed.
    """
    if options is None:
        return
    try:
        with contextlib.closing(_model(name, options).api) as api:
            model = api.describe()  # type: ignore[attr-defined]
    except (ModelError, MissingDependencyError):
        return
    except GuardError:
        if options["guard"] == OWN_GUARD or Path(options["guard"]).expanduser().exists():
            raise
        return
    _check_same_model(folder, before, model)


def _check_same_model(folder: Path, before: dict[str, Any] | None, model: dict[str, Any]) -> None:
    """Refuse to go on with a checkpoint that was changed under its name.

    Raises:
        RunError: Names what changed.
    """
    there = (before or {}).get("model", model) if (folder / "responses.jsonl").stat().st_size else model
    keys = ("revision", "weights_sha256", "processor", "chat_template_sha256", "dtype", "attention", "guard")
    changed = [key for key in keys if there.get(key) != model.get(key)]
    if changed:
        raise RunError(
            f"the model was changed since the run in {folder} began ({', '.join(changed)}); use another --out, or "
            "remove the folder"
        )


def _keep_images(folder: Path, samples: Sequence[Sample]) -> None:
    """Write each image that is only in memory once, so that the folder can be looked at by itself."""
    images = folder / IMAGES
    try:
        for data in {image.data for sample in samples for image in sample.images if image.data is not None}:
            path = images / image_file(content_hash(data), data)
            if not path.exists():
                images.mkdir(exist_ok=True)
                _write(path, data)
    except OSError as error:
        raise RunError(f"cannot write to {images}: {error.strerror or error}; make room and start again") from error


def _write_record(folder: Path, record: dict[str, Any]) -> None:
    path = folder / RUN_FILE
    try:
        _write(path, json.dumps(record, indent=2, ensure_ascii=False).encode() + b"\n")
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror or error}; make room and start again") from error


def _write(path: Path, content: bytes) -> None:
    """Put the whole file in place at once: a reader finds the old one or the new one."""
    unfinished = path.with_name(path.name + ".part")
    with unfinished.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for library in LIBRARIES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[library] = importlib.metadata.version(library)
    return versions
