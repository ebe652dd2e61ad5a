"""What a family's tiny model has to offer so that the guard can be tried on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

Inputs = Callable[[Sequence[Sequence[Image.Image]], Sequence[str]], dict[str, Any]]
"""Images of each row and the text of each row to a left-padded batch of model inputs, images before the text."""


@dataclass(frozen=True)
class Case:
    """A tiny model of real classes and random weights, and how its inputs are made."""

    model: Any
    inputs: Inputs
    processor: Any = None


def with_processor(model: Any, processor: Any, image_mark: str, separator: str = "\n") -> Case:
    """A case whose inputs come from the family's own processor; `image_mark` stands for one image in its text."""

    def inputs(images: Sequence[Sequence[Image.Image]], texts: Sequence[str]) -> dict[str, Any]:
        prompts = [separator.join([image_mark] * len(row) + [text]) for row, text in zip(images, texts, strict=True)]
        batch = processor(
            text=prompts, images=[list(row) for row in images], padding=True, padding_side="left", return_tensors="pt"
        )
        return dict(batch)

    return Case(model, inputs, processor)
