"""Error of a judge, corrected rates, and whether models may share a calibration set."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from holisafe.errors import DataError
from holisafe.metrics import Labelled, corrected_rate, judge_error, may_share, prediction_powered_rate, share_figure


def _labelled(tp: int, fn: int, tn: int, fp: int) -> Labelled:
    truth = np.repeat([True, True, False, False], [tp, fn, tn, fp])
    return Labelled.of(truth, np.repeat([True, False, False, True], [tp, fn, tn, fp]))


def test_sensitivity_specificity_and_j_are_counted() -> None:
    found = judge_error(_labelled(40, 10, 90, 10))
    assert found.sensitivity is not None and found.specificity is not None and found.youden is not None
    assert (found.sensitivity.value, found.sensitivity.n) == (0.8, 50)
    assert (found.specificity.value, found.specificity.n) == (0.9, 100)
    assert found.youden.value == pytest.approx(0.7)
    assert found.youden.low < 0.7 < found.youden.high


def test_what_has_no_labels_has_no_figure() -> None:
    found = judge_error(_labelled(5, 0, 0, 0))
    assert found.sensitivity is not None and found.specificity is None and found.youden is None


@given(st.integers(1, 400), st.integers(0, 400))
def test_the_correction_of_a_perfect_judge_is_the_identity(cases: int, others: int) -> None:
    judged = np.repeat([True, False], [cases, others])
    for found in (
        corrected_rate(judged, _labelled(50, 0, 50, 0)),
        prediction_powered_rate(judged, _labelled(50, 0, 50, 0)),
    ):
        assert found.figure is not None and 0 <= found.figure.low <= found.figure.high <= 1
    lee = corrected_rate(judged, _labelled(50, 0, 50, 0)).figure
    assert lee is not None and lee.value == pytest.approx(cases / (cases + others))


def test_the_interval_of_a_perfect_judge_known_well_is_the_uncorrected_one() -> None:
    judged = np.repeat([True, False], [300, 700])
    found, plain = corrected_rate(judged, _labelled(10**6, 0, 10**6, 0)).figure, share_figure(judged, np.arange(1000))
    assert found is not None and plain is not None
    assert (found.low, found.high) == pytest.approx((plain.low, plain.high), abs=0.002)


def test_the_estimate_is_rogan_and_gladens() -> None:
    found = corrected_rate(np.repeat([True, False], [300, 700]), _labelled(80, 20, 90, 10)).figure
    assert found is not None
    assert found.value == pytest.approx((0.3 + 0.9 - 1) / 0.7)


def test_more_labels_narrow_the_interval() -> None:
    judged = np.repeat([True, False], [300, 700])
    few, many = (corrected_rate(judged, _labelled(8 * k, 2 * k, 9 * k, k)).figure for k in (2, 50))
    assert few is not None and many is not None
    assert many.high - many.low < few.high - few.low


def test_answers_that_share_clusters_widen_the_interval() -> None:
    judged, labelled = np.repeat([True, False], [300, 700]), _labelled(80, 20, 90, 10)
    alone = corrected_rate(judged, labelled).figure
    shared = corrected_rate(judged, labelled, np.arange(1000) // 10).figure
    assert alone is not None and shared is not None
    assert shared.high - shared.low > 1.5 * (alone.high - alone.low)


def test_permuted_labels_are_refused() -> None:
    generator = np.random.default_rng(0)
    labelled = Labelled.of(generator.random(500) < 0.5, generator.random(500) < 0.5)
    found = corrected_rate(np.ones(10, bool), labelled)
    assert found.figure is None and "Youden's J" in found.refused


@pytest.mark.parametrize(
    ("labelled", "why"), [(_labelled(5, 1, 0, 0), "no others than cases"), (_labelled(0, 0, 5, 0), "no cases")]
)
def test_labels_of_one_class_are_refused(labelled: Labelled, why: str) -> None:
    found = corrected_rate(np.ones(10, bool), labelled)
    assert found.figure is None and why in found.refused


def test_no_unlabelled_answers_are_refused() -> None:
    assert corrected_rate([], _labelled(5, 0, 5, 0)).refused == "no answers without labels"
    assert prediction_powered_rate([], _labelled(5, 0, 5, 0)).refused == "no answers without labels"


def test_prediction_power_narrows_the_interval_of_the_labels() -> None:
    labelled, judged = _labelled(58, 2, 138, 2), np.repeat([True, False], [3000, 7000])
    found, labels_alone = prediction_powered_rate(judged, labelled).figure, share_figure(labelled.truth, np.arange(200))
    assert found is not None and labels_alone is not None
    assert found.high - found.low < 0.7 * (labels_alone.high - labels_alone.low)


def test_a_judge_that_says_the_same_of_all_leaves_the_labels_alone() -> None:
    labelled = Labelled.of(np.arange(100) < 30, np.ones(100, bool))
    found = prediction_powered_rate(np.ones(50, bool), labelled).figure
    assert found is not None and found.value == pytest.approx(0.3)


def test_models_on_which_a_judge_errs_alike_may_share() -> None:
    found = may_share({"a": _labelled(80, 20, 90, 10), "b": _labelled(78, 22, 92, 8)})
    assert found.refused == "" and found.widest == pytest.approx(0)
    assert found.youden == pytest.approx(0.79 + 0.91 - 1)


def test_models_on_which_it_errs_otherwise_may_not() -> None:
    found = may_share({"a": _labelled(95, 5, 95, 5), "b": _labelled(70, 30, 95, 5)})
    assert "errs differently" in found.refused and found.widest == pytest.approx(0.25)
    assert found.p_sensitivity is not None and found.p_sensitivity < 0.001
    assert found.p_specificity == pytest.approx(1)


def test_the_same_j_from_other_errors_is_no_reason_to_share() -> None:
    found = may_share({"a": _labelled(95, 5, 70, 30), "b": _labelled(70, 30, 95, 5)})
    assert found.p_youden is not None and found.p_youden > 0.9
    assert "errs differently" in found.refused


def test_a_weak_judge_is_not_shared() -> None:
    found = may_share({"a": _labelled(60, 40, 60, 40), "b": _labelled(60, 40, 60, 40)})
    assert found.refused == "Youden's J is 0.20, below 0.5"


def test_one_model_cannot_be_tested() -> None:
    assert "cannot be tested" in may_share({"a": _labelled(60, 4, 60, 4)}).refused
    assert "cannot be tested" in may_share({}).refused


def test_small_counts_are_tested_exactly_as_fisher_does() -> None:
    found = may_share({"a": _labelled(10, 0, 10, 0), "b": _labelled(6, 4, 9, 1)})
    assert found.exact and found.p_sensitivity == pytest.approx(stats.fisher_exact([[10, 0], [6, 4]]).pvalue)
    assert found.p_specificity == pytest.approx(1)
    assert found.p_youden is not None and found.p_sensitivity is not None
    assert not found.refused and found.p_sensitivity > 0.05
    by_normal = may_share({"a": _labelled(10, 0, 10, 0), "b": _labelled(6, 4, 9, 1)}, exact=False)
    assert not by_normal.exact and by_normal.p_sensitivity is not None and by_normal.p_sensitivity < 0.05
    assert not may_share({"a": _labelled(80, 20, 90, 10), "b": _labelled(78, 22, 92, 8)}).exact


def test_the_exact_and_the_normal_test_agree_on_many_labels() -> None:
    models = {"a": _labelled(180, 20, 170, 30), "b": _labelled(165, 35, 175, 25)}
    exact, normal = may_share(models, exact=True), may_share(models, exact=False)
    for name in ("p_sensitivity", "p_specificity", "p_youden"):
        assert getattr(exact, name) == pytest.approx(getattr(normal, name), abs=0.12)
    three = {**models, "c": _labelled(170, 30, 180, 20)}
    assert may_share(three, exact=True).p_youden == pytest.approx(may_share(three, exact=False).p_youden or 0, abs=0.05)


def test_a_large_difference_is_found_with_few_labels() -> None:
    found = may_share({"a": _labelled(10, 0, 10, 0), "b": _labelled(2, 8, 10, 0)})
    assert found.exact and "errs differently" in found.refused


def test_with_twenty_labels_the_exact_test_keeps_its_level_and_rejects_less_than_the_normal_one() -> None:
    generator, truth = np.random.default_rng(1), np.arange(20) < 10

    def draw() -> Labelled:
        right = np.where(truth, generator.random(20) < 0.8, generator.random(20) < 0.95)
        return Labelled.of(truth, np.where(right, truth, ~truth))

    drawn = [{"a": draw(), "b": draw()} for _ in range(600)]
    by = {
        exact: sum("differently" in may_share(each, exact=exact).refused for each in drawn) for exact in (True, False)
    }
    assert by[True] / 600 < 0.05 and by[False] > by[True]


def test_three_models_are_tested_on_drawn_tables_which_keep_the_level() -> None:
    generator, truth = np.random.default_rng(2), np.arange(20) < 10

    def draw() -> Labelled:
        return Labelled.of(truth, np.where(generator.random(20) < 0.85, truth, ~truth))

    found = [may_share({"a": draw(), "b": draw(), "c": draw()}, draws=199) for _ in range(150)]
    assert all(one.exact for one in found)
    assert sum("differently" in one.refused for one in found) / 150 < 0.08


def test_sharing_is_refused_about_as_often_as_the_level_says() -> None:
    generator = np.random.default_rng(0)

    def draw() -> Labelled:
        truth = np.arange(200) < 100
        return Labelled.of(truth, np.where(truth, generator.random(200) < 0.85, generator.random(200) < 0.1))

    refused = sum(bool(may_share({"a": draw(), "b": draw(), "c": draw()}).refused) for _ in range(400))
    assert refused / 400 < 0.07


def test_arrays_of_different_lengths_are_refused() -> None:
    with pytest.raises(DataError, match=r"\(2,\), \(3,\)"):
        Labelled.of([True, False], [True, False, True])
