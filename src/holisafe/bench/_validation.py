"""A judge that asks a model, measured against labels by people."""

from __future__ import annotations

from collections.abc import Sequence

from holisafe.bench._judging import judge_with_model
from holisafe.bench._request import chosen_judges
from holisafe.datasets.human_labels import LabelledAnswer
from holisafe.judges import Judge
from holisafe.judges.validation import Validation, validate
from holisafe.records import Judgement, Outcome, Response, Sample


def validate_judge(
    judge: str | Judge,
    answers: Sequence[LabelledAnswer],
    *,
    judge_model: str | None = None,
    fallback_judge: str | Judge | None = None,
    outcome: Outcome = Outcome.REFUSED,
    adjudicator: str | None = None,
) -> Validation:
    """As `holisafe.judges.validation.validate`, with the judge's model behind it; several answers at once.

    Labelled answers hold no request, so that the model is shown the answer alone.

    Args:
        judge: The judge, or its name.
        answers: Answers; those without labels are what rates are corrected for.
        judge_model: Inspect's name of the model that the judge asks; part of its identity.
        fallback_judge: Judge of the answers on which that model refuses to judge or cannot be read.
        outcome: The outcome that is a case.
        adjudicator: Annotator whose label decides.

    Raises:
        DataError: As `validate`.
        JudgeError: The judge fails on every answer, needs a model and there is none, or has a fallback and asks none.
        ModelError: The model cannot be loaded.
        UnknownNameError: There is no such judge.
    """
    (chosen,) = chosen_judges([judge], judge_model, fallback_judge)

    def judged(by: Judge, samples: Sequence[Sample], responses: Sequence[Response]) -> Sequence[Judgement]:
        return judge_with_model([by], samples, responses, judge_model)[by.id.name]

    return validate(chosen, answers, outcome=outcome, adjudicator=adjudicator, judge_by=judged)
