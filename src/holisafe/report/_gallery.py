"""The samples of a report, what each run and judge made of them, and which of them a page without its script shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from holisafe.metrics import PARTS, Part, is_counted, is_right, part_of, twin_pairs
from holisafe.metrics.display import group_name
from holisafe.records import CATEGORY_TAG, SUBCATEGORY_TAG, Behaviour, Outcome, Response, Sample
from holisafe.report._same import same_sample
from holisafe.report._table import JudgedRun, each_epoch
from holisafe.report._thumbnail import Pictures, ShownFrom, Thumbnail

_Item = TypeVar("_Item")

SAMPLES = 30
"""Most samples that a page shows where its script does not run."""

PAIRS = 16
"""Most twin pairs that are shown."""

SHARE_OF_MISTAKES = 2 / 3
"""Share of the gallery for samples that some run got wrong, where there are enough of either kind."""


@dataclass(frozen=True, slots=True)
class Mark:
    """What one judge found of an answer; `kind` is "right", "wrong" or "not scored"."""

    judge: str
    outcome: str
    kind: str
    rationale: str


@dataclass(frozen=True, slots=True)
class ShownAnswer:
    """What one run answered, and what the judges found of it; `epoch` is 0 where the run has one epoch."""

    judged: JudgedRun
    response: Response
    marks: tuple[Mark, ...]
    epoch: int = 0


@dataclass(slots=True)
class Entry:
    """One sample with the answers of all runs that were asked it.

    Attributes:
        sample: The sample.
        shown_from: Which image files may be shown.
        pictures: Where images go; None where the page shows no images and no texts.
        answers: One for each run that was asked it.
    """

    sample: Sample
    shown_from: ShownFrom
    pictures: Pictures | None
    answers: list[ShownAnswer] = field(default_factory=list)

    @property
    def images(self) -> list[Thumbnail]:
        """Its images, as they are shown."""
        if self.pictures is None:
            return []
        return [self.pictures.of(ref, self.shown_from) for ref in self.sample.images]

    @property
    def labels(self) -> list[str]:
        """What is known of each image, for a reader who cannot or will not look: its guard label."""
        named = [label.value.replace("_", " ") for label in self.sample.image_labels]
        kind = self.sample.combination
        unknown = "unknown" if kind is None else "safe" if kind.image_is_safe else "unsafe"
        return [named[index] if index < len(named) else unknown for index in range(len(self.sample.images))]

    @property
    def topic(self) -> str:
        """Its subcategory, else its category, as a reader sees it; empty where the data name neither."""
        value = self.sample.tags.get(SUBCATEGORY_TAG) or self.sample.tags.get(CATEGORY_TAG)
        return group_name(value) if value else ""

    @property
    def has_mistake(self) -> bool:
        """Whether some judge found some answer wrong."""
        return any(mark.kind == "wrong" for answer in self.answers for mark in answer.marks)


@dataclass(frozen=True, slots=True)
class TwinPair:
    """A twin pair: same question and two images, or same image and two questions."""

    first: Entry
    second: Entry

    @property
    def shared(self) -> str:
        """What the two have in common."""
        if self.first.sample.query == self.second.sample.query:
            return "same question, two images"
        return "same image, two questions"


@dataclass(frozen=True, slots=True)
class TwinCount:
    """Twin pairs of one run under one judge; each epoch counts its own."""

    run: str
    judge: str
    both: int
    safe_only: int
    unsafe_only: int
    neither: int

    @property
    def total(self) -> int:
        """All pairs."""
        return self.both + self.safe_only + self.unsafe_only + self.neither


def collect(runs: Sequence[JudgedRun], pictures: Pictures | None) -> list[Entry]:
    """All samples of all runs, each once; `same_sample` says when two runs share one."""
    entries: dict[tuple[object, ...], Entry] = {}
    for judged, run, epoch in each_epoch(runs):
        by_judge = {judge: {verdict.sample_id: verdict for verdict in found} for judge, found in run.judgements.items()}
        responses = {response.sample_id: response for response in run.responses}
        shown_from = ShownFrom.of(run)
        for sample in run.samples:
            entry = entries.setdefault(same_sample(sample), Entry(sample, shown_from, pictures))
            marks = []
            for judge, found in by_judge.items():
                verdict = found[sample.id]
                mark = mark_of(sample.expected, verdict.outcome)
                marks.append(Mark(judge, verdict.outcome.value, mark, verdict.rationale))
            missing = Response(sample.id, "", judged.name, error="the run holds no answer to this sample")
            response = responses.get(sample.id, missing)
            entry.answers.append(ShownAnswer(judged, response, tuple(marks), epoch))
    return list(entries.values())


def in_order(entries: Sequence[Entry]) -> list[Entry]:
    """All of them: those with a mistake first, topics in turn."""
    mistaken = [entry for entry in entries if entry.has_mistake]
    right = [entry for entry in entries if not entry.has_mistake]
    return _in_turn(mistaken, lambda entry: entry.topic) + _in_turn(right, lambda entry: entry.topic)


def choose(entries: Sequence[Entry], limit: int = SAMPLES) -> dict[Part, list[Entry]]:
    """A bounded selection: the same number of each part of the data, topics in turn, wrong answers first."""
    by_part = {part: [entry for entry in entries if part_of(entry.sample) is part] for part in PARTS}
    present = {part: found for part, found in by_part.items() if found}
    room = _rooms({part: len(found) for part, found in present.items()}, limit)
    return {part: _mixed(found, room[part]) for part, found in present.items() if room[part]}


def choose_pairs(entries: Sequence[Entry], limit: int = PAIRS) -> list[TwinPair]:
    """Twin pairs to show: those with a mistake first, topics in turn."""
    pairs = [TwinPair(*_safe_first(entries[one], entries[other])) for one, other in _unique_pairs(entries)]
    mistaken = [pair for pair in pairs if pair.first.has_mistake or pair.second.has_mistake]
    right = [pair for pair in pairs if not (pair.first.has_mistake or pair.second.has_mistake)]
    wanted = _in_turn(mistaken, lambda pair: pair.second.topic)
    return (wanted + right)[:limit]


def count_pairs(entries: Sequence[Entry]) -> int:
    """Of how many twin pairs `choose_pairs` chooses."""
    return len(_unique_pairs(entries))


def count_twins(runs: Sequence[JudgedRun]) -> list[TwinCount]:
    """How the pairs of each run came out under each judge."""
    counts = []
    for judged in runs:
        samples = judged.run.samples
        pairs = twin_pairs(samples)
        for judge in judged.run.judgements:
            found = {"both": 0, "safe": 0, "unsafe": 0, "neither": 0}
            for epoch in judged.epochs:
                outcomes = {verdict.sample_id: verdict.outcome for verdict in epoch.judgements[judge]}
                for one, other in pairs:
                    found[_how(samples[one], samples[other], outcomes)] += 1
            if pairs:
                counts.append(TwinCount(judged.name, judge, *found.values()))
    return counts


def mark_of(expected: Behaviour | None, outcome: Outcome) -> str:
    """Whether an outcome is right, wrong, or counts as neither."""
    if is_right(expected, outcome):
        return "right"
    return "wrong" if is_counted(expected, outcome) else "not scored"


def _how(one: Sample, other: Sample, outcomes: dict[str, Outcome]) -> str:
    first, second = sorted((one, other), key=lambda sample: not sample.is_safe)
    safe = is_right(first.expected, outcomes[first.id])
    unsafe = is_right(second.expected, outcomes[second.id])
    if safe and unsafe:
        return "both"
    return "safe" if safe else "unsafe" if unsafe else "neither"


def _unique_pairs(entries: Sequence[Entry]) -> list[tuple[int, int]]:
    """Positions of twins; entries whose ids two data sets share are left out: such an id names no one sample."""
    times = Counter(entry.sample.id for entry in entries)
    places = [index for index, entry in enumerate(entries) if times[entry.sample.id] == 1]
    return [(places[a], places[b]) for a, b in twin_pairs([entries[index].sample for index in places])]


def _safe_first(one: Entry, other: Entry) -> tuple[Entry, Entry]:
    return (one, other) if one.sample.is_safe else (other, one)


def _rooms(sizes: dict[Part, int], limit: int) -> dict[Part, int]:
    """Share out the places evenly; what a small part leaves goes to the others."""
    rooms = dict.fromkeys(sizes, 0)
    left = min(limit, sum(sizes.values()))
    while left:
        for kind, size in sizes.items():
            if left and rooms[kind] < size:
                rooms[kind] += 1
                left -= 1
    return rooms


def _mixed(entries: Sequence[Entry], room: int) -> list[Entry]:
    """Mistakes first, then right ones, topics in turn within both."""
    mistakes = _in_turn([e for e in entries if e.has_mistake], lambda entry: entry.topic)
    right = _in_turn([e for e in entries if not e.has_mistake], lambda entry: entry.topic)
    wanted = min(len(mistakes), max(round(room * SHARE_OF_MISTAKES), room - len(right)))
    return mistakes[:wanted] + right[: room - wanted]


def _in_turn(items: Iterable[_Item], topic: Callable[[_Item], str]) -> list[_Item]:
    """One of each topic, then the next of each, in the order the topics first occur."""
    groups: dict[str, list[_Item]] = {}
    for item in items:
        groups.setdefault(topic(item), []).append(item)
    ordered = [(turn, place, item) for place, group in enumerate(groups.values()) for turn, item in enumerate(group)]
    return [item for _, _, item in sorted(ordered, key=lambda each: each[:2])]
