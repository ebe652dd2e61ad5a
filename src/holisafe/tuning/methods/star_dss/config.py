"""Settings of STAR-DSS, and of the scores that it learns from. Source: arXiv 2505.17196."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from holisafe.tuning._fields import Range
from holisafe.tuning.methods.vgm.config import VgmConfig


class Unit(StrEnum):
    """What the chunks of an answer are counted in."""

    TOKENS = "tokens"
    WORDS = "words"


CHUNK_SIZE = 5
"""Published: units of a chunk."""


@dataclass(frozen=True, kw_only=True)
class StarDssConfig(VgmConfig):
    """Where the scores are, and the weight of the reference; image_weight and joint_weight where a guard learns."""

    scores: str | None = field(
        default=None,
        metadata={"help": "File with the safety scores of the answers' chunks, from `holisafe tune-scores`."},
    )
    reference_weight: float = field(
        default=0.5,
        metadata={
            "help": "λ, weight of the distance from the model as it was, on what is unsafe, at least 0 (paper: 0.5). "
            "With 0 and scores of 0 and 1 per answer this is rejection sampling.",
            "range": Range(),
        },
    )
