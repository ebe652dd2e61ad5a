"""Holm's correction holds for all comparisons of a table together."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from holisafe.errors import DataError
from holisafe.metrics import holm


def test_the_example_of_a_textbook() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02))


def test_what_was_not_tested_does_not_count() -> None:
    assert holm([0.02, None, 0.5]) == (0.04, None, 0.5)
    assert holm([]) == ()


@pytest.mark.parametrize("wrong", [-0.1, 1.1, float("nan")])
def test_a_value_that_is_no_p_value_is_refused(wrong: float) -> None:
    with pytest.raises(DataError, match="p-values in"):
        holm([0.5, wrong])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_corrected_values_are_never_smaller_keep_their_order_and_stay_below_bonferroni(found: list[float]) -> None:
    corrected = [p for p in holm(found) if p is not None]
    assert all(one >= raw for one, raw in zip(corrected, found, strict=True))
    assert all(one <= min(1, len(found) * raw) or one == 1 for one, raw in zip(corrected, found, strict=True))
    by_raw = [corrected[at] for at in sorted(range(len(found)), key=lambda at: found[at])]
    assert by_raw == sorted(by_raw)


def test_the_chance_of_any_false_finding_stays_below_alpha() -> None:
    draws = stats.uniform.rvs(size=(4000, 10), random_state=1)
    false = sum(min(p for p in holm(list(row)) if p is not None) < 0.05 for row in draws)
    assert 0.04 < false / len(draws) < 0.06
