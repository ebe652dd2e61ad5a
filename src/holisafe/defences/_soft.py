"""Soft prompts: embeddings of their own after a partial answer, read by the model or learned on it."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from holisafe.families.features import extended, forward_inputs
from holisafe.families.layers import decoder_layers

T = TypeVar("T")


@contextmanager
def soft_at(model: Any, soft: Tensor, first: int) -> Iterator[list[Tensor]]:
    """While it lasts, the language model's next call reads soft embeddings from column `first` on.

    Args:
        model: The model.
        soft: (soft tokens, hidden).
        first: Column of the first of them.

    Yields:
        A list that gets the last layer's states of the call, (1, tokens, hidden), before the final norm.
    """
    states: list[Tensor] = []
    read = False

    def before(_: nn.Module, arguments: Any, named: dict[str, Any]) -> tuple[Any, dict[str, Any]] | None:
        nonlocal read
        if read:
            return None
        read = True
        embeddings = named["inputs_embeds"]
        parts = [embeddings[:, :first], soft[None].to(embeddings), embeddings[:, first + len(soft) :]]
        return arguments, {**named, "inputs_embeds": torch.cat(parts, 1)}

    def after(_: nn.Module, __: Any, output: Any) -> None:
        if not states:
            states.append(output[0] if isinstance(output, tuple) else output)

    handles = [
        model.get_decoder().register_forward_pre_hook(before, with_kwargs=True),
        decoder_layers(model)[-1].layer.register_forward_hook(after),
    ]
    try:
        yield states
    finally:
        for handle in handles:
            handle.remove()


def state_after(model: Any, inputs: Mapping[str, Any], tokens: Sequence[int], soft: Tensor) -> Tensor:
    """The last layer's state at the last soft token after a prompt and a partial answer, (hidden,), without a cache."""
    first = inputs["input_ids"].shape[1] + len(tokens)
    whole = extended(inputs, [*tokens, *_places(model, soft)])
    with soft_at(model, soft, first) as states:
        model(**whole, use_cache=False)
    return states[0][0, first + len(soft) - 1].float()


class CachedReader:
    """The same states with the keys and values of what was read before.

    Args:
        model: A model whose token positions do not depend on images; others are read without a cache.
        inputs: Inputs of its forward pass for one prompt.
        soft: (soft tokens, hidden).
    """

    def __init__(self, model: Any, inputs: Mapping[str, Any], soft: Tensor) -> None:
        self._model = model
        self._inputs = inputs
        self._soft = soft
        self._past: Any = None
        self._read = 0
        self.is_cached = not forward_inputs(model).position_inputs

    def state(self, tokens: Sequence[int]) -> Tensor:
        """The state after the answer's tokens so far, of which those read before stay the same."""
        if not self.is_cached:
            return state_after(self._model, self._inputs, tokens, self._soft)
        if self._past is None:
            self._past = self._model(**self._inputs, use_cache=True).past_key_values
        prompt = self._inputs["input_ids"].shape[1]
        if new := tokens[self._read :]:
            self._past = self._step(new, prompt + len(tokens), self._past).past_key_values
            self._read = len(tokens)
        with soft_at(self._model, self._soft, 0) as states:
            self._step(
                _places(self._model, self._soft), prompt + len(tokens) + len(self._soft), copy.deepcopy(self._past)
            )
        return states[0][0, -1].float()

    def _step(self, tokens: Sequence[int], length: int, past: Any) -> Any:
        ids = torch.tensor([list(tokens)], device=self._model.device)
        mask = torch.ones((1, length), dtype=torch.long, device=ids.device)
        return self._model(input_ids=ids, attention_mask=mask, past_key_values=past, use_cache=True)


def apart(work: Callable[[], T]) -> T:
    """Run a forward pass in a thread of its own, where the hooks of the answer around it do not act."""
    result: list[T] = []
    failure: list[BaseException] = []

    @torch.inference_mode()
    def run() -> None:
        try:
            result.append(work())
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=run, name="holisafe-apart")
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return result[0]


def _places(model: Any, soft: Tensor) -> list[int]:
    """Tokens that hold the places of soft ones: any that is no image's."""
    image = forward_inputs(model).image_token
    return [0 if image != 0 else 1] * len(soft)
