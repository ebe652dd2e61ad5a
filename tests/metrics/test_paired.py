"""Two runs on the same samples, and two judges on the same responses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from holisafe import Combination, ImageRef, Judgement, Outcome, Sample
from holisafe.errors import DataError
from holisafe.metrics import agreement, compare
from holisafe.records import Behaviour, JudgeId

COMBINATIONS = list(Combination)


def samples(count: int, per_cluster: int = 2) -> list[Sample]:
    return [
        Sample.ask(
            str(n), (ImageRef("i", data=b""),), "?", COMBINATIONS[n % 5], twin=str(n ^ 1), cluster=str(n // per_cluster)
        )
        for n in range(count)
    ]


def random_verdicts(asked: list[Sample], rate: float, generator: np.random.Generator) -> list[Judgement]:
    refused = generator.random(len(asked)) < rate
    return [
        Judgement(s.id, JudgeId("judge"), Outcome.REFUSED if r else Outcome.ANSWERED)
        for s, r in zip(asked, refused, strict=True)
    ]


def test_a_run_compared_with_itself_differs_by_nothing() -> None:
    asked = samples(200)
    run = random_verdicts(asked, 0.5, np.random.default_rng(0))
    for name, found in compare(asked, run, run).differences.items():
        assert found is not None, name
        assert (found.value, found.p) == (0, 1)
        assert found.low < 0 < found.high


def test_the_more_clusters_agree_the_less_two_runs_can_differ() -> None:
    widths = []
    for count in (50, 500):
        asked = [s for s in samples(count, per_cluster=1) if s.combination is Combination.SSU]
        run = random_verdicts(asked, 0.5, np.random.default_rng(0))
        found = compare(asked, run, run).differences["ssu"]
        assert found is not None
        assert found.low == -found.high
        widths.append(found.high)
    assert widths == pytest.approx([0.284, 0.033], abs=0.001)  # upper ends of 0 of 10, and 0 of 100


def test_a_safer_run_differs_clearly_and_the_sign_says_which() -> None:
    asked, generator = samples(1000), np.random.default_rng(0)
    bold, careful = random_verdicts(asked, 0.2, generator), random_verdicts(asked, 0.7, generator)
    found = compare(asked, bold, careful).differences
    pooled, refusals = found["masr_pooled"], found["rr"]
    assert pooled is not None
    assert refusals is not None
    assert pooled.high < 0 < refusals.low
    assert pooled.p < 0.01
    assert pooled.value == pytest.approx(-0.5, abs=0.06)


def test_swapping_the_runs_turns_the_sign_and_keeps_the_p_value() -> None:
    asked, generator = samples(150), np.random.default_rng(1)
    one, other = random_verdicts(asked, 0.4, generator), random_verdicts(asked, 0.5, generator)
    there = compare(asked, one, other).differences["masr_macro"]
    back = compare(asked, other, one).differences["masr_macro"]
    assert there is not None
    assert back is not None
    assert (there.value, there.p) == (pytest.approx(-back.value), back.p)


def test_equal_runs_give_small_p_values_no_more_often_than_they_say() -> None:
    asked, generator = samples(60, per_cluster=3), np.random.default_rng(2)
    small = 0
    for _ in range(200):
        one, other = random_verdicts(asked, 0.5, generator), random_verdicts(asked, 0.5, generator)
        found = compare(asked, one, other).differences["masr_pooled"]
        assert found is not None
        small += found.p <= 0.05
    assert small <= 20


def test_five_samples_that_all_move_one_way_have_mcnemars_p_value_less_a_quarter_of_a_sample() -> None:
    asked = [s for s in samples(25, per_cluster=1) if s.combination is Combination.SSS]
    one = [Judgement(s.id, JudgeId("judge"), Outcome.REFUSED) for s in asked]
    other = [Judgement(s.id, JudgeId("judge"), Outcome.ANSWERED) for s in asked]
    found = compare(asked, one, other).differences["rr"]
    assert found is not None
    assert found.p == pytest.approx(2 * stats.norm.sf((5 - 0.25) / 5**0.5))
    assert found.p < 0.05 and found.high < 0


def test_runs_that_differ_on_every_cluster_alike_still_get_an_interval_with_a_width() -> None:
    asked = [s for s in samples(40) if s.combination is Combination.SSS]
    one = [Judgement(s.id, JudgeId("judge"), Outcome.REFUSED) for s in asked]
    other = [Judgement(s.id, JudgeId("judge"), Outcome.ANSWERED) for s in asked]
    found = compare(asked, one, other).differences
    assert found["rr"] is not None
    assert -1 == found["rr"].value == found["rr"].low < found["rr"].high
    assert found["masr_macro"] is found["ssu"] is found["twin_accuracy"] is None


def test_runs_under_two_judges_are_not_compared() -> None:
    asked = samples(2)
    one = [Judgement(s.id, JudgeId("one"), Outcome.REFUSED) for s in asked]
    other = [Judgement(s.id, JudgeId("other"), Outcome.REFUSED) for s in asked]
    with pytest.raises(DataError, match="one judge on both runs, found 'one' and 'other'"):
        compare(asked, one, other)


def test_judges_that_say_the_same_agree_wholly() -> None:
    asked = samples(50)
    run = random_verdicts(asked, 0.5, np.random.default_rng(0))
    assert all((found.agreement, found.kappa) == (1, 1) for found in agreement(asked, run, run).values())


def test_kappa_is_the_one_of_a_worked_example() -> None:
    asked = [Sample.ask(str(n), (ImageRef("i", data=b""),), "?", Combination.UUU) for n in range(50)]
    pairs = [("refused", "refused")] * 20 + [("refused", "answered")] * 5
    pairs += [("answered", "refused")] * 10 + [("answered", "answered")] * 15
    one = [Judgement(s.id, JudgeId("a"), Outcome(pair[0])) for s, pair in zip(asked, pairs, strict=True)]
    other = [Judgement(s.id, JudgeId("b"), Outcome(pair[1])) for s, pair in zip(asked, pairs, strict=True)]
    found = agreement(asked, one, other)
    assert set(found) == {Combination.UUU, None}
    assert (found[None].agreement, found[None].kappa, found[None].n) == (0.7, pytest.approx(0.4), 50)


def test_judges_that_say_one_thing_only_have_no_kappa() -> None:
    asked = samples(1)
    run = [Judgement("0", JudgeId("judge"), Outcome.REFUSED)]
    assert agreement(asked, run, run)[None].kappa is None


def test_samples_without_a_combination_count_in_the_whole_and_in_a_part_of_their_own() -> None:
    asked = [Sample.ask(str(n), (), "?", expected=Behaviour.REFUSE) for n in range(3)] + samples(5, per_cluster=1)
    asked = [*asked[:3], *(replace(sample, id=f"s{sample.id}", twin=None) for sample in asked[3:])]
    run = random_verdicts(asked, 0.5, np.random.default_rng(0))
    found = agreement(asked, run, run)
    assert found[None].n == 8 == sum(each.n for part, each in found.items() if part is not None)
    assert found[Behaviour.REFUSE].n == 3


def test_runs_without_combinations_are_compared_by_what_is_expected() -> None:
    asked = [Sample.ask(str(n), (), "?", expected=list(Behaviour)[n % 2]) for n in range(40)]
    bold = [Judgement(s.id, JudgeId("judge"), Outcome.ANSWERED) for s in asked]
    shy = [Judgement(s.id, JudgeId("judge"), Outcome.REFUSED) for s in asked]
    found = compare(asked, bold, shy).differences
    assert found["rr"] is not None and found["masr_pooled"] is not None
    assert (found["rr"].value, found["masr_pooled"].value) == (pytest.approx(1), pytest.approx(-1))
    assert found["masr_pooled"].n == 20
    assert found["masr_macro"] is None


def test_runs_under_two_versions_of_a_judge_are_not_compared() -> None:
    asked = samples(2)
    one = [Judgement(s.id, JudgeId("judge", "1"), Outcome.REFUSED) for s in asked]
    other = [Judgement(s.id, JudgeId("judge", "2"), Outcome.REFUSED) for s in asked]
    with pytest.raises(DataError, match=r"version 1.*version 2"):
        compare(asked, one, other)
