"""VLGuard's safety fine-tuning: mixed with general data, or after it. Source: arXiv 2402.02207.

Mixed: with `general_share`; post hoc: without, on a model that has learned to follow instructions. The loss is that of
answers, and of a guard where one is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from holisafe.tuning.methods._answers import AnswersMethod
from holisafe.tuning.methods._method import METHODS
from holisafe.tuning.methods.vlguard.config import VlguardConfig

if TYPE_CHECKING:
    from holisafe.records import Sample

__all__ = ["Vlguard", "VlguardConfig"]


class Vlguard(AnswersMethod):
    """Every answer of a conversation, where requests about one image follow one another in random order."""

    name = "vlguard"
    about = "answers to harmful and harmless requests about one image, in one conversation (VLGuard, arXiv 2402.02207)"
    config = VlguardConfig
    is_balanced = False

    def prepare(self, samples: Sequence[Sample], config: VlguardConfig) -> Sequence[Sample]:
        """Twins about the same image become a conversation, and each round of a conversation a sample."""
        from holisafe.tuning.methods.vlguard.data import in_rounds

        return in_rounds(samples, config.shuffle_seed)


METHODS.add(Vlguard.name, Vlguard())
