"""One measured run, from data to figures, in a folder of its own.

The folder holds `samples.jsonl`, `responses.jsonl` and `judgements.jsonl` (each line on the disk as soon as it is
there), `images/`, `logs/` (Inspect logs, for its viewer) and `run.json` (settings, provenance, figures). Whatever ends
a run early, the same command resumes it; the log is not needed for that.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inspect_ai.log import EvalLog
from inspect_ai.model import Model

from holisafe._files import hold
from holisafe.bench._evaluate import evaluate, open_model
from holisafe.bench._folder import SAMPLES, read_record, write_record, write_samples
from holisafe.bench._guards import Progress as OnVerdict
from holisafe.bench._guards import classify_missing, guards_record
from holisafe.bench._hosted import Traffic, close, in_loop, prepared
from holisafe.bench._journal import GUARD_VERDICTS, JUDGEMENTS, RESPONSES, Journal, Judgements
from holisafe.bench._judging import judge_answers, open_judge_model
from holisafe.bench._read import judge_ids, recorded_run
from holisafe.bench._record import finish, judges_record, new_record, noted
from holisafe.bench._request import RunRequest, run_request
from holisafe.bench._same import check_complete, check_complete_vllm, check_same, check_same_model, is_judged
from holisafe.bench._spending import SPENDING, Prices, Spending, spent_to_json, stopped_by_budget
from holisafe.bench._task import build_task
from holisafe.bench._vllm import check_served, open_vllm
from holisafe.bench._vllm_server import VllmOptions
from holisafe.errors import RunError
from holisafe.judges import Judge
from holisafe.judges.guard_models import Guard
from holisafe.models import ModelSpec
from holisafe.records import MAX_UNJUDGED, GuardVerdict, JudgeId, Response, Run, Sample

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
    temperature: float = 0.0,
    epoch: int = 1,
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
    prices: Prices | None = None,
    budget: float | None = None,
    max_unjudged: float = MAX_UNJUDGED,
    guard_models: Sequence[str | Guard] = (),
    defence: str | Sequence[str] | None = None,
    engine: str = "transformers",
    vllm: VllmOptions | None = None,
    progress: Progress | None = None,
    on_request: OnRequest | None = None,
    on_verdict: OnVerdict | None = None,
    on_engine: Callable[[str], None] | None = None,
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
        seed: Seed of the draw under `limit`, and of models that take one: these get `seed + epoch - 1`.
        temperature: Temperature of sampling; 0 decodes greedily.
        epoch: Which time the same samples are asked, from 1; a further one needs a temperature or a hosted model.
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
        prices: Prices of tokens, with which `run.json` says what the run has spent.
        budget: Money at which the run stops; the same call with a larger one resumes it.
        max_unjudged: Share of answers without a verdict, in [0, 1], above which a judge has no figures in `run.json`.
        guard_models: Guards that are shown the same requests as the model, each "NAME:SOURCE" as `--guard` takes it, or
            a guard of your own. Their verdicts are kept beside the answers.
        defence: Defence of a local model, or several, outermost first, each as `holisafe.defences.parse` takes it:
            "ecso", "coca:alpha=2". What each answer took is recorded with it.
        engine: What generates the answers of a local model: "transformers", in this process, or "vllm", a server that
            is started and stopped, or that of `vllm.base_url`. A guard then judges the images alone, beside it.
        vllm: How vLLM is reached, with `engine="vllm"`.
        progress: Called after every sample.
        on_request: Called whenever a request is sent, answered or tried again.
        on_verdict: Called after every verdict of a guard model.
        on_engine: Called with what a vLLM that is started does, in a few words.

    Raises:
        DataError: The data cannot be read or hold no samples.
        ModelError: The model cannot be loaded, a guard is asked for that is not there or for a model that is not
            local, or there are a `ModelSpec` and options of its own.
        GuardError: The guard does not fit the model, or a guard model's checkpoint cannot be loaded.
        BudgetError: The budget is spent. What was done is kept.
        RunError: The folder cannot be written, belongs to a run with other settings or one still going, or no sample
            could be answered; a budget is given without the prices that it needs. What was done is kept.
        DefenceError: A defence cannot work on the model, or a setting of it is wrong.
        UnknownNameError: There is no such model, data set, judge or defence.
    """
    request = run_request(
        model,
        data=data,
        split=split,
        setting=setting,
        judges=judges,
        judge_model=judge_model,
        fallback_judge=fallback_judge,
        limit=limit,
        out=out,
        max_new_tokens=max_new_tokens,
        seed=seed,
        temperature=temperature,
        epoch=epoch,
        system_prompt=system_prompt,
        chat_template_args=chat_template_args,
        max_retries=max_retries,
        timeout=timeout,
        model_args=model_args,
        device=device,
        device_map=device_map,
        dtype=dtype,
        quantization=quantization,
        attention=attention,
        revision=revision,
        batch_size=batch_size,
        image_reuse=image_reuse,
        trust_remote_code=trust_remote_code,
        guard=guard,
        guard_models=guard_models,
        defence=defence,
        engine=engine,
        vllm=vllm,
        prices=prices,
        budget=budget,
        max_unjudged=max_unjudged,
    )
    if request.model.vllm is not None and read_record(request.folder) is None:
        request.model.vllm.check_installed()
        check_served(request.model.name, request.model.vllm)
    with hold(request.folder, RunError):
        return _measured(request, progress, Traffic(told=on_request), on_verdict, on_engine)


@dataclass(frozen=True, slots=True)
class _OpenRun:
    """A run with its open files, and what `run.json` said when it was opened."""

    request: RunRequest
    before: dict[str, Any] | None
    journal: Journal
    judgements: Judgements
    spending: Spending

    @property
    def is_answered(self) -> bool:
        """Whether nothing is left to ask: it was complete, and every sample has an answer."""
        complete = self.before is not None and self.before["state"] == "complete"
        return complete and all(self.journal.get(sample.id) is not None for sample in self.request.samples)


def _measured(
    request: RunRequest,
    progress: Progress | None,
    traffic: Traffic,
    on_verdict: OnVerdict | None,
    on_engine: Callable[[str], None] | None,
) -> Run:
    before = read_record(request.folder)
    check_same(request.folder, before, request.settings)
    with contextlib.ExitStack() as files:
        journal = files.enter_context(Journal(request.folder / RESPONSES))
        judgements = files.enter_context(Judgements(request.folder / JUDGEMENTS))
        spending = files.enter_context(Spending(request.folder / SPENDING, request.prices, request.budget))
        run = _OpenRun(request, before, journal, judgements, spending)
        if run.is_answered:
            return _judge_more(run, on_verdict)
        record = {**new_record(request), **guards_record(before, request.guards)}
        write_samples(request.folder, request.samples)
        with (
            _budgeted(run, record, record),
            _opened(run, record, traffic, on_verdict, on_engine) as (model, verdict_of),
        ):
            log = _ask_and_judge(run, model, verdict_of, progress)
        record["log"] = os.path.relpath(log.location, request.folder)
        with _budgeted(run, record, record):
            _classify_more(run, on_verdict)
    return finish(request.folder, record, request.judge_ids)


@contextlib.contextmanager
def _budgeted(run: _OpenRun, record: dict[str, Any], stopped: dict[str, Any]) -> Iterator[None]:
    """Note what was spent, and say so where the budget has ended the run.

    Args:
        run: The run.
        record: The record that will be written when it is finished.
        stopped: The record that is written where the budget ends it.
    """
    request, spending = run.request, run.spending
    try:
        yield
    except RunError as error:
        if not spending.stopped:
            raise
        stopped["spending"] = spent_to_json(spending.totals, request.prices)
        write_record(request.folder, stopped)
        raise stopped_by_budget(spending, str(request.folder)) from error
    if spending.totals:
        record["spending"] = spent_to_json(spending.totals, request.prices)


def _classify_more(run: _OpenRun, on_verdict: OnVerdict | None) -> int:
    request = run.request
    return classify_missing(
        request.guards,
        request.samples,
        request.folder / GUARD_VERDICTS,
        max_retries=request.max_retries,
        timeout=request.timeout,
        progress=on_verdict,
        spending=run.spending,
    )


def _judge_more(run: _OpenRun, on_verdict: OnVerdict | None) -> Run:
    """The recorded answers with what was added, has changed, or failed before: judgements, guard models' verdicts."""
    request, before = run.request, run.before
    assert before is not None
    if request.model.vllm is not None:
        check_complete_vllm(request.folder, before, request.model.name, request.model.options, request.model.vllm)
    else:
        check_complete(
            request.folder, before, request.model.name, request.model.arguments if request.model.is_local else None
        )
    if run.spending.totals:
        before["spending"] = spent_to_json(run.spending.totals, request.prices)  # by the prices of now
    if not (request.folder / SAMPLES).exists():
        write_samples(request.folder, request.samples)
    identities = [*request.judge_ids, *_earlier(before, request.judge_ids)]
    guards = guards_record(before, request.guards)
    with _budgeted(run, before, before):
        classified = _classify_more(run, on_verdict)
    is_new = classified or guards.get("guard_models") != before.get("guard_models")
    is_new = is_new or before.get("max_unjudged") != request.max_unjudged
    if not is_new and is_judged(before, identities, request.judges, run.judgements, run.journal, request.samples):
        return recorded_run(request.folder, before, identities)
    recorded = recorded_run(request.folder, {"name": ""}, [])
    asked = [
        (judge, sample, response)
        for judge in request.judges
        for sample, response in zip(request.samples, recorded.responses, strict=True)
        if run.judgements.get(response, judge.id) is None
    ]
    record = {**before, **judges_record(identities), **guards, **noted(request)}
    with _budgeted(run, record, before):
        judge_answers(
            asked,
            request.judge_model,
            run.judgements.append,
            run.spending,
            max_retries=request.max_retries,
            timeout=request.timeout,
        )
    return finish(request.folder, record, identities)


def _earlier(before: dict[str, Any], judges: Sequence[JudgeId]) -> list[JudgeId]:
    """Judges of the finished run that are not asked for now; their judgements stay."""
    return [each for each in judge_ids(before) if each.name not in {judge.name for judge in judges}]


_Opened = tuple[Model, Callable[[Sample], GuardVerdict] | None]


@contextlib.contextmanager
def _opened(
    run: _OpenRun,
    record: dict[str, Any],
    traffic: Traffic,
    on_verdict: OnVerdict | None,
    on_engine: Callable[[str], None] | None,
) -> Iterator[_Opened]:
    """The model behind Inspect's interface, and what gives verdicts beside it; `record` says what it is."""
    asked, folder = run.request.model, run.request.folder

    def note(described: dict[str, Any]) -> None:
        record["model"] = described
        check_same_model(folder, run.before, described)
        write_record(folder, record)

    if asked.vllm is not None:
        left = [sample for sample in run.request.samples if run.journal.get(sample.id) is None]
        with open_vllm(
            asked.name, asked.options, asked.vllm, folder, left, traffic, note, on_verdict, on_engine
        ) as opened:
            yield opened
        return
    model = prepared(open_model(asked.name, asked.arguments), traffic)
    try:
        note(model.api.describe() if asked.is_local else {"id": asked.name})  # type: ignore[attr-defined]
        yield model, None
    finally:
        in_loop(lambda: close(model))  # in the loop that used it


def _ask_and_judge(
    run: _OpenRun, model: Model, verdict_of: Callable[[Sample], GuardVerdict] | None, progress: Progress | None
) -> EvalLog:
    """Ask what was not answered yet, and judge, under Inspect."""
    request, settings = run.request, run.request.settings
    is_here = request.model.is_local and request.model.vllm is None
    task = build_task(
        request.samples,
        request.judges,
        name=settings["data"] if settings["data"].isidentifier() else "holisafe_bench",
        max_new_tokens=settings["max_new_tokens"],
        seed=settings["seed"] + (settings["epoch"] or 1) - 1,
        temperature=settings["temperature"] or 0.0,
        system_prompt=settings["system_prompt"],
        max_retries=None if is_here else request.max_retries,
        timeout=None if is_here else request.timeout,
        journal=run.journal,
        judgements=run.judgements,
        spending=run.spending,
        pays=not request.model.is_local,
        on_response=_counter(progress, len(request.samples)),
        verdict_of=verdict_of,
    )
    asks = request.judge_model
    judge_model = None if asks is None else open_judge_model(asks, request.max_retries, request.timeout)
    return evaluate(model, task, request.folder, run.journal, judge_model)


def _counter(progress: Progress | None, total: int) -> Callable[[Response], None]:
    done = 0

    def count(_: Response) -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, total)

    return count
