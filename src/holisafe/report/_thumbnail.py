"""Images as they stand in a report: a picture to look at, and a veil of a few pixels that shows nothing of it."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from functools import lru_cache

from PIL import Image, ImageFilter

from holisafe.errors import ImageError
from holisafe.images import open_image
from holisafe.records import ImageRef

LONGEST_SIDE = 320
"""Pixels of the picture's longer side."""

VEIL_SIDE = 12
"""Pixels of the veil's longer side: colours are left, shapes are not."""


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """One image of a sample.

    A reader sees the veil until asking for the picture. The veil is an image of its own, so that a browser that
    ignores the style sheet (reader mode, a mail program) shows no picture either.

    Attributes:
        picture: Data URI of the picture; None when the image could not be had.
        veil: Data URI of what is shown until a reader opens the picture.
        width: Width of the picture, in pixels.
        height: Height of the picture, in pixels.
        problem: Why there is no picture; None when there is one.
    """

    picture: str | None
    veil: str | None
    width: int
    height: int
    problem: str | None = None


@lru_cache(maxsize=512)
def thumbnail(ref: ImageRef) -> Thumbnail:
    """The image re-encoded small, so that nothing of the original file (metadata, payload) gets into a report.

    An image that cannot be let in, or lies on the network, gives the reason instead.
    """
    try:
        image = open_image(ref)
    except ImageError as error:
        return Thumbnail(None, None, 0, 0, str(error))
    image.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    veil = image.resize(_veil_size(image.size), Image.Resampling.BOX).filter(ImageFilter.GaussianBlur(1.5))
    return Thumbnail(_data_uri(image, 72), _data_uri(veil, 60), *image.size)


def _veil_size(size: tuple[int, int]) -> tuple[int, int]:
    scale = VEIL_SIDE / max(size)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _data_uri(image: Image.Image, quality: int) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=quality, method=4)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
