"""What the guard's section shows, and its figures for Markdown and CSV."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from holisafe.guard import DecideBy, GuardFindings, ThresholdRow, guard_findings, threshold_rows
from holisafe.guard.findings import FlagTable, PolicyFigures
from holisafe.guard.image_quality import KINDS
from holisafe.metrics import HEADLINE, ClassScores, Figure, headline
from holisafe.records import Response
from holisafe.report._table import JudgedRun, percent, shown_run
from holisafe.report.text import cell
from holisafe.report.verdicts import image_verdict_words, request_verdict_words
from holisafe.taxonomy import DATA_ORDER, Combination, GuardLabel

WORDS = {
    DecideBy.IMAGE: "image verdict",
    DecideBy.REQUEST: "request verdict",
    DecideBy.EITHER: "image or request verdict",
}
"""What the deciding verdict is called."""

KIND_NAMES = tuple(kind.replace("_", " ").capitalize() for kind in KINDS)

SIDES = ("refused", "answered", "not_scored")
"""Columns of the table of flags and answers."""


@dataclass(frozen=True, slots=True)
class CrossingRow:
    """One line of flags against answers: a group of requests, whether flagged, and how many of the group there are."""

    group: str
    is_safe: bool
    is_flagged: bool
    cell: FlagTable
    of: int


@dataclass(frozen=True, slots=True)
class ShownVerdict:
    """One verdict beside an answer: on what, in words, and whether it is flagged."""

    subject: str
    words: str
    is_flagged: bool


def findings_of(runs: Sequence[JudgedRun]) -> dict[str, GuardFindings]:
    """By the name of the run, for those with verdicts of a guard."""
    found = {judged.name: guard_findings(shown_run(judged)) for judged in runs}
    return {name: each for name, each in found.items() if each is not None}


def thresholds_of(runs: Sequence[JudgedRun]) -> dict[str, dict[DecideBy, tuple[ThresholdRow, ...]]]:
    """By the name of the run, what other thresholds would have done, for those with verdicts of a guard."""
    found = {judged.name: threshold_rows(shown_run(judged)) for judged in runs}
    return {name: each for name, each in found.items() if each}


def crossing_rows(findings: GuardFindings, judge: str, decide_by: DecideBy) -> list[CrossingRow]:
    """Flagged and not flagged, for safe and unsafe requests."""
    cells = findings.flag_tables[judge, decide_by]
    rows = []
    for group, is_safe in (("safe", True), ("unsafe", False)):
        of = cells[is_safe, True].total + cells[is_safe, False].total
        rows += [CrossingRow(group, is_safe, flag, cells[is_safe, flag], of) for flag in (True, False)]
    return rows


def policy_name(figures: PolicyFigures) -> str:
    """E.g. "refuse, by the image verdict"."""
    if figures.decide_by is None:
        return f"{figures.policy} (as measured)"
    return f"{figures.policy}, by the {WORDS[figures.decide_by]}"


def class_rows(findings: GuardFindings) -> list[tuple[str, ClassScores]]:
    """Labels that occur or were given, in the order of the data."""
    if findings.images is None:
        return []
    scores = findings.images.per_class
    return [(_name(label), scores[label]) for label in DATA_ORDER if scores[label].support or scores[label].predicted]


def shown_verdicts(response: Response) -> list[ShownVerdict]:
    """What the guard found of each image and of the request."""
    images = response.verdict.images
    found = [
        ShownVerdict(
            "image" if len(images) == 1 else f"image {place}",
            image_verdict_words(verdict),
            GuardLabel.SAFE in verdict.distribution and verdict.flagged,
        )
        for place, verdict in enumerate(images, start=1)
    ]
    request = response.verdict.request
    if request is not None:
        is_flagged = Combination.SSS in request.distribution and request.flagged
        found.append(ShownVerdict("request", request_verdict_words(request), is_flagged))
    return found


def markdown(name: str, findings: GuardFindings) -> Iterator[str]:
    """Lines of the guard's tables of one run."""
    yield from ("", f"**Guard on {cell(name)}: flags and answers** (share of the group in %)", "")
    yield "| judge | decided by | requests | guard | refused | answered | not scored |"
    yield "|---|---|---|---|--:|--:|--:|"
    for judge, decide_by in findings.flag_tables:
        for row in crossing_rows(findings, judge, decide_by):
            counts = " | ".join(_counted(row.cell.to_json()[side], row.of) for side in SIDES)
            flag = "flagged" if row.is_flagged else "not flagged"
            yield f"| {cell(judge)} | {WORDS[decide_by]} | {row.group} | {flag} | {counts} |"
    yield from ("", f"**Guard on {cell(name)}: policies** (rates in %, in brackets the change in points)", "")
    yield "| judge | policy | " + " | ".join(figure.label for figure in HEADLINE) + " |"
    yield "|---|---|" + "--:|" * len(HEADLINE)
    for judge, policies in findings.policies.items():
        for figures in policies:
            cells = [_changed(figures, key, figure) for key, figure in headline(figures.summary).items()]
            yield f"| {cell(judge)} | {policy_name(figures)} | " + " | ".join(cells) + " |"
    if findings.images is not None:
        quality = findings.images
        yield from ("", f"**Guard on {cell(name)}: image verdicts** ({quality.images} images)", "")
        yield "| figure | value |"
        yield "|---|--:|"
        for key, figure in quality.figures.items():
            yield f"| {_QUALITY[key]} | {percent(figure)} |"
        yield f"| expected calibration error | {100 * quality.calibration_error:.1f} |"


def csv_rows(name: str, findings: GuardFindings) -> Iterator[list[object]]:
    """Rows `run, judge, figure, value, low, high, n`; what no judge decides has an empty judge."""
    for judge, decide_by in findings.flag_tables:
        for row in crossing_rows(findings, judge, decide_by):
            flag = "flagged" if row.is_flagged else "not_flagged"
            for side in SIDES:
                share = row.cell.to_json()[side] / row.of if row.of else ""
                yield [
                    name,
                    judge,
                    f"guard.{decide_by}.{'sss' if row.is_safe else 'unsafe'}.{flag}.{side}",
                    share,
                    "",
                    "",
                    row.of,
                ]
    for judge, policies in findings.policies.items():
        for figures in policies:
            if figures.decide_by is None or figures.versus_observe is None:
                continue
            place = f"guard.{figures.policy}.{figures.decide_by}"
            for key, figure in headline(figures.summary).items():
                yield [name, judge, f"{place}.{key}", *_numbers(figure)]
            for key, found in figures.versus_observe.differences.items():
                numbers = ["", "", "", 0] if found is None else [found.value, found.low, found.high, found.n]
                yield [name, judge, f"{place}.{key}.versus_observe", *numbers]
    if findings.images is not None:
        for key, figure in findings.images.figures.items():
            yield [name, "", f"guard.images.{key}", *_numbers(figure)]
        error = findings.images.calibration_error
        yield [name, "", "guard.images.calibration_error", error, "", "", findings.images.images]


_QUALITY = {
    "accuracy": "right label of the twenty, %",
    "auroc": "AUROC, safe or unsafe, %",
    "auprc": "AUPRC, safe or unsafe, %",
    "flagged_safe": "safe images flagged, %",
    "flagged_unsafe": "unsafe images flagged, %",
}


def _name(label: GuardLabel) -> str:
    return label.value.replace("_", " ")


def _counted(count: int, of: int) -> str:
    return f"{count} ({100 * count / of:.1f})" if of else "–"


def _changed(figures: PolicyFigures, key: str, figure: Figure | None) -> str:
    if figure is None:
        return "–"
    found = figures.versus_observe.differences[key] if figures.versus_observe else None
    change = "" if found is None else f" ({100 * found.value:+.1f})"
    return f"{100 * figure.value:.1f}{change}"


def _numbers(figure: Figure | None) -> list[object]:
    return ["", "", "", 0] if figure is None else [figure.value, figure.low, figure.high, figure.n]
