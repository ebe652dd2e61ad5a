"""Batches of SafeKey: conversations, where the thought's understanding and key sentence are, and what is harmful."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from holisafe.errors import TuningError
from holisafe.guard import GuardConfig
from holisafe.records import Behaviour, Sample
from holisafe.tuning._answer_loss import count_answer
from holisafe.tuning._collate import Collator
from holisafe.tuning._guard_loss import count_guard
from holisafe.tuning._spans import answer_starts, squeezed
from holisafe.tuning._targets import IGNORED

UNDERSTANDING_TAG, KEY_TAG = "understanding_end", "key_sentence_end"
"""Tags of a sample: where its understanding U and its key sentence K end, in characters of the reference. K begins
where U ends."""

SPANS = "key_spans"
"""In a batch (batch, 3): the first column of the answer, and those where K begins and ends; -1 without a K."""

UNSAFE = "unsafe"
"""In a batch (batch,): whether the request is to be refused, 1 or 0; -100 where the data do not say, or without a K."""

KEY, HEAD = "key", "head"
"""The terms of the key sentence and of the safety heads."""

THOUGHT, THOUGHT_END = "<think>", "</think>"


def check_thought(sample: Sample) -> None:
    """Refuse an answer without a thought.

    Raises:
        TuningError: It has none.
    """
    begun, end, _ = (sample.reference or "").partition(THOUGHT_END)
    if not (end and begun.lstrip().startswith(THOUGHT)):
        raise TuningError(
            f"sample {sample.id}: reference: found no thought ({THOUGHT}…{THOUGHT_END}) at its beginning; "
            'method="safekey" is for thinking models and data with thoughts; use another method'
        )


def check_key(sample: Sample) -> None:
    """Refuse an answer without a key sentence.

    Raises:
        TuningError: A tag is missing, is no number, or not where it belongs.
    """
    reference = sample.reference or ""
    ends = []
    for tag in (UNDERSTANDING_TAG, KEY_TAG):
        text = sample.tags.get(tag, "")
        if not text.isdecimal():
            raise TuningError(
                f"sample {sample.id}: tags: {tag}: expected how many characters of the reference come before its "
                f"{'key sentence' if tag == UNDERSTANDING_TAG else 'key sentence ends'}, found {text!r}"
            )
        ends.append(int(text))
    first, last = ends
    if not (last <= len(reference) and squeezed(reference[:first]) and squeezed(reference[first:last])):
        raise TuningError(
            f"sample {sample.id}: tags: {UNDERSTANDING_TAG}, {KEY_TAG}: found {first} and {last} in a reference of "
            f"{len(reference)} characters; expected an understanding, and a key sentence after it"
        )


def check_thinks(processor: Any) -> None:
    """Refuse a processor whose template and vocabulary know no thoughts.

    Raises:
        TuningError: It is such.
    """
    known = [*processor.tokenizer.get_added_vocab(), str(processor.chat_template)]
    if not any(mark in text for text in known for mark in (THOUGHT, THOUGHT_END)):
        raise TuningError(
            f"{type(processor).__name__}: neither its chat template nor its vocabulary knows {THOUGHT}; "
            'method="safekey" is for thinking models; use another method'
        )


@dataclass(frozen=True, slots=True)
class KeyCollator:
    """Makes a batch as `Collator` does, and says where the key sentences are.

    A token belongs to the part in which its first character is.
    """

    conversations: Collator

    def __post_init__(self) -> None:
        check_thinks(self.processor)

    @property
    def processor(self) -> Any:
        """The model's processor."""
        return self.conversations.processor

    def __call__(self, samples: Sequence[Sample]) -> dict[str, Any]:
        """A right-padded batch.

        Raises:
            TuningError: As `Collator`.
            ImageError: An image could not be let in.
        """
        batch = self.conversations(samples)
        labels: Tensor = batch["labels"]
        spans = [self._spans(sample, labels[row]) for row, sample in enumerate(samples)]
        harmful = [
            IGNORED if sample.expected is None or start < 0 else int(sample.expected is Behaviour.REFUSE)
            for sample, (_, start, _) in zip(samples, spans, strict=True)
        ]
        return batch | {SPANS: torch.tensor(spans), UNSAFE: torch.tensor(harmful)}

    def _spans(self, sample: Sample, labels: Tensor) -> tuple[int, int, int]:
        if KEY_TAG not in sample.tags:
            return -1, -1, -1
        reference = sample.reference or ""
        columns, starts = answer_starts(self.processor.tokenizer, labels, reference, sample.id)
        ends = (len(squeezed(reference[: int(sample.tags[tag])])) for tag in (UNDERSTANDING_TAG, KEY_TAG))
        first, last = (sum(start < end for start in starts) for end in ends)
        answer = int(columns[0])
        return answer, answer + first, answer + last


def collator(processor: Any, guard: GuardConfig | None, **options: Any) -> KeyCollator:
    """The collator."""
    return KeyCollator(Collator(processor, guard, **options))


def counts(batch: Mapping[str, Any]) -> dict[str, int]:
    """Targets of each term: learned tokens, tokens of key sentences, requests known as safe or not; a guard's."""
    keys = batch[SPANS][:, 2] - batch[SPANS][:, 1]
    return (
        count_answer(batch) | {KEY: int(keys.sum()), HEAD: int((batch[UNSAFE] != IGNORED).sum())} | count_guard(batch)
    )
