"""How many tokens a request will take, before it is sent: an estimate for text, the provider's own rule for images.

Rules of images are those that the providers document, for the models that they name; for any other model the number is
unknown, and is said to be.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from holisafe.errors import ImageError
from holisafe.images import size_of
from holisafe.records import ImageRef, Turn

TEXT_RULE = "1 token for 4 bytes of UTF-8 (an estimate)"

BYTES_PER_TOKEN = 4

UNKNOWN_RULE = "unknown for this model"


@dataclass(frozen=True, slots=True)
class ImageRule:
    """A provider's rule.

    Attributes:
        name: What it is, in words.
        count: Tokens of an image of that width and height, in pixels.
    """

    name: str
    count: Callable[[int, int], int]


@dataclass(frozen=True, slots=True)
class InputTokens:
    """Tokens of a request.

    Attributes:
        text: Of its text.
        images: Of its images; None where no rule is known.
    """

    text: int = 0
    images: int | None = 0

    def __add__(self, other: InputTokens) -> InputTokens:
        """Both together."""
        unknown = self.images is None or other.images is None
        return InputTokens(self.text + other.text, None if unknown else (self.images or 0) + (other.images or 0))


def text_tokens(text: str) -> int:
    """Tokens of a text, by `TEXT_RULE`."""
    return math.ceil(len(text.encode("utf-8", "surrogatepass")) / BYTES_PER_TOKEN)


def image_rule(model: str) -> ImageRule | None:
    """The rule of the provider of an Inspect model; None where none is known.

    Args:
        model: Inspect's name of it, such as "openai/gpt-4o-2024-11-20" or "openai/azure/gpt-4o".
    """
    provider, _, rest = model.partition("/")
    name = rest.rpartition("/")[2]
    for providers, pattern, rule in _RULES:
        if provider in providers and re.fullmatch(pattern, name):
            return rule
    return None


def input_tokens(turns: Iterable[Turn], rule: ImageRule | None) -> InputTokens:
    """Tokens of a conversation. An image that cannot be read takes none: asking about it ends in an error."""
    texts = images = 0
    has_images = False
    for turn in turns:
        texts += text_tokens(turn.text)
        for image in turn.images:
            has_images = True
            images += 0 if rule is None else _image_tokens(image, rule)
    return InputTokens(texts, None if has_images and rule is None else images)


def _image_tokens(image: ImageRef, rule: ImageRule) -> int:
    try:
        return rule.count(*size_of(image))
    except ImageError:
        return 0


def _tiles(base: int, tile: int) -> ImageRule:
    """OpenAI's tiles: within 2048 × 2048, then the shorter side at most 768, then squares of 512."""

    def count(width: int, height: int) -> int:
        scale = min(1.0, 2048 / max(width, height))
        scale = min(scale, 768 / min(width, height))
        across, down = (math.ceil(round(side * scale) / 512) for side in (width, height))
        return base + tile * across * down

    return ImageRule(f"OpenAI's tiles, {base} + {tile} for each 512 × 512 at high detail", count)


def _patches(factor: float) -> ImageRule:
    """OpenAI's patches of 32 × 32, at most 1,536 of them, times a factor."""

    def count(width: int, height: int) -> int:
        patches = math.ceil(width / 32) * math.ceil(height / 32)
        return math.ceil(min(patches, 1536) * factor)

    return ImageRule(f"OpenAI's patches, {factor:g} for each 32 × 32, at most 1,536 patches", count)


def _area(long_edge: int, most: int) -> ImageRule:
    """Anthropic's area: scaled down to a longest edge and a maximum, then width × height / 750."""

    def count(width: int, height: int) -> int:
        scale = min(1.0, long_edge / max(width, height))
        return min(most, math.ceil(width * height * scale**2 / 750))

    return ImageRule(f"Anthropic's width × height / 750, at most {most:,}", count)


def _crops(width: int, height: int) -> int:
    """Gemini's 258 tokens for a small image, and for each square crop of a larger one."""
    if max(width, height) <= 384:
        return 258
    crop = min(768, max(256, math.floor(min(width, height) / 1.5)))
    return 258 * math.ceil(width / crop) * math.ceil(height / crop)


_DATED = r"(?:-latest|-\d{4}-\d{2}-\d{2})?"
_OPENAI = ("openai", "azureai", "openrouter")
_ANTHROPIC = ("anthropic", "bedrock", "vertex", "openrouter")
_GOOGLE = ("google", "vertex", "openrouter")

_RULES: tuple[tuple[tuple[str, ...], str, ImageRule], ...] = (
    (_OPENAI, rf"(?:chatgpt-4o|gpt-4o|gpt-4\.1|gpt-4\.5-preview){_DATED}", _tiles(85, 170)),
    (_OPENAI, rf"gpt-4o-mini{_DATED}", _tiles(2833, 5667)),
    (_OPENAI, rf"gpt-5(?:-chat)?{_DATED}", _tiles(70, 140)),
    (_OPENAI, rf"o3{_DATED}", _tiles(75, 150)),
    (_OPENAI, rf"gpt-4\.1-mini{_DATED}", _patches(1.62)),
    (_OPENAI, rf"gpt-4\.1-nano{_DATED}", _patches(2.46)),
    (_OPENAI, rf"o4-mini{_DATED}", _patches(1.72)),
    (
        _ANTHROPIC,
        r".*claude-3.*|.*claude-(?:opus|sonnet|haiku)-4(?:[-.][0-6])?(?:[-@]\d{8}.*|-latest)?",
        _area(1568, 1600),
    ),
    (_ANTHROPIC, r".*claude-.*", _area(2576, 4784)),
    (_GOOGLE, r"gemini-(?:1\.5|2\.0|2\.5)-.*", ImageRule("Gemini's 258 for each crop of at most 768 × 768", _crops)),
)
"""Providers of Inspect, pattern of the model's name, rule; the first that fits."""
