"""The guard on answers: what its output head says of the tokens that a model generates, from their hidden states.

The states are those that decoding computes anyway; there is no second model and no second pass.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from holisafe.errors import GuardError
from holisafe.families.features import extended
from holisafe.guard._verdict import answer_checks
from holisafe.guard.attach import base_model, find_observer, guard_of, language_model_of, observer_of
from holisafe.guard.head import NO_OUTPUT_HEAD
from holisafe.records import CHECK_EVERY, AnswerCheck


def judges_answers(model: Any) -> bool:
    """Whether the model has a guard with an output head."""
    observer = find_observer(model)
    return observer is not None and observer.config.output_head


class AnswerStates:
    """The states of the tokens that a batch has just read; a context manager around `generate`.

    Forward passes of other threads, such as second readings of an answer, are not seen.

    Args:
        model: A model whose guard has an output head.

    Raises:
        GuardError: It has none.
    """

    def __init__(self, model: Any) -> None:
        if not judges_answers(model):
            raise GuardError(NO_OUTPUT_HEAD)
        self._model = model
        self._calibration = observer_of(model).calibration
        self._thread = threading.get_ident()
        self._states: Tensor | None = None
        self._handle: Any = None

    def __enter__(self) -> AnswerStates:
        """Watch the language model from now on."""
        self._handle = _language_model(self._model).register_forward_hook(self._keep)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Watch it no more."""
        self._handle.remove()
        self._states = None

    def check(self, rows: Sequence[int], tokens: Sequence[int]) -> list[AnswerCheck]:
        """Judge some rows of the batch by their latest state.

        Args:
            rows: Which rows.
            tokens: How many tokens of its answer each has read.

        Raises:
            GuardError: The model was not seen, or its states are not finite.
        """
        if self._states is None:
            raise GuardError("the language model was not seen, so the guard cannot judge the answer")
        logits = guard_of(self._model).judge_answers(self._states[list(rows)])  # (rows, 9)
        return answer_checks(logits, tokens, self._calibration)

    def _keep(self, _: nn.Module, __: Any, output: Any) -> None:
        if threading.get_ident() == self._thread:
            self._states = output[0][:, -1]  # (rows, width); prompts are padded on the left


def places_of(tokens: int, every: int = CHECK_EVERY) -> list[int]:
    """How many tokens have been read at each check of an answer of `tokens` tokens: every so many, and all."""
    return sorted({*range(every, tokens + 1, every), tokens} - {0})


@torch.inference_mode()
def answer_states(model: Any, inputs: Mapping[str, Any], tokens: Sequence[int], places: Sequence[int]) -> Tensor:
    """States of an answer's tokens by one forward pass over prompt and answer.

    Args:
        model: The model.
        inputs: Inputs of its forward pass for one prompt.
        tokens: The answer's token ids.
        places: After how many of them a state is wanted, each at least 1.

    Returns:
        (places, width).
    """
    seen: list[Tensor] = []
    handle = _language_model(model).register_forward_hook(lambda _, __, output: seen.append(output[0]))
    # logits, which nobody reads, are computed of one position where the model can
    only = {"logits_to_keep": 1} if "logits_to_keep" in inspect.signature(base_model(model).forward).parameters else {}
    try:
        model(**extended(inputs, tokens), use_cache=False, **only)
    finally:
        handle.remove()
    first = int(inputs["input_ids"].shape[1]) - 1
    return seen[0][0, [first + place for place in places]]


def _language_model(model: Any) -> nn.Module:
    return language_model_of(base_model(model), observer_of(model).family)
