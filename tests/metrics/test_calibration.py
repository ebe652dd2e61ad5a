"""Calibration of probabilities, ranking, scores by label, and the conformal promise."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats
from sklearn import metrics as oracle

from holisafe.errors import DataError
from holisafe.metrics import (
    auprc,
    auroc,
    bootstrap_figure,
    conformal_spread,
    conformal_threshold,
    equal_mass_calibration_error,
    equal_mass_reliability_curve,
    expected_calibration_error,
    fit_temperature,
    negative_log_likelihood,
    per_class,
    reliability_curve,
    share_figure,
    softmax,
)

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def drawn_from_softmax(seed: int, count: int, labels: int) -> tuple[Floats, Ints]:
    """Logits, and labels drawn from their softmax: calibrated at temperature 1."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, 2, size=(count, labels))
    right = (softmax(logits).cumsum(axis=1) < generator.random((count, 1))).sum(axis=1)
    return logits, np.minimum(right, labels - 1)


@st.composite
def scored(draw: st.DrawFn) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Scores with many ties, and records of both kinds."""
    count = draw(st.integers(2, 60))
    scores = draw(hnp.arrays(np.float64, count, elements=st.sampled_from([0.0, 0.1, 0.2, 0.5, 0.9, 1.0])))
    truth = draw(hnp.arrays(np.bool_, count))
    truth[:2] = [True, False]
    return scores, truth


@st.composite
def claims(draw: st.DrawFn) -> tuple[Floats, npt.NDArray[np.bool_]]:
    count = draw(st.integers(1, 80))
    return draw(hnp.arrays(np.float64, count, elements=st.floats(0, 1))), draw(hnp.arrays(np.bool_, count))


# -- temperature


@pytest.mark.parametrize("scale", [0.25, 1.0, 3.0, 8.0])
def test_the_temperature_that_the_logits_were_scaled_by_is_found(scale: float) -> None:
    logits, labels = drawn_from_softmax(0, 8000, 20)
    assert fit_temperature(scale * logits, labels).value == pytest.approx(scale, rel=0.05)


@given(st.floats(0.3, 3), st.integers(0, 20))
def test_scaling_logits_scales_the_temperature(scale: float, seed: int) -> None:
    logits, labels = drawn_from_softmax(seed, 200, 4)
    assert fit_temperature(scale * logits, labels).value == pytest.approx(
        scale * fit_temperature(logits, labels).value, rel=1e-3
    )


@given(st.integers(0, 50), st.floats(0.2, 5))
def test_no_other_temperature_is_much_likelier(seed: int, scale: float) -> None:
    logits, labels = drawn_from_softmax(seed, 400, 5)
    found = negative_log_likelihood(scale * logits, labels, fit_temperature(scale * logits, labels, resamples=0).value)
    others = [negative_log_likelihood(scale * logits, labels, float(t)) for t in np.geomspace(0.02, 50, 30)]
    assert found <= min(others) + 2e-3


def test_the_temperature_is_not_pulled_towards_doubt_by_few_records() -> None:
    found = []
    for seed in range(100):
        logits, labels = drawn_from_softmax(seed, 80, 20)
        found.append(fit_temperature(logits, labels, resamples=0).value)
    assert np.median(found) == pytest.approx(1, abs=0.06)


def test_the_interval_holds_the_true_temperature_about_as_often_as_it_says() -> None:
    held = 0
    for seed in range(200):
        logits, labels = drawn_from_softmax(1000 + seed, 150, 5)
        found = fit_temperature(2 * logits, labels, resamples=300, seed=seed)
        held += found.low <= 2 <= found.high
    assert 0.88 <= held / 200 <= 1


def test_records_of_a_cluster_widen_the_interval() -> None:
    logits, labels = drawn_from_softmax(3, 100, 5)
    times = np.repeat(np.arange(100), 9)
    alone, together = (fit_temperature(logits[times], labels[times], each) for each in (None, times))
    assert together.value == alone.value
    assert together.high - together.low > 2 * (alone.high - alone.low)


def test_separable_records_determine_no_temperature() -> None:
    labels = np.arange(200) % 20
    found = fit_temperature(5.0 * np.eye(20)[labels], labels)
    assert (found.value, found.at_bound) == (0.01, True)


def test_logits_that_say_nothing_are_left_as_they_are() -> None:
    found = fit_temperature(np.ones((5, 3)), [0, 1, 2, 0, 1])
    assert (found.value, found.low, found.high) == (1.0, 0.01, 100.0)


def test_a_head_that_is_always_wrong_ends_at_the_other_bound() -> None:
    labels = np.arange(40) % 4
    found = fit_temperature(9.0 * np.eye(4)[(labels + 1) % 4], labels)
    assert found.value == pytest.approx(100, rel=1e-3) and found.at_bound


def test_clusters_that_do_not_belong_to_the_records_are_refused() -> None:
    with pytest.raises(DataError, match="the cluster of each record"):
        fit_temperature(np.eye(3), [0, 1, 2], [0, 1])


@given(hnp.arrays(np.bool_, st.integers(1, 60)), st.integers(1, 5))
def test_a_share_lies_in_its_interval_which_clusters_widen(holds: Ints, size: int) -> None:
    alone = share_figure(holds, np.arange(len(holds)))
    together = share_figure(holds, np.arange(len(holds)) // size)
    assert alone is not None and together is not None
    assert together.low <= alone.low <= alone.value == holds.mean() <= alone.high <= together.high
    assert alone.n == len(holds) and alone.high - alone.low > 0
    assert share_figure([], []) is None


@pytest.mark.parametrize(
    ("logits", "labels", "says"),
    [
        (np.zeros((0, 3)), [], "at least one record"),
        (np.zeros((2, 3)), [0], "one label per row"),
        (np.zeros((2, 3)), [0, 3], "record 1 is 3; expected 0 to 2"),
        (np.zeros((2, 3)), [0.0, 1.0], "whole number"),
        (np.array([[0, 1.0], [np.nan, 0]]), [0, 1], "first: record 1"),
        (np.zeros(3), [0, 1, 2], "expected 2 axes"),
    ],
)
def test_what_cannot_be_fitted_is_named(logits: Floats, labels: list[float], says: str) -> None:
    with pytest.raises(DataError, match=says):
        fit_temperature(logits, labels)


# -- reliability


@given(claims(), st.integers(1, 20))
def test_bins_hold_each_record_once_and_errors_stay_in_range(data: tuple[Floats, Ints], bins: int) -> None:
    confidence, correct = data
    for curve in (reliability_curve(*data, bins), equal_mass_reliability_curve(*data, bins)):
        assert sum(part.accuracy.n for part in curve) == len(confidence)
        assert len(curve) <= bins
        total = sum(part.confidence * part.accuracy.n for part in curve)
        assert total == pytest.approx(confidence.sum(), abs=1e-9)
        assert all(part.low <= part.confidence + 1e-12 and part.confidence <= part.high + 1e-12 for part in curve)
        assert all(part.accuracy.low <= part.accuracy.value <= part.accuracy.high for part in curve)
        assert sum(part.accuracy.value * part.accuracy.n for part in curve) == pytest.approx(correct.sum())
    assert 0 <= expected_calibration_error(*data, bins) <= 1
    assert 0 <= equal_mass_calibration_error(*data, bins) <= 1


@given(claims(), st.randoms(use_true_random=False))
def test_the_order_of_records_does_not_matter(data: tuple[Floats, Ints], shuffle: object) -> None:
    order = list(range(len(data[0])))
    shuffle.shuffle(order)  # type: ignore[attr-defined]
    mixed = data[0][order], data[1][order]
    assert expected_calibration_error(*mixed) == pytest.approx(expected_calibration_error(*data))
    assert equal_mass_calibration_error(*mixed) == pytest.approx(equal_mass_calibration_error(*data))


def test_the_calibration_error_is_the_weighted_gap() -> None:
    confidence = [0.95, 0.95, 0.95, 0.95, 0.55]
    correct = [True, True, True, False, False]
    assert expected_calibration_error(confidence, correct, 10) == pytest.approx((4 * 0.20 + 0.55) / 5)


def test_a_bin_holds_its_upper_edge() -> None:
    assert [(part.low, part.high) for part in reliability_curve([0.0, 0.5, 1.0], [1, 1, 1], 2)] == [(0, 0.5), (0.5, 1)]
    assert [part.accuracy.n for part in reliability_curve([0.0, 0.5, 1.0], [1, 1, 1], 2)] == [2, 1]


def test_bins_of_equal_mass_hold_as_many_records() -> None:
    confidence = np.random.default_rng(0).beta(20, 1, size=150)
    curve = equal_mass_reliability_curve(confidence, confidence > 0.9, 15)
    assert [part.accuracy.n for part in curve] == [10] * 15


def test_calibrated_claims_have_a_small_error_and_inflated_ones_a_large_one() -> None:
    generator = np.random.default_rng(1)
    confidence = generator.uniform(0.5, 1, size=20_000)
    correct = generator.random(20_000) < confidence
    assert expected_calibration_error(confidence, correct) < 0.015
    assert equal_mass_calibration_error(confidence, correct) < 0.015
    assert expected_calibration_error((1 + confidence) / 2, correct) == pytest.approx(0.125, abs=0.01)


def test_confidence_must_be_a_probability() -> None:
    with pytest.raises(DataError, match=r"0\.5 to 1\.5"):
        expected_calibration_error([0.5, 1.5], [True, False])


# -- ranking


@given(scored())
def test_auroc_and_auprc_agree_with_scikit_learn_with_ties_too(data: tuple[Floats, npt.NDArray[np.bool_]]) -> None:
    scores, truth = data
    assert auroc(scores, truth) == pytest.approx(oracle.roc_auc_score(truth, scores))
    assert auprc(scores, truth) == pytest.approx(oracle.average_precision_score(truth, scores))


@given(scored())
def test_auroc_of_the_opposite_is_the_complement(data: tuple[Floats, npt.NDArray[np.bool_]]) -> None:
    scores, truth = data
    assert auroc(-scores, truth) == pytest.approx(1 - auroc(scores, truth))  # type: ignore[operator]


@pytest.mark.parametrize("truth", [[True, True], [False, False]])
def test_ranking_of_one_kind_alone_is_undefined(truth: list[bool]) -> None:
    assert auroc([0.1, 0.2], truth) is None
    assert auprc([0.1, 0.2], truth) == (1.0 if truth[0] else None)


# -- scores by label


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=60))
def test_scores_by_label_agree_with_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    predictions, labels = (np.array(side) for side in zip(*pairs, strict=True))
    found = per_class(predictions, labels, 5)
    expected = oracle.precision_recall_fscore_support(labels, predictions, labels=range(5), zero_division=np.nan)
    for scores, precision, recall, f1, support in zip(found, *expected, strict=True):
        assert scores.support == support
        assert scores.precision == (None if np.isnan(precision) else pytest.approx(precision))
        assert scores.recall == (None if np.isnan(recall) else pytest.approx(recall))
        assert scores.f1 == (pytest.approx(f1) if support else None)


def test_a_label_without_records_has_no_recall_and_no_f1() -> None:
    absent = per_class([0, 1], [0, 0], 3)
    assert (absent[1].precision, absent[1].recall, absent[1].f1) == (0.0, None, None)
    assert (absent[2].precision, absent[2].recall, absent[2].f1) == (None, None, None)


# -- the conformal promise

SHARES = [0.01, 0.05, 0.1, 0.29, 0.5]


@given(
    hnp.arrays(np.float64, st.integers(1, 120), elements=st.floats(0, 1) | st.sampled_from([0.0, 0.5])),
    st.sampled_from(SHARES),
)
def test_the_threshold_is_the_smallest_that_leaves_room_for_one_more(scores: Floats, rate: float) -> None:
    if (len(scores) + 1) * rate < 1:
        with pytest.raises(DataError, match="safe records"):
            conformal_threshold(scores, rate)
        return
    threshold = conformal_threshold(scores, rate)
    room = (len(scores) + 1) * rate + 1e-9
    assert (scores >= threshold).sum() + 1 <= room
    assert (scores >= np.nextafter(threshold, -1)).sum() + 1 > room


@pytest.mark.parametrize(("count", "rate"), [(19, 0.05), (40, 0.05), (100, 0.1), (57, 0.29)])
def test_the_promise_holds_over_many_draws_and_is_not_wasted(count: int, rate: float) -> None:
    generator = np.random.default_rng(3)
    flagged = []
    for _ in range(4000):
        threshold = conformal_threshold(generator.beta(0.5, 3, size=count), rate)
        flagged.append(stats.beta.sf(threshold, 0.5, 3))  # share of all safe records to come
    noise = 4 * np.std(flagged) / np.sqrt(len(flagged))
    assert rate - 1 / (count + 1) - noise <= np.mean(flagged) <= rate + noise


@pytest.mark.parametrize("values", [2, 3, 10])
def test_the_promise_holds_with_ties(values: int) -> None:
    generator = np.random.default_rng(4)
    flagged = []
    for _ in range(4000):
        scores = generator.integers(0, values, size=40) / (values - 1)
        threshold = conformal_threshold(scores, 0.1)
        flagged.append(np.mean(np.arange(values) / (values - 1) >= threshold))
    assert np.mean(flagged) <= 0.1


def test_the_share_flagged_scatters_as_the_spread_says() -> None:
    generator = np.random.default_rng(5)
    low, high = conformal_spread(99, 0.1)
    flagged = [1 - conformal_threshold(generator.random(99), 0.1) for _ in range(4000)]
    assert np.mean([low <= share <= high for share in flagged]) == pytest.approx(0.95, abs=0.015)


def test_too_few_safe_records_to_promise_anything_say_how_many_it_takes() -> None:
    with pytest.raises(DataError, match="at least 19 safe records, found 18"):
        conformal_threshold(np.zeros(18), 0.05)
    assert conformal_threshold(np.zeros(19), 0.05) > 0


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.1, float("nan")])
def test_the_flag_rate_must_be_a_share(rate: float) -> None:
    with pytest.raises(DataError, match="flag_rate"):
        conformal_threshold(np.zeros(50), rate)


# -- intervals


def test_the_bootstrap_draws_clusters_whole() -> None:
    values = np.repeat(np.random.default_rng(6).random(60), 5)
    together = bootstrap_figure(
        lambda chosen: float(values[chosen].mean()), np.repeat(np.arange(60), 5), independent=60, resamples=800, seed=0
    )
    alone = bootstrap_figure(
        lambda chosen: float(values[chosen].mean()), np.arange(300), independent=300, resamples=800, seed=0
    )
    assert together is not None and alone is not None
    assert (together.high - together.low) / (alone.high - alone.low) == pytest.approx(np.sqrt(5), rel=0.15)


def test_a_statistic_that_cannot_be_had_has_no_interval() -> None:
    assert bootstrap_figure(lambda _: None, np.arange(3), independent=3, resamples=10, seed=0) is None
