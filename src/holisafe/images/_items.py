"""What a walk through images gives: files, images that are not decoded yet, and parts of them all."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from holisafe.errors import ImageError
from holisafe.images import _remote
from holisafe.images.limits import size_of
from holisafe.records import ImageRef


@dataclass(frozen=True, slots=True)
class SourceItem:
    """One image that is not decoded yet, or why it is missing.

    Attributes:
        name: Where it is: "cat.png", "pets.zip/cat.png", "pets.parquet#12" (row, from 0).
        ref: The image; None where it cannot be read.
        error: Why not; empty where it can.
        key: In an archive, its name up to the first dot of the last part: what WebDataset and img2dataset call the
            key of a sample; else empty.
    """

    name: str
    ref: ImageRef | None
    error: str = ""
    key: str = ""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of a source: an image, or a file that holds many. Picklable.

    Attributes:
        name: Where it is.
        place: The file; None where it cannot be read.
        root: The folder that it was found in; None where it was named itself.
        kind: "image", "zip", "tar" or "parquet"; empty where only opening it tells.
        error: Why it cannot be read; empty where it can.
        part: Of a file that several parts share: the images of this part.
        first: Number of the file's first image in the order that parts are counted in.
    """

    name: str
    place: Path | _remote.RemoteFile | None
    root: Path | None = None
    kind: str = ""
    error: str = ""
    part: Shard | None = None
    first: int = 0

    @property
    def size(self) -> int:
        """Bytes; 0 where that is not known."""
        if isinstance(self.place, _remote.RemoteFile):
            return self.place.size
        try:
            return 0 if self.place is None else size_of(self.place)
        except OSError:
            return 0


@dataclass(frozen=True, slots=True)
class SourceImage:
    """One decoded image, or why it is missing.

    Attributes:
        name: Where it is, as in `SourceItem`.
        image: Its pixels, RGB; None where it cannot be read.
        error: Why not; empty where it can.
    """

    name: str
    image: Image.Image | None
    error: str = ""


@dataclass(frozen=True, slots=True)
class Shard:
    """One of several disjoint parts of the images of some places, which are all of them together.

    Of a folder, a part is every `count`-th image, archive or Parquet file. Of archives and Parquet files that are
    named, it is every `count`-th of them, or, if they are fewer than `count`, every `count`-th image in each.

    Attributes:
        index: Which part, from 0.
        count: How many there are.
    """

    index: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ImageError(f"shard {self.index}/{self.count}: expected 1 part or more after /")
        if not 0 <= self.index < self.count:
            raise ImageError(f"shard {self.index}/{self.count}: expected a number from 0 to {self.count - 1} before /")

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read "2/8": the third of eight parts.

        Raises:
            ImageError: It is not of this form.
        """
        index, _, total = text.partition("/")
        if not (index.isascii() and index.isdigit() and total.isascii() and total.isdigit()) or len(text) > 20:
            raise ImageError(f"shard {text[:40]!r}: expected two numbers, as in 0/8 (the first of 8) to 7/8 (the last)")
        return cls(int(index), int(total))

    def has(self, place: int) -> bool:
        """Whether what has this place in an order is in this part."""
        return place % self.count == self.index
