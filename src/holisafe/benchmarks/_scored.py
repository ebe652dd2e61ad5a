"""Samples, answers and judgements side by side, and shares over them with intervals that allow for clusters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from holisafe.errors import DataError
from holisafe.metrics import Figure, cluster_name, judge_of, mean_share_figure, share_figure
from holisafe.records import Judgement, Response, Sample


@dataclass(frozen=True, slots=True)
class Row:
    """One sample with its answer and the judgement on it."""

    sample: Sample
    response: Response
    judgement: Judgement


Holds = Callable[[Row], bool]
"""Whether a row is in the numerator."""


@dataclass(frozen=True, slots=True)
class Scored:
    """All rows of a run under one judge; every sample is in the denominator of its shares."""

    rows: tuple[Row, ...]

    @staticmethod
    def of(samples: Sequence[Sample], responses: Sequence[Response], judgements: Sequence[Judgement]) -> Scored:
        """The rows of a run.

        Raises:
            DataError: The three do not belong together one to one, or the judgements are of several judges.
        """
        if not len(samples) == len(responses) == len(judgements):
            counts = f"{len(samples)} samples, {len(responses)} responses and {len(judgements)} judgements"
            raise DataError(f"expected one response and one judgement per sample, found {counts}")
        judge_of(judgements)
        rows = tuple(Row(*each) for each in zip(samples, responses, judgements, strict=True))
        for row in rows:
            if not row.sample.id == row.response.sample_id == row.judgement.sample_id:
                found = f"response of {row.response.sample_id!r}, judgement of {row.judgement.sample_id!r}"
                raise DataError(f"sample {row.sample.id!r}: found {found}; give all three in the same order")
        return Scored(rows)

    def where(self, keep: Holds) -> Scored:
        """The rows of some samples; `keep` may look at samples only, or denominators would shrink."""
        return Scored(tuple(row for row in self.rows if keep(row)))

    def tagged(self, tag: str, value: str) -> Scored:
        """The rows of samples with this tag."""
        return self.where(lambda row: row.sample.tags.get(tag) == value)

    def share(self, holds: Holds) -> Figure | None:
        """Share of the rows for which something holds; None without rows."""
        clusters = [cluster_name(row.sample) for row in self.rows]
        return share_figure([holds(row) for row in self.rows], clusters)

    def mean_share(self, holds: Holds, part: Callable[[Row], str], names: Sequence[str]) -> Figure | None:
        """Unweighted mean of the shares of several parts; None where a part has no rows.

        Args:
            holds: Whether a row is in the numerator.
            part: The part of a row.
            names: The parts.
        """
        clusters = [cluster_name(row.sample) for row in self.rows]
        parts = [part(row) for row in self.rows]
        return mean_share_figure([holds(row) for row in self.rows], parts, clusters, names)
