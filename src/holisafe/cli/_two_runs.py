"""Two runs on the same samples side by side: figures with their differences, and answers with image verdicts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from holisafe.cli._tables import NOTHING
from holisafe.metrics import Comparison, Difference, Figure, Summary, compare
from holisafe.records import Outcome, Response, Run, Sample
from holisafe.taxonomy import Combination

MOST_OF_A_TEXT = 150
"""Characters of a question or an answer that are printed."""

ROWS = {
    "rr": "RR SSS",
    "ssu": "ASR SSU",
    "usu": "ASR USU",
    "uuu": "ASR UUU",
    "suu": "ASR SUU",
    "masr_macro": "mASR, macro",
    "masr_pooled": "mASR, pooled",
    "twin_accuracy": "twin accuracy",
}
"""Headline figures by the names of docs/json.md."""


def compare_runs(first: Run, second: Run) -> dict[str, Comparison]:
    """Second run minus first under each judge; both were asked the same samples."""
    return {
        judge: compare(first.samples, verdicts, second.judgements[judge])
        for judge, verdicts in first.judgements.items()
    }


def print_two_runs(
    first: Run, second: Run, differences: Mapping[str, Comparison], *, console: Console | None = None
) -> None:
    """On standard output: a table for each judge, what the second run's guard saw, and a request of each combination.

    Args:
        first: The run before.
        second: The run after, on the same samples.
        differences: As `compare_runs` gives them.
        console: Where to print; standard output if not given.
    """
    console = console or Console(highlight=False)
    for judge, comparison in differences.items():
        console.print(_table(judge, first, second, comparison))
    for line in (*_guard_lines(second), *_example_lines(first, second)):
        console.print(line, markup=False, soft_wrap=True)


def _table(judge: str, first: Run, second: Run, comparison: Comparison) -> Table:
    before, after = (_figures(run, judge) for run in (first, second))
    table = Table(title=f"Judge {judge}: % (95 % interval), difference in points", title_justify="left")
    table.add_column("what", no_wrap=True)
    for name in (first.name, second.name, "difference", "n"):
        table.add_column(name, justify="right")
    for key, name in ROWS.items():
        count = before[key]
        cells = (_rate(before[key]), _rate(after[key]), _points(comparison.differences[key]))
        table.add_row(name, *cells, "0" if count is None else str(count.n))
    return table


def _figures(run: Run, judge: str) -> dict[str, Figure | None]:
    summary = Summary.from_json(run.provenance["summaries"][judge])
    by_kind = {kind.value.lower(): figure for kind, figure in summary.asr.items()}
    of_all = {"masr_macro": summary.masr_macro, "masr_pooled": summary.masr_pooled}
    return {"rr": summary.rr, **by_kind, **of_all, "twin_accuracy": summary.twin_accuracy}


def _rate(figure: Figure | None) -> str:
    if figure is None:
        return NOTHING
    return f"{100 * figure.value:.1f} ({100 * figure.low:.0f}–{100 * figure.high:.0f})"


def _points(found: Difference | None) -> str:
    if found is None:
        return NOTHING
    return f"{100 * found.value:+.1f} ({100 * found.low:+.0f} to {100 * found.high:+.0f})"


def _guard_lines(run: Run) -> list[str]:
    """What the guard's image verdicts are worth, in one sentence."""
    findings: Mapping[str, Any] = run.provenance.get("guard_findings") or {}
    images = findings.get("images")
    if not images:
        return []
    shares = {key: _rate(_figure(images[key])) for key in ("accuracy", "flagged_unsafe", "flagged_safe")}
    return [
        f"Image verdicts of {run.name} on {images['images']} images: right one of twenty labels "
        f"{shares['accuracy']} %;",
        f"flagged: {shares['flagged_unsafe']} % of unsafe images, {shares['flagged_safe']} % of safe ones.",
    ]


def _figure(values: Mapping[str, Any] | None) -> Figure | None:
    return None if values is None else Figure(**values)


def _example_lines(first: Run, second: Run) -> list[str]:
    """The first request of each combination: what is shown and said of it, and both answers."""
    judge = next(iter(first.judgements))
    width = max(len(first.name), len(second.name))
    lines = ["", f"The first request of each combination, as judge {judge} sees it:"]
    for kind in Combination:
        place = next((at for at, sample in enumerate(first.samples) if sample.combination is kind), None)
        if place is None:
            continue
        sample = first.samples[place]
        lines += [
            "",
            f"{kind.value}  {_short(sample.query)}",
            f"     image    {_image_words(sample, second.responses[place])}",
        ]
        for run in (first, second):
            outcome, answer = run.judgements[judge][place].outcome, run.responses[place]
            said = answer.error if outcome is Outcome.ERROR and answer.error else answer.text
            lines.append(f"     {run.name:<{width}}  {outcome.value}: {_short(said)}")
    return [*lines, ""]


def _image_words(sample: Sample, response: Response) -> str:
    """What each image shows by the data, and what the guard says of it."""
    shown = [label.value.replace("_", " ") for label in sample.image_labels]
    said = [f"{each.label.value.replace('_', ' ')} ({each.probability:.0%})" for each in response.verdict.images]
    words = f"shows: {', '.join(shown) or 'not labelled'}"
    return f"{words}; the guard says: {', '.join(said)}" if said else words


def _short(text: str) -> str:
    from holisafe.report.text import plain

    return plain(" ".join(text.split()), MOST_OF_A_TEXT)
