"""Runs with their figures, and how figures are written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from holisafe._checks import check_each
from holisafe.errors import RunError
from holisafe.metrics import Figure, Summary, summarise, withheld
from holisafe.metrics.display import few_mark
from holisafe.records import Run
from holisafe.report._withheld import withheld_judges
from holisafe.report.text import plain


@dataclass(frozen=True, slots=True)
class JudgedRun:
    """A run with the figures of each judge.

    Attributes:
        run: The run; runs that are shown together have different names.
        summaries: By judge; without figures where the judge left too many answers without a verdict.
        withheld: Judge → why it has no figures.
        letter: Letters that stand for it in plots, "A" for the first run.
    """

    run: Run
    summaries: Mapping[str, Summary]
    withheld: Mapping[str, str]
    letter: str

    @property
    def name(self) -> str:
        """The run's name."""
        return self.run.name

    @property
    def anchor(self) -> str:
        """Where the page says what it is."""
        return f"run-{self.letter.lower()}"


def judge_runs(runs: Sequence[Run]) -> tuple[JudgedRun, ...]:
    """Figures of all runs, from their judgements.

    Raises:
        RunError: There is no run, or one holds no judgements.
    """
    check_each(runs, Run, "runs")
    if not runs:
        raise RunError("no run to report on; expected at least one")
    for run in runs:
        if not run.samples or not run.judgements:
            raise RunError(f"run {run.name!r} holds no {'judgements' if run.samples else 'samples'}; judge it first")
    return tuple(_judged(run, letter_of(index)) for index, run in enumerate(_renamed(runs)))


def letter_of(index: int) -> str:
    """A to Z, then AA, AB and so on."""
    before, last = divmod(index, 26)
    return (letter_of(before - 1) if before else "") + chr(ord("A") + last)


def shown_run(judged: JudgedRun) -> Run:
    """The run with the judgements of those judges alone whose figures are shown."""
    run = judged.run
    return replace(run, judgements={name: each for name, each in run.judgements.items() if name not in judged.withheld})


def _judged(run: Run, letter: str) -> JudgedRun:
    not_shown = withheld_judges(run)
    summaries = {judge: summarise(run.samples, found) for judge, found in run.judgements.items()}
    shown = {judge: withheld(each) if judge in not_shown else each for judge, each in summaries.items()}
    return JudgedRun(run, shown, not_shown, letter)


def _renamed(runs: Sequence[Run]) -> list[Run]:
    """The runs under names that can be shown; runs of one name are numbered."""
    names = [plain(run.name, 100) or "unnamed" for run in runs]
    return [
        replace(run, name=f"{name} (run {index + 1})" if names.count(name) > 1 else name)
        for index, (run, name) in enumerate(zip(runs, names, strict=True))
    ]


def percent(figure: Figure | None) -> str:
    """A rate with its interval, in percent, marked where it is of few samples; a dash where there are none."""
    if figure is None:
        return "–"
    return f"{100 * figure.value:.1f}{few_mark(figure)} [{100 * figure.low:.1f}, {100 * figure.high:.1f}]"


def cell(text: str) -> str:
    """Text for a cell of a Markdown table."""
    return plain(text).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")
