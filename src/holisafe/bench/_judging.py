"""Recorded answers put to judges that ask a model: several at once, each judgement kept as soon as it is there."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from inspect_ai.model import GenerateConfig, Model

from holisafe import judges as judging
from holisafe.bench._ask import AT_ONCE, inspect_ask
from holisafe.bench._evaluate import open_model
from holisafe.bench._hosted import in_loop
from holisafe.bench._journal import Judgements
from holisafe.bench._scorers import paid
from holisafe.bench._spending import (
    JUDGE,
    Prices,
    Spending,
    check_budget,
    recorded_calls,
    spent_to_json,
    stopped_by_budget,
    totals_of,
)
from holisafe.errors import BudgetError, RunError
from holisafe.judges import Ask, Judge
from holisafe.records import Judgement, Response, Sample

Asked = tuple[Judge, Sample, Response]


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
    spending: Spending | None = None,
    *,
    max_retries: int = 5,
    timeout: int = 300,
) -> None:
    """Judge each answer, in no fixed order.

    Args:
        asked: The judge, the sample and the answer of each.
        judge_model: Inspect's name of the model that judges ask; None where there is none.
        keep: Called with every judgement.
        spending: Where calls are counted; None where nobody counts.
        max_retries: Retries of a failed request.
        timeout: Seconds that one attempt may take.

    Raises:
        ModelError: The model cannot be loaded.
        BudgetError: The budget is spent; what was sent has been recorded.
    """
    if asked:
        in_loop(lambda: _judge(asked, judge_model, keep, spending, max_retries, timeout))


def judge_with_model(
    judges: Sequence[Judge],
    samples: Sequence[Sample],
    responses: Sequence[Response],
    judge_model: str | None,
    *,
    journal: Path | None = None,
    prices: Prices | None = None,
    budget: float | None = None,
    max_retries: int = 5,
    timeout: int = 300,
) -> dict[str, tuple[Judgement, ...]]:
    """One judgement per judge and response, as `Run.judgements` has them.

    Args:
        judges: The judges.
        samples: What was asked.
        responses: One per sample.
        judge_model: Inspect's name of the model that judges ask.
        journal: File that keeps every judgement, so that the next call judges only what is missing or was an error; the
            calls are kept beside it, in a file of the suffix `.spending.jsonl`.
        prices: Prices of tokens.
        budget: Money at which no further call is made; it needs a journal.
        max_retries: Retries of a failed request.
        timeout: Seconds that one attempt may take.

    Raises:
        JudgeError: One needs a model, and there is none.
        ModelError: The model cannot be loaded.
        BudgetError: The budget is spent; what was judged is kept.
        RunError: The journal is damaged or cannot be written, or a budget is given without journal or prices.
    """
    prices = prices or Prices()
    asks = judge_model if any(judging.asks_model(judge) for judge in judges) else None
    check_budget(prices, budget, {} if asks is None else {JUDGE: asks})
    if budget is not None and journal is None:
        raise RunError("a budget stops the judging before its end, and what was judged would be lost; give --out too")
    by = [judging.with_model(judge, judge_model) for judge in judges]
    pairs = list(zip(samples, responses, strict=True))
    made: dict[tuple[str, str], Judgement] = {}
    with contextlib.ExitStack() as files:
        kept = None if journal is None else files.enter_context(Judgements(journal))
        counted = None if journal is None else files.enter_context(Spending(spending_beside(journal), prices, budget))
        for judge in by if kept is not None else ():
            for _, response in pairs:
                if (found := kept.get(response, judge.id)) is not None:  # type: ignore[union-attr]
                    made[judge.id.name, response.sample_id] = found

        def keep(judgement: Judgement) -> None:
            if kept is not None:
                kept.append(judgement)
            made[judgement.judge.name, judgement.sample_id] = judgement

        asked = [(judge, *pair) for judge in by for pair in pairs if (judge.id.name, pair[0].id) not in made]
        try:
            judge_answers(asked, judge_model, keep, counted, max_retries=max_retries, timeout=timeout)
        except BudgetError as error:
            assert counted is not None
            raise stopped_by_budget(counted, str(journal)) from error
    return {judge.id.name: tuple(made[judge.id.name, sample.id] for sample in samples) for judge in by}


def spending_beside(journal: Path) -> Path:
    """The file of the calls that were made for the judgements of a journal."""
    return journal.with_suffix(".spending.jsonl")


def recorded_spending(journal: Path, prices: Prices | None = None) -> dict[str, Any] | None:
    """What the judgements of a journal have cost, as `run.json` has it; None where no call was made.

    Args:
        journal: As for `judge_with_model`.
        prices: Prices of tokens.

    Raises:
        RunError: A line is damaged.
    """
    totals = totals_of(recorded_calls(spending_beside(journal)))
    return spent_to_json(totals, prices or Prices()) if totals else None


async def _judge(
    asked: Sequence[Asked],
    judge_model: str | None,
    keep: Callable[[Judgement], None],
    spending: Spending | None,
    max_retries: int,
    timeout: int,
) -> None:
    waiting = iter(asked)

    async def work(ask: Ask | None) -> None:
        for judge, sample, response in waiting:
            async with paid(spending, judge, sample, response):
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
