"""A judge measured against labels by people."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from holisafe.datasets.human_labels import LabelledAnswer
from holisafe.errors import DataError, JudgeError
from holisafe.judges import Ask
from holisafe.judges.validation import validate
from holisafe.records import JudgeId, Judgement, Outcome, Response, Sample

REFUSED, ANSWERED = Outcome.REFUSED, Outcome.ANSWERED


class _Reads:
    """Says what the answer's first word says."""

    id = JudgeId("reads", "1")

    async def judge(self, sample: Sample, response: Response, ask: Ask | None = None) -> Judgement:
        word = response.text.split()[0]
        if word == "fail":
            raise JudgeError("needs a model")
        return Judgement(sample.id, self.id, REFUSED if word == "no" else ANSWERED)


def _answers(model: str, word: str, label: Outcome | None, count: int) -> list[LabelledAnswer]:
    labels = {} if label is None else {"ann": label, "bob": label}
    return [
        LabelledAnswer(f"{word}-{label}-{at}", f"{word} {at}", model, f"{label}{word}{at}", labels)
        for at in range(count)
    ]


def _model(model: str, tp: int, fn: int, tn: int, fp: int, rest: tuple[int, int]) -> list[LabelledAnswer]:
    kinds: Sequence[tuple[str, Outcome | None, int]] = (
        ("no", REFUSED, tp),
        ("yes", REFUSED, fn),
        ("yes", ANSWERED, tn),
        ("no", ANSWERED, fp),
        ("no", None, rest[0]),
        ("yes", None, rest[1]),
    )
    return [answer for word, label, count in kinds for answer in _answers(model, word, label, count)]


def test_a_perfect_judge_needs_no_correction() -> None:
    found = validate(_Reads(), _model("m", 40, 0, 60, 0, (30, 70)))
    (model,) = found.models
    assert model.error.youden is not None and model.error.youden.value == 1
    assert model.corrected.figure is not None and model.corrected.figure.value == pytest.approx(0.3)
    assert model.judged is not None and model.judged.value == pytest.approx(0.3)
    assert found.alpha == found.annotators_alpha == 1
    assert (found.wrong, found.unsettled, model.calibration) == ((), (), "own")


def test_a_judge_that_errs_is_corrected_and_what_it_gets_wrong_is_listed() -> None:
    found = validate(_Reads(), _model("m", 80, 20, 90, 10, (300, 700)))
    (model,) = found.models
    assert model.corrected.figure is not None
    assert model.corrected.figure.value == pytest.approx(0.2 / 0.7)
    assert len(found.wrong) == 30
    assert {outcome for _, outcome in found.wrong} == {REFUSED, ANSWERED}


def test_a_model_without_labels_borrows_them_only_where_models_are_alike() -> None:
    alike = [
        *_model("a", 80, 20, 90, 10, (1, 1)),
        *_model("b", 80, 20, 90, 10, (1, 1)),
        *_model("c", 0, 0, 0, 0, (30, 70)),
    ]
    assert [one.calibration for one in validate(_Reads(), alike).models] == ["own", "own", "shared"]
    other = [
        *_model("a", 95, 5, 90, 10, (1, 1)),
        *_model("b", 60, 40, 90, 10, (1, 1)),
        *_model("c", 0, 0, 0, 0, (30, 70)),
    ]
    found = validate(_Reads(), other)
    assert [one.calibration for one in found.models] == ["own", "own", "none"]
    assert found.models[2].corrected.figure is None
    assert "errs differently" in found.models[2].corrected.refused


def test_a_model_without_labels_gets_no_rate_from_a_single_other() -> None:
    found = validate(_Reads(), [*_model("a", 80, 20, 90, 10, (1, 1)), *_model("b", 0, 0, 0, 0, (3, 7))])
    assert found.models[1].corrected.figure is None
    assert "cannot be tested" in found.models[1].corrected.refused


def test_what_annotators_differ_on_is_left_out_until_it_is_adjudicated() -> None:
    split = LabelledAnswer("x", "no 1", "m", "x", {"ann": REFUSED, "bob": ANSWERED})
    ruled = LabelledAnswer("x", "no 1", "m", "x", {**split.labels, "eve": REFUSED})
    rest = _model("m", 5, 0, 5, 0, (0, 0))
    open_, closed = validate(_Reads(), [split, *rest]), validate(_Reads(), [ruled, *rest], adjudicator="eve")
    assert open_.unsettled == (split,) and closed.unsettled == ()
    assert [len(one.models) for one in (open_, closed)] == [1, 1]
    assert [one.models[0].labelled and one.models[0].labelled.n for one in (open_, closed)] == [10, 11]


def test_an_adjudicator_who_labels_nothing_is_refused() -> None:
    with pytest.raises(DataError, match="'eve' labels no answer; annotators: ann, bob"):
        validate(_Reads(), _model("m", 1, 0, 1, 0, (0, 0)), adjudicator="eve")


def test_labels_that_settle_nothing_are_refused() -> None:
    with pytest.raises(DataError, match="no answer has a label"):
        validate(_Reads(), _model("m", 0, 0, 0, 0, (3, 3)))


def test_a_judge_that_fails_on_all_is_refused_and_one_failure_is_counted() -> None:
    with pytest.raises(JudgeError, match="gives no verdict on any answer; the first is error: needs a model"):
        validate(_Reads(), _answers("m", "fail", REFUSED, 3))
    found = validate(_Reads(), [*_model("m", 4, 0, 4, 0, (0, 0)), *_answers("m", "fail", REFUSED, 1)])
    assert found.models[0].not_scored == 1
    assert found.models[0].error.sensitivity is not None and found.models[0].error.sensitivity.value == 0.8


def test_an_outcome_that_people_do_not_give_is_refused() -> None:
    with pytest.raises(DataError, match="expected one of refused"):
        validate(_Reads(), _model("m", 1, 0, 1, 0, (0, 0)), outcome=Outcome.ERROR)
