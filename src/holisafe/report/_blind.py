"""The rows of blind baselines below each run, and which of the run's figures they reach."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from holisafe.blind import LEGEND
from holisafe.errors import HoliSafeError
from holisafe.report._same import same_sample
from holisafe.report._table import JudgedRun
from holisafe.report.text import plain

if TYPE_CHECKING:
    from holisafe.blind import BlindBaseline, BlindResult, BlindScores

_COMMAND = "`holisafe blind DATA --run RUN` gives them with a model's view of the images"


@dataclass(frozen=True, slots=True)
class BlindRows:
    """The baselines beside one run.

    Attributes:
        by_judge: The baselines at the run's refusal rate under each judge; empty where they were left out.
        notes: What they were trained on, and what was left out, in sentences.
    """

    by_judge: Mapping[str, BlindResult] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def reached(self, judge: str) -> frozenset[str]:
        """Names of the run's figures to be marked."""
        return self.by_judge[judge].reached if judge in self.by_judge else frozenset()

    def baselines(self, judge: str) -> tuple[BlindBaseline, ...]:
        """The baselines at the run's refusal rate under a judge."""
        return self.by_judge[judge].baselines if judge in self.by_judge else ()


def blind_rows(runs: Sequence[JudgedRun]) -> dict[str, BlindRows]:
    """The baselines beside each run, by the run's name; a report never fails for want of them."""
    known: dict[tuple[object, ...], BlindScores] = {}
    return {judged.name: _beside(judged, known) for judged in runs}


def blind_notes(rows: Mapping[str, BlindRows]) -> list[str]:
    """What to say below the table: the meaning of the mark where there is one, then each run's notes, each once."""
    by_note: dict[str, list[str]] = {}
    for name, found in rows.items():
        for note in found.notes:
            by_note.setdefault(note, []).append(name)
    said = [note if len(names) == len(rows) else f"{', '.join(names)}: {note}" for note, names in by_note.items()]
    if any(result.reached for found in rows.values() for result in found.by_judge.values()):
        return [LEGEND, *said]
    return said


def _beside(judged: JudgedRun, known: dict[tuple[object, ...], BlindScores]) -> BlindRows:
    run = judged.run
    try:
        from holisafe.blind import beside, run_data, scores_of_run

        asked = (run_data(run), *map(same_sample, run.samples))
        if asked not in known:
            known[asked] = scores_of_run(run)
        scores = known[asked]
        found = {
            judge: beside(scores, run.judgements[judge], summary, paired=False)
            for judge, summary in judged.summaries.items()
            if judge not in judged.withheld
        }
    except HoliSafeError as error:
        return BlindRows(notes=(f"Blind baselines left out: {plain(str(error), 400)}",))
    trained = f"Blind baselines at the run’s RR: {plain(scores.training)}; {_COMMAND}."
    return BlindRows(found, (trained, *(f"{plain(note, 400)}." for note in scores.notes)))
