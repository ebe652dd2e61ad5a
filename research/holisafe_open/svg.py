"""Building blocks of the documents that this project draws: SVG text, its rendering, and what a sheet is made of."""

from __future__ import annotations

import io
import random
from importlib.resources import files

from PIL import Image

from holisafe.errors import MissingDependencyError

INKS = ("#1f2d5a", "#2b2b2b", "#5a1f3c", "#1f4a3a", "#4a3a1f")
PAPERS = ("#ffffff", "#fdf8e8", "#eef4fb", "#f3f0fa", "#eff8ee")
ACCENTS = ("#2f6fb0", "#b0452f", "#2f8a5a", "#7a4fa3", "#c08a1e", "#3a3a3a")
GREY = "#a5abb5"

Drawing = tuple[str, int, int]
"""The SVG elements of a drawing, its width and its height."""


def draw_svg(svg: str, size: int) -> Image.Image:
    """Render SVG with the shipped font and no other, `size` pixels at its longer side."""
    try:
        import resvg_py
    except ImportError:
        raise MissingDependencyError("drawing documents needs resvg: pip install 'holisafe[art]'") from None
    font = str(files(__package__).joinpath("content", "DejaVuSans-Bold-subset.ttf"))
    png = resvg_py.svg_to_bytes(
        svg_string=svg, width=size, skip_system_fonts=True, font_files=[font], font_family="DejaVu Sans"
    )
    image = Image.open(io.BytesIO(bytes(png))).convert("RGBA")
    scale = size / max(image.size)
    return image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS)


def svg(body: str, width: int, height: int) -> str:
    """A whole SVG document around the elements."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" font-family="DejaVu Sans" font-weight="bold">{body}</svg>'
    )


def rect(x: float, y: float, w: float, h: float, fill: str, r: float = 0, stroke: str = "none") -> str:
    """A rectangle with corners of radius `r`."""
    return f'<rect x="{x}" y="{y}" width="{w}" height="{h}" rx="{r}" fill="{fill}" stroke="{stroke}" stroke-width="2"/>'


def text(x: float, y: float, size: float, text: str, fill: str, anchor: str = "start") -> str:
    """A line of text that starts, or is centred, at a point."""
    return f'<text x="{x}" y="{y}" font-size="{size}" fill="{fill}" text-anchor="{anchor}">{text}</text>'


def bars(rng: random.Random, x: float, y: float, width: float, rows: int, step: float, fill: str) -> str:
    """Lines of writing too small to read, drawn as bars."""
    return "".join(rect(x, y + i * step, width * rng.uniform(0.55, 1), 4, fill, 2) for i in range(rows))


def page(rng: random.Random, width: int, height: int) -> tuple[str, str, str]:
    """An empty sheet of paper, and colours for its writing and its headings."""
    paper, ink, accent = rng.choice(PAPERS), rng.choice(INKS), rng.choice(ACCENTS)
    return rect(2, 2, width - 4, height - 4, paper, 6, "#9a9a9a"), ink, accent


def portrait(x: float, y: float, rng: random.Random) -> str:
    """A small portrait of nobody in particular."""
    skin = rng.choice(("#f2c9a1", "#c98d5e", "#8d5a3b", "#e8b58c"))
    hair = rng.choice(("#3a2a1a", "#7a4a1a", "#1a1a1a", "#b08a4a"))
    return (
        rect(x, y, 56, 68, "#dfe6ee", 4)
        + f'<circle cx="{x + 28}" cy="{y + 26}" r="17" fill="{hair}"/>'
        + f'<circle cx="{x + 28}" cy="{y + 30}" r="13" fill="{skin}"/>'
        + f'<path d="M{x + 6} {y + 68} q22 -34 44 0 z" fill="{hair}"/>'
    )


def in_lines(words: str) -> list[str]:
    """A short text in one line, a longer one in two of about the same number of words."""
    split = words.split()
    if len(words) <= 10 or len(split) < 2:
        return [words]
    return [" ".join(split[: len(split) // 2]), " ".join(split[len(split) // 2 :])]
