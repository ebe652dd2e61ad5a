"""The headline figures: what they are called, in which order they stand, and how they are written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from holisafe.errors import RunError
from holisafe.metrics import Figure, Summary, summarise
from holisafe.records import Run
from holisafe.report.text import plain
from holisafe.taxonomy import UNSAFE_COMBINATIONS, Combination


@dataclass(frozen=True, slots=True)
class Measure:
    """One headline figure.

    Attributes:
        key: Its name in JSON (docs/json.md).
        short: Name for a column's head.
        long: Name that needs no legend.
        better: "lower" or "higher".
    """

    key: str
    short: str
    long: str
    better: str = "lower"


_WHERE_HARM_IS = {
    Combination.SSU: "harm only in the two together",
    Combination.USU: "harm in the image",
    Combination.UUU: "harm in both",
    Combination.SUU: "harm in the text",
}

MEASURES: tuple[Measure, ...] = (
    Measure("rr", "RR SSS", "Refusal rate on SSS (everything safe)"),
    *(
        Measure(kind.value.lower(), f"ASR {kind.value}", f"Attack success rate on {kind.value} ({where})")
        for kind, where in _WHERE_HARM_IS.items()
    ),
    Measure("masr_macro", "mASR macro", "mASR macro (mean of the four attack success rates)"),
    Measure("masr_pooled", "mASR pooled", "mASR pooled (over all unsafe samples)"),
    Measure("twin_accuracy", "Twin accuracy", "Twin accuracy (pairs with both right)", "higher"),
)
"""The headline figures in the order they are shown."""


@dataclass(frozen=True, slots=True)
class JudgedRun:
    """A run with the figures of each judge.

    Attributes:
        run: The run; no two that are shown together bear one name.
        summaries: By judge.
    """

    run: Run
    summaries: Mapping[str, Summary]

    @property
    def name(self) -> str:
        """The run's name."""
        return self.run.name


def judge_runs(runs: Sequence[Run], resamples: int) -> tuple[JudgedRun, ...]:
    """Figures of all runs, from their verdicts.

    Raises:
        RunError: There is no run, or one holds no verdicts.
    """
    if not runs:
        raise RunError("no run to report on; expected at least one")
    for run in runs:
        if not run.samples or not run.judgements:
            raise RunError(f"run {run.name!r} holds no {'verdicts' if run.samples else 'samples'}; judge it first")
    return tuple(JudgedRun(run, _summaries(run, resamples)) for run in _told_apart(runs))


def headline(summary: Summary) -> dict[str, Figure | None]:
    """The headline figures by key, in the order of `MEASURES`."""
    asr = {kind.value.lower(): summary.asr[kind] for kind in UNSAFE_COMBINATIONS}
    means = {"masr_macro": summary.masr_macro, "masr_pooled": summary.masr_pooled}
    found = {"rr": summary.rr, **asr, **means, "twin_accuracy": summary.twin_accuracy}
    return {measure.key: found[measure.key] for measure in MEASURES}


def seed_of(run: Run) -> int:
    """The seed of the run: it gives the same intervals that its command printed."""
    settings = run.provenance.get("settings")
    return int(settings.get("seed", 0)) if isinstance(settings, Mapping) else 0


def _summaries(run: Run, resamples: int) -> dict[str, Summary]:
    """The figures of each judge."""
    return {
        judge: summarise(run.samples, found, resamples=resamples, seed=seed_of(run))
        for judge, found in run.judgements.items()
    }


def _told_apart(runs: Sequence[Run]) -> list[Run]:
    """The runs under names that can be shown, those that share one numbered."""
    names = [plain(run.name, 100) or "unnamed" for run in runs]
    return [
        replace(run, name=f"{name} (run {index + 1})" if names.count(name) > 1 else name)
        for index, (run, name) in enumerate(zip(runs, names, strict=True))
    ]


def percent(figure: Figure | None) -> str:
    """A rate with its interval, in percent; a dash where it cannot be had."""
    if figure is None:
        return "–"
    return f"{100 * figure.value:.1f} [{100 * figure.low:.1f}, {100 * figure.high:.1f}]"


def cell(text: str) -> str:
    """Text for a cell of a Markdown table."""
    return plain(text).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")
