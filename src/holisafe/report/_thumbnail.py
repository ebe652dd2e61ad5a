"""Images as they stand in a report: blurred files in a folder beside the page, each with its picture hidden in it.

A file is an SVG that shows a veil of a few pixels. The picture in it is drawn only where the address ends in `#clear`,
as the page asks once a reader opens it: a file manager, a mail program or a reader mode shows the veil.
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from PIL import Image, ImageFilter

from holisafe._files import open_unlinked
from holisafe.errors import ImageError, RunError
from holisafe.images import check_path, content_hash, open_image, read_bytes
from holisafe.records import RUN_FOLDER, ImageRef, Run
from holisafe.report._file import cannot_write

LONGEST_SIDE = 320
"""Pixels of the picture's longer side."""

VEIL_SIDE = 12
"""Pixels of the veil's longer side: colours are left, shapes are not."""

_OWN_FILE = re.compile(r"[0-9a-f]{20}\.svg")
_SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="{w}" height="{h}" viewBox="0 0 {w} {h}">'
    "<style>#clear:target{{display:inline}}</style>"
    '<image width="{w}" height="{h}" preserveAspectRatio="none" href="{veil}"/>'
    '<image id="clear" display="none" width="{w}" height="{h}" href="{picture}"/></svg>\n'
)


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """One image of a sample.

    Attributes:
        source: Address of its file from the page: it shows the veil, and the picture with `#clear` behind it; None
            when the image cannot be shown.
        width: Width of the picture, in pixels.
        height: Height of the picture, in pixels.
        problem: Why there is no picture; None when there is one.
    """

    source: str | None
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


@dataclass(slots=True)
class Pictures:
    """The folder of a page's images. Files are named by their content.

    Attributes:
        folder: The folder; it is made with the first image.
    """

    folder: Path
    _known: dict[tuple[ImageRef, ShownFrom], Thumbnail] = field(default_factory=dict)
    _written: set[str] = field(default_factory=set)

    def of(self, ref: ImageRef, shown_from: ShownFrom) -> Thumbnail:
        """The image re-encoded small, so that nothing of the original file (metadata, payload) gets into a report.

        An image that cannot be let in, lies on the network, or may not be shown gives the reason instead.

        Args:
            ref: The image.
            shown_from: Which files may be shown.

        Raises:
            RunError: The folder cannot be written.
        """
        if (ref, shown_from) not in self._known:
            self._known[ref, shown_from] = self._made(ref, shown_from)
        return self._known[ref, shown_from]

    def remove_others(self) -> None:
        """Remove the images that an earlier report left in the folder, and the folder where none is left.

        Raises:
            RunError: The folder cannot be written.
        """
        if not self.folder.is_dir() or self.folder.is_symlink():
            return
        try:
            found = list(self.folder.iterdir())
            old = [each for each in found if _OWN_FILE.fullmatch(each.name) and each.name not in self._written]
            for each in old:
                each.unlink()
            if len(old) == len(found):
                self.folder.rmdir()
        except OSError as error:
            raise RunError(f"cannot remove old images from {self.folder}: {error.strerror or error}") from error

    def _made(self, ref: ImageRef, shown_from: ShownFrom) -> Thumbnail:
        try:
            shown_from.check(ref)
            image = open_image(ref)
        except ImageError as error:
            return Thumbnail(None, 0, 0, str(error))
        image.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
        veil = image.resize(_veil_size(image.size), Image.Resampling.BOX).filter(ImageFilter.GaussianBlur(1.5))
        width, height = image.size
        svg = _SVG.format(w=width, h=height, veil=_data_uri(veil, 60), picture=_data_uri(image, 72)).encode()
        name = f"{hashlib.sha256(svg).hexdigest()[:20]}.svg"
        self._put(name, svg)
        return Thumbnail(f"{quote(os.fsencode(self.folder.name))}/{name}", width, height)

    def _put(self, name: str, svg: bytes) -> None:
        if name in self._written:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with open_unlinked(self.folder / name, "wb") as file:
                file.write(svg)
        except OSError as error:
            raise cannot_write(self.folder / name, error) from error
        self._written.add(name)


def _veil_size(size: tuple[int, int]) -> tuple[int, int]:
    scale = VEIL_SIDE / max(size)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _data_uri(image: Image.Image, quality: int) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=quality, method=4)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
