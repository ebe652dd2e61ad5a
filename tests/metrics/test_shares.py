"""Means of shares with equal weights."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holisafe.metrics import mean_share_figure, share_figure

ROWS = st.lists(st.tuples(st.booleans(), st.sampled_from("ab"), st.integers(0, 5)), min_size=1, max_size=30)


@given(ROWS)
def test_the_value_is_the_mean_of_the_parts_shares_within_its_interval(rows: list[tuple[bool, str, int]]) -> None:
    holds, parts, clusters = [r[0] for r in rows], [r[1] for r in rows], [str(r[2]) for r in rows]
    found = mean_share_figure(holds, parts, clusters, ("a", "b"))
    shares = [[hold for hold, part, _ in rows if part == name] for name in "ab"]
    if not all(shares):
        assert found is None
        return
    assert found is not None and found.n == len(rows)
    assert found.value == pytest.approx(sum(sum(each) / len(each) for each in shares) / 2)
    assert 0 <= found.low <= found.value <= found.high <= 1


@given(ROWS)
def test_of_one_part_it_is_the_share(rows: list[tuple[bool, str, int]]) -> None:
    holds, clusters = [r[0] for r in rows], [str(r[2]) for r in rows]
    found, share = mean_share_figure(holds, ["a"] * len(rows), clusters, ("a",)), share_figure(holds, clusters)
    assert found is not None and share is not None
    assert (found.value, found.low, found.high, found.n) == pytest.approx((share.value, share.low, share.high, share.n))


def test_records_of_other_parts_are_left_out() -> None:
    found = mean_share_figure([True, False, True], ["a", "c", "b"], ["1", "2", "3"], ("a", "b"))
    assert found is not None and (found.value, found.n) == (1, 2)


def test_shared_clusters_widen_the_interval() -> None:
    holds, parts = [True, False] * 20, ["a", "b"] * 20
    alone = mean_share_figure(holds, parts, [str(at) for at in range(40)], ("a", "b"))
    holds = [at < 20 for at in range(40)]
    shared = mean_share_figure(holds, parts, [str(at // 10) for at in range(40)], ("a", "b"))
    assert alone is not None and shared is not None
    assert shared.high - shared.low > alone.high - alone.low
