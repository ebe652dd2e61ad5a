"""From VLGuard's records, or conversations, to samples: one for each answer, with what was said before it.

The loss over the answers of a conversation is the sum over such samples.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace

from holisafe.records import Role, Sample, Turn
from holisafe.tuning._targets import check_conversation


def in_rounds(samples: Sequence[Sample], seed: int) -> list[Sample]:
    """Every answer as a sample with what was said before it, in the order of the samples.

    Twins about the same image, as VLGuard has them of its safe images, become a conversation: one of them keeps its
    form, and the other comes after it. Which of them is first depends on the seed and their ids.

    Raises:
        TuningError: A sample has no answer.
    """
    by_id = {sample.id: sample for sample in samples}
    found: list[Sample] = []
    for sample in samples:
        check_conversation(sample)
        twin = by_id.get(sample.twin or "")
        if twin is not None and _share_an_image(sample, twin) and _first(sample.id, twin.id, seed) == twin.id:
            found.append(_after(twin, sample))
        else:
            found += [*_earlier(sample), sample]
    return found


def _share_an_image(one: Sample, other: Sample) -> bool:
    """Whether both are one question about the same images, so that they may follow one another."""
    is_plain = all(len(sample.turns) == 1 and sample.images and sample.reference for sample in (one, other))
    shown = [[image.identity for image in sample.images] for sample in (one, other)]
    return is_plain and one.twin == other.id and other.twin == one.id and shown[0] == shown[1]


def _first(one: str, other: str, seed: int) -> str:
    pair = sorted((one, other))
    return random.Random(f"{seed} {pair[0]} {pair[1]}").choice(pair)


def _after(first: Sample, second: Sample) -> Sample:
    """The second request where the first was asked and answered before; the images stay with the first."""
    (turn,) = second.turns
    said = Turn(Role.ASSISTANT, first.reference or "")
    return replace(second, turns=(*first.turns, said, replace(turn, images=())))


def _earlier(sample: Sample) -> Iterator[Sample]:
    """The earlier answers of a conversation; a guard learns of the last request alone."""
    for at, turn in enumerate(sample.turns):
        if turn.role is Role.ASSISTANT and turn.text.strip():
            before = replace(sample, turns=sample.turns[:at], reference=turn.text)
            labels = sample.image_labels[: len(before.images)]
            yield replace(before, id=f"{sample.id}-round-{at}", combination=None, image_labels=labels, twin=None)
