"""Twin pairs: one question, two pictures, right for one of them only.

Frames make a graph over kinds of objects: an edge from `a` to `b` says that a question is right about `a` and not
about `b`. Pairs are taken as closed walks of that graph, so every picture is as often right as wrong, and so is every
question: neither the picture alone nor the question alone tells what is right.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from holisafe.taxonomy import Subcategory


@dataclass(frozen=True, slots=True)
class Frame:
    """A question about a thing in a picture.

    Attributes:
        name: Its name in the table.
        subcategory: The harm where the answer is no.
        act: Completes "Can I ...?".
        ask: Further ways to ask.
        safe: Why it is right, by kind.
        unsafe: Why it is not, and what to do instead, by kind.
    """

    name: str
    subcategory: Subcategory
    act: str
    ask: tuple[str, ...]
    safe: Mapping[str, str]
    unsafe: Mapping[str, tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Edge:
    """A frame that is right about the kind `safe` and not about the kind `unsafe`."""

    frame: str
    safe: str
    unsafe: str


def read_frames(table: Mapping[str, Any]) -> dict[str, Frame]:
    """The frames of the table by name."""
    return {
        name: Frame(
            name,
            Subcategory(row["subcategory"]),
            row["act"],
            tuple(row["ask"]),
            {kind: why for kinds, why in row["safe"] for kind in kinds.split(", ")},
            {kind: (why, instead) for kinds, why, instead in row["unsafe"] for kind in kinds.split(", ")},
        )
        for name, row in table.items()
    }


WEIGHTS = 0.25, 8.0
"""Least and greatest weight of a fact: none is left out, and none stands for the others of its kind."""


def weigh_facts(frames: Mapping[str, Frame], kinds: Collection[str], rounds: int = 100) -> dict[tuple[str, str], float]:
    """How much to make of each fact (that a frame is right or wrong about a kind), so that it cannot be guessed.

    Frames weigh about the same, and right and wrong do within each frame and for each kind, so that without the
    question the kind tells little. Found by balancing kinds and frames in turn; exact but for what `WEIGHTS` cut off.

    Args:
        frames: The frames by name.
        kinds: Kinds that may be used.
        rounds: How often to balance.

    Returns:
        Weights of (frame, kind), for the frames that are right about one of these kinds and wrong about another.
    """
    facts = {
        (name, kind): is_right
        for name, frame in frames.items()
        for is_right, side in ((True, frame.safe), (False, frame.unsafe))
        for kind in side
        if kind in kinds and all(set(kinds) & set(each) for each in (frame.safe, frame.unsafe))
    }
    weights = dict.fromkeys(facts, 1.0)
    for place in (1, 0) * rounds:
        groups: dict[str, dict[bool, list[tuple[str, str]]]] = defaultdict(lambda: defaultdict(list))
        for fact, is_right in facts.items():
            groups[fact[place]][is_right].append(fact)
        mean = len(facts) / len(groups) / 2
        for sides in groups.values():
            sums = {is_right: sum(weights[fact] for fact in side) for is_right, side in sides.items()}
            for is_right, side in sides.items():
                wanted = mean if place == 0 else sum(sums.values()) / len(sums)
                for fact in side:
                    weights[fact] *= wanted / sums[is_right]
    return {fact: min(max(weight, WEIGHTS[0]), WEIGHTS[1]) for fact, weight in weights.items()}


def closed_walks(
    frames: Mapping[str, Frame], kinds: Collection[str], pairs: int, rng: random.Random
) -> list[list[Edge]]:
    """Choose at least `pairs` edges as closed walks of two to five edges.

    Walks start in turn with a frame of the subcategory, and with the frame, that was used least so far.

    Args:
        frames: The frames by name.
        kinds: Kinds that may be used.
        pairs: Edges wanted in all.
        rng: Breaks ties.

    Returns:
        Walks; in each, every edge's `unsafe` kind is the next edge's `safe` kind, the last one's the first's.
    """
    graph: dict[str, list[Edge]] = defaultdict(list)
    for frame in frames.values():
        for a in frame.safe:
            for b in frame.unsafe:
                if a in kinds and b in kinds:
                    graph[a].append(Edge(frame.name, a, b))
    used: Counter[str] = Counter()
    walks: list[list[Edge]] = []
    fruitful = list(frames.values())
    while sum(map(len, walks)) < pairs and fruitful:
        by_harm = len(walks) % 2 == 0
        first = min(
            fruitful,
            key=lambda frame: (used[frame.subcategory] if by_harm else 0, used[f"frame:{frame.name}"], rng.random()),
        )
        walk = _walk_from(graph, first, used, rng)
        if walk is None:
            fruitful.remove(first)
            continue
        walks.append(walk)
        for edge in walk:
            used[edge.safe] += 1
            used[f"frame:{edge.frame}"] += 1
            used[frames[edge.frame].subcategory] += 1
    return walks


def _walk_from(
    graph: Mapping[str, list[Edge]], frame: Frame, used: Counter[str], rng: random.Random
) -> list[Edge] | None:
    """A closed walk whose first edge is the frame's, by rarely used kinds."""
    for b in sorted(frame.unsafe, key=lambda kind: (used[kind], rng.random())):
        back = _way_back(graph, frame, b, used, rng)
        if back is not None:
            return [Edge(frame.name, back[-1].unsafe, b), *back]
    return None


def _way_back(
    graph: Mapping[str, list[Edge]], frame: Frame, start: str, used: Counter[str], rng: random.Random
) -> list[Edge] | None:
    """The shortest walk (four edges at most) from `start` to a kind that the frame is right about."""
    level: list[list[Edge]] = [[]]
    seen = {start}
    for _ in range(4):
        longer: list[list[Edge]] = []
        for walk in level:
            edges = list(graph.get(walk[-1].unsafe if walk else start, ()))
            edges.sort(key=lambda edge: 2 * used[f"frame:{edge.frame}"] + 2 * used[edge.unsafe] + 3 * rng.random())
            taken = {frame.name, *(edge.frame for edge in walk)}
            for edge in edges:
                if edge.frame in taken:
                    continue
                if edge.unsafe in frame.safe:
                    return [*walk, edge]
                if edge.unsafe not in seen:
                    seen.add(edge.unsafe)
                    longer.append([*walk, edge])
        level = longer
    return None
