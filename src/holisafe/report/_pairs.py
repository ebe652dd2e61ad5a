"""Runs two by two on the samples that they share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from holisafe._enums import parse_enum
from holisafe.errors import DataError, RunError
from holisafe.metrics import Comparison, Figure, PairedTest, compare, compare_repeats, figures, holm, summarise_repeats
from holisafe.records import Judgement, Run, Sample
from holisafe.report._same import same_sample
from holisafe.report._table import JudgedRun, judge_rows

_Rates = Mapping[str, Figure | None]


@dataclass(frozen=True, slots=True)
class RunPair:
    """Two runs on shared samples under one judge.

    Attributes:
        judge: The judge's name.
        first: Name of the run that is subtracted.
        second: Name of the other run.
        shared: Samples that both were asked.
        only_one: Samples that only one of them was asked; left out.
        comparison: The differences, second minus first; None where they cannot be compared.
        why_not: Why they cannot be compared; empty where they can.
        rates: Every figure of both on the shared samples, by name; empty where they cannot be compared.
        epochs: How often the samples were asked in each of the two.
    """

    judge: str
    first: str
    second: str
    shared: int
    only_one: int
    comparison: Comparison | None
    why_not: str = ""
    rates: tuple[_Rates, _Rates] = ({}, {})
    epochs: tuple[int, int] = (1, 1)

    @property
    def corrected(self) -> dict[str, float | None]:
        """p-value of each figure after Holm's correction over those of this table."""
        found = self.comparison.differences if self.comparison is not None else {}
        p_values = holm([each.p if each is not None else None for each in found.values()])
        return dict(zip(found, p_values, strict=True))


def pair_runs(runs: Sequence[Run], *, test: PairedTest | str = PairedTest.SCORE) -> list[RunPair]:
    """Compare every later run with the first, under each judge of both, on the samples that they share.

    Args:
        runs: At least two runs; those of one name are numbered, and epochs of one run are one.
        test: What gives the p-values: "score", "mcnemar" or "permutation".

    Raises:
        RunError: There are fewer than two runs, one holds no judgements, or no two have a judge in common.
        UnknownNameError: There is no such test.
    """
    judged = judge_rows(runs)
    if len(judged) < 2:
        epochs = f" ({len(judged[0].epochs)} epochs)" if len(judged[0].epochs) > 1 else ""
        raise RunError(f"one run, {judged[0].name!r}{epochs}, has nothing to be compared with; give at least two")
    found = pairs(judged, parse_enum(PairedTest, test))
    if not found:
        listed = "; ".join(f"{each.name}: {', '.join(each.run.judgements)}" for each in judged)
        raise RunError(
            f"no later run has a judge in common with the first ({listed}); "
            "`holisafe score RUN --judge NAME` judges the answers of a run again"
        )
    return found


def pairs(runs: Sequence[JudgedRun], test: PairedTest = PairedTest.SCORE) -> list[RunPair]:
    """Every later run against the first, under each judge that both have; nothing for fewer than two runs."""
    return [
        _pair(runs[0], judged, judge, test)
        for judge in (runs[0].run.judgements if runs else ())
        for judged in runs[1:]
        if judge in judged.run.judgements
    ]


def _pair(one: JudgedRun, other: JudgedRun, judge: str, test: PairedTest) -> RunPair:
    first, second = one.run, other.run
    here = {same_sample(sample): index for index, sample in enumerate(first.samples)}
    there = {same_sample(sample): index for index, sample in enumerate(second.samples)}
    shared = [key for key in here if key in there]
    only_one = len(here) + len(there) - 2 * len(shared)
    why_not = "" if shared else "they share no sample"
    for each in (one, other):
        if judge in each.withheld:
            why_not = f"{each.name} has no figures under it: {each.withheld[judge]}"
    epochs = (len(one.epochs), len(other.epochs))
    if why_not:
        return RunPair(judge, first.name, second.name, len(shared), only_one, None, why_not, epochs=epochs)
    samples = [first.samples[here[key]] for key in shared]
    before = [[run.judgements[judge][here[key]] for key in shared] for run in one.epochs]
    after = [[run.judgements[judge][there[key]] for key in shared] for run in other.epochs]
    try:
        if len(before) == len(after) == 1:
            found = compare(samples, before[0], after[0], test=test)
        else:
            found = compare_repeats(samples, before, after, test=test)
    except DataError as error:  # two versions of the judge, or numbers of epochs that cannot be paired
        return RunPair(judge, first.name, second.name, len(shared), only_one, None, str(error), epochs=epochs)
    rates = (_rates(samples, before), _rates(samples, after))
    return RunPair(judge, first.name, second.name, len(shared), only_one, found, rates=rates, epochs=epochs)


def _rates(samples: Sequence[Sample], epochs: Sequence[Sequence[Judgement]]) -> _Rates:
    return figures(summarise_repeats(samples, epochs, by=()).summary)
