"""What is drawn: equal shares, general data, the same for the same seed."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holisafe.datasets.open import load_open
from holisafe.errors import TuningError
from holisafe.guard import GuardConfig
from holisafe.records import Sample
from holisafe.taxonomy import Category, Combination
from holisafe.tuning import check_samples, mix
from holisafe.tuning._mix import group_by_length
from tuning.data import sample

OPEN = load_open("train", version=1)
"""Some of its SSU samples have no twin, unlike those of version 2."""

GENERAL = [sample(f"general-{i}", combination=Combination.SSS, category=None) for i in range(30)]


def spread_of(counts: Counter[Any]) -> int:
    return max(counts.values()) - min(counts.values())


def test_combinations_get_the_same_number_and_so_do_categories_within_each() -> None:
    drawn = mix(OPEN, 2003, keep_twins=False)
    assert len(drawn) == 2003
    combinations = Counter(each.combination for each in drawn)
    assert set(combinations) == {each.combination for each in OPEN}
    assert spread_of(combinations) <= 1
    for combination in combinations:
        categories = Counter(each.category for each in drawn if each.combination is combination)
        assert set(categories) == {each.category for each in OPEN if each.combination is combination}
        assert spread_of(categories) <= 1


def test_all_samples_of_a_category_are_used_equally_often() -> None:
    drawn = Counter(each.id for each in mix(OPEN, 20_000, keep_twins=False))
    groups: dict[Any, list[int]] = {}
    for each in OPEN:
        groups.setdefault((each.combination, each.category), []).append(drawn[each.id])
    assert all(max(times) - min(times) <= 1 for times in groups.values())


def test_twins_come_together_so_that_a_question_is_learned_with_both_answers() -> None:
    drawn = mix(OPEN, 1000)
    combinations = Counter(each.combination for each in drawn)
    assert spread_of(combinations) <= 1
    times = Counter(each.id for each in drawn)
    by_id = {each.id: each for each in OPEN}
    pairs = [(each, by_id[each.twin]) for each in drawn if each.twin and each.combination is Combination.SSU]
    safe = [twin for _, twin in pairs if twin.combination is Combination.SSS]
    assert len(safe) > 50
    assert all(times[twin.id] >= 1 for twin in safe)
    apart = mix(OPEN, 1000, keep_twins=False)
    assert sum(twin.id in {each.id for each in apart} for twin in safe) < 0.5 * len(safe)


def test_a_share_of_the_samples_is_whole_pairs_and_the_rest_is_balanced_without_them() -> None:
    drawn = mix(OPEN, 1000, twin_share=0.5)
    by_id = {each.id: each for each in OPEN}
    paired = Counter(each.id for each in drawn if each.twin)
    assert paired.total() == 500
    assert all(paired[by_id[name].twin or ""] == times for name, times in paired.items())
    rest = Counter(each.combination for each in drawn if not each.twin)
    assert set(rest) == {each.combination for each in OPEN} and spread_of(rest) <= 1


def test_every_pair_is_used_equally_often() -> None:
    drawn = Counter(each.id for each in mix(OPEN, 4000, twin_share=0.6) if each.twin)
    assert set(drawn) == {each.id for each in OPEN if each.twin} and spread_of(drawn) <= 1


@pytest.mark.parametrize(
    ("data", "share", "message"),
    [
        (OPEN, 1.0, "twin_share: expected a number in"),
        ([each for each in OPEN if not each.twin], 0.5, "not one of the samples is of a pair"),
        ([each for each in OPEN if each.twin], 0.5, "each of the samples is of a pair"),
    ],
)
def test_a_share_of_twins_that_the_data_cannot_give_is_an_error(data: Any, share: float, message: str) -> None:
    with pytest.raises(TuningError, match=message):
        mix(data, 1000, twin_share=share)


def test_harmless_samples_can_come_more_often_than_those_of_each_unsafe_combination() -> None:
    drawn = mix(OPEN, 1400, safe_weight=3)
    combinations = Counter(each.combination for each in drawn)
    assert combinations.pop(Combination.SSS) == 600
    assert set(combinations.values()) == {200}
    beside_pairs = Counter(each.combination for each in mix(OPEN, 1400, safe_weight=3, twin_share=0.5) if not each.twin)
    assert beside_pairs.pop(Combination.SSS) == 300 and set(beside_pairs.values()) == {100}


@pytest.mark.parametrize(("weight", "count", "message"), [(0, 1000, "safe_weight: expected"), (9, 80, "at least 91")])
def test_a_weight_that_leaves_a_category_without_samples_is_an_error(weight: float, count: int, message: str) -> None:
    with pytest.raises(TuningError, match=message):
        mix(OPEN, count, safe_weight=weight)


def test_twins_leave_room_for_every_category() -> None:
    drawn = mix(OPEN, 60)
    held = {each.category for each in OPEN if each.combination is Combination.SSS}
    assert {each.category for each in drawn if each.combination is Combination.SSS} == held


def test_the_share_of_general_data_is_as_asked() -> None:
    drawn = mix(OPEN, 1000, general=GENERAL, general_share=0.25)
    general = Counter(each.id for each in drawn if each.id.startswith("general"))
    assert general.total() == 250
    assert len(general) == len(GENERAL) and spread_of(general) <= 1


@given(seed=st.integers(0, 2**32), shuffling=st.randoms())
def test_the_seed_and_not_the_order_of_the_data_decides(seed: int, shuffling: Any) -> None:
    samples = OPEN[:200]
    other = list(samples)
    shuffling.shuffle(other)
    assert mix(samples, 60, seed=seed) == mix(other, 60, seed=seed)


def test_another_seed_draws_others_in_another_order() -> None:
    assert mix(OPEN, 100, seed=1) != mix(OPEN, 100, seed=2)


def test_samples_without_a_category_are_one_more_group() -> None:
    samples = [sample(f"{c}-{k}-{i}", combination=c, category=k) for c in ("SSS", "UUU")
               for k in (Category.HATE, None) for i in range(5)]  # fmt: skip
    assert set(Counter((each.combination, each.category) for each in mix(samples, 40)).values()) == {10}


def two() -> list[Sample]:
    return [sample("safe", combination=Combination.SSS), sample("unsafe")]


@pytest.mark.parametrize(
    ("samples", "options", "message"),
    [
        ([], {}, "the safety data are empty"),
        (OPEN[:1], {}, f"the safety data hold {OPEN[0].combination} alone"),
        (two(), {"general_share": 1.0}, r"general_share: expected a number in \[0, 1\), found 1.0"),
        (two(), {"general_share": 0.5}, "there are no general data"),
        (
            two(),
            {"general": [sample("refused")]},
            "general sample refused: combination: found USU, expected",
        ),
        ([*two(), sample("safe")], {}, "sample safe: its id stands for two samples"),
        ([*two(), replace(sample("odd"), tags={"category": "dragons"})], {}, "sample odd: category: found 'dragons'"),
        ([*two(), replace(sample("odd"), combination=None)], {}, "sample odd: combination: found none, expected one"),
        (two(), {"count": 1}, "the steps draw 1, and at least 2 samples of safety data are needed .*; raise max_steps"),
        (two(), {"count": 3, "general": GENERAL, "general_share": 0.6}, "at least 2 samples of safety data"),
    ],
)
def test_data_that_cannot_be_mixed_are_refused(samples: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(TuningError, match=message):
        mix(samples, **{"count": 10, **options})


def test_the_open_set_can_be_tuned_on() -> None:
    check_samples(OPEN, GuardConfig())


def test_images_without_labels_are_refused_where_the_image_head_learns() -> None:
    bare = sample(image_labels=())
    check_samples([bare])
    check_samples([bare], GuardConfig(image_head=False))
    with pytest.raises(TuningError, match="sample one: image_labels: found none"):
        check_samples([bare], GuardConfig())


def test_grouping_by_length_loses_nothing_and_saves_padding() -> None:
    samples = [sample(f"{i}", query="x" * (i * 37 % 100 + 1)) for i in range(100)]
    found = group_by_length(samples, 4, 8, seed=1)
    assert sorted(each.id for each in found) == sorted(each.id for each in samples)
    assert found == group_by_length(samples, 4, 8, seed=1) != group_by_length(samples, 4, 8, seed=2)

    def padded(order: list[Sample]) -> int:
        return sum(4 * max(len(each.query) for each in order[i : i + 4]) for i in range(0, 100, 4))

    assert padded(found) < 0.85 * padded(samples)


def test_an_unfilled_batch_stays_last_when_grouped() -> None:
    samples = [sample(f"{i}", query="x" * (10 - i)) for i in range(10)]
    assert [each.id for each in group_by_length(samples, 4, 8)[-2:]] == ["1", "0"]
