"""Recorded answers put to judges that ask a model: several at once, each judgement kept as soon as it is there."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path

from inspect_ai.model import GenerateConfig, Model

from holisafe import judges as judging
from holisafe.bench._ask import inspect_ask
from holisafe.bench._evaluate import open_model
from holisafe.bench._hosted import in_loop
from holisafe.bench._journal import Judgements
from holisafe.judges import Ask, Judge
from holisafe.records import Judgement, Response, Sample

Asked = tuple[Judge, Sample, Response]

AT_ONCE = 10
"""Judgements that are made at the same time; Inspect bounds the connections."""


def open_judge_model(name: str, max_retries: int, timeout: int) -> Model:
    """The model that judges ask, whose failed requests are tried again a bounded number of times.

    Raises:
        ModelError: It cannot be loaded.
    """
    config = GenerateConfig(max_retries=max_retries, attempt_timeout=timeout)
    return open_model(name, {"config": config})


def judge_answers(
    asked: Sequence[Asked],
    judge_model: str | None,
    keep: Callable[[Judgement], None],
    *,
    max_retries: int = 5,
    timeout: int = 300,
) -> None:
    """Judge each answer, in no fixed order.

    Args:
        asked: The judge, the sample and the answer of each.
        judge_model: Inspect's name of the model that judges ask; None where there is none.
        keep: Called with every judgement.
        max_retries: Retries of a failed request.
        timeout: Seconds that one attempt may take.

    Raises:
        ModelError: The model cannot be loaded.
    """
    if asked:
        in_loop(lambda: _judge(asked, judge_model, keep, max_retries, timeout))


def judge_with_model(
    judges: Sequence[Judge],
    samples: Sequence[Sample],
    responses: Sequence[Response],
    judge_model: str | None,
    *,
    journal: Path | None = None,
    max_retries: int = 5,
    timeout: int = 300,
) -> dict[str, tuple[Judgement, ...]]:
    """One judgement per judge and response, as `Run.judgements` has them.

    Args:
        judges: The judges.
        samples: What was asked.
        responses: One per sample.
        judge_model: Inspect's name of the model that judges ask.
        journal: File that keeps every judgement, so that the next call judges only what is missing or was an error.
        max_retries: Retries of a failed request.
        timeout: Seconds that one attempt may take.

    Raises:
        JudgeError: One needs a model, and there is none.
        ModelError: The model cannot be loaded.
        RunError: The journal is damaged or cannot be written.
    """
    by = [judging.with_model(judge, judge_model) for judge in judges]
    pairs = list(zip(samples, responses, strict=True))
    made: dict[tuple[str, str], Judgement] = {}
    with contextlib.ExitStack() as files:
        kept = None if journal is None else files.enter_context(Judgements(journal))
        for judge in by if kept is not None else ():
            for _, response in pairs:
                if (found := kept.get(response, judge.id)) is not None:  # type: ignore[union-attr]
                    made[judge.id.name, response.sample_id] = found

        def keep(judgement: Judgement) -> None:
            if kept is not None:
                kept.append(judgement)
            made[judgement.judge.name, judgement.sample_id] = judgement

        asked = [(judge, *pair) for judge in by for pair in pairs if (judge.id.name, pair[0].id) not in made]
        judge_answers(asked, judge_model, keep, max_retries=max_retries, timeout=timeout)
    return {judge.id.name: tuple(made[judge.id.name, sample.id] for sample in samples) for judge in by}


async def _judge(
    asked: Sequence[Asked],
    judge_model: str | None,
    keep: Callable[[Judgement], None],
    max_retries: int,
    timeout: int,
) -> None:
    waiting = iter(asked)

    async def work(ask: Ask | None) -> None:
        for judge, sample, response in waiting:
            judgement = await judging.judge_response(judge, sample, response, ask)
            await asyncio.to_thread(keep, judgement)

    async with contextlib.AsyncExitStack() as open_models:
        ask = None
        if judge_model is not None:
            model = open_judge_model(judge_model, max_retries, timeout)
            ask = inspect_ask(await open_models.enter_async_context(model))
        workers = [asyncio.create_task(work(ask)) for _ in range(min(AT_ONCE, len(asked)))]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
