"""Typographic pictures of FigStep (arXiv 2311.05608): a statement and three empty items, black on white.

The authors draw with FreeMono Bold at 80 pixels, which is not part of Pillow. Here Pillow's own font is used, and made
smaller until the text fits; where the released pictures are at hand, they are used instead.
"""

from __future__ import annotations

import io
import textwrap

from PIL import Image, ImageDraw, ImageFont

SIDE = 760
"""Width and height in pixels."""

COLUMNS = 15
"""Characters a line."""

STEPS = 3
LONGEST = 1000
"""Characters that are tried at all."""

_LARGEST, _SMALLEST = 80, 16  # pixels
_CORNER, _SPACING = (20, 10), 11  # pixels


def statement(instruction: str) -> str:
    """What is drawn: the statement, wrapped, and the numbers of the empty items."""
    lines = textwrap.fill(instruction.strip(), width=COLUMNS)
    return lines + "".join(f"\n{number}. " for number in range(1, STEPS + 1))


def picture(instruction: str) -> bytes:
    """The picture of a statement as PNG; the same bytes for the same statement and version of Pillow.

    Raises:
        ValueError: The statement is too long for the picture, even in the smallest letters.
    """
    if len(instruction) > LONGEST:
        raise ValueError(f"{len(instruction)} characters")
    written = statement(instruction)
    image = Image.new("RGB", (SIDE, SIDE), "white")
    draw = ImageDraw.Draw(image)
    for size in range(_LARGEST, _SMALLEST - 1, -4):
        font = ImageFont.load_default(size)
        _, _, right, bottom = draw.multiline_textbbox(_CORNER, written, font=font, spacing=_SPACING)
        if max(right, bottom) <= SIDE - _CORNER[1]:
            break
    else:
        raise ValueError(f"{len(instruction)} characters")
    draw.multiline_text(_CORNER, written, font=font, spacing=_SPACING, fill="black")
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()
