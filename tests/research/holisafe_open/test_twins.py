"""The weights of facts."""

from __future__ import annotations

from collections import defaultdict

import pytest
from research.holisafe_open.kinds import read_table
from research.holisafe_open.twins import WEIGHTS, Frame, read_frames, weigh_facts

from holisafe.taxonomy import Subcategory


def frame(name: str, safe: str, unsafe: str) -> Frame:
    return Frame(name, Subcategory.ANIMAL_ABUSE, "", (), dict.fromkeys(safe, ""), dict.fromkeys(unsafe, ("", "")))


def test_right_and_wrong_weigh_the_same_for_each_frame_and_for_each_kind() -> None:
    frames = {each.name: each for each in (frame("one", "ab", "c"), frame("two", "c", "ab"))}
    weights = weigh_facts(frames, "abc")
    assert weights["one", "a"] + weights["one", "b"] == pytest.approx(weights["one", "c"])
    for kind in "abc":
        assert weights["one", kind] == pytest.approx(weights["two", kind])


def test_what_is_told_by_its_kind_in_the_tables_is_not_by_the_weights() -> None:
    frames = read_frames(read_table("frames"))
    kinds = {kind for each in frames.values() for kind in (*each.safe, *each.unsafe)}
    weights = weigh_facts(frames, kinds)
    assert len(weights) > 1000
    assert min(weights.values()) == WEIGHTS[0] and max(weights.values()) == WEIGHTS[1]

    def guessed(weights: dict[tuple[str, str], float]) -> float:
        """Share of the facts that are right by the more frequent side of their kind, among kinds of two sides."""
        sums: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        for (name, kind), weight in weights.items():
            sums[kind][kind in frames[name].safe] += weight
        both = [sides for sides in sums.values() if all(sides)]
        return sum(map(max, both)) / sum(map(sum, both))

    assert guessed(dict.fromkeys(weights, 1.0)) > 0.7
    assert guessed(weights) < 0.6


def test_frames_with_one_side_only_have_no_weights() -> None:
    frames = {each.name: each for each in (frame("one", "a", "b"), frame("two", "c", "a"))}
    assert {name for name, _ in weigh_facts(frames, "ab")} == {"one"}
