"""Two runs on the same samples side by side: figures with their differences, and answers with image verdicts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from holisafe.blind import BlindReport
from holisafe.cli._blind_table import print_blind
from holisafe.cli._tables import points, rate
from holisafe.metrics import FIGURES, Comparison, Figure, Summary, compare, figures
from holisafe.metrics.display import FEW_MARK, FEW_NOTE, few_mark
from holisafe.records import Outcome, Response, Run, Sample
from holisafe.report.verdicts import image_verdict_words
from holisafe.taxonomy import Combination

MOST_OF_A_TEXT = 150
"""Characters of a question or an answer that are printed."""


def compare_runs(first: Run, second: Run) -> dict[str, Comparison]:
    """Second run minus first under each judge; both were asked the same samples."""
    return {
        judge: compare(first.samples, verdicts, second.judgements[judge])
        for judge, verdicts in first.judgements.items()
    }


def print_two_runs(
    first: Run,
    second: Run,
    differences: Mapping[str, Comparison],
    *,
    blind: BlindReport | None = None,
    console: Console | None = None,
) -> None:
    """Print a table for each judge, how good the second run's guard is, and a request of each combination.

    Args:
        first: The run before.
        second: The run after, on the same samples.
        differences: As `compare_runs` gives them.
        blind: Blind baselines beside the second run: those of its first judge are printed too.
        console: Where to print; standard output if not given.
    """
    console = console or Console(highlight=False)
    for judge, comparison in differences.items():
        console.print(_table(judge, first, second, comparison))
    shown = [
        each for judge in differences for each in (*_figures(first, judge).values(), *_figures(second, judge).values())
    ]
    if any(each is not None and each.is_few for each in shown):
        console.print(FEW_NOTE)
    if blind is not None:
        print_blind(blind.results[0], blind.training, second.name, console=console)
    for line in (*_guard_lines(second), *_example_lines(first, second)):
        console.print(line, markup=False, soft_wrap=True)


def _table(judge: str, first: Run, second: Run, comparison: Comparison) -> Table:
    before, after = (_figures(run, judge) for run in (first, second))
    table = Table(title=f"Judge {judge}: % (95 % interval), difference in points", title_justify="left")
    table.add_column("figure", no_wrap=True)
    for name in (first.name, second.name, "difference", "n"):
        table.add_column(name, justify="right")
    for figure in FIGURES:
        first_rate, second_rate = before[figure.name], after[figure.name]
        cells = (
            rate(first_rate).replace(FEW_MARK, ""),
            rate(second_rate).replace(FEW_MARK, ""),
            points(comparison.differences[figure.name]),
        )
        table.add_row(figure.label, *cells, "0" if first_rate is None else f"{first_rate.n}{few_mark(first_rate)}")
    return table


def _figures(run: Run, judge: str) -> dict[str, Figure | None]:
    return figures(Summary.from_json(run.provenance["summaries"][judge]))


def _guard_lines(run: Run) -> list[str]:
    """How good the guard's image verdicts are, in one sentence."""
    findings: Mapping[str, Any] = run.provenance.get("guard_findings") or {}
    images = findings.get("images")
    if not images:
        return []
    shares = {key: rate(_figure(images[key])) for key in ("accuracy", "flagged_unsafe", "flagged_safe")}
    return [
        f"Image verdicts of {run.name} on {images['images']} images: right label of the twenty for "
        f"{shares['accuracy']} %;",
        f"flagged: {shares['flagged_unsafe']} % of unsafe images, {shares['flagged_safe']} % of safe ones.",
    ]


def _figure(values: Mapping[str, Any] | None) -> Figure | None:
    return None if values is None else Figure(**values)


def _example_lines(first: Run, second: Run) -> list[str]:
    """The first request of each combination: its image, the guard's verdict on it, and both answers."""
    judge = next(iter(first.judgements))
    width = max(len(first.name), len(second.name))
    lines = ["", f"The first request of each combination, with the outcome under judge {judge}:"]
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
    """What each image shows by the data, and what the guard found."""
    shown = [label.value.replace("_", " ") for label in sample.image_labels]
    words = f"shows: {', '.join(shown) or 'not labelled'}"
    found = [image_verdict_words(each) for each in response.verdict.images]
    return f"{words}; guard: {'; '.join(found)}" if found else words


def _short(text: str) -> str:
    from holisafe.report.text import plain

    return plain(" ".join(text.split()), MOST_OF_A_TEXT)
