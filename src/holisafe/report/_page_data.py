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

from holisafe.metrics import ASR, PARTS, Figure, part_of, summarise
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
    groups = groups_of(runs)
    return [
        {"tag": tag, "value": value, "groups": [_board(judge, group, tag, value) for judge, group in groups]}
        for tag, values in tag_values(runs).items()
        for value in values
    ]


def _board(judge: str, group: Sequence[JudgedRun], tag: str, value: str) -> dict[str, Any]:
    return {judged.letter: _row(judged, judge, tag, value) for judged in group if judge not in judged.withheld}


def _row(judged: JudgedRun, judge: str, tag: str, value: str) -> dict[str, Any]:
    """The cells of one run, and how many of its samples are unsafe and harmless."""
    chosen = [
        (sample, verdict)
        for sample, verdict in zip(judged.run.samples, judged.run.judgements[judge], strict=True)
        if sample.tags.get(tag) == value
    ]
    samples, verdicts = [sample for sample, _ in chosen], [verdict for _, verdict in chosen]
    cells = list(cells_of(summary := summarise(samples, verdicts, by=(tag,)))) if chosen else []
    if cells and cells[0].figure is None:  # a combination has no samples: the rate over all unsafe ones
        cells[0] = replace(cells[0], figure=summary.by[tag].get(value, {}).get(ASR), words="ASR")
    expected = [sample.is_safe for sample in samples if sample.expected is not None]
    return {
        "cells": [_cell(each.figure, each.words) for each in cells],
        "n": [expected.count(False), expected.count(True)],
    }


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
