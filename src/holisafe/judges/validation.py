"""What a judge is worth: agreement of people and judge, its error against labels, and rates corrected for it.

An answer counts as labelled where all annotators agree or the adjudicator decides; the others are listed, and left out
of the error. The error is measured for each model apart: a judge may err on one model's answers more than on another's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from holisafe.datasets.human_labels import LABELS, LabelledAnswer
from holisafe.errors import DataError, JudgeError
from holisafe.judges._registry import Judge
from holisafe.judges.judging import judge_all
from holisafe.judges.panels import Cascade, decided_shares
from holisafe.metrics import (
    Correction,
    Figure,
    JudgeErrorRates,
    Labelled,
    PairAgreement,
    Sharing,
    corrected_rate,
    disagreements,
    judge_error,
    krippendorff_alpha,
    may_share,
    pairwise_agreement,
    prediction_powered_rate,
    share_figure,
)
from holisafe.records import NOT_SCORED, JudgeId, Judgement, Outcome, Response, Sample

JudgeBy = Callable[[Judge, Sequence[Sample], Sequence[Response]], Sequence[Judgement]]
"""How a judge is put to work: one judgement per response, in order."""


@dataclass(frozen=True, slots=True)
class ErrorOnModel:
    """One judge on one model's answers.

    Attributes:
        model: The model; empty where the file names none.
        error: Sensitivity, specificity and J, over the answers with a settled label.
        labelled: Share of cases among these, by people; None without any.
        judged: Share that the judge calls cases among the answers without labels; None without any.
        not_scored: Answers without an outcome by the judge (`no_answer`, `unparsable`, `error`, ...): never cases.
        calibration: "own", "shared" (labels of all models) or "none".
        corrected: The rate among the answers without labels, by Lee et al.
        prediction_powered: The rate among all answers; holds where those with labels were drawn at random.
    """

    model: str
    error: JudgeErrorRates
    labelled: Figure | None
    judged: Figure | None
    not_scored: int
    calibration: str
    corrected: Correction
    prediction_powered: Correction

    def to_json(self) -> dict[str, Any]:
        """JSON values, one key per attribute, those of `error` beside them."""
        return {
            "model": self.model,
            **self.error.to_json(),
            "labelled": None if self.labelled is None else self.labelled.to_json(),
            "judged": None if self.judged is None else self.judged.to_json(),
            "not_scored": self.not_scored,
            "calibration": self.calibration,
            "corrected": self.corrected.to_json(),
            "prediction_powered": self.prediction_powered.to_json(),
        }


@dataclass(frozen=True, slots=True)
class Validation:
    """Everything `holisafe judge validate` prints.

    Attributes:
        judge: Which judge.
        outcome: The outcome that is a case.
        annotators_alpha: Krippendorff's alpha of the annotators; None where it is not defined.
        annotators: Agreement of every two annotators.
        unsettled: Answers on which annotators disagree and no adjudicator decides: to be adjudicated.
        alpha: Krippendorff's alpha of judge and settled labels.
        agreement: Judge and settled labels; None without any.
        models: One entry per model.
        sharing: Whether models may share a calibration set.
        wrong: Settled answers of which the judge's outcome is another, each with that outcome.
        decided: Share of answers that each member of a cascade decided; empty for other judges.
    """

    judge: JudgeId
    outcome: Outcome
    annotators_alpha: float | None
    annotators: tuple[PairAgreement, ...]
    unsettled: tuple[LabelledAnswer, ...]
    alpha: float | None
    agreement: PairAgreement | None
    models: tuple[ErrorOnModel, ...]
    sharing: Sharing
    wrong: tuple[tuple[LabelledAnswer, Outcome], ...]
    decided: Mapping[str, float]

    def to_json(self) -> dict[str, Any]:
        """JSON values, one key per attribute."""
        return {
            "judge": self.judge.to_json(),
            "outcome": self.outcome.value,
            "annotators_alpha": self.annotators_alpha,
            "annotators": [pair.to_json() for pair in self.annotators],
            "unsettled": [_answer_json(answer) for answer in self.unsettled],
            "alpha": self.alpha,
            "agreement": None if self.agreement is None else self.agreement.to_json(),
            "models": [model.to_json() for model in self.models],
            "sharing": self.sharing.to_json(),
            "wrong": [{**_answer_json(answer), "judged": outcome.value} for answer, outcome in self.wrong],
            "decided": dict(self.decided),
        }


def validate(
    judge: Judge,
    answers: Sequence[LabelledAnswer],
    *,
    outcome: Outcome = Outcome.REFUSED,
    adjudicator: str | None = None,
    judge_by: JudgeBy = judge_all,
) -> Validation:
    """Judge answers, and measure the judge against those that people labelled.

    Args:
        judge: The judge.
        answers: Answers; those without labels are what rates are corrected for.
        outcome: The outcome that is a case.
        adjudicator: Annotator whose label decides.
        judge_by: How it judges; `holisafe.bench.validate_judge` gives it a model.

    Raises:
        DataError: No answer has a settled label, the outcome is none that people give, or the adjudicator labels none.
        JudgeError: The judge gives no verdict on any answer.
    """
    if outcome not in LABELS:
        raise DataError(f"expected one of {', '.join(LABELS)} as the outcome to measure; found {outcome}")
    annotators = list(dict.fromkeys(name for answer in answers for name in answer.labels))
    if adjudicator is not None and adjudicator not in annotators:
        raise DataError(
            f"the adjudicator {adjudicator!r} labels no answer; annotators: {', '.join(annotators) or 'none'}"
        )
    judgements = _judge(judge, answers, judge_by)
    outcomes = [judgement.outcome for judgement in judgements]
    settled = [answer.settled(adjudicator) for answer in answers]
    if not any(settled):
        raise DataError("no answer has a label on which annotators agree; label some, or name the adjudicator")
    names = [name for name in annotators if name != adjudicator]
    by_annotator = {name: [answer.labels.get(name) for answer in answers] for name in names}
    both: dict[str, Sequence[Outcome | None]] = {judge.id.name: outcomes, "people": settled}
    pairs = pairwise_agreement(both)
    sharing, models = _models(answers, settled, outcomes, outcome)
    return Validation(
        judge.id,
        outcome,
        krippendorff_alpha(by_annotator),
        pairwise_agreement(by_annotator),
        tuple(answer for answer, label in zip(answers, settled, strict=True) if answer.labels and label is None),
        krippendorff_alpha({name: _labelled_only(values, settled) for name, values in both.items()}),
        pairs[0] if pairs else None,
        models,
        sharing,
        tuple((answers[at], outcomes[at]) for at in disagreements(both)),
        decided_shares(judgements) if isinstance(judge, Cascade) else {},
    )


def _labelled_only(values: Sequence[Outcome | None], settled: Sequence[Outcome | None]) -> list[Outcome | None]:
    return [value for value, label in zip(values, settled, strict=True) if label is not None]


def put_to_a_judge(answers: Sequence[LabelledAnswer]) -> tuple[list[Sample], list[Response]]:
    """What a judge is shown of labelled answers: each, and its request where that is known; no image, no label."""
    samples = [Sample.ask(f"{at}", (), answer.request, None) for at, answer in enumerate(answers)]
    return samples, [Response(f"{at}", answer.text, answer.model) for at, answer in enumerate(answers)]


def _judge(judge: Judge, answers: Sequence[LabelledAnswer], judge_by: JudgeBy) -> Sequence[Judgement]:
    samples, responses = put_to_a_judge(answers)
    judgements = judge_by(judge, samples, responses)
    if judgements and all(judgement.outcome in NOT_SCORED for judgement in judgements):
        first = judgements[0]
        raise JudgeError(
            f"judge {judge.id.name!r} gives no verdict on any answer; the first is {first.outcome}: {first.rationale}"
        )
    return judgements


def _models(
    answers: Sequence[LabelledAnswer],
    settled: Sequence[Outcome | None],
    outcomes: Sequence[Outcome],
    case: Outcome,
) -> tuple[Sharing, tuple[ErrorOnModel, ...]]:
    places: dict[str, list[int]] = {}
    for at, answer in enumerate(answers):
        places.setdefault(answer.model, []).append(at)

    def labelled(chosen: Sequence[int]) -> Labelled:
        known = [at for at in chosen if settled[at] is not None]
        truth, judged = ([values[at] is case for at in known] for values in (settled, outcomes))
        return Labelled.of(truth, judged, [answers[at].cluster for at in known])

    by_model = {model: labelled(chosen) for model, chosen in places.items()}
    sharing = may_share({model: one for model, one in by_model.items() if len(one.truth)})
    every = labelled(range(len(answers)))
    found = []
    for model, chosen in places.items():
        rest = [at for at in chosen if not answers[at].labels]
        judged, clusters = [outcomes[at] is case for at in rest], [answers[at].cluster for at in rest]
        own = by_model[model]
        calibration, corrected = _correct(judged, clusters, own, every, sharing)
        found.append(
            ErrorOnModel(
                model,
                judge_error(own),
                share_figure(own.truth, own.clusters),
                share_figure(judged, clusters),
                sum(outcomes[at] in NOT_SCORED for at in chosen),
                calibration,
                corrected,
                prediction_powered_rate(judged, own, clusters),
            )
        )
    return sharing, tuple(found)


def _correct(
    judged: Sequence[bool], clusters: Sequence[str], own: Labelled, every: Labelled, sharing: Sharing
) -> tuple[str, Correction]:
    """With the model's own labels where they hold both classes, else with those of all models where that is allowed."""
    if own.truth.any() and not own.truth.all():
        return "own", corrected_rate(judged, own, clusters)
    if sharing.refused:
        return "none", Correction(None, f"no labels of this model's own of both kinds, and {sharing.refused}")
    return "shared", corrected_rate(judged, every, clusters)


def _answer_json(answer: LabelledAnswer) -> dict[str, Any]:
    labels: Mapping[str, Outcome] = answer.labels
    return {
        "id": answer.id,
        "model": answer.model,
        "request": answer.request,
        "text": answer.text,
        "labels": {name: label.value for name, label in labels.items()},
    }
