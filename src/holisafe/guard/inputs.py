"""Inputs as a guard needs them: visual features where only they tell images apart, and meta tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from holisafe._checks import check_type
from holisafe.errors import GuardError
from holisafe.guard._session import GuardSession
from holisafe.guard._spans import find_images, last_columns
from holisafe.guard.attach import base_model, observer_of
from holisafe.guard.observer import IGNORED, encode_first, feature_lengths


def prepare_inputs(model: Any, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Inputs as the guard needs them: visual features computed where only they tell images apart, meta tokens added.

    Prompts may have images or not.

    Raises:
        GuardError: There are no `input_ids`, or the visual features do not fit them.
    """
    observer = observer_of(model)
    prepared = _checked(inputs)
    if observer.config.meta_token:
        return add_meta_tokens(model, prepared)
    return encode_first(base_model(model), prepared) if observer.needs_lengths else prepared


def add_meta_tokens(model: Any, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Put the meta token after each image's visual tokens, in every input that has one value per token.

    A training step does so too: `model(**add_meta_tokens(model, inputs))`. Labels get -100 there, masks 1 and all
    others 0; prompts stay padded on the side they were. Where only visual features tell images apart they are
    computed now, with gradients if those are on, and take the pixels' place. `position_ids` are left out: the model
    makes its own. A meta token in the vision encoder is one more placeholder of its image.

    Raises:
        GuardError: The visual features do not fit the placeholders.
    """
    observer = observer_of(model)
    prepared = _checked(inputs)
    prepared.pop("position_ids", None)
    if observer.needs_lengths:
        with GuardSession(observer):  # the vision encoder puts its meta token in
            prepared = encode_first(base_model(model), prepared)
    ids: Tensor = prepared["input_ids"]
    mask: Tensor | None = prepared.get("attention_mask")
    if mask is None:
        mask = prepared["attention_mask"] = torch.ones_like(ids)
    lengths = feature_lengths(prepared)
    if observer.config.meta_in_encoder and lengths is not None:
        lengths = _without_meta(lengths, int((ids == observer.image_token).sum()))
    found = find_images(
        ids.cpu(), observer.image_token, observer.family, observer.site.boundary_ids, lengths,
        last_columns(mask, ids.shape[1], ids.shape[0]),
    )  # fmt: skip
    counts = torch.bincount(found.rows, minlength=len(ids))
    after = found.tokens[1][found.counts.cumsum(0) - 1] + 1  # columns where the tokens go (images,)
    cuts = torch.tensor_split(after, counts.cumsum(0)[:-1])
    pads = (counts.max() - counts).tolist()  # rows with fewer images get padding instead
    pads_left = bool((mask[:, -1] != 0).all())
    is_pad = mask == 0
    fillings: dict[str, tuple[Any, Any]] = {  # of the token's place, of padding
        "input_ids": (observer.meta_token_id, int(ids[is_pad][0]) if bool(is_pad.any()) else 0),
        "attention_mask": (1, 0),
        "labels": (IGNORED, IGNORED),
        "mm_token_type_ids": (1 if observer.config.meta_in_encoder else 0, 0),  # of an image, of text
    }
    for key, value in prepared.items():
        if not isinstance(value, Tensor) or value.shape != ids.shape:
            continue
        token, padding = (value.new_full((1,), filling) for filling in fillings.get(key, (0, 0)))
        rows = []
        for row, cut, pad in zip(value, cuts, pads, strict=True):
            first, *others = torch.tensor_split(row, cut)
            joined = [first, *(piece for part in others for piece in (token, part))]
            rows.append(torch.cat([padding.expand(pad), *joined] if pads_left else [*joined, padding.expand(pad)]))
        prepared[key] = torch.stack(rows)  # (rows, columns + most images of a row)
    return prepared


def _checked(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of what a processor returned.

    Raises:
        GuardError: It holds no `input_ids`, or not one row per prompt.
        TypeError: It is no mapping, or its `input_ids` are no tensor.
    """
    check_type(inputs, Mapping, "inputs")
    if "input_ids" not in inputs:
        raise GuardError(f"expected input_ids among the inputs, found {', '.join(inputs) or 'none'}")
    ids = inputs["input_ids"]
    if not isinstance(ids, Tensor):
        raise TypeError(
            f'input_ids: expected a Tensor, found {type(ids).__name__}; pass return_tensors="pt" to the processor'
        )
    if ids.ndim != 2 or not ids.numel():
        raise GuardError(f"input_ids: expected the shape (prompts, tokens), found {tuple(ids.shape)}")
    return dict(inputs)


def _without_meta(lengths: list[int], placeholders: int) -> list[int]:
    """Visual tokens of each image but the meta token that the vision encoder has put after them."""
    if sum(lengths) == placeholders:
        raise GuardError(
            f"{placeholders} image placeholders in the prompts, and as many visual tokens, meta tokens included: the "
            "prompts have been through add_meta_tokens already, or their visual features were computed without the "
            "guard; pass each prompt once, with pixels"
        )
    return [length - 1 for length in lengths]
