"""Visual features that are computed once and used by several questions: what a model's forward pass accepts of them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from holisafe.families.family import family_of

_KEPT = ("pooler_output", "deepstack_features")
"""What a forward pass reads of the vision encoder's output: visual tokens, and those for deeper layers."""


@dataclass(frozen=True, slots=True)
class ForwardInputs:
    """What one model's forward pass accepts.

    Attributes:
        takes_features: Whether the forward pass takes visual features computed before.
        vision_inputs: Arguments of `get_image_features`.
        position_inputs: Those inputs that also decide token positions (multi-dimensional rotary embedding).
        image_token: Id of the placeholder of a visual token; None where the configuration names none.
        takes_positions: Whether the forward pass takes token positions.
    """

    takes_features: bool
    vision_inputs: frozenset[str]
    position_inputs: frozenset[str]
    image_token: int | None
    takes_positions: bool


def forward_inputs(model: Any) -> ForwardInputs:
    """Read off `model` what it accepts."""
    encode = getattr(model.base_model, "get_image_features", None)
    positions = getattr(model.base_model, "get_rope_index", None)
    vision_inputs = frozenset() if encode is None else _arguments(encode)
    return ForwardInputs(
        takes_features=encode is not None and "mm_encoder_outputs" in _arguments(model.forward),
        vision_inputs=vision_inputs,
        position_inputs=frozenset() if positions is None else _arguments(positions) & vision_inputs,
        image_token=getattr(model.config, family_of(model).image_token, None),
        takes_positions="position_ids" in _arguments(model.forward),
    )


@torch.inference_mode()
def encode_images(model: Any, family: ForwardInputs, vision: Mapping[str, Any]) -> Any:
    """The vision encoder's output for the images of one prompt: a list or batch of (visual tokens, hidden)."""
    arguments = {key: _placed(value, model) for key, value in vision.items() if key in family.vision_inputs}
    output = model.base_model.get_image_features(**arguments, return_dict=True)
    return type(output)(**{key: output[key] for key in _KEPT if key in output})


def extended(inputs: Mapping[str, Any], tokens: Sequence[int]) -> dict[str, Any]:
    """Inputs of one prompt with tokens after it; what is given per token is 0 for them."""
    ids = inputs["input_ids"]  # (1, tokens)
    more = torch.tensor([list(tokens)], dtype=ids.dtype, device=ids.device)
    longer = {"input_ids": torch.cat([ids, more], 1)}
    for key, value in inputs.items():
        if key != "input_ids" and isinstance(value, Tensor) and value.shape == ids.shape:
            longer[key] = torch.cat([value, torch.full_like(more, int(key == "attention_mask"))], 1)
    longer.setdefault("attention_mask", torch.ones_like(longer["input_ids"]))
    return {**inputs, **longer}


def join_features(outputs: Sequence[Any]) -> Any:
    """Several encoder outputs as one, in order."""
    first = outputs[0]
    joined = {"pooler_output": _join([output["pooler_output"] for output in outputs])}
    if "deepstack_features" in first:
        layers = zip(*(output["deepstack_features"] for output in outputs), strict=True)
        joined["deepstack_features"] = [_join(list(layer)) for layer in layers]
    return type(first)(**joined)


def size_of(output: Any) -> int:
    """Bytes of an encoder output."""
    return sum(tensor.nbytes for value in output.values() for tensor in _tensors(value))


def _join(parts: list[Any]) -> Any:
    if isinstance(parts[0], Tensor):
        return torch.cat(parts, dim=0)
    return [image for part in parts for image in part]


def _tensors(value: Any) -> list[Tensor]:
    return [value] if isinstance(value, Tensor) else [tensor for each in value for tensor in _tensors(each)]


def _placed(value: Any, model: Any) -> Any:
    if not isinstance(value, Tensor):
        return value
    return value.to(model.device, model.dtype if value.is_floating_point() else None)


def _arguments(function: Any) -> frozenset[str]:
    return frozenset(inspect.signature(function).parameters) - {"self", "kwargs"}
