"""Answers as the methods star-dss and safekey learn them: in chunks with scores, and with thoughts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from holisafe.records import Sample
from holisafe.tuning._spans import squeezed
from holisafe.tuning.methods.safekey.data import KEY_TAG, UNDERSTANDING_TAG
from holisafe.tuning.methods.star_dss.scores import Chunks, scored

KNOWS_THOUGHTS = "{# <think> #}"
"""Behind a chat template: it knows thoughts, and writes none by itself."""


def in_chunks(samples: Sequence[Sample], values: Sequence[float] = (0.75, 0.25)) -> list[Sample]:
    """Samples whose answers are cut into as many equal chunks as there are values."""
    found = []
    for each in samples:
        whole = len(squeezed(each.reference or ""))
        ends = [whole * (at + 1) // len(values) for at in range(len(values))]
        found.append(scored(each, Chunks(tuple(ends), tuple(values))))
    return found


def thoughtful(samples: Sequence[Sample]) -> list[Sample]:
    """Samples whose answers begin with a thought of an understanding and a key sentence."""
    found = []
    for each in samples:
        understanding, key = f"<think>They ask {each.query}", " That decides it."
        ends = {UNDERSTANDING_TAG: len(understanding), KEY_TAG: len(understanding + key)}
        found.append(
            replace(
                each,
                reference=f"{understanding}{key} So be it.</think>{each.reference}",
                tags={**each.tags, **{name: str(end) for name, end in ends.items()}},
            )
        )
    return found
