"""Runs with their figures, and how figures are written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from holisafe._checks import check_each
from holisafe.errors import RunError
from holisafe.metrics import Figure, Summary, pooled, summarise_repeats, withheld
from holisafe.metrics.display import few_mark
from holisafe.records import Run
from holisafe.report._epochs import epoch_number, join_epochs
from holisafe.report._withheld import withheld_judges
from holisafe.report.text import plain


@dataclass(frozen=True, slots=True)
class JudgedRun:
    """A run, or the epochs of one, with the figures of each judge.

    Attributes:
        run: The run, of epochs the first; runs that are shown together have different names.
        summaries: By judge, over all epochs, `n` counting samples and outcomes counting answers; without figures where
            the judge left too many answers without a verdict.
        withheld: Judge → why it has no figures.
        letter: Letters that stand for it in plots, "A" for the first run.
        epochs: Every epoch, `run` first, their samples in its order.
        between: Judge → figure → standard deviation between the epochs; None for one epoch.
    """

    run: Run
    summaries: Mapping[str, Summary]
    withheld: Mapping[str, str]
    letter: str
    epochs: tuple[Run, ...]
    between: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The run's name."""
        return self.run.name

    @property
    def anchor(self) -> str:
        """Where the page says what it is."""
        return f"run-{self.letter.lower()}"


def judge_rows(runs: Sequence[Run]) -> tuple[JudgedRun, ...]:
    """Figures of all runs, from their judgements; epochs of one run are one.

    Raises:
        RunError: There is no run, or one holds no judgements.
    """
    _check(runs)
    joined = join_epochs(runs)
    names = [first.name for first in _renamed([epochs[0] for epochs in joined])]
    rows = [tuple(replace(run, name=name) for run in epochs) for epochs, name in zip(joined, names, strict=True)]
    return tuple(_judged(epochs, letter_of(index)) for index, epochs in enumerate(rows))


def _check(runs: Sequence[Run]) -> None:
    check_each(runs, Run, "runs")
    if not runs:
        raise RunError("no run to report on; expected at least one")
    for run in runs:
        if not run.samples or not run.judgements:
            raise RunError(f"run {run.name!r} holds no {'judgements' if run.samples else 'samples'}; judge it first")


def letter_of(index: int) -> str:
    """A to Z, then AA, AB and so on."""
    before, last = divmod(index, 26)
    return (letter_of(before - 1) if before else "") + chr(ord("A") + last)


def shown_run(judged: JudgedRun) -> Run:
    """The first epoch with the judgements of those judges alone whose figures are shown."""
    run = judged.run
    return replace(run, judgements={name: each for name, each in run.judgements.items() if name not in judged.withheld})


def shown_answers(judged: JudgedRun) -> Run:
    """As `shown_run`, over the answers of all epochs, each under an id of its own."""
    run = shown_run(judged)
    if len(judged.epochs) == 1:
        return run
    answers = {
        judge: pooled(run.samples, [epoch.judgements[judge] for epoch in judged.epochs]) for judge in run.judgements
    }
    samples = next((asked for asked, _ in answers.values()), list(run.samples))
    judgements = {judge: tuple(found) for judge, (_, found) in answers.items()}
    return replace(run, samples=tuple(samples), responses=(), judgements=judgements)


def each_epoch(runs: Sequence[JudgedRun]) -> Iterator[tuple[JudgedRun, Run, int]]:
    """Every epoch of every run, with its number; 0 where the run has no other."""
    for judged in runs:
        for run in judged.epochs:
            yield judged, run, epoch_number(run) if len(judged.epochs) > 1 else 0


def _judged(epochs: tuple[Run, ...], letter: str) -> JudgedRun:
    run = epochs[0]
    not_shown = {judge: why for epoch in reversed(epochs) for judge, why in withheld_judges(epoch).items()}
    found = {
        judge: summarise_repeats(run.samples, [epoch.judgements[judge] for epoch in epochs]) for judge in run.judgements
    }
    shown = {judge: withheld(each.summary) if judge in not_shown else each.summary for judge, each in found.items()}
    between = {judge: each.between for judge, each in found.items() if judge not in not_shown and len(epochs) > 1}
    return JudgedRun(run, shown, not_shown, letter, epochs, between)


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
