import random
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holisafe.datasets import stratified
from holisafe.errors import DataError
from holisafe.records import ImageRef, Sample
from holisafe.taxonomy import Combination


def make(id: str, combination: Combination, twin: str | None = None) -> Sample:
    return Sample.ask(id, (ImageRef(id, data=b"x"),), "?", combination, twin=twin)


def of_counts(*counts: int) -> list[Sample]:
    pairs = zip(Combination, counts, strict=True)
    return [make(f"{c}-{number}", c) for c, count in pairs for number in range(count)]


def counted(samples: list[Sample]) -> Counter[Combination]:
    return Counter(sample.combination for sample in samples)


def test_every_combination_keeps_its_share() -> None:
    drawn = stratified(of_counts(500, 250, 125, 100, 25), 40)
    assert [counted(drawn)[c] for c in Combination] == [20, 10, 5, 4, 1]


def test_the_largest_remainders_get_what_is_left() -> None:
    drawn = stratified(of_counts(47, 33, 20, 0, 0), 10)
    assert [counted(drawn)[c] for c in Combination] == [5, 3, 2, 0, 0]


def test_none_becomes_empty() -> None:
    assert set(counted(stratified(of_counts(1000, 1, 1, 1, 1), 5))) == set(Combination)


def test_a_limit_below_the_number_of_combinations_is_an_error() -> None:
    with pytest.raises(DataError, match=r"hold 5 \(SSS, SSU, SUU, USU, UUU\); use at least 5"):
        stratified(of_counts(9, 9, 9, 9, 9), 4)


@pytest.mark.parametrize("limit", [0, -3])
def test_a_limit_that_is_not_positive_is_an_error_even_without_samples(limit: int) -> None:
    with pytest.raises(DataError, match="use at least 1"):
        stratified([], limit)


def test_a_limit_above_the_size_gives_everything() -> None:
    samples = of_counts(3, 2, 2, 2, 2)
    assert stratified(samples, 100) == samples


def test_the_same_seed_draws_the_same_in_whatever_order_the_samples_come() -> None:
    samples = of_counts(50, 50, 50, 50, 50)
    shuffled = random.Random(1).sample(samples, len(samples))
    drawn = stratified(samples, 20, seed=3)
    assert {s.id for s in stratified(shuffled, 20, seed=3)} == {s.id for s in drawn}
    assert stratified(samples, 20, seed=4) != drawn


def test_the_order_of_the_samples_is_kept() -> None:
    samples = of_counts(50, 50, 50, 50, 50)
    drawn = stratified(samples, 20)
    assert drawn == [sample for sample in samples if sample in drawn]


def twinned(pairs: int, singles: int) -> list[Sample]:
    samples = of_counts(singles, singles, singles, singles, singles)
    for number in range(pairs):
        a, b = f"pair-{number}-a", f"pair-{number}-b"
        samples += [make(a, Combination.SSS, twin=b), make(b, Combination.SSU, twin=a)]
    return samples


def test_twin_pairs_are_drawn_whole() -> None:
    drawn = stratified(twinned(pairs=200, singles=100), 180)
    by_id = {sample.id for sample in drawn}
    halves = [sample for sample in drawn if sample.twin and sample.twin not in by_id]
    members = [sample for sample in drawn if sample.twin]
    assert halves == []
    assert len(members) >= 60


def test_twins_whose_other_half_is_not_there_count_as_single() -> None:
    samples = [sample for sample in twinned(20, 5) if not sample.id.endswith("-b")]
    assert counted(stratified(samples, 20)).total() == 20


@given(
    st.lists(st.integers(0, 30), min_size=5, max_size=5),
    st.integers(0, 20),
    st.integers(1, 200),
    st.integers(0, 5),
)
def test_the_draw_has_the_size_asked_for_and_every_combination(
    counts: list[int], pairs: int, limit: int, seed: int
) -> None:
    samples = of_counts(*counts)
    samples += twinned(pairs, 0)
    present = counted(samples)
    if limit < len(present):
        with pytest.raises(DataError):
            stratified(samples, limit, seed)
        return
    drawn = stratified(samples, limit, seed)
    assert len(drawn) == min(limit, len(samples))
    assert set(counted(drawn)) == set(present)
    for combination, count in counted(drawn).items():
        share = min(limit, len(samples)) * present[combination] / len(samples)
        assert count == 1 or share - len(Combination) < count < share + 1


def test_it_draws_from_real_records(sample: Callable[..., Sample]) -> None:
    samples = [sample(str(number), Combination.UUU) for number in range(9)]
    assert len(stratified(samples, 3)) == 3
