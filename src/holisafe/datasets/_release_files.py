"""The files of a release as users have them: a folder, a zip, or a folder whose images are in zips beside it."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from holisafe._files import MAX_JSON_BYTES, parse_json, read_bounded
from holisafe.datasets._places import Source, data_folder
from holisafe.errors import DataError, ImageError
from holisafe.images import LIMITS
from holisafe.images.limits import SOURCE_LIMITS, Budget
from holisafe.records import ImageRef

MAX_MEMBERS = 1_000_000
"""Files of a zip."""

MAX_IN_MEMORY = 2**31
"""Bytes of one zip that are held in memory; a larger release is to be unpacked."""


@dataclass(slots=True)
class _Zip:
    """A zip whose members are read into memory when asked for; nothing is written to disk."""

    path: Path
    archive: zipfile.ZipFile
    names: dict[str, zipfile.ZipInfo]
    budget: Budget
    read: dict[str, bytes] = field(default_factory=dict)

    @classmethod
    def open(cls, path: Path) -> _Zip:
        try:
            archive = zipfile.ZipFile(path)
        except (OSError, zipfile.BadZipFile) as error:
            raise DataError(f"{path}: not a readable zip: {error}; download it again") from error
        members = archive.infolist()
        if len(members) > MAX_MEMBERS:
            raise DataError(f"{path}: a zip of {len(members):,} files, more than {MAX_MEMBERS:,}; unpack it first")
        named = {_normal(each.filename): each for each in members if not each.is_dir()}
        if path.stat().st_size > MAX_IN_MEMORY:
            raise DataError(f"{path}: larger than the {MAX_IN_MEMORY} bytes held in memory; unpack it, name the folder")
        most = min(MAX_IN_MEMORY, SOURCE_LIMITS.budget(path.stat().st_size).size)
        return cls(path, archive, named, Budget(most, MAX_MEMBERS))

    def bytes_of(self, name: str, most: int) -> bytes:
        """The bytes of a member.

        Raises:
            ImageError: It is larger than `most`, the zip takes more than allowed, or it is damaged.
        """
        if name not in self.read:
            try:
                with self.archive.open(self.names[name]) as file:
                    data = file.read(most + 1)
            except Exception as error:  # zipfile and zlib raise several kinds on damaged archives
                raise ImageError(f"{self.path}: {name} cannot be read: {error}; download the zip again") from error
            if len(data) > most:
                raise ImageError(f"{self.path}: {name} is larger than {most} bytes; unpack the zip and look at it")
            self.budget.spend(len(data), items=1)
            self.read[name] = data
        return self.read[name]


@dataclass(frozen=True)
class ReleaseFiles:
    """A release: its main file is found by name, its images by the names that records give.

    Attributes:
        path: The file, folder or zip that the user named.
        main_names: File names under which the authors release the records, relative to the release's folder.
    """

    path: Path
    main_names: tuple[str, ...]

    def has(self, name: str) -> bool:
        """Whether the release holds a file of that name, relative to its folder."""
        if self._zip is not None:
            return self._prefix + name in self._zip.names
        return _is_file(self.folder / name)

    def names(self, folder: str = "") -> list[str]:
        """Names of the files directly in a folder of the release, sorted, relative to the release's folder."""
        start = f"{folder}/" if folder else ""
        if self._zip is None:
            place = self.folder / folder
            found = [file.name for file in place.iterdir() if file.is_file()] if place.is_dir() else []
        else:
            inside = self._prefix + start
            found = [name.removeprefix(inside) for name in self._zip.names if name.startswith(inside)]
        return sorted(start + name for name in found if "/" not in name)

    def describe(self, name: str) -> str:
        """What messages call a file of the release."""
        return f"{self.path}/{self._prefix}{name}" if self._zip is not None else str(self.folder / name)

    @cached_property
    def main(self) -> str:
        """Name of the main file, relative to the release's folder; the file itself where the user named one.

        Raises:
            DataError: The release has none.
        """
        if self._zip is None and self.path.is_file():
            return self.path.name
        found = next((name for name in self.main_names if self.has(name)), None)
        if found is None:
            raise DataError(
                f"{self.path}: found none of {', '.join(self.main_names)}; give the folder, zip or file as it was "
                "downloaded"
            )
        return found

    @cached_property
    def folder(self) -> Path:
        """The folder of the release, absolute; for a zip, the zip itself.

        Raises:
            DataError: There is nothing at the path.
        """
        if not self.path.exists():
            raise DataError(f"{self.path}: no such file or folder; check the path")
        if self.path.is_dir():
            return data_folder(self.path / "file")
        if self._zip is not None:
            return self.path.absolute()
        parts = {
            len(PurePosixPath(name).parts) for name in self.main_names if PurePosixPath(name).name == self.path.name
        }
        place = self.path.absolute()
        return data_folder(place if not parts else place.parents[min(parts) - 1] / "file")

    def text(self, name: str) -> str:
        """A text file of the release.

        Raises:
            DataError: It is not there, too large or no UTF-8.
        """
        try:
            return self._bytes(name).decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise DataError(f"{self.describe(name)}: not UTF-8 text at byte {error.start}; download it again") from None

    def json(self, name: str) -> Any:
        """A JSON file of the release.

        Raises:
            DataError: It is not there, too large or no JSON.
        """
        return parse_json(self._bytes(name), DataError, source=self.describe(name), allow_nan=True)

    def image(self, *names: str) -> ImageRef:
        """The first image file that is there; its bytes are in memory where it is in a zip.

        Args:
            names: Candidates, relative to the release's folder.

        Raises:
            ImageError: None is there, or it is in a zip and cannot be read.
        """
        for name in names:
            if self._zip is None:
                ref = self._source.image(name)
                if ref.path is not None and _is_file(ref.path):
                    return ref
            for archive, prefix in self._archives:
                inside = _normal(prefix + name)
                if inside in archive.names:
                    return ImageRef(name, data=archive.bytes_of(inside, LIMITS.max_bytes))
        raise ImageError(f"no file {' or '.join(names)}")

    def _bytes(self, name: str) -> bytes:
        if self._zip is None:
            place = self.folder / name
            if not place.is_file():
                raise DataError(f"{place}: no such file; download the release again")
            return read_bounded(place, DataError, max_bytes=MAX_JSON_BYTES)
        if (inside := self._prefix + name) not in self._zip.names:
            raise DataError(f"{self.describe(name)}: no such file in the zip; download the release again")
        try:
            return self._zip.bytes_of(inside, MAX_JSON_BYTES)
        except ImageError as error:
            raise DataError(str(error)) from error

    @cached_property
    def _source(self) -> Source:
        return Source(str(self.path), self.folder)

    @cached_property
    def _zip(self) -> _Zip | None:
        is_one = self.path.is_file() and (zipfile.is_zipfile(self.path) or self.path.suffix.lower() == ".zip")
        return _Zip.open(self.path) if is_one else None

    @cached_property
    def _prefix(self) -> str:
        """Folder of the release within the zip: that of the main file that lies nearest to the top."""
        if self._zip is None:
            return ""
        ends = [(name, main) for name in self._zip.names for main in self.main_names if f"/{name}".endswith(f"/{main}")]
        starts = [name.removesuffix(main) for name, main in ends]
        return min(starts, key=lambda start: (start.count("/"), start), default="")

    @cached_property
    def _archives(self) -> list[tuple[_Zip, str]]:
        """The zips in which images are looked for, each with the folder that names are relative to.

        A zip beside the records may hold a folder of its own name, or what that folder would hold.
        """
        if self._zip is not None:
            return [(self._zip, self._prefix)]
        beside = [_Zip.open(path) for path in sorted(self.folder.glob("*.zip"))]
        return [(each, "") for archive in beside for each in (archive, _below_own_name(archive))]


def open_files(path: Path, main_names: Sequence[str]) -> ReleaseFiles:
    """The release at a path; of a folder that holds nothing but a zip of it, that zip.

    Args:
        path: The file, folder or zip.
        main_names: File names under which the authors release the records.
    """
    files = ReleaseFiles(path, tuple(main_names))
    if path.is_dir() and not any(files.has(name) for name in files.main_names):
        zips = [ReleaseFiles(each, files.main_names) for each in sorted(path.glob("*.zip"))]
        whole = [each for each in zips if any(each.has(name) for name in each.main_names)]
        if len(whole) == 1:
            return whole[0]
    return files


def _is_file(place: Path) -> bool:
    """Whether a file is there; a name that no file can have names none."""
    try:
        return place.is_file()
    except OSError:  # too long, or links in a circle
        return False


def _below_own_name(archive: _Zip) -> _Zip:
    """A zip seen as if it were unpacked into a folder of its own name."""
    below = {f"{archive.path.stem}/{name}": info for name, info in archive.names.items()}
    return _Zip(archive.path, archive.archive, below, archive.budget)


def _normal(name: str) -> str:
    """A name in a zip with slashes, and without the dots that lead nowhere."""
    return "/".join(part for part in name.replace("\\", "/").split("/") if part not in ("", "."))
