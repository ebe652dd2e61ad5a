"""A judge that asks a model, measured against labels by people."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from holisafe._files import hold
from holisafe.bench._judging import judge_with_model
from holisafe.bench._plan import Plan, plan_judging
from holisafe.bench._request import chosen_judges
from holisafe.bench._spending import Prices
from holisafe.datasets.human_labels import LabelledAnswer
from holisafe.errors import RunError
from holisafe.judges import Judge
from holisafe.judges.validation import Validation, put_to_a_judge, validate
from holisafe.records import Judgement, Outcome, Response, Sample


def validate_judge(
    judge: str | Judge,
    answers: Sequence[LabelledAnswer],
    *,
    judge_model: str | None = None,
    fallback_judge: str | Judge | None = None,
    outcome: Outcome = Outcome.REFUSED,
    adjudicator: str | None = None,
    out: str | Path | None = None,
    prices: Prices | None = None,
    budget: float | None = None,
    max_retries: int = 5,
    timeout: int = 300,
) -> Validation:
    """As `holisafe.judges.validation.validate`, with the judge's model behind it; several answers at once.

    The model is shown the answers and those of their requests that are known, and no images.

    Args:
        judge: The judge, or its name.
        answers: Answers; those without labels are what rates are corrected for.
        judge_model: Inspect's name of the model that the judge asks; part of its identity.
        fallback_judge: Judge of the answers on which that model refuses to judge or cannot be read.
        outcome: The outcome that is a case.
        adjudicator: Annotator whose label decides.
        out: Folder that keeps each judgement as it comes, so that the same call resumes.
        prices: Prices of tokens of the judge's model.
        budget: Money at which no further call is made; it needs `out`.
        max_retries: Retries of a failed request.
        timeout: Seconds that one attempt may take.

    Raises:
        BudgetError: The budget is spent; what was judged is kept.
        DataError: As `validate`.
        JudgeError: The judge gives no verdict on any answer, needs a model and there is none, or has a fallback and
            asks none.
        ModelError: The model cannot be loaded.
        RunError: The folder cannot be written or is in use, or a budget is given without it or without prices.
        UnknownNameError: There is no such judge.
    """
    (chosen,) = chosen_judges([judge], judge_model, fallback_judge)

    def judged(by: Judge, samples: Sequence[Sample], responses: Sequence[Response]) -> Sequence[Judgement]:
        with contextlib.nullcontext() if out is None else hold(Path(out), RunError):
            found = judge_with_model(
                [by],
                samples,
                responses,
                judge_model,
                journal=validation_journal(out, answers),
                prices=prices,
                budget=budget,
                max_retries=max_retries,
                timeout=timeout,
            )
        return found[by.id.name]

    return validate(chosen, answers, outcome=outcome, adjudicator=adjudicator, judge_by=judged)


def plan_validation(
    judge: str | Judge,
    answers: Sequence[LabelledAnswer],
    *,
    judge_model: str | None = None,
    fallback_judge: str | Judge | None = None,
    out: str | Path | None = None,
    prices: Prices | None = None,
    budget: float | None = None,
) -> Plan:
    """What `validate_judge` with the same arguments would ask; nothing is asked or written.

    Raises:
        JudgeError, RunError, UnknownNameError: As `validate_judge`.
    """
    chosen = chosen_judges([judge], judge_model, fallback_judge)
    samples, responses = put_to_a_judge(answers)
    journal = validation_journal(out, answers)
    return plan_judging(chosen, samples, responses, judge_model, journal=journal, prices=prices, budget=budget)


def validation_journal(out: str | Path | None, answers: Sequence[LabelledAnswer]) -> Path | None:
    """The file of a folder that keeps judgements of these answers; None without a folder."""
    if out is None:
        return None
    said = json.dumps([[one.model, one.id, one.request, one.text] for one in answers])
    digest = hashlib.sha256(said.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    return Path(out) / f"judging-{digest}.jsonl"
