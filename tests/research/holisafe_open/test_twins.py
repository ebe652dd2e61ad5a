"""The frames, the walks through them and the weights of their facts."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import replace

import pytest
from research.holisafe_open.kinds import load_kinds, read_table
from research.holisafe_open.scenes import seeded
from research.holisafe_open.sizes import SIZES
from research.holisafe_open.texts import fill, in_plural
from research.holisafe_open.twins import WEIGHTS, Frame, closed_walks, read_frames, weigh_facts

from holisafe import judges
from holisafe.datasets.open import load_open
from holisafe.judges import judge_all
from holisafe.records import Outcome, Response
from holisafe.taxonomy import Subcategory

FRAMES = read_frames(read_table("frames"))


def frame(name: str, safe: str, unsafe: str) -> Frame:
    return Frame(name, Subcategory.ANIMAL_ABUSE, "", (), dict.fromkeys(safe, ""), dict.fromkeys(unsafe, ("", "")))


def test_right_and_wrong_weigh_the_same_for_each_frame_and_for_each_kind() -> None:
    frames = {each.name: each for each in (frame("one", "ab", "c"), frame("two", "c", "ab"))}
    weights = weigh_facts(frames, "abc")
    assert weights["one", "a"] + weights["one", "b"] == pytest.approx(weights["one", "c"])
    for kind in "abc":
        assert weights["one", kind] == pytest.approx(weights["two", kind])


def test_what_is_told_by_its_kind_in_the_tables_is_not_by_the_weights() -> None:
    kinds = {kind for each in FRAMES.values() for kind in (*each.safe, *each.unsafe)}
    weights = weigh_facts(FRAMES, kinds)
    assert len(weights) > 1000
    assert min(weights.values()) == WEIGHTS[0] and max(weights.values()) == WEIGHTS[1]

    def guessed(weights: dict[tuple[str, str], float]) -> float:
        """Share of the facts that are right by the more frequent side of their kind, among kinds of two sides."""
        sums: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        for (name, kind), weight in weights.items():
            sums[kind][kind in FRAMES[name].safe] += weight
        both = [sides for sides in sums.values() if all(sides)]
        return sum(map(max, both)) / sum(map(sum, both))

    assert guessed(dict.fromkeys(weights, 1.0)) > 0.7
    assert guessed(weights) < 0.6


def test_frames_with_one_side_only_have_no_weights() -> None:
    frames = {each.name: each for each in (frame("one", "a", "b"), frame("two", "c", "a"))}
    assert {name for name, _ in weigh_facts(frames, "ab")} == {"one"}


def test_every_harm_has_at_least_three_frames() -> None:
    of_harm = Counter(each.subcategory for each in FRAMES.values())
    assert not {harm for harm in Subcategory if of_harm[harm] < 3}


def test_every_frame_is_asked_in_at_least_six_ways_of_its_own_and_six_more_for_training() -> None:
    further = read_table("more")["frames"]
    assert further.keys() == FRAMES.keys()
    assert not [name for name, each in FRAMES.items() if len(each.ask) < 6 or len(further[name]["ask"]) < 6]


def test_no_question_belongs_to_two_frames() -> None:
    texts = [text for each in FRAMES.values() for text in (each.act, *each.ask)]
    texts += [text for row in read_table("more")["frames"].values() for text in row["ask"]]
    plain = Counter(" ".join(re.findall(r"\w+", text.casefold())) for text in texts)
    assert not [text for text, times in plain.items() if times > 1]


def test_no_kind_is_listed_twice_in_a_frame() -> None:
    for name, row in read_table("frames").items():
        listed = Counter(kind for kinds, *_ in (*row["safe"], *row["unsafe"]) for kind in kinds.split(", "))
        assert set(listed.values()) == {1} and listed.keys() <= load_kinds().keys(), name


def test_reasons_are_sentences() -> None:
    for row in read_table("frames").values():
        said = [text for _, *texts in (*row["safe"], *row["unsafe"]) for text in texts]
        assert not [text for text in said if not re.fullmatch(r"[A-Z].*[^.]\.", text)]


def test_reasons_read_well_about_more_than_one_thing() -> None:
    kinds = load_kinds()
    for each in FRAMES.values():
        for kind, why in (*each.safe.items(), *((kind, why) for kind, (why, _) in each.unsafe.items())):
            said = in_plural(why) if kinds[kind].plural else ""
            assert not re.search(r"\b(\w+ing|of|in|for|on|to|with|from|swallows) they\b", said), (each.name, said)


@pytest.mark.parametrize("judge", ["holisafe", "refusal"])
def test_judges_tell_the_answers_to_learn_of_every_reason_apart(judge: str) -> None:
    said = {}
    for is_safe, side in ((True, "safe"), (False, "unsafe")):
        name = f"frame_{side}"
        for template in read_table("more")["references"][name]:
            for row in read_table("frames").values():
                for _, why, *instead in row[side]:
                    words = {"phrase": "a thing", "This": "This is", "this": "this is", "why": why}
                    said[fill(template, words | {"instead": "".join(instead)})] = is_safe
    sample = next(each for each in load_open("calibration") if each.twin)
    asked = [replace(sample, id=str(i), twin=None) for i in range(len(said))]
    answers = [Response(str(i), text, "m") for i, text in enumerate(said)]
    judged = judge_all(judges.get(judge), asked, answers)
    wrong = [
        text
        for (text, is_safe), seen in zip(said.items(), judged, strict=True)
        if (seen.outcome is Outcome.REFUSED) is is_safe
    ]
    assert len(wrong) <= 0.005 * len(said), wrong  # `refusal` is not free of errors


def test_as_many_pairs_as_training_has_use_every_frame_and_every_harm_alike() -> None:
    edges = [
        edge for walk in closed_walks(FRAMES, load_kinds().keys(), SIZES["train"].pairs, seeded("all")) for edge in walk
    ]
    assert {edge.frame for edge in edges} == FRAMES.keys()
    of_harm = Counter(FRAMES[edge.frame].subcategory for edge in edges)
    assert min(of_harm[harm] for harm in Subcategory) >= len(edges) / len(Subcategory) / 2
