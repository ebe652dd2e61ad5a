"""Images as they stand in a report: a picture to look at, and a veil of a few pixels that shows nothing of it."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from PIL import Image, ImageFilter

from holisafe.errors import ImageError
from holisafe.images import check_path, content_hash, open_image, read_bytes
from holisafe.records import RUN_FOLDER, ImageRef, Run

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
        picture: Data URI of the picture; None when the image cannot be shown.
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


@dataclass(frozen=True, slots=True)
class ShownFrom:
    """Which image files of a run a report may show: a log from elsewhere can name any file of the reader's machine.

    Attributes:
        folder: The run's folder: its files may be shown, and others whose content is what the run recorded; None for
            a run without one, of which no file may be.
        is_read: Whether the run was read from a disk; the files of one that was made in this process may be shown.
    """

    folder: Path | None
    is_read: bool = True

    @classmethod
    def of(cls, run: Run) -> ShownFrom:
        """What holds for a run, by the folder that the reader of the run noted."""
        folder = run.provenance.get(RUN_FOLDER)
        return cls(Path(folder) if folder else None, RUN_FOLDER in run.provenance)

    def check(self, ref: ImageRef) -> None:
        """Refuse an image that may not be shown.

        Raises:
            ImageError: It lies outside the run's folder, and is not known to be the image that the run was asked.
        """
        if ref.path is None or not self.is_read:
            return
        if self.folder is None:
            raise ImageError(f"{ref.key}: not shown, because a log alone shows no files; report on the run's folder")
        if check_path(ref).is_relative_to(self.folder.resolve()):
            return
        if not ref.digest or content_hash(read_bytes(ref)) != ref.digest:
            raise ImageError(
                f"{ref.key}: not shown, because the file outside the run's folder is not the one that the run was asked"
            )


@lru_cache(maxsize=512)
def thumbnail(ref: ImageRef, shown_from: ShownFrom) -> Thumbnail:
    """The image re-encoded small, so that nothing of the original file (metadata, payload) gets into a report.

    An image that cannot be let in, lies on the network, or may not be shown gives the reason instead.

    Args:
        ref: The image.
        shown_from: Which files may be shown.
    """
    try:
        shown_from.check(ref)
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
