"""One measured run, from data to figures, in a folder of its own.

The folder holds `samples.jsonl`, `responses.jsonl` and `judgements.jsonl` (each line on the disk as soon as it is
there), `images/`, `logs/` (Inspect logs, for its viewer) and `run.json` (settings, provenance, figures). Whatever ends
a run early, the same command resumes it; the log is not needed for that.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import inspect_ai
from inspect_ai._util.error import PrerequisiteError
from inspect_ai._util.platform import platform_init
from inspect_ai.log import EvalLog
from inspect_ai.model import Model, get_model
from inspect_ai.util._display import init_display_type
from rich.text import Text

from holisafe import datasets
from holisafe import judges as judging
from holisafe._checks import check_each, check_type
from holisafe._files import hold
from holisafe._version import __version__
from holisafe.bench._ask import inspect_ask
from holisafe.bench._folder import (
    RUN_FILE,
    SAMPLES,
    default_folder,
    identified,
    read_record,
    write_record,
    write_samples,
)
from holisafe.bench._hosted import Traffic, close, in_loop, prepared
from holisafe.bench._journal import JUDGEMENTS, RESPONSES, Journal, Judgements
from holisafe.bench._names import inspect_name
from holisafe.bench._read import judge_ids, recorded_run
from holisafe.bench._scorers import JUDGE_ROLE
from holisafe.bench._task import build_task
from holisafe.errors import DataError, GuardError, MissingDependencyError, ModelError, RunError
from holisafe.guard import guard_findings
from holisafe.judges import Judge
from holisafe.metrics import summarise
from holisafe.models.loading import OWN_GUARD
from holisafe.records import JudgeId, Response, Run, Sample

LIBRARIES = ("inspect-ai", "torch", "transformers", "tokenizers", "peft", "numpy", "pillow", "pyarrow")

Progress = Callable[[int, int], None]
"""Called with the number of samples done and the number in all."""

OnRequest = Callable[[int, int], None]
"""Called with the number of requests that wait for an answer, and the number of retries so far."""

LOCAL = "holisafe/"
"""How Inspect's names of local models begin."""


def measure(
    model: str,
    *,
    data: str | Path = "open",
    split: str | None = "test",
    judges: Sequence[str | Judge] = ("holisafe",),
    judge_model: str | None = None,
    limit: int | None = None,
    out: str | Path | None = None,
    max_new_tokens: int = 512,
    seed: int = 0,
    system_prompt: str | None = None,
    chat_template_args: Mapping[str, Any] | None = None,
    max_retries: int = 5,
    timeout: int = 300,
    model_args: Mapping[str, Any] | None = None,
    device: str | None = None,
    device_map: str | None = None,
    dtype: str | None = None,
    quantization: str | None = None,
    attention: str | None = None,
    revision: str | None = None,
    batch_size: int = 16,
    image_reuse: bool = True,
    trust_remote_code: bool = False,
    guard: str | None = None,
    progress: Progress | None = None,
    on_request: OnRequest | None = None,
) -> Run:
    """Measure a model on a data set and keep everything in `out`.

    A run that was interrupted resumes when called again with the same arguments. One that is complete is read back:
    only what ended in an error is asked again, and judges that were added or have changed judge the recorded answers.

    Args:
        model: "pocket", a folder with a checkpoint, a Hub id, or any Inspect model name ("openai/gpt-4o",
            "mockllm/model"). A Hub id whose organisation is also an Inspect provider needs the prefix "holisafe/".
        data: Name of a data set, a path, or a Hub id.
        split: The split, where the data have splits.
        judges: The judges, or their names.
        judge_model: Inspect's name of the model that judges ask, where they need one.
        limit: Stratified limit on the number of samples: every combination keeps its share.
        out: Folder of the run; made if missing. `default_folder(model, data)` when None.
        max_new_tokens: Maximum number of new tokens per answer.
        seed: Seed of the draw under `limit`, and of models that take one.
        system_prompt: System message in front of every conversation.
        chat_template_args: Further arguments of a local model's chat template, e.g. `{"enable_thinking": False}`.
        max_retries: How often a request that a server fails is tried again; then the sample ends in an error.
        timeout: Seconds that one attempt may take.
        model_args: Further arguments of the model's Inspect provider, e.g. `{"base_url": ...}`.
        device: For local models, as for `holisafe.models.load`; likewise `device_map`, `dtype`, `quantization`,
            `attention`, `revision` and `trust_remote_code`.
        device_map: Placement of a local model over several devices.
        dtype: Precision of a local model's weights.
        quantization: Quantization of a local model's weights.
        attention: Attention implementation of a local model.
        revision: Hub revision of a local model.
        batch_size: Maximum number of prompts that a local model answers at once.
        image_reuse: Whether a local model computes what prompts with one image share only once.
        trust_remote_code: Whether code that comes with a local model's checkpoint is run.
        guard: Guard of a local model: "own", a folder or a Hub id, as for `holisafe.models.load`. Its verdicts are
            recorded with every answer, which stays as it is.
        progress: Called after every sample.
        on_request: Called whenever a request is sent, answered or tried again.

    Raises:
        DataError: The data cannot be read or hold no samples.
        ModelError: The model cannot be loaded, or a guard is asked for that is not there or for a model that is not
            local.
        GuardError: The guard does not fit the model.
        RunError: The folder cannot be written, belongs to a run with other settings or one still going, or no sample
            could be answered. What was done is kept.
        UnknownNameError: There is no such model, data set or judge.
    """
    _check_numbers(
        max_new_tokens=(max_new_tokens, 1), seed=(seed, 0), max_retries=(max_retries, 0), timeout=(timeout, 1)
    )
    _check_numbers(batch_size=(batch_size, 1))
    check_type(model, str, "model")
    check_type(data, (str, Path), "data")
    check_each(judges, object, "judges")
    folder = default_folder(model, data) if out is None else Path(out)
    chosen_judges = _judges(judges)
    identities = [each.id for each in chosen_judges]
    name = inspect_name(model)
    loaded = datasets.read(str(data), split)
    samples = identified(_chosen(loaded.samples, limit, seed, f"{data} (split {split})"))
    local = name.startswith(LOCAL)
    if guard is not None and not local:
        raise ModelError(f"a guard plugs into local models only, and {name} is not one; leave it out")
    settings: dict[str, Any] = {
        "model": model,
        "data": str(data),
        "data_sha256": datasets.fingerprint(samples),
        "split": split,
        "limit": limit,
        "seed": seed,
        "max_new_tokens": max_new_tokens,
        "system_prompt": system_prompt,
        "model_args": dict(model_args or {}),
    }
    options: dict[str, Any] = {
        "device": device,
        "device_map": device_map,
        "dtype": dtype,
        "quantization": quantization,
        "attention": attention,
        "revision": revision,
        "batch_size": batch_size,
        "image_reuse": image_reuse,
        "trust_remote_code": trust_remote_code,
        "chat_template_args": dict(chat_template_args) if chat_template_args else None,
        "guard": guard,
    }
    settings |= options if local else {}
    arguments = {**(options if local else {}), **settings["model_args"]}
    with hold(folder, RunError):
        before = read_record(folder)
        _check_same(folder, before, settings)
        record: dict[str, Any] = {
            "holisafe": __version__,
            "name": model,
            "state": "running",
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "settings": settings,
            "data": {
                "name": str(data),
                "split": split,
                "sha256": settings["data_sha256"],
                "samples": len(samples),
                "left_out_as_broken": loaded.broken_records,
            },
            **_named(identities),
            "generation": {
                "greedy": True,
                "max_new_tokens": max_new_tokens,
                "seed": seed,
                "repetition_penalty": 1.0,
                "system_prompt": system_prompt,
            },
            "versions": _versions(),
            "platform": platform.platform(),
        }
        complete = before is not None and before["state"] == "complete"
        with Journal(folder / RESPONSES) as journal, Judgements(folder / JUDGEMENTS) as judgements:
            answered = all(journal.get(sample.id) is not None for sample in samples)
            if complete and answered:
                assert before is not None
                _check_complete(folder, before, name, arguments if local else None)
                if not (folder / SAMPLES).exists():
                    write_samples(folder, samples)
                earlier = [each for each in judge_ids(before) if each.name not in record["judges"]]
                identities += earlier
                if _is_judged(before, identities, chosen_judges, judgements, journal, samples):
                    return recorded_run(folder, before, identities)
                record = {**before, **_named(identities)}
            else:
                limits = {} if local else {"max_retries": max_retries, "timeout": timeout}
                write_samples(folder, samples)
                log = _ask_and_judge(
                    folder,
                    before,
                    record,
                    name,
                    arguments,
                    samples,
                    chosen_judges,
                    journal,
                    judgements,
                    judge_model=judge_model,
                    progress=progress,
                    traffic=Traffic(told=on_request),
                    limits=limits,
                )
                record["log"] = os.path.relpath(log.location, folder)
            _judge_recorded(samples, chosen_judges, folder, judgements, judge_model)
        return _finish(folder, record, identities)


def _check_numbers(**given: tuple[int, int]) -> None:
    """Refuse a number below its least, before anything is asked.

    Raises:
        RunError: One is.
    """
    for name, (value, least) in given.items():
        check_type(value, int, name)
        if value < least:
            raise RunError(f"{name}: found {value}, expected at least {least}")


def _judges(judges: Sequence[str | Judge]) -> list[Judge]:
    found = [judging.get(each) if isinstance(each, str) else each for each in judges]
    names = [each.id.name for each in found]
    if not found or len(set(names)) < len(names):
        raise RunError(f"the judges are {names}; expected at least one, and each once")
    return found


def _chosen(samples: Sequence[Sample], limit: int | None, seed: int, what: str) -> list[Sample]:
    if not samples:
        raise DataError(f"{what} holds no samples, so there is nothing to ask; check the path and the split")
    return list(samples) if limit is None else datasets.stratified(samples, limit, seed)


def _named(judges: Sequence[JudgeId]) -> dict[str, Any]:
    """The judges of a run as `run.json` names them."""
    return {
        "judges": {each.name: each.version for each in judges},
        "judge_ids": [each.to_json() for each in judges],
    }


def _is_judged(
    before: dict[str, Any],
    identities: Sequence[JudgeId],
    judges: Sequence[Judge],
    judgements: Judgements,
    journal: Journal,
    samples: Sequence[Sample],
) -> bool:
    """Whether a finished run has the figures and judgements of judges of these very identities, in this order."""
    if judge_ids(before) != list(identities) or list(before["summaries"]) != [each.name for each in identities]:
        return False
    responses = [journal.get(sample.id) for sample in samples]
    return all(
        response is not None and judgements.get(response, judge.id) is not None
        for response in responses
        for judge in judges
    )


def _ask_and_judge(
    folder: Path,
    before: dict[str, Any] | None,
    record: dict[str, Any],
    name: str,
    arguments: dict[str, Any],
    samples: Sequence[Sample],
    judges: Sequence[Judge],
    journal: Journal,
    judgements: Judgements,
    *,
    judge_model: str | None,
    progress: Progress | None,
    traffic: Traffic,
    limits: dict[str, int],
) -> EvalLog:
    """Ask what was not answered yet, and judge, under Inspect; the model is closed in the loop that used it."""
    model = prepared(_model(name, arguments), traffic)
    try:
        record["model"] = model.api.describe() if name.startswith(LOCAL) else {"id": name}  # type: ignore[attr-defined]
        _check_same_model(folder, before, record["model"])
        write_record(folder, record)
        done = 0

        def count(_: Response) -> None:
            nonlocal done
            done += 1
            if progress is not None:
                progress(done, len(samples))

        settings = record["settings"]
        task = build_task(
            samples,
            judges,
            name=settings["data"] if settings["data"].isidentifier() else "holisafe_bench",
            max_new_tokens=settings["max_new_tokens"],
            seed=settings["seed"],
            system_prompt=settings["system_prompt"],
            journal=journal,
            judgements=judgements,
            on_response=count,
            **limits,
        )
        return _evaluate(model, task, folder, journal, judge_model)
    finally:
        in_loop(lambda: close(model))


def _model(name: str, options: dict[str, Any]) -> Model:
    """The model behind Inspect's interface.

    Raises:
        ModelError: It cannot be loaded, for example because its key or its client library is missing.
    """
    given = {key: value for key, value in options.items() if value is not None}
    try:
        return get_model(name, memoize=False, **given)
    except (PrerequisiteError, ValueError, TypeError) as error:
        raise ModelError(f"{name}: {' '.join(Text.from_markup(str(error)).plain.split())}") from error


def _evaluate(model: Model, task: inspect_ai.Task, folder: Path, journal: Journal, judge_model: str | None) -> EvalLog:
    """Let Inspect ask and judge.

    Raises:
        RunError: It could not; the journal keeps what was answered.
    """
    logs_folder = folder / "logs"
    if logs_folder.is_symlink() or (logs_folder.exists() and not logs_folder.is_dir()):
        raise RunError(f"{logs_folder} is a link or a file; remove it, or choose another --out")
    platform_init()
    init_display_type("none")
    roles: dict[str, Any] = {} if judge_model is None else {JUDGE_ROLE: _model(judge_model, {})}

    async def evaluate() -> list[EvalLog]:
        async with contextlib.AsyncExitStack() as open_models:
            for each in (model, *roles.values()):
                await open_models.enter_async_context(each)
            return await inspect_ai.eval_async(
                task,
                model=model,
                model_roles=roles or None,
                log_dir=str(logs_folder),
                log_format="eval",
                log_images=False,
                log_realtime=False,
                log_model_api=False,
                score_display=False,
                fail_on_error=True,
                max_samples=model.api.max_connections(),
                acp_server=False,
                ctl_server=False,
            )

    kept = "answers so far are kept; start the same command again to resume"
    try:
        logs = in_loop(evaluate)
    except OSError as error:
        raise RunError(f"cannot write to {folder}: {error.strerror or error}; make room. The {kept}") from error
    if not logs or logs[0].status == "cancelled":  # Ctrl-C, which Inspect keeps to itself
        raise KeyboardInterrupt
    (log,) = logs
    if log.status != "success":
        why = log.error.message if log.error else log.status
        raise RunError(f"the run in {folder} stopped: {why}. The {len(journal)} {kept}")
    return log


def _judge_recorded(
    samples: Sequence[Sample], judges: Sequence[Judge], folder: Path, judgements: Judgements, judge_model: str | None
) -> None:
    """Let each judge judge the recorded answers that it has no judgement on."""
    recorded = recorded_run(folder, {"name": ""}, [])
    asked = [
        (judge, sample, response)
        for judge in judges
        for sample, response in zip(samples, recorded.responses, strict=True)
        if judgements.get(response, judge.id) is None
    ]
    if not asked:
        return

    async def every() -> None:
        async with contextlib.AsyncExitStack() as open_models:
            ask = None
            if judge_model is not None:
                ask = inspect_ask(await open_models.enter_async_context(get_model(judge_model, memoize=False)))
            for judge, sample, response in asked:
                judgements.append(await judging.judge_response(judge, sample, response, ask))

    in_loop(every)


def _finish(folder: Path, record: dict[str, Any], judges: Sequence[JudgeId]) -> Run:
    """Write the figures, and give the run as its files hold it."""
    measured = recorded_run(folder, record, judges)
    failed = [response for response in measured.responses if response.error is not None]
    record["errors"] = len(failed)
    record["finished"] = datetime.now(UTC).isoformat(timespec="seconds")
    record["summaries"] = {
        judge: summarise(measured.samples, verdicts).to_json() for judge, verdicts in measured.judgements.items()
    }
    findings = guard_findings(measured)
    if findings is not None:
        record["guard_findings"] = findings.to_json()
    record["state"] = "complete"  # in one piece with its figures: a run that ends before resumes
    write_record(folder, record)
    if len(failed) == len(measured.samples):
        raise RunError(f"no sample could be answered; the first error was: {failed[0].error}")
    return replace(measured, provenance=record)


def _check_same(folder: Path, before: dict[str, Any] | None, settings: dict[str, Any]) -> None:
    """Refuse to mix two runs.

    Raises:
        RunError: Names each setting that differs.
    """
    journal = folder / RESPONSES
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
        api = _model(name, options).api
        try:
            model = api.describe()  # type: ignore[attr-defined]
        finally:
            api.close()
    except (ModelError, MissingDependencyError):
        return
    except GuardError:
        if options["guard"] == OWN_GUARD or Path(options["guard"]).expanduser().exists():
            raise
        return
    _check_same_model(folder, before, model)


def _check_same_model(folder: Path, before: dict[str, Any] | None, model: dict[str, Any]) -> None:
    """Refuse to resume with a checkpoint that was changed under its name.

    Raises:
        RunError: Names what changed.
    """
    there = (before or {}).get("model", model) if (folder / RESPONSES).stat().st_size else model
    keys = ("revision", "weights_sha256", "processor", "chat_template_sha256", "dtype", "attention", "guard")
    changed = [key for key in keys if there.get(key) != model.get(key)]
    if changed:
        raise RunError(
            f"the model was changed since the run in {folder} began ({', '.join(changed)}); use another --out, or "
            "remove the folder"
        )


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for library in LIBRARIES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[library] = importlib.metadata.version(library)
    return versions
