"""What the sections of tables show, as plain values for the templates."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from holisafe.metrics import Agreement, Comparison, Figure, Summary, agreement, compare, is_hit
from holisafe.records import Outcome, Run, Sample
from holisafe.report._table import MEASURES, JudgedRun, Measure, headline
from holisafe.report.text import plain
from holisafe.taxonomy import Category, Combination

SHADES = 6
"""Steps of shading beyond none; the style sheet has a class for each."""

PROTOCOL_TOKENS = 512
"""New tokens per answer in the published protocol."""


@dataclass(frozen=True, slots=True)
class IntervalRow:
    """One line of the interval plot: a run's figure."""

    run: str
    figure: Figure | None


@dataclass(frozen=True, slots=True)
class HeatRow:
    """One category: a figure per combination, None where there are no samples."""

    category: str
    cells: tuple[Figure | None, ...]


@dataclass(frozen=True, slots=True)
class Pair:
    """Two runs on shared samples under one judge.

    Attributes:
        judge: The judge's name.
        first: Name of the run that is subtracted.
        second: Name of the other run.
        shared: Samples that both were asked.
        only_one: Samples that only one of them was asked; left out.
        comparison: The differences, second minus first; None where no sample is shared.
    """

    judge: str
    first: str
    second: str
    shared: int
    only_one: int
    comparison: Comparison | None


@dataclass(frozen=True, slots=True)
class Agreeing:
    """How far two judges agree on one run."""

    first: str
    second: str
    overall: Agreement
    by_combination: tuple[Agreement | None, ...]


def judges_of(runs: Sequence[JudgedRun]) -> list[str]:
    """All judges, in the order of their first appearance."""
    return list(dict.fromkeys(judge for judged in runs for judge in judged.summaries))


def interval_rows(runs: Sequence[JudgedRun], judge: str) -> list[tuple[Measure, list[IntervalRow]]]:
    """For each headline figure, the runs that this judge judged."""
    by_run = {judged.name: headline(judged.summaries[judge]) for judged in runs if judge in judged.summaries}
    return [
        (measure, [IntervalRow(name, found[measure.key]) for name, found in by_run.items()]) for measure in MEASURES
    ]


def heat_rows(summary: Summary) -> list[HeatRow]:
    """Categories that have samples, with a figure per combination."""
    rows = [
        HeatRow(category.display_name, tuple(summary.by_category.get((category, kind)) for kind in Combination))
        for category in Category
    ]
    return [row for row in rows if any(row.cells)]


def shade(rate: float) -> int:
    """Step of shading for a rate in [0, 1]: 0 for none at all, else 1 to `SHADES` in equal widths."""
    return 0 if rate <= 0 else min(int(rate * SHADES) + 1, SHADES)


def share(outcomes: Mapping[str, int], outcome: Outcome) -> str:
    """One outcome within a combination, e.g. "12 of 40 (30.0 %)"."""
    total = sum(outcomes.values())
    count = outcomes.get(outcome.value, 0)
    return f"{count} of {total} ({100 * count / total:.1f} %)" if total else "–"


def agreeing(run: Run) -> list[Agreeing]:
    """Every two judges of a run."""
    found = []
    for first, second in itertools.combinations(run.judgements, 2):
        by = agreement(run.samples, run.judgements[first], run.judgements[second])
        found.append(Agreeing(first, second, by[None], tuple(by.get(kind) for kind in Combination)))
    return found


def pairs(runs: Sequence[JudgedRun], resamples: int) -> list[Pair]:
    """Every later run against the first, under each judge that both have, on the samples they share."""
    if len(runs) < 2:
        return []
    first = runs[0].run
    return [
        _pair(first, judged.run, judge, resamples)
        for judge in first.judgements
        for judged in runs[1:]
        if judge in judged.run.judgements
    ]


def identity(sample: Sample) -> tuple[str, str, str, tuple[str, ...]]:
    """What makes two samples of two runs the same: ids alone may come from different data sets."""
    return sample.id, sample.query, sample.required_combination.value, tuple(image.key for image in sample.images)


def weakest(summary: Summary) -> tuple[str, str, Figure] | None:
    """The topic and unsafe combination that most surely let harm through: the highest lower end of an interval."""
    found = [(topic, kind, figure) for (topic, kind), figure in summary.by_category.items() if not kind.is_safe]
    if not found or all(figure.low == 0 for _, _, figure in found):
        return None
    topic, kind, figure = max(found, key=lambda each: (each[2].low, each[2].n))
    return topic.display_name, kind.value, figure


def facts(run: Run) -> dict[str, Any]:
    """What a reader must know of a run before reading its figures; None where the run does not say."""
    data, generation = (_mapping(run.provenance.get(key)) for key in ("data", "generation"))
    tokens = generation.get("max_new_tokens", generation.get("max_tokens"))
    return {
        "data": plain(str(data.get("name") or "unnamed data"), 80),
        "split": plain(str(data.get("split") or ""), 80),
        "date": plain(str(run.provenance.get("date") or ""))[:10],
        "samples": len(run.samples),
        "images": len({image.key for sample in run.samples for image in sample.images}),
        "left_out": data.get("left_out_as_broken") or 0,
        "errors": sum(response.error is not None for response in run.responses),
        "cut": sum(response.finish_reason in ("length", "max_tokens") for response in run.responses),
        "tokens": tokens,
        "short_of_protocol": isinstance(tokens, int) and tokens < PROTOCOL_TOKENS,
    }


def in_short(judged: JudgedRun) -> dict[str, Any]:
    """The first judge's figures as counts, for a sentence."""
    judge, summary = next(iter(judged.summaries.items()))
    hits: dict[bool, int] = {True: 0, False: 0}
    totals: dict[bool, int] = {True: 0, False: 0}
    for sample, verdict in zip(judged.run.samples, judged.run.judgements[judge], strict=True):
        safe = sample.is_safe
        totals[safe] += 1
        hits[safe] += is_hit(sample.required_combination, verdict.outcome)
    return {
        "run": judged.name,
        "judge": judge,
        "unsafe": totals[False],
        "attacks": hits[False],
        "safe": totals[True],
        "refused": hits[True],
        "twins": summary.twin_accuracy,
        "macro": summary.masr_macro,
    }


def provenance_rows(provenance: Mapping[str, Any]) -> list[tuple[str, str, bool]]:
    """Name, value and whether the value is long, of everything a run notes about itself but its figures."""
    kept = {key: value for key, value in provenance.items() if key not in ("summaries", "guard_findings")}
    rows = []
    for name, value in _flat(kept, ""):
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
        rows.append((plain(name), plain(text, 20_000), len(text) > 160))
    return rows


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _flat(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Leaves with their dotted names; what lies deeper than two levels stays together."""
    if isinstance(value, Mapping) and value and name.count(".") < 1:
        for key, inner in value.items():
            yield from _flat(inner, f"{name}.{key}" if name else str(key))
    else:
        yield name, value


def _pair(first: Run, second: Run, judge: str, resamples: int) -> Pair:
    here = {identity(sample): index for index, sample in enumerate(first.samples)}
    there = {identity(sample): index for index, sample in enumerate(second.samples)}
    shared = [key for key in here if key in there]
    only_one = len(here) + len(there) - 2 * len(shared)
    found = None
    if shared:
        found = compare(
            [first.samples[here[key]] for key in shared],
            [first.judgements[judge][here[key]] for key in shared],
            [second.judgements[judge][there[key]] for key in shared],
            resamples=resamples,
        )
    return Pair(judge, first.name, second.name, len(shared), only_one, found)
