"""Figures grouped by tags: no two tags share a key, no sample is lost, and the parts add up to the whole."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holisafe import UNSAFE_COMBINATIONS, Category, Combination, ImageRef, Judgement, Outcome, Sample, Subcategory
from holisafe.metrics import (
    PARTS,
    Figure,
    Summary,
    asr_name,
    figures,
    is_counted,
    is_right,
    part_of,
    summarise,
)
from holisafe.metrics.display import group_columns, group_name
from holisafe.records import Behaviour, JudgeId, Role, Turn

TAGS = ("category", "subcategory", "scenario")
VALUES = ("sexual_content", "hate", "not given", "", "ein „Wert“")


@st.composite
def tagged(draw: st.DrawFn) -> list[tuple[Sample, Outcome]]:
    """Samples with and without combination, expectation, images, cluster and tags."""
    found = []
    for number in range(draw(st.integers(0, 25))):
        images = tuple(ImageRef(f"image-{draw(st.integers(0, 5))}") for _ in range(draw(st.integers(0, 2))))
        sample = Sample(
            id=str(number),
            turns=(Turn(Role.USER, "?", images),),
            expected=draw(st.sampled_from([*Behaviour, None])),
            combination=draw(st.sampled_from([*Combination, None])),
            twin=draw(st.sampled_from([None, str(number ^ 1)])),
            cluster=draw(st.sampled_from(["", "one", "two"])),
            tags={tag: draw(st.sampled_from(VALUES)) for tag in TAGS if draw(st.booleans())},
        )
        found.append((sample, draw(st.sampled_from(Outcome))))
    return found


def judged(case: list[tuple[Sample, Outcome]], **options: object) -> Summary:
    judgements = [Judgement(sample.id, JudgeId("judge"), outcome) for sample, outcome in case]
    return summarise([sample for sample, _ in case], judgements, **options)  # type: ignore[arg-type]


def counted(found: list[Figure | None]) -> tuple[int, int]:
    """Numerators and denominators, added up."""
    kept = [figure for figure in found if figure is not None]
    return sum(round(figure.value * figure.n) for figure in kept), sum(figure.n for figure in kept)


@settings(max_examples=80)
@given(tagged())
def test_in_every_table_the_parts_add_up_to_the_headline(case: list[tuple[Sample, Outcome]]) -> None:
    found = judged(case, by=TAGS)
    refusals = [(s, o) for s, o in case if s.expected is Behaviour.REFUSE]
    for groups in found.by.values():
        within = {rate: [rates.get(rate) for rates in groups.values()] for rate in ("rr", "asr", "ssu")}
        assert counted(within["rr"]) == counted([found.rr])
        assert counted(within["ssu"]) == counted([found.asr[Combination.SSU]])
        assert counted(within["asr"]) == (sum(is_counted(s.expected, o) for s, o in refusals), len(refusals))
        parts = [figure for rates in groups.values() for figure in map(rates.get, map(asr_name, UNSAFE_COMBINATIONS))]
        without = sum(part_of(s) is Behaviour.REFUSE for s, _ in refusals)
        assert counted(parts)[1] + without == len(refusals)
    assert sum(sum(counts.values()) for counts in found.outcomes.values()) == len(case)
    assert list(found.outcomes) == list(PARTS)


@settings(max_examples=80)
@given(tagged())
def test_rates_are_over_what_is_expected_and_nothing_raises(case: list[tuple[Sample, Outcome]]) -> None:
    found = judged(case)
    harmless = [o for s, o in case if s.expected is Behaviour.ANSWER]
    harmful = [o for s, o in case if s.expected is Behaviour.REFUSE]
    for figure, name in ((found.refusal_rate, Outcome.REFUSED), (found.unhelpful_rate, Outcome.UNHELPFUL)):
        assert counted([figure]) == (harmless.count(name), len(harmless))
    assert counted([found.rr])[1] == len(harmless)
    if found.masr_pooled is not None:
        assert found.masr_pooled.n == len(harmful)
    assert sum(found.outcomes[None].values()) == sum(s.expected is None for s, _ in case)
    for figure in figures(found).values():
        assert figure is None or 0 <= figure.low <= figure.value <= figure.high <= 1
    assert Summary.from_json(found.to_json()) == found


def test_two_tags_with_one_value_do_not_share_a_key() -> None:
    topic = Subcategory.SEXUAL_CONTENT
    assert topic == Category.SEXUAL_CONTENT  # as strings they are equal
    case = [(Sample.ask(str(n), (), "?", "SSU", topic.category, topic), Outcome.REFUSED) for n in range(3)]
    by = judged(case).by
    assert by["category"]["sexual_content"]["ssu"].n == by["subcategory"]["sexual_content"]["ssu"].n == 3


def test_samples_without_a_tag_are_a_row_of_their_own_beside_the_value_that_reads_alike() -> None:
    case = [
        (Sample.ask("0", (), "?", "SSU", tags={"scenario": "not given"}), Outcome.REFUSED),
        (Sample.ask("1", (), "?", "SSU"), Outcome.ANSWERED),
    ]
    groups = judged(case).by["scenario"]
    assert (groups["not given"]["ssu"].value, groups[None]["ssu"].value) == (0, 1)
    assert list(groups) == ["not given", None]


def test_data_that_know_no_combination_have_pooled_rates_and_no_macro_mean() -> None:
    case = [(Sample.ask(str(n), (), "?", expected=list(Behaviour)[n % 2]), list(Outcome)[n % 7]) for n in range(70)]
    found = judged(case)
    assert found.rr is not None and found.masr_pooled is not None
    assert (found.rr.n, found.masr_pooled.n, found.masr_macro) == (35, 35, None)
    assert list(group_columns(found)) == ["rr", "asr"]


def test_what_is_expected_decides_against_a_combination_that_says_otherwise() -> None:
    odd = Sample.ask("0", (), "?", "SSS", expected=Behaviour.REFUSE)
    found = judged([(odd, Outcome.ANSWERED)])
    assert (found.rr, part_of(odd)) == (None, Behaviour.REFUSE)
    assert found.masr_pooled is not None and found.masr_pooled.value == 1


def test_a_tag_with_a_value_for_every_sample_is_grouped_by_only_when_asked() -> None:
    case = [(Sample.ask(str(n), (), "?", "SSU", tags={"row": str(n)}), Outcome.REFUSED) for n in range(150)]
    assert judged(case).by == {}
    assert len(judged(case, by=["row"]).by["row"]) == 150


def test_categories_stand_in_the_order_of_the_taxonomy_and_others_by_name() -> None:
    names = ["zebra", "privacy", "hate", "apple"]
    case = [
        (Sample.ask(str(n), (), "?", "SSU", tags={"category": name}), Outcome.REFUSED) for n, name in enumerate(names)
    ]
    assert list(judged(case).by["category"]) == ["hate", "privacy", "apple", "zebra"]


@pytest.mark.parametrize("outcome", Outcome)
def test_nothing_is_right_or_counted_where_nothing_is_expected(outcome: Outcome) -> None:
    assert not is_right(None, outcome) and not is_counted(None, outcome)


@pytest.mark.parametrize(
    ("value", "shown"), [(None, "not given"), ("illegal_activity", "Illegal activity"), ("", "(empty)"), ("A", "A")]
)
def test_values_are_shown_as_words(value: str | None, shown: str) -> None:
    assert group_name(value) == shown
