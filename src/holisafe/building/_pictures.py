"""Step "pictures": each picture of the folder once, with its digest, its perceptual hash and its colours.

The hash is dHash (N. Krawetz, "Kind of like that", 2013) with 16 × 16 bits; the colours are the means of 4 × 4 fields.
Both are of this package: the library ImageHash would bring PyWavelets for ten lines of NumPy.
Metadata of a picture (EXIF, comments) and file names are never read into a prompt.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from holisafe.building._steps import Row, Status, StepFile, key_of
from holisafe.errors import DataError, ImageError
from holisafe.images import content_hash, open_image, read_bytes
from holisafe.images.sources import ImageSources, reason_of
from holisafe.records import ImageRef

SIDE = 16
"""Rows and columns of the hash; it has SIDE² bits."""

_ONES = np.array([value.bit_count() for value in range(256)], dtype=np.uint8)

FIELDS = 4
"""Rows and columns of the colour means."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture.

    Attributes:
        name: Its path below the folder.
        ref: Where its bytes are; `digest` is set.
        dhash: The hash, in hex.
        colours: Means of red, green and blue in [0, 255], (FIELDS · FIELDS · 3,) in order of rows.
    """

    name: str
    ref: ImageRef
    dhash: str
    colours: tuple[int, ...]

    @property
    def digest(self) -> str:
        """SHA-256 of its encoded bytes, in hex."""
        return self.ref.digest


@dataclass(frozen=True, slots=True)
class Found:
    """What the folder holds.

    Attributes:
        pictures: Different pictures by their bytes, in the order of their first names.
        names: Digest → names of files with these bytes.
        rows: One row per file, in their order.
    """

    pictures: tuple[Picture, ...]
    names: Mapping[str, tuple[str, ...]]
    rows: tuple[Row, ...]


def read_pictures(folder: Path, leave_out: Path, file: StepFile) -> Found:
    """Find and decode every picture of a folder; what is decoded already is not decoded again.

    Raises:
        DataError: There is no such folder, or no picture in it.
        RunError: The step's file cannot be written.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; expected a folder with pictures")
    pictures: dict[str, Picture] = {}
    names: dict[str, list[str]] = {}
    rows = []
    for item in ImageSources([folder], leave_out=[leave_out]).items():
        ref, reason = item.ref, item.error
        name = item.name.removeprefix(f"{folder}/")
        if ref is not None and ref.path is None:
            ref, reason = None, "it lies in an archive or Parquet file; unpack it"
        row, known = _row(name, ref, reason, file)
        if known is not None and row.is_ok:
            names.setdefault(known.digest, []).append(name)
            if known.digest in pictures:
                reason = f"same bytes: as {pictures[known.digest].name}"
                row = Row(key_of(name), Status.REJECTED, reason, {"picture": name})
            else:
                pictures[known.digest] = _picture(name, known, row)
        if file.latest(row.key) != row:
            file.append(row)
        rows.append(row)
    if not rows:
        raise DataError(f"{folder}: no pictures in there; expected JPEG, PNG, WebP or GIF files")
    return Found(tuple(pictures.values()), {key: tuple(value) for key, value in names.items()}, tuple(rows))


def features_of(image: Image.Image) -> tuple[str, tuple[int, ...]]:
    """The perceptual hash of an RGB image, in hex, and its colour means."""
    grey = np.asarray(image.convert("L").resize((SIDE + 1, SIDE), Image.Resampling.BILINEAR), dtype=np.int16)
    bits = grey[:, 1:] > grey[:, :-1]  # (SIDE, SIDE)
    colours = np.asarray(image.resize((FIELDS, FIELDS), Image.Resampling.BOX))  # (FIELDS, FIELDS, 3)
    return np.packbits(bits).tobytes().hex(), tuple(int(value) for value in colours.ravel())


@dataclass(frozen=True, slots=True)
class Features:
    """Hashes and colours of several pictures, to compare one with all.

    Attributes:
        hashes: (pictures, SIDE² / 8) bytes.
        colours: (pictures, FIELDS² · 3), in [0, 1].
    """

    hashes: npt.NDArray[np.uint8]
    colours: npt.NDArray[np.float64]

    @staticmethod
    def of(pairs: list[tuple[str, tuple[int, ...]]]) -> Features:
        """Of (hash, colours) of each picture."""
        hashes = np.frombuffer(b"".join(bytes.fromhex(dhash) for dhash, _ in pairs), dtype=np.uint8)
        colours = np.array([each for _, each in pairs], dtype=np.float64) / 255
        return Features(hashes.reshape(len(pairs), SIDE**2 // 8), colours.reshape(len(pairs), FIELDS**2 * 3))

    def bits_from(self, dhash: str) -> npt.NDArray[np.int64]:
        """Bits in which each picture's hash differs from one, (pictures,)."""
        one = np.frombuffer(bytes.fromhex(dhash), dtype=np.uint8)
        bits: npt.NDArray[np.int64] = _ONES[self.hashes ^ one].sum(axis=1, dtype=np.int64)
        return bits

    def colours_from(self, colours: tuple[int, ...]) -> npt.NDArray[np.float64]:
        """Mean difference in [0, 1] of each picture's colours from those of one, (pictures,)."""
        found: npt.NDArray[np.float64] = np.abs(self.colours - np.array(colours) / 255).mean(axis=1)
        return found


def _row(name: str, ref: ImageRef | None, reason: str, file: StepFile) -> tuple[Row, ImageRef | None]:
    if ref is None:
        return Row(key_of(name), Status.REJECTED, f"unreadable: {reason}", {"picture": name}), None
    try:
        digest = content_hash(read_bytes(ref))
    except ImageError as error:
        return Row(key_of(name), Status.REJECTED, f"unreadable: {reason_of(error, ref)}", {"picture": name}), None
    # file names may tell more than a picture does: the data name it after its digest
    key = f"{digest[:32]}{Path(name).suffix.lower()}"
    known = ImageRef(key, path=ref.path, root=ref.root, digest=digest)
    row = file.get(digest)
    if row is None:
        row = _decoded(name, known)
        file.append(row)
    return row, known


def _decoded(name: str, ref: ImageRef) -> Row:
    try:
        dhash, colours = features_of(open_image(ref))
    except ImageError as error:
        return Row(ref.digest, Status.REJECTED, f"unreadable: {reason_of(error, ref)}", {"picture": name})
    return Row(ref.digest, values={"picture": name, "dhash": dhash, "colours": list(colours)})


def _picture(name: str, ref: ImageRef, row: Row) -> Picture:
    values: Mapping[str, Any] = row.values
    return Picture(name, ref, str(values["dhash"]), tuple(values["colours"]))
