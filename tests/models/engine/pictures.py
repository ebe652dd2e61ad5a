"""Drawn pictures and prompts for the engine's tests."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from holisafe.models import Prompt
from holisafe.records import ImageRef


def drawn(key: str, width: int, height: int, seed: int = 0) -> ImageRef:
    pixels = np.random.default_rng([seed, width, height]).integers(0, 255, (height, width, 3), dtype=np.uint8)
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, "PNG")
    return ImageRef(key, data=encoded.getvalue())


WIDE, TALL = drawn("wide", 70, 40), drawn("tall", 32, 64)
PROMPTS = [
    Prompt.ask("What is it?", WIDE),
    Prompt.ask("Hm", TALL),
    Prompt.ask("Can I eat this with a spoon, please?", WIDE),
    Prompt.ask("Why is it so red?", TALL),
]
