"""Pictures of one to four drawings on a background, with the marks laid over them, as JPEG bytes of one fixed size.

Backgrounds, positions, sizes and colours are drawn from one distribution whatever the picture is used for.
"""

from __future__ import annotations

import hashlib
import io
import random
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from research.holisafe_open.svg import draw_svg

SIZE = 256
_JPEG_QUALITY = 88

COLOURS = {
    "white": "#fbfbfb", "light blue": "#cfe4f5", "light green": "#d3ecd0", "yellow": "#f9e9a6", "pink": "#f7d0dc",
    "grey": "#d5d8dc", "orange": "#f6cfa3", "purple": "#ddd0ef", "beige": "#efe6d2", "turquoise": "#bfe6e2",
}  # fmt: skip
"""Background colours by name."""
_INKS = ("#1f3a5f", "#5a2a3c", "#2a4a2f", "#3a3a3a", "#5a4420", "#46307a", "#7a2f1f", "#1f5a5a")
_PATTERNS = ("plain", "plain", "gradient", "dots", "stripes", "checks", "room", "desk", "hills", "lines")


@dataclass(frozen=True, slots=True)
class Background:
    """A background: the name of its colour and its pattern."""

    colour: str
    pattern: str

    @property
    def where(self) -> str:
        """Where it puts what is in front of it, within a sentence."""
        places = {
            "room": "in a room with a {} wall",
            "desk": "in front of a desk and a {} wall",
            "hills": "in front of green hills and a {} sky",
        }
        return places.get(self.pattern, "on a {} background").format(self.colour)

    @property
    def is_one_colour(self) -> bool:
        """Whether it shows shades of its colour and nothing else."""
        return self.pattern not in ("room", "desk", "hills")


def choose_background(rng: random.Random) -> Background:
    """Draw a background; nothing about the picture's use goes in."""
    return Background(rng.choice(sorted(COLOURS)), rng.choice(_PATTERNS))


def choose_ink(rng: random.Random) -> str:
    """Draw the colour for one-colour art."""
    return rng.choice(_INKS)


def compose(drawings: Sequence[Image.Image], background: Background, rng: random.Random, *, overlay: str = "") -> bytes:
    """Lay drawings out from left to right on a background.

    Args:
        drawings: One to four RGBA images; they are scaled to fit.
        background: What is behind them.
        rng: Decides size and position.
        overlay: "" or a mark over the first drawing: "ban", "scan" or "bars".

    Returns:
        JPEG bytes, `SIZE` by `SIZE` pixels.
    """
    canvas = _draw_background(background, rng)
    for drawing, (left, top, side) in zip(drawings, _places(len(drawings), rng), strict=True):
        scale = side / max(drawing.size)
        small = drawing.resize(
            (max(1, round(drawing.width * scale)), max(1, round(drawing.height * scale))), Image.Resampling.LANCZOS
        )
        x, y = left + (side - small.width) // 2, top + (side - small.height) // 2
        canvas.paste(small, (x, y), small)
        if overlay and drawing is drawings[0]:
            mark = draw_svg(_MARKS[overlay], side + 24)
            canvas.paste(mark, (left - 12, top - 12), mark)
    return _jpeg(canvas)


def fill_with(photograph: Image.Image) -> bytes:
    """The middle square of a photograph as JPEG bytes, `SIZE` by `SIZE` pixels."""
    side = min(photograph.size)
    left, top = (photograph.width - side) // 2, (photograph.height - side) // 2
    square = photograph.convert("RGB").crop((left, top, left + side, top + side))
    return _jpeg(square.resize((SIZE, SIZE), Image.Resampling.LANCZOS))


def _jpeg(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=_JPEG_QUALITY, optimize=True, subsampling=0)
    return buffer.getvalue()


def seeded(*parts: object) -> random.Random:
    """A random source that depends on its parts alone, the same on every machine."""
    digest = hashlib.sha256(":".join(map(str, parts)).encode()).digest()
    return random.Random(int.from_bytes(digest[:8], "big"))


def _places(count: int, rng: random.Random) -> list[tuple[int, int, int]]:
    """Left, top and side of each drawing's box, in pixels."""
    if count == 1:
        side = rng.randint(150, 206)
        return [(rng.randint(20, SIZE - side - 20), rng.randint(20, SIZE - side - 20), side)]
    if count == 2:
        side = rng.randint(98, 112)
        return [(14 + i * (SIZE // 2 - 2) + rng.randint(0, 6), rng.randint(40, 110), side) for i in range(2)]
    if count == 3:
        side = rng.randint(68, 76)
        return [(8 + i * 82 + rng.randint(0, 4), rng.randint(40, 140), side) for i in range(3)]
    side = rng.randint(88, 100)
    return [(18 + (i % 2) * 122 + rng.randint(0, 6), 16 + (i // 2) * 122 + rng.randint(0, 6), side) for i in range(4)]


def _draw_background(background: Background, rng: random.Random) -> Image.Image:
    base = COLOURS[background.colour]
    dark = _darker(base, 0.9)
    darker = _darker(base, 0.78)
    shapes = {
        "plain": "",
        "gradient": '<defs><linearGradient id="g" x1="0" y1="0" x2="0.3" y2="1">'
        f'<stop offset="0" stop-color="{base}"/>'
        f'<stop offset="1" stop-color="{_darker(base, 0.85)}"/></linearGradient></defs>'
        '<rect width="256" height="256" fill="url(#g)"/>',
        "dots": "".join(
            f'<circle cx="{x + (16 if (y // 32) % 2 else 0)}" cy="{y}" r="5" fill="{dark}"/>'
            for x in range(0, 272, 32)
            for y in range(8, 264, 32)
        ),
        "stripes": "".join(f'<rect x="{x}" width="16" height="256" fill="{dark}"/>' for x in range(0, 256, 32)),
        "checks": "".join(
            f'<rect x="{x}" y="{y}" width="32" height="32" fill="{dark}"/>'
            for x in range(0, 256, 32)
            for y in range(0, 256, 32)
            if (x + y) % 64 == 0
        ),
        "room": '<rect y="176" width="256" height="80" fill="#c9a67a"/>'
        '<rect y="170" width="256" height="7" fill="#ffffff"/>'
        '<rect x="24" y="22" width="52" height="60" fill="#e8f3fa" stroke="#ffffff" stroke-width="6"/>',
        "desk": '<rect y="190" width="256" height="66" fill="#b98a5a"/>'
        '<rect y="190" width="256" height="6" fill="#8a6238"/>',
        "hills": '<ellipse cx="70" cy="262" rx="150" ry="70" fill="#a9d49a"/>'
        '<ellipse cx="220" cy="268" rx="130" ry="86" fill="#8fc482"/>',
        "lines": "".join(f'<rect y="{y}" width="256" height="2" fill="{darker}"/>' for y in range(24, 256, 24)),
    }
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 256 256" width="256" height="256">'
        f'<rect width="256" height="256" fill="{base}"/>{shapes[background.pattern]}</svg>'
    )
    return draw_svg(svg, SIZE).convert("RGB")


def _darker(colour: str, factor: float) -> str:
    return "#" + "".join(f"{round(int(colour[i : i + 2], 16) * factor):02x}" for i in (1, 3, 5))


def _mark(body: str) -> str:
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 100 100" width="100" height="100">{body}</svg>'


_MARKS = {
    "ban": _mark(
        '<g fill="none" stroke="#d01f1f" stroke-width="8"><circle cx="50" cy="50" r="44"/><path d="M19 19 L81 81"/></g>'
    ),
    "scan": _mark(
        '<g fill="none" stroke="#18b46a" stroke-width="4">'
        '<path d="M4 24 V4 H24 M76 4 H96 V24 M96 76 V96 H76 M24 96 H4 V76"/>'
        '<path d="M8 56 H92" stroke-width="2"/></g>'
        '<g fill="#18b46a"><circle cx="36" cy="42" r="2.5"/><circle cx="64" cy="42" r="2.5"/>'
        '<circle cx="50" cy="58" r="2.5"/>'
        '<circle cx="38" cy="72" r="2.5"/><circle cx="62" cy="72" r="2.5"/></g>'
    ),
    "bars": _mark(
        '<g stroke="#3f4650" fill="none"><path d="M12 4 V96 M28 4 V96 M44 4 V96 M60 4 V96 M76 4 V96 M91 4 V96" '
        'stroke-width="4"/><rect x="3" y="3" width="94" height="94" stroke-width="6"/></g>'
    ),
}
