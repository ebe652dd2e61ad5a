"""Interventions inside the language model: on what it reads of the prompt, and on the states of its layers.

Hooks are there while a batch that needs them is generated, and act in the thread that generates it alone.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from holisafe.errors import ModelError
from holisafe.families.layers import decoder_layers
from holisafe.models.engine.interventions import Intervention, Place, Stream, changes_embeddings, changes_hidden

if TYPE_CHECKING:
    from holisafe.models.engine.decode import Row

Change = Callable[[Intervention, Tensor], Tensor]
"""What an intervention makes of the states of its row, (tokens, hidden)."""


@contextmanager
def intervened(model: Any, rows: Sequence[Row], inputs: dict[str, Any]) -> Iterator[None]:
    """While it lasts, interventions see and change what the language model reads and computes.

    Raises:
        ModelError: Its layers cannot be read and an intervention needs them.
    """
    handles: list[Any] = []
    try:
        batch = _Batch(rows, inputs["attention_mask"])
        if any(changes_embeddings(row.interventions) for row in rows):
            handles.append(model.get_decoder().register_forward_pre_hook(batch.read_embeddings, with_kwargs=True))
        if any(changes_hidden(row.interventions) for row in rows):
            handles.append(model.get_decoder().register_forward_hook(batch.next_step))
            for place, layer in enumerate(decoder_layers(model)):
                handles.append(layer.layer.register_forward_pre_hook(batch.before(place), with_kwargs=True))
                handles.append(layer.attention.register_forward_hook(batch.after(Place(place, Stream.ATTENTION))))
                handles.append(layer.mlp.register_forward_hook(batch.after(Place(place, Stream.MLP))))
        yield
    finally:
        for handle in handles:
            handle.remove()


class _Batch:
    """The rows of one batch on their way through the language model."""

    def __init__(self, rows: Sequence[Row], mask: Tensor) -> None:
        self._rows = rows
        self._mask = mask.bool()  # (rows, columns)
        self._thread = threading.get_ident()
        self._step = 0
        self._has_read = False

    def read_embeddings(self, _: nn.Module, arguments: Any, named: dict[str, Any]) -> tuple[Any, Any] | None:
        """Replace `inputs_embeds`, (rows, columns, hidden), of the first call, which is the prefill."""
        embeddings = named.get("inputs_embeds")
        if self._has_read or self._is_other() or embeddings is None:
            return None
        self._has_read = True
        changed = self._changed(embeddings, "on_embeddings", lambda each, seen: each.on_embeddings(seen))
        return arguments, {**named, "inputs_embeds": changed}

    def next_step(self, *_: Any) -> None:
        """The language model has read a token more."""
        if not self._is_other():
            self._step += 1

    def before(self, layer: int) -> Callable[..., Any]:
        """A hook that changes what a layer reads, its first argument."""
        place = Place(layer)

        def hook(_: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, Any] | None:
            if self._is_other():
                return None
            if arguments:
                return (self._hidden(place, arguments[0]), *arguments[1:]), named
            return arguments, {**named, "hidden_states": self._hidden(place, named["hidden_states"])}

        return hook

    def after(self, place: Place) -> Callable[..., Any]:
        """A hook that changes what a part of a layer gives, its first output."""

        def hook(_: nn.Module, __: Any, output: Any) -> Any:
            if self._is_other():
                return None
            if isinstance(output, tuple):
                return (self._hidden(place, output[0]), *output[1:])
            return self._hidden(place, output)

        return hook

    def _is_other(self) -> bool:
        return threading.get_ident() != self._thread

    def _hidden(self, place: Place, states: Tensor) -> Tensor:
        step = self._step
        flat = states if states.ndim == 3 else states.view(len(self._rows), -1, states.shape[-1])
        changed = self._changed(flat, "on_hidden", lambda each, seen: each.on_hidden(place, step, seen))
        return changed.view_as(states)

    def _changed(self, states: Tensor, point: str, change: Change) -> Tensor:
        """States (rows, columns, hidden) as the interventions of each row make them; padding is not seen."""
        changed = states
        for place, row in enumerate(self._rows):
            if row.finish_reason is not None or not row.interventions:
                continue
            seen = self._mask[place, -states.shape[1] :] if self._step == 0 else slice(None)
            before = now = states[place, seen]  # (tokens, hidden)
            for intervention in row.interventions:
                now = change(intervention, now)
                if now.shape != before.shape:
                    raise ModelError(
                        f"{type(intervention).__name__}.{point} gave the shape {list(now.shape)}, expected "
                        f"{list(before.shape)}"
                    )
            if now is not before:
                changed = states.clone() if changed is states else changed
                changed[place, seen] = now.to(changed)
        return changed


@torch.inference_mode()
def hidden_states(model: Any, inputs: dict[str, Any]) -> Tensor:
    """The residual stream of one prompt as each decoder layer reads it, and after the last.

    Args:
        model: The model.
        inputs: Inputs of its forward pass for one prompt, without padding.

    Returns:
        (layers + 1, tokens, hidden), in float32; of the last, before the final norm.
    """
    layers = [each.layer for each in decoder_layers(model)]
    seen: list[Tensor] = []

    def before(_: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        seen.append((arguments[0] if arguments else named["hidden_states"])[0])

    def after(_: nn.Module, __: Any, output: Any) -> None:
        seen.append((output[0] if isinstance(output, tuple) else output)[0])

    handles = [layer.register_forward_pre_hook(before, with_kwargs=True) for layer in layers]
    handles.append(layers[-1].register_forward_hook(after))
    try:
        model(**inputs)
    finally:
        for handle in handles:
            handle.remove()
    return torch.stack([each.float() for each in seen])
