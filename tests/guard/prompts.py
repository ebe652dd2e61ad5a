"""Guarded tiny models whose verdicts differ from image to image, and batches of prompts for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from PIL import Image

from guard.families.weights import spread
from holisafe.guard import GuardConfig, GuardSite, guard_of, session
from holisafe.guard.attach import attach_known
from holisafe.records import GuardVerdict
from tiny_models import FAMILIES, Tiny

Row = tuple[Sequence[Image.Image], str]


def tiny(family: str) -> Tiny:
    """A model without a guard that tells images apart."""
    made = FAMILIES[family]()
    spread(made.model, made.processor.tokenizer)
    return made


def guard(made: Tiny, model: Any = None, *, meta_token_id: int | None = None, **parts: Any) -> Any:
    """Attach a guard whose random weights are always the same, to `model` where the model is wrapped."""
    site = None
    if meta_token_id is not None:
        width = made.model.config.get_text_config().hidden_size
        site = GuardSite(made.model.config.model_type, "", width, meta_token_id=meta_token_id)
    attach_known(made.model if model is None else model, GuardConfig(**parts), site, made.processor)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in guard_of(made.model).parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator) * 0.4)
    return made.model if model is None else model


def watched(model: Any, *args: Any, **inputs: Any) -> Any:
    """The output of a forward pass in a session, with the guard's logits."""
    with session(model):
        return model(*args, **inputs)


def pictures() -> list[Image.Image]:
    """Three images of different shapes."""
    grey = (Image.linear_gradient("L"), Image.radial_gradient("L"))
    return [
        Image.merge("RGB", [grey[place % 2].rotate(90 * place + 30 * channel) for channel in range(3)]).resize(size)
        for place, size in enumerate(((64, 64), (40, 90), (100, 50)))
    ]


def two_rows() -> list[Row]:
    """One image and a short text, then two images and a longer text."""
    a, b, c = pictures()
    return [([a], "hi"), ([b, c], "what do these show?")]


def batch(made: Tiny, rows: Sequence[Row], side: str = "left") -> dict[str, Any]:
    """Inputs of a padded batch."""
    conversations = [
        [
            {
                "role": "user",
                "content": [*({"type": "image", "image": i} for i in images), {"type": "text", "text": text}],
            }
        ]
        for images, text in rows
    ]
    return dict(
        made.processor.apply_chat_template(
            conversations,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            add_generation_prompt=True,
            processor_kwargs={"padding": True, "padding_side": side},
        )
    )


def assert_same(verdicts: Sequence[GuardVerdict], others: Sequence[GuardVerdict], within: float = 1e-5) -> None:
    """The verdicts on all images and prompts agree."""
    for one, other in zip(verdicts, others, strict=True):
        assert_same_images(one, other, within)
        assert (one.request is None) == (other.request is None)
        if one.request and other.request:
            assert one.request.distribution == pytest.approx(dict(other.request.distribution), abs=within)
            assert one.request.categories == pytest.approx(dict(other.request.categories), abs=within)


def assert_same_images(one: GuardVerdict, other: GuardVerdict, within: float = 1e-5) -> None:
    """The verdicts on the images agree."""
    for seen, expected in zip(one.images, other.images, strict=True):
        assert seen.distribution == pytest.approx(dict(expected.distribution), abs=within)
