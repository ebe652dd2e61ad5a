"""Which characters of an answer each of its tokens writes, whatever stands before the answer.

Places are counted in characters that are no white space: chat templates and tokenizers change white space, and nothing
else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from holisafe.errors import TuningError
from holisafe.tuning._targets import IGNORED

_HALF = "\ufffd"
"""What a tokenizer writes for a part of a character."""


def squeezed(text: str) -> str:
    """The text without white space."""
    return "".join(text.split())


def token_starts(tokenizer: Any, ids: Sequence[int]) -> list[int]:
    """How many characters that are no white space come before each token, and before the end of the last (tokens + 1).

    Tokens that share a character begin where it begins.

    Args:
        tokenizer: What the ids are of.
        ids: An answer's tokens, as they stand in a conversation.
    """
    starts, done, whole, first = [], 0, 0, 0
    for stop in range(1, len(ids) + 1):
        starts.append(done + whole)
        text = squeezed(tokenizer.decode(list(ids[first:stop])))
        whole = len(text.rstrip(_HALF))  # of a character, the next tokens write the rest
        if whole == len(text) or stop == len(ids):
            done, whole, first = done + len(text), 0, stop
    return [*starts, done]


def answer_starts(tokenizer: Any, labels: Tensor, reference: str, sample: str) -> tuple[Tensor, list[int]]:
    """Where a row's learned tokens are, and which characters of the reference each of them begins at.

    The token that ends the turn begins at the reference's end. A part of the reference that the generation prompt has
    written is not learned, and counted.

    Args:
        tokenizer: The processor's.
        labels: The row's (tokens,), -100 where nothing is learned.
        reference: The sample's.
        sample: Its id, for messages.

    Returns:
        Columns of the learned tokens (learned,), and as many places.

    Raises:
        TuningError: The tokenizer writes other characters than the reference has.
    """
    columns = (labels != IGNORED).nonzero()[:, 0]
    ids: list[int] = labels[columns].tolist()
    starts = token_starts(tokenizer, ids[:-1])  # the last token ends the turn
    before = len(squeezed(reference)) - starts[-1]
    written = squeezed(tokenizer.decode(ids[:-1]))
    if before < 0 or written != squeezed(reference)[before:]:
        raise TuningError(
            f"sample {sample}: reference: the tokenizer writes it with other characters, so that its parts cannot be "
            "found among the tokens; write it in Unicode's composed form (NFC)"
        )
    return columns, [before + start for start in starts]


def after(text: str, count: int) -> int:
    """Index in a text after its first `count` characters that are no white space."""
    if count == 0:
        return 0
    seen = 0
    for index, character in enumerate(text):
        seen += not character.isspace()
        if seen == count:
            return index + 1
    return len(text)
