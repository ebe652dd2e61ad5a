"""What a family's tiny model has to offer so that the guard can be tried on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from PIL import Image

from holisafe.guard.conformance import GuardCase, Inputs

Case = GuardCase

__all__ = ["Case", "Inputs", "with_processor"]


def with_processor(model: Any, processor: Any, image_mark: str, separator: str = "\n") -> Case:
    """A case whose inputs come from the family's own processor; `image_mark` stands for one image in its text."""

    def inputs(images: Sequence[Sequence[Image.Image]], texts: Sequence[str]) -> dict[str, Any]:
        prompts = [separator.join([image_mark] * len(row) + [text]) for row, text in zip(images, texts, strict=True)]
        batch = processor(
            text=prompts, images=[list(row) for row in images], padding=True, padding_side="left", return_tensors="pt"
        )
        return dict(batch)

    return Case(model, inputs, processor)
