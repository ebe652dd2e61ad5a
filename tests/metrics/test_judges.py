"""Agreement of any number of judges, and of the rankings they give."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from holisafe.errors import DataError
from holisafe.metrics import (
    disagreements,
    krippendorff_alpha,
    krippendorff_figure,
    pairwise_agreement,
    rank_correlation,
)


def _values(text: str) -> list[str | None]:
    return [None if value == "." else value for value in text.split()]


@pytest.mark.parametrize(
    ("rows", "alpha"),
    [
        # Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011), examples A (binary) and C (missing values)
        (["0 1 0 0 0 0 0 0 1 0", "1 1 1 0 0 1 0 0 0 0"], 0.095),
        (
            [
                "1 2 3 3 2 1 4 1 2 . . .",
                "1 2 3 3 2 2 4 1 2 5 . 3",
                ". 3 3 3 2 3 4 2 2 5 1 .",
                "1 2 3 3 2 4 4 1 2 5 1 .",
            ],
            0.743,
        ),
    ],
)
def test_alpha_is_that_of_the_textbook(rows: list[str], alpha: float) -> None:
    assert krippendorff_alpha({str(at): _values(row) for at, row in enumerate(rows)}) == pytest.approx(alpha, abs=5e-4)


@given(st.lists(st.sampled_from("abc"), min_size=2, max_size=30).filter(lambda values: len(set(values)) > 1))
def test_alpha_and_kappa_of_equal_judges_are_1(values: list[str]) -> None:
    verdicts = {"one": values, "other": values, "third": values}
    assert krippendorff_alpha(verdicts) == pytest.approx(1)
    assert [pair.kappa for pair in pairwise_agreement(verdicts)] == pytest.approx([1, 1, 1])
    assert disagreements(verdicts) == ()


def test_alpha_of_independent_judges_is_about_0() -> None:
    generator = np.random.default_rng(0)
    verdicts = {name: generator.choice(["a", "b"], 20_000, p=(0.9, 0.1)).tolist() for name in "xyz"}
    alpha = krippendorff_alpha(verdicts)
    assert alpha is not None and abs(alpha) < 0.02


def test_alpha_of_one_value_or_of_no_pair_is_none() -> None:
    assert krippendorff_alpha({"one": ["a", "a"], "other": ["a", "a"]}) is None
    assert krippendorff_alpha({"one": ["a", None], "other": [None, "b"]}) is None
    assert krippendorff_alpha({}) is None


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("ab")), min_size=4, max_size=40))
def test_kappa_is_that_of_scikit_learn(pairs: list[tuple[str, str]]) -> None:
    if len({value for pair in pairs for value in pair}) < 2:
        return
    ones, others = zip(*pairs, strict=True)
    (found,) = pairwise_agreement({"one": ones, "other": others})
    assert found.kappa == pytest.approx(cohen_kappa_score(ones, others))
    assert sum(found.prevalence.values()) == pytest.approx(1)
    assert found.n == len(pairs)


def test_kappa_is_low_beside_high_agreement_where_a_value_is_rare() -> None:
    (found,) = pairwise_agreement({"one": ["r", *"a" * 99], "other": [*"a" * 99, "r"]})
    assert found.agreement == 0.98
    assert found.kappa is not None and found.kappa < 0
    assert found.prevalence == pytest.approx({"a": 0.99, "r": 0.01})


def test_disagreements_leave_missing_values_out() -> None:
    assert disagreements({"x": ["a", "a", None, "b"], "y": ["a", None, None, "a"], "z": ["a", "b", "c", "b"]}) == (1, 3)


def test_judges_with_values_for_different_numbers_of_answers_are_refused() -> None:
    with pytest.raises(DataError, match="one: 1, other: 2"):
        krippendorff_alpha({"one": ["a"], "other": ["a", "b"]})


def test_equal_rankings_correlate_wholly_and_reversed_ones_inversely() -> None:
    hits = np.arange(200)[None] < np.array([[20], [60], [120], [190]])
    clusters = np.arange(200)
    same = rank_correlation(hits, hits, clusters)
    assert (same.kendall, same.spearman, same.models) == (pytest.approx(1), pytest.approx(1), 4)
    assert same.kendall_interval == pytest.approx((1, 1))
    reverse = rank_correlation(hits, hits[::-1], clusters)
    assert (reverse.kendall, reverse.spearman) == (pytest.approx(-1), pytest.approx(-1))


def test_the_interval_of_a_ranking_by_chance_is_wide_and_holds_0() -> None:
    generator = np.random.default_rng(1)
    found = rank_correlation(generator.random((6, 100)) < 0.5, generator.random((6, 100)) < 0.5, np.arange(100))
    assert found.kendall_interval is not None
    low, high = found.kendall_interval
    assert low < 0 < high and high - low > 0.5


def test_a_judge_that_finds_all_models_alike_ranks_none() -> None:
    found = rank_correlation(np.zeros((3, 10)), np.arange(30).reshape(3, 10) > 9, np.arange(10))
    assert found.kendall is None and found.kendall_interval is None and found.undefined == found.resamples


def test_a_ranking_needs_two_models() -> None:
    with pytest.raises(DataError, match="at least 2 models"):
        rank_correlation(np.zeros((1, 3)), np.zeros((1, 3)), np.arange(3))


def test_the_interval_of_alpha_covers_the_truth_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(0)
    truth = 0.5  # each person copies the other with this probability, else draws from the same two equal values
    covered = 0
    for _ in range(100):
        one = generator.integers(0, 2, 80)
        other = np.where(generator.random(80) < truth, one, generator.integers(0, 2, 80))
        found = krippendorff_figure({"a": one.tolist(), "b": other.tolist()}, range(80))
        assert found is not None
        covered += found.low <= truth <= found.high
    assert 88 <= covered <= 100


def test_alpha_has_no_interval_where_it_is_not_defined_and_ends_at_one() -> None:
    assert krippendorff_figure({"a": ["x", "x"], "b": ["x", "x"]}, [0, 1]) is None
    found = krippendorff_figure({"a": ["x", "y"] * 10, "b": ["x", "y"] * 10}, range(20))
    assert found is not None
    assert found.low < found.value == found.high == 1
