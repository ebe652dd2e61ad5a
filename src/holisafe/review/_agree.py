"""How far annotators agree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from holisafe.metrics import Figure, PairAgreement, krippendorff_figure, pairwise_agreement
from holisafe.review._export import Exports
from holisafe.review._settle import ADJUDICATOR


@dataclass(frozen=True, slots=True)
class Agreed:
    """How far the annotators agree; the adjudicator is none of them.

    Attributes:
        annotators: Their number.
        alpha: Krippendorff's alpha with its interval, in [-1, 1]; None where it is not defined.
        pairs: Agreement of every two of them, by role.
    """

    annotators: int
    alpha: Figure | None
    pairs: tuple[PairAgreement, ...]

    def to_json(self) -> dict[str, Any]:
        """The documented object (docs/review.md)."""
        return {
            "annotators": self.annotators,
            "alpha": None if self.alpha is None else self.alpha.to_json(),
            "pairs": [each.to_json() for each in self.pairs],
        }


def agree(exports: Exports, roles: Mapping[str, str], pictures: Mapping[str, str]) -> Agreed:
    """Agreement over all tasks; a person with two annotations of a task has none there.

    Args:
        exports: The annotations.
        roles: Role by person.
        pictures: Key of a task → its picture; tasks of one picture are drawn together for the interval.
    """
    verdicts: dict[str, list[str | None]] = {role: [] for role in roles.values() if role != ADJUDICATOR}
    for said in exports.by_task.values():
        for who, role in roles.items():
            own = [each.choice for each in said if each.who == who]
            if role != ADJUDICATOR:
                verdicts[role].append(own[0] if len(own) == 1 else None)
    if not verdicts:
        return Agreed(0, None, ())
    alpha = krippendorff_figure(verdicts, [pictures[key] for key in exports.by_task])
    return Agreed(len(verdicts), alpha, pairwise_agreement(verdicts))
