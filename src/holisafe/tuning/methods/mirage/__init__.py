"""MIRage: requests about several images, answered with visual reasoning. Source: MIS, arXiv 2501.18533.

An answer describes each image, relates them to one another and to the request, and decides. One general sample is
mixed in for eight of these. The loss is that of answers, and of a guard where one is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from holisafe.errors import TuningError
from holisafe.tuning.methods._answers import AnswersMethod
from holisafe.tuning.methods._method import METHODS
from holisafe.tuning.methods.mirage.config import MirageConfig

if TYPE_CHECKING:
    from holisafe.records import Sample

__all__ = ["Mirage", "MirageConfig"]


class Mirage(AnswersMethod):
    """Answers about several images."""

    name = "mirage"
    about = "answers that describe several images, relate them and decide (MIRage of MIS, arXiv 2501.18533)"
    config = MirageConfig
    is_balanced = False

    def prepare(self, samples: Sequence[Sample], config: MirageConfig) -> Sequence[Sample]:
        """Samples as they are.

        Raises:
            TuningError: One has too few images.
        """
        for sample in samples:
            if len(sample.images) < config.min_images:
                raise TuningError(
                    f"sample {sample.id}: images: found {len(sample.images) or 'none'}, expected at least "
                    f'{config.min_images}; method="mirage" learns from several images at once: `holisafe data mirage` '
                    "makes such data"
                )
        return samples


METHODS.add(Mirage.name, Mirage())
