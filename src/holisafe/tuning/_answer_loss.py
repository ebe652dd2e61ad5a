"""The term of the answer: next-token cross-entropy of the reference."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from holisafe.tuning._logits import only_learned
from holisafe.tuning._loss import LossTerm
from holisafe.tuning._targets import IGNORED

ANSWER = "answer"

TARGETS = ("image_labels", "combinations", "categories")
"""What a batch holds for the guard, which the model itself does not take."""


def count_answer(batch: Mapping[str, Any]) -> dict[str, int]:
    """Tokens that are learned, (batch, tokens - 1) of them looked at: the first position has none before it."""
    return {ANSWER: int((batch["labels"][:, 1:] != IGNORED).sum())}


def answer_term(model: Any, inputs: Mapping[str, Any]) -> tuple[LossTerm, Any]:
    """Run the model and take its loss, a mean over learned tokens, as a sum.

    Args:
        model: A transformers model, wrapped or not.
        inputs: What it takes, with `labels`.

    Returns:
        The term, and the model's outputs.
    """
    with only_learned(model, inputs["labels"]):
        outputs = model(**inputs)
    count = count_answer(inputs)[ANSWER]
    mean: Tensor = outputs["loss"]
    return LossTerm(ANSWER, mean * count, count), outputs


def model_inputs(batch: Mapping[str, Any]) -> dict[str, Any]:
    """A batch without the guard's targets."""
    return {key: value for key, value in batch.items() if key not in TARGETS}
