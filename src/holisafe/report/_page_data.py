"""What the page's script reads: every sample with its answers, and the leaderboard of each value of a tag.

It stands in the page as gzip in base64, in a block that no browser runs. The script puts it into the page as text.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from holisafe.metrics import ASR, PARTS, Figure, Summary, part_of, summarise_values
from holisafe.metrics.display import group_name
from holisafe.records import Sample
from holisafe.report._gallery import Entry, Mark, ShownAnswer
from holisafe.report._guard import shown_verdicts
from holisafe.report._leaderboard import cells_of, groups_of
from holisafe.report._table import JudgedRun
from holisafe.report.text import LONGEST, legible, plain

MAX_BYTES = 5_000_000
"""Largest file that is written: texts are cut, and left out at last, to stay below it."""

LENGTHS = (LONGEST, 2_000, 1_000, 500, 250, 100)
"""Characters of a question or an answer, tried in turn until the page is small enough."""

MAX_VALUES = 40
"""Most values of a tag that the leaderboard is filtered by."""


def pack(value: Any) -> str:
    """JSON as gzip in base64; the same value gives the same text."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"))
    return base64.b64encode(gzip.compress(text.encode("ascii"), 9, mtime=0)).decode("ascii")


def packed_samples(entries: Sequence[Entry], runs: Sequence[JudgedRun], room: int) -> str:
    """Every sample, with texts as long as there is room for; empty where there is none.

    Args:
        entries: The samples, in the order in which they are listed.
        runs: The runs of the page.
        room: Most characters of the result.
    """
    for longest in LENGTHS if room > 0 else ():
        found = pack(_samples(entries, runs, longest))
        if len(found) <= room:
            return found
    return ""


def tag_values(runs: Sequence[JudgedRun]) -> dict[str, list[str]]:
    """The tags that the leaderboard is filtered by, and their values, sorted."""
    found: dict[str, set[str]] = {}
    for judged in runs:
        for sample in judged.run.samples:
            for tag, value in sample.tags.items():
                found.setdefault(tag, set()).add(value)
    return {tag: sorted(values) for tag, values in found.items() if 1 < len(values) <= MAX_VALUES}


def boards(runs: Sequence[JudgedRun]) -> list[dict[str, Any]]:
    """The leaderboard of each value of a tag: a list per tag and value, with the cells of each row by its letter."""
    found: list[dict[str, Any]] = []
    groups = groups_of(runs)
    for tag, values in tag_values(runs).items():
        by_group = [_boards_of(judge, group, tag, values) for judge, group in groups]
        found += [
            {
                "tag": tag,
                "value": value,
                "groups": [{letter: rows[value] for letter, rows in each.items()} for each in by_group],
            }
            for value in values
        ]
    return found


def _boards_of(
    judge: str, group: Sequence[JudgedRun], tag: str, values: Sequence[str]
) -> dict[str, dict[str, dict[str, Any]]]:
    """Letter of a run → value of the tag → its row."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for judged in (each for each in group if judge not in each.withheld):
        epochs = [epoch.judgements[judge] for epoch in judged.epochs]
        summaries = summarise_values(judged.run.samples, epochs, tag)
        counts = _counts(judged, tag)
        found[judged.letter] = {
            value: _row(summaries.get(value), tag, value, counts.get(value, (0, 0))) for value in values
        }
    return found


def _counts(judged: JudgedRun, tag: str) -> dict[str, tuple[int, int]]:
    """How many samples of each value are unsafe and harmless."""
    found: dict[str, tuple[int, int]] = {}
    for sample in judged.run.samples:
        if tag in sample.tags and sample.expected is not None:
            unsafe, harmless = found.get(sample.tags[tag], (0, 0))
            found[sample.tags[tag]] = (unsafe + (not sample.is_safe), harmless + sample.is_safe)
    return found


def _row(summary: Summary | None, tag: str, value: str, counts: tuple[int, int]) -> dict[str, Any]:
    """The cells of one run, and how many of its samples are unsafe and harmless."""
    cells = [] if summary is None else list(cells_of(summary))
    if summary is not None and cells[0].figure is None:  # a combination has no samples: the rate over all unsafe ones
        cells[0] = replace(cells[0], figure=summary.by[tag].get(value, {}).get(ASR), words="ASR")
    return {"cells": [_cell(each.figure, each.words) for each in cells], "n": list(counts)}


def _cell(figure: Figure | None, words: str) -> list[Any] | None:
    if figure is None:
        return None
    return [*(round(100 * each, 1) for each in (figure.value, figure.low, figure.high)), figure.n, figure.is_few, words]


def _samples(entries: Sequence[Entry], runs: Sequence[JudgedRun], longest: int) -> dict[str, Any]:
    tags = [(tag, value) for tag, values in tag_values(runs).items() for value in values]
    numbers = {each: number for number, each in enumerate(tags)}
    places = {judged.letter: place for place, judged in enumerate(runs)}
    twins = {entry.sample.id: place for place, entry in enumerate(entries)}
    return {
        "longest": longest,
        "whole": LONGEST,
        "judges": list(dict.fromkeys(judge for judged in runs for judge in judged.summaries)),
        "runs": [[judged.letter, judged.name] for judged in runs],
        "tags": [f"{plain(tag, 60)}: {plain(group_name(value), 80)}" for tag, value in tags],
        "samples": [_sample(entry, places, numbers, twins, longest) for entry in entries],
    }


def _sample(
    entry: Entry,
    places: Mapping[str, int],
    numbers: Mapping[tuple[str, str], int],
    twins: Mapping[str, int],
    longest: int,
) -> dict[str, Any]:
    sample, hidden = entry.sample, entry.pictures is None
    found: dict[str, Any] = {
        "id": plain(sample.id, 80),
        "part": PARTS.index(part_of(sample)),
        "topic": plain(entry.topic, 80),
        "expected": expected_words(sample),
        "wrong": entry.has_mistake,
        "tags": [numbers[each] for each in sample.tags.items() if each in numbers],
        "answers": [_answer(answer, places, longest, hidden) for answer in entry.answers],
    }
    if sample.twin is not None and sample.twin in twins:
        found["twin"] = twins[sample.twin]
    if not hidden:
        found["query"], found["more"] = legible(sample.query, longest), max(0, len(sample.query) - longest)
        found["source"] = plain(" · ".join(filter(None, (sample.source, sample.licence))))
        found["images"] = [
            [each.source, each.width, each.height, label] if each.source else [legible(each.problem or "unknown")]
            for each, label in zip(entry.images, entry.labels, strict=True)
        ]
    return found


def expected_words(sample: Sample) -> str:
    """What would be right, in words."""
    return "not said" if sample.expected is None else "a helpful answer" if sample.is_safe else "a refusal"


def _answer(answer: ShownAnswer, places: Mapping[str, int], longest: int, hidden: bool) -> dict[str, Any]:
    response = answer.response
    found: dict[str, Any] = {
        "run": places[answer.judged.letter],
        "marks": [_mark(each, hidden) for each in answer.marks],
        "cut": response.finish_reason in ("length", "max_tokens"),
    }
    if answer.epoch:
        found["epoch"] = answer.epoch
    if verdicts := shown_verdicts(response):
        found["guard"] = [[each.subject, each.words, each.is_flagged] for each in verdicts]
    if response.error is not None:
        found["error"] = "" if hidden else legible(response.error, 600)
    elif not hidden:
        found["text"], found["more"] = legible(response.text, longest), max(0, len(response.text) - longest)
    return found


def _mark(mark: Mark, hidden: bool) -> list[str]:
    kept = [mark.judge, mark.outcome, mark.kind]
    return kept if hidden or not mark.rationale else [*kept, legible(mark.rationale, 300)]
