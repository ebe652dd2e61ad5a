"""One measured run, from data to figures, in a folder of its own.

The folder holds `samples.jsonl`, `responses.jsonl` and `judgements.jsonl` (each line on the disk as soon as it is
there), `images/`, `logs/` (Inspect logs, for its viewer) and `run.json` (settings, provenance, figures). Whatever ends
a run early, the same command resumes it; the log is not needed for that.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Any

from inspect_ai.log import EvalLog

from holisafe import datasets
from holisafe._checks import check_each, check_type
from holisafe._files import hold
from holisafe.bench._evaluate import evaluate, open_model
from holisafe.bench._folder import SAMPLES, default_folder, read_record, write_record, write_samples
from holisafe.bench._hosted import Traffic, close, in_loop, prepared
from holisafe.bench._journal import JUDGEMENTS, RESPONSES, Journal, Judgements
from holisafe.bench._judging import judge_answers, open_judge_model
from holisafe.bench._read import judge_ids, recorded_run
from holisafe.bench._record import finish, judges_record, new_record
from holisafe.bench._request import (
    RunRequest,
    asked_model,
    check_numbers,
    chosen_judges,
    chosen_samples,
    default_judges,
)
from holisafe.bench._same import check_complete, check_same, check_same_model, is_judged
from holisafe.bench._task import build_task
from holisafe.errors import RunError
from holisafe.judges import Judge
from holisafe.models import ModelSpec
from holisafe.records import JudgeId, Response, Run

Progress = Callable[[int, int], None]
"""Called with the number of samples done and the number in all."""

OnRequest = Callable[[int, int], None]
"""Called with the number of requests that wait for an answer, and the number of retries so far."""


def measure(
    model: str | Path | ModelSpec,
    *,
    data: str | Path = "open",
    split: str | None = "test",
    setting: str | None = None,
    judges: Sequence[str | Judge] | None = None,
    judge_model: str | None = None,
    fallback_judge: str | Judge | None = None,
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
            "mockllm/model"). A Hub id whose organisation is also an Inspect provider needs the prefix "holisafe/". Or a
            `ModelSpec`, which is a local model with its options, and then none of these as keywords.
        data: Name of a data set, a path, a Hub id, or a benchmark with its data: "mssbench:PATH".
        split: The split, where the data have splits; a benchmark is measured whole.
        setting: Variant of a benchmark's prompt; its first if not given.
        judges: The judges, or their names; the benchmark's own if not given, else "holisafe".
        judge_model: Inspect's name of the model that judges ask, where they need one; part of their identity.
        fallback_judge: Judge of the answers on which such a model refuses to judge or cannot be read.
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
        ModelError: The model cannot be loaded, a guard is asked for that is not there or for a model that is not
            local, or there are a `ModelSpec` and options of its own.
        GuardError: The guard does not fit the model.
        RunError: The folder cannot be written, belongs to a run with other settings or one still going, or no sample
            could be answered. What was done is kept.
        UnknownNameError: There is no such model, data set or judge.
    """
    check_numbers(
        max_new_tokens=(max_new_tokens, 1), seed=(seed, 0), max_retries=(max_retries, 0), timeout=(timeout, 1)
    )
    check_numbers(batch_size=(batch_size, 1))
    check_type(model, (str, Path, ModelSpec), "model")
    check_type(data, (str, Path), "data")
    check_type(limit, (int, NoneType), "limit")
    check_type(out, (str, Path, NoneType), "out")
    check_type(system_prompt, (str, NoneType), "system_prompt")
    check_type(setting, (str, NoneType), "setting")
    judges = default_judges(data, setting) if judges is None else judges
    check_each(judges, object, "judges")
    by = chosen_judges(judges, judge_model, fallback_judge)
    asked = asked_model(
        model,
        loading={
            "device": device,
            "device_map": device_map,
            "dtype": dtype,
            "quantization": quantization,
            "attention": attention,
            "revision": revision,
            "trust_remote_code": trust_remote_code,
            "guard": guard,
        },
        running={
            "batch_size": batch_size,
            "image_reuse": image_reuse,
            "chat_template_args": dict(chat_template_args) if chat_template_args else None,
        },
        model_args=model_args,
    )
    samples, broken = chosen_samples(data, split, limit, seed, setting)
    request = RunRequest(
        folder=default_folder(asked.model, data) if out is None else Path(out),
        model=asked,
        samples=samples,
        broken_records=broken,
        judges=by,
        judge_model=judge_model,
        settings={
            "model": asked.model,
            "data": str(data),
            "data_sha256": datasets.fingerprint(samples),
            "split": split,
            "setting": samples[0].tags.get(datasets.SETTING_TAG),
            "limit": limit,
            "seed": seed,
            "max_new_tokens": max_new_tokens,
            "system_prompt": system_prompt,
            "model_args": asked.model_args,
            **asked.options,
        },
        max_retries=max_retries,
        timeout=timeout,
    )
    with hold(request.folder, RunError):
        return _measured(request, progress, Traffic(told=on_request))


@dataclass(frozen=True, slots=True)
class _OpenRun:
    """A run with its open files, and what `run.json` said when it was opened."""

    request: RunRequest
    before: dict[str, Any] | None
    journal: Journal
    judgements: Judgements

    @property
    def is_answered(self) -> bool:
        """Whether nothing is left to ask: it was complete, and every sample has an answer."""
        complete = self.before is not None and self.before["state"] == "complete"
        return complete and all(self.journal.get(sample.id) is not None for sample in self.request.samples)


def _measured(request: RunRequest, progress: Progress | None, traffic: Traffic) -> Run:
    before = read_record(request.folder)
    check_same(request.folder, before, request.settings)
    with Journal(request.folder / RESPONSES) as journal, Judgements(request.folder / JUDGEMENTS) as judgements:
        run = _OpenRun(request, before, journal, judgements)
        if run.is_answered:
            return _judge_more(run)
        record = new_record(request)
        write_samples(request.folder, request.samples)
        log = _ask_and_judge(run, record, progress, traffic)
        record["log"] = os.path.relpath(log.location, request.folder)
    return finish(request.folder, record, request.judge_ids)


def _judge_more(run: _OpenRun) -> Run:
    """The recorded answers with judgements of judges that were added, have changed, or could not judge before."""
    request, before = run.request, run.before
    assert before is not None
    check_complete(
        request.folder, before, request.model.name, request.model.arguments if request.model.is_local else None
    )
    if not (request.folder / SAMPLES).exists():
        write_samples(request.folder, request.samples)
    identities = [*request.judge_ids, *_earlier(before, request.judge_ids)]
    if is_judged(before, identities, request.judges, run.judgements, run.journal, request.samples):
        return recorded_run(request.folder, before, identities)
    recorded = recorded_run(request.folder, {"name": ""}, [])
    asked = [
        (judge, sample, response)
        for judge in request.judges
        for sample, response in zip(request.samples, recorded.responses, strict=True)
        if run.judgements.get(response, judge.id) is None
    ]
    judge_answers(
        asked,
        request.judge_model,
        run.judgements.append,
        max_retries=request.max_retries,
        timeout=request.timeout,
    )
    return finish(request.folder, {**before, **judges_record(identities)}, identities)


def _earlier(before: dict[str, Any], judges: Sequence[JudgeId]) -> list[JudgeId]:
    """Judges of the finished run that are not asked for now; their judgements stay."""
    return [each for each in judge_ids(before) if each.name not in {judge.name for judge in judges}]


def _ask_and_judge(run: _OpenRun, record: dict[str, Any], progress: Progress | None, traffic: Traffic) -> EvalLog:
    """Ask what was not answered yet, and judge, under Inspect; the model is closed in the loop that used it."""
    request, asked, settings = run.request, run.request.model, run.request.settings
    model = prepared(open_model(asked.name, asked.arguments), traffic)
    try:
        record["model"] = model.api.describe() if asked.is_local else {"id": asked.name}  # type: ignore[attr-defined]
        check_same_model(request.folder, run.before, record["model"])
        write_record(request.folder, record)
        task = build_task(
            request.samples,
            request.judges,
            name=settings["data"] if settings["data"].isidentifier() else "holisafe_bench",
            max_new_tokens=settings["max_new_tokens"],
            seed=settings["seed"],
            system_prompt=settings["system_prompt"],
            max_retries=None if asked.is_local else request.max_retries,
            timeout=None if asked.is_local else request.timeout,
            journal=run.journal,
            judgements=run.judgements,
            on_response=_counter(progress, len(request.samples)),
        )
        asks = request.judge_model
        judge_model = None if asks is None else open_judge_model(asks, request.max_retries, request.timeout)
        return evaluate(model, task, request.folder, run.journal, judge_model)
    finally:
        in_loop(lambda: close(model))


def _counter(progress: Progress | None, total: int) -> Callable[[Response], None]:
    done = 0

    def count(_: Response) -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, total)

    return count
