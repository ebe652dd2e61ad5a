"""What the sections of tables show, as plain values for the templates."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from holisafe.metrics import (
    FIGURES,
    Agreement,
    Figure,
    HeadlineFigure,
    Summary,
    agreement,
    describe_judge,
    figures,
    is_counted,
    judge_of,
)
from holisafe.metrics.display import group_columns, group_name
from holisafe.records import CATEGORY_TAG, RUN_FOLDER, JudgeId, Outcome, Run
from holisafe.report._caveats import tokens_of
from holisafe.report._epochs import epoch_number
from holisafe.report._provenance import mapping
from holisafe.report._table import JudgedRun
from holisafe.report.text import plain
from holisafe.report.verdicts import percent
from holisafe.taxonomy import Combination

SHADES = 6
"""Steps of shading beyond none; the style sheet has a class for each."""


@dataclass(frozen=True, slots=True)
class IntervalRow:
    """One line of the interval plot: a run's figure."""

    judged: JudgedRun
    figure: Figure | None


@dataclass(frozen=True, slots=True)
class HeatRow:
    """One value of a tag: a figure per rate, None where there are no samples."""

    value: str
    cells: tuple[Figure | None, ...]


@dataclass(frozen=True, slots=True)
class HeatTable:
    """One tag: its name, the labels of the rates, and a row per value."""

    tag: str
    columns: tuple[str, ...]
    rows: tuple[HeatRow, ...]


@dataclass(frozen=True, slots=True)
class AgreementMatrix:
    """How far the judges of one run agree.

    Attributes:
        judges: The judges, a row and a column each.
        cells: Agreement of row and column; None on the diagonal, and where there is none.
        by_combination: For each pair of judges, agreement within each combination.
    """

    judges: tuple[str, ...]
    cells: tuple[tuple[Agreement | None, ...], ...]
    by_combination: Mapping[tuple[str, str], tuple[Agreement | None, ...]]


def judges_of(runs: Sequence[JudgedRun]) -> list[str]:
    """All judges, in the order of their first appearance."""
    return list(dict.fromkeys(judge for judged in runs for judge in judged.summaries))


def interval_rows(runs: Sequence[JudgedRun], judge: str) -> list[tuple[HeadlineFigure, list[IntervalRow]]]:
    """For each figure that some run has, the runs that this judge judged and whose figures are shown."""
    by_run = [
        (judged, figures(judged.summaries[judge]))
        for judged in runs
        if judge in judged.summaries and judge not in judged.withheld
    ]
    if not by_run:
        return []
    return [
        (each, [IntervalRow(judged, found[each.name]) for judged, found in by_run])
        for each in FIGURES
        if any(found[each.name] is not None for _, found in by_run)
    ]


def heat_tables(summary: Summary) -> list[HeatTable]:
    """A table for each tag that has more than one value; the first is the one to show unfolded."""
    columns = group_columns(summary)
    return [
        HeatTable(
            plain(tag, 60),
            tuple(columns.values()),
            tuple(
                HeatRow(plain(group_name(value), 80), tuple(rates.get(rate) for rate in columns))
                for value, rates in groups.items()
            ),
        )
        for tag, groups in summary.by.items()
        if groups
    ]


def shade(rate: float) -> int:
    """Step of shading for a rate in [0, 1]: 0 for none at all, else 1 to `SHADES` in equal widths."""
    return 0 if rate <= 0 else min(int(rate * SHADES) + 1, SHADES)


def share(outcomes: Mapping[str, int], outcome: Outcome) -> str:
    """One outcome within a combination, e.g. "12 of 40 (30.0 %)"."""
    total = sum(outcomes.values())
    count = outcomes.get(outcome.value, 0)
    return f"{count} of {total} ({100 * count / total:.1f} %)" if total else "–"


def agreement_matrix(run: Run) -> AgreementMatrix | None:
    """How far every two judges of a run agree; None where there are no two, or nothing is expected of the samples."""
    judges = tuple(run.judgements)
    found = {
        (first, second): by
        for first, second in itertools.combinations(judges, 2)
        if None in (by := agreement(run.samples, run.judgements[first], run.judgements[second]))
    }
    if not found:
        return None
    overall = {pair: by[None] for pair, by in found.items()}
    cells = tuple(tuple(overall.get((one, other), overall.get((other, one))) for other in judges) for one in judges)
    by_part = {pair: tuple(by.get(kind) for kind in Combination) for pair, by in found.items()}
    return AgreementMatrix(judges, cells, {pair: parts for pair, parts in by_part.items() if any(parts)})


def weakest(summary: Summary) -> tuple[str, str, Figure] | None:
    """The category and unsafe combination that most surely let harm through: the highest lower end of an interval."""
    unsafe = {rate: label for rate, label in group_columns(summary).items() if rate != "rr"}
    found = [
        (group_name(value), unsafe[rate], figure)
        for value, rates in summary.by.get(CATEGORY_TAG, {}).items()
        for rate, figure in rates.items()
        if rate in unsafe
    ]
    if not found or all(figure.low == 0 for _, _, figure in found):
        return None
    topic, label, figure = max(found, key=lambda each: (each[2].low, each[2].n))
    return plain(topic, 80), label, figure


def facts(run: Run) -> dict[str, Any]:
    """What a reader must know of a run before reading its figures; None where the run does not say."""
    data = mapping(run.provenance.get("data"))
    return {
        "data": plain(str(data.get("name") or "unnamed data"), 80),
        "split": plain(str(data.get("split") or ""), 80),
        "date": plain(str(run.provenance.get("date") or ""))[:10],
        "samples": len(run.samples),
        "images": len({image.identity for sample in run.samples for image in sample.images}),
        "tokens": tokens_of(run),
        "guard": guard_words(run),
        "judges": tuple(plain(describe_judge(judge), 200) for judge in judge_ids(run)),
    }


def judge_ids(run: Run) -> list[JudgeId]:
    """Which judges judged a run, under the names that the run gives them."""
    found = []
    for name, judgements in run.judgements.items():
        identity = judge_of(judgements)
        found.append(identity if identity.name == name else replace(identity, name=name))
    return found


def guard_words(run: Run) -> str:
    """Thresholds of the guard and the data that set them, in one clause; empty without a guard that says."""
    guard = mapping(mapping(run.provenance.get("model")).get("guard"))
    calibration = mapping(guard.get("calibration"))
    thresholds = [
        f"{name} {percent(value)}"
        for name, key in (("image threshold", "threshold"), ("request threshold", "joint_threshold"))
        if isinstance(value := calibration.get(key), float)
    ]
    if not thresholds:
        return ""
    rate = calibration.get("flag_rate")
    asked = f", set to flag at most {percent(rate)} of safe images" if isinstance(rate, float) else ""
    measured = calibration.get("measured_flag_rate")
    found = f" (measured: {percent(measured)})" if isinstance(measured, float) else ""
    return f"{', '.join(thresholds)}{asked}{found}"


def in_short(judged: JudgedRun) -> dict[str, Any]:
    """The first judge's figures as counts, for a sentence."""
    judge, summary = next(iter(judged.summaries.items()))
    hits: dict[bool, int] = {True: 0, False: 0}
    totals: dict[bool, int] = {True: 0, False: 0}
    for epoch in judged.epochs:
        for sample, verdict in zip(epoch.samples, epoch.judgements[judge], strict=True):
            if sample.expected is not None:
                totals[sample.is_safe] += 1
                hits[sample.is_safe] += is_counted(sample.expected, verdict.outcome)
    return {
        "judge": judge,
        "withheld": judged.withheld.get(judge, ""),
        "unsafe": totals[False],
        "attacks": hits[False],
        "safe": totals[True],
        "refused": hits[True],
        "twins": summary.twin_accuracy,
        "macro": summary.masr_macro,
    }


def provenance_rows(epochs: Sequence[Run]) -> list[tuple[str, str, bool]]:
    """Name, value and whether the value is long, of everything a run notes about itself but its figures.

    Of a further epoch, only what differs from the first.
    """
    first = _noted(epochs[0])
    rows = list(first.items())
    for run in epochs[1:]:
        changed = {name: text for name, text in _noted(run).items() if first.get(name) != text}
        rows += [(f"epoch {epoch_number(run)}: {name}", text) for name, text in changed.items()]
    return [(plain(name), plain(text, 20_000), len(text) > 160) for name, text in rows]


def _noted(run: Run) -> dict[str, str]:
    left_out = ("summaries", "guard_findings", "guard_rates", "benchmark", RUN_FOLDER)
    kept = {key: value for key, value in run.provenance.items() if key not in left_out}
    return {
        name: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
        for name, value in _flat(kept, "")
    }


def _flat(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Leaves with their dotted names; what lies deeper than two levels stays together."""
    if isinstance(value, Mapping) and value and name.count(".") < 1:
        for key, inner in value.items():
            yield from _flat(inner, f"{name}.{key}" if name else str(key))
    else:
        yield name, value
