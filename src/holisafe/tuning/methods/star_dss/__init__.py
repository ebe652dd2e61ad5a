"""STAR-DSS: what a guard finds safe in an answer is learned, and on the rest the model stays as it was.

An answer is cut into chunks, and a guard scores the request with the answer up to the end of each. Source: "Shape it
Up!", arXiv 2505.17196.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holisafe.errors import TuningError
from holisafe.guard import GuardConfig
from holisafe.tuning.methods._answers import AnswersMethod
from holisafe.tuning.methods._method import METHODS
from holisafe.tuning.methods.star_dss.config import StarDssConfig, Unit

if TYPE_CHECKING:
    from holisafe.records import Sample
    from holisafe.tuning._loss import Loss

__all__ = ["StarDss", "StarDssConfig", "Unit"]


class StarDss(AnswersMethod):
    """Answers weighted by safety scores, and a guard where one is asked for."""

    name = "star-dss"
    about = "the safe parts of answers, and to stay as it was on the others (STAR-DSS, arXiv 2505.17196)"
    config = StarDssConfig
    has_reference = True

    def prepare(self, samples: Sequence[Sample], config: StarDssConfig) -> Sequence[Sample]:
        """The samples with their scores; each must have some."""
        from holisafe.tuning.methods.star_dss.scores import with_scores

        return with_scores(samples, _file(config))

    def prepare_general(self, samples: Sequence[Sample], config: StarDssConfig) -> Sequence[Sample]:
        """The samples with their scores; those without any are safe."""
        from holisafe.tuning.methods.star_dss.scores import with_known_scores

        return with_known_scores(samples, _file(config))

    def collator(
        self, processor: Any, guard: GuardConfig | None, **options: Any
    ) -> Callable[[Sequence[Sample]], dict[str, Any]]:
        """Conversations, with the score of each token."""
        from holisafe.tuning.methods.star_dss.data import collator

        return collator(processor, guard, **options)

    def counts(self, batch: Mapping[str, Any]) -> dict[str, int]:
        """Tokens, and a guard's targets."""
        from holisafe.tuning.methods.star_dss.data import counts

        return counts(batch)

    def reference(self, model: Any, batch: Mapping[str, Any], config: StarDssConfig) -> Mapping[str, Any]:
        """Log-probabilities of the learned tokens."""
        from holisafe.tuning.methods.star_dss.loss import reference

        return reference(model, batch, config)

    def loss(self, model: Any, batch: Mapping[str, Any], config: StarDssConfig) -> Loss:
        """V · cross-entropy + (1 − V) · λ · distance from the model as it was."""
        from holisafe.tuning.methods.star_dss.loss import loss

        return loss(model, batch, config)


def _file(config: StarDssConfig) -> Path:
    if config.scores is None:
        raise TuningError(
            'method="star-dss" needs safety scores of the answers: make them with `holisafe tune-scores`, and give '
            "them as --scores FILE"
        )
    return Path(config.scores).expanduser()


METHODS.add(StarDss.name, StarDss())
