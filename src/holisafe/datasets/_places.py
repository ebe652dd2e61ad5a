"""Where the images of a data set lie: below its folder, whatever system wrote their names."""

from __future__ import annotations

import os
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path

from holisafe.records import ImageRef


@dataclass(frozen=True, slots=True)
class Source:
    """Where records come from, for messages and defaults.

    Attributes:
        file: What to call the file in messages.
        folder: Data folder that `image` paths are below.
        name: What `Sample.source` says where the record does not.
        licence: What `Sample.licence` says where the record does not.
        others: Further folders in which images are looked for.
    """

    file: str
    folder: Path
    name: str = ""
    licence: str = ""
    others: tuple[Path, ...] = ()
    _names: dict[Path, dict[str, str]] = field(default_factory=dict, repr=False, compare=False)

    def image(self, name: str) -> ImageRef:
        """The image file of that name below the data folder; it need not be there.

        Backslashes are read as slashes, several as one, and names compared after Unicode normalisation where no file
        has the name as it is written: data sets are written on Windows and macOS, too.
        """
        folders = (self.folder, *self.others)
        for folder in folders:
            below = name.removeprefix("images/") if folder.name == "images" else name
            if os.path.lexists(folder / below):
                return self._ref(folder, below)
        for folder in folders:
            found = self._spelt_otherwise(folder, name)
            if found is not None:
                return self._ref(folder, found)
        return self._ref(self.folder, name.removeprefix("images/") if self.folder.name == "images" else name)

    def _ref(self, folder: Path, name: str) -> ImageRef:
        root = hub_repository(folder) or folder
        return ImageRef(name, folder / name, root)

    def _spelt_otherwise(self, folder: Path, name: str) -> str | None:
        """The name by which a file is found after normalisation, from folder to folder."""
        first, *below = name.replace("\\", "/").split("/")
        parts = [part for part in (first, *(each for each in below if each)) if part != "."]  # "a//b" is "a/b"
        if folder.name == "images" and parts[0] == "images":
            parts = parts[1:]
        if not parts or any(part in ("", "..") for part in parts):
            return None
        here = folder
        spelt: list[str] = []
        for part in parts:
            if not os.path.lexists(here / part):
                part = self._listed(here).get(unicodedata.normalize("NFC", part), "")
            if not part:
                return None
            spelt.append(part)
            here = here / part
        return "/".join(spelt)

    def _listed(self, folder: Path) -> dict[str, str]:
        """Names in a folder by their normal form."""
        if folder not in self._names:
            try:
                names = sorted(path.name for path in folder.iterdir())
            except OSError:
                names = []
            self._names[folder] = {unicodedata.normalize("NFC", name): name for name in names}
        return self._names[folder]


def hub_repository(folder: Path) -> Path | None:
    """The repository's folder in the Hub cache (`blobs/`, `snapshots/`) that a folder of a snapshot belongs to.

    Files of a snapshot are links into `blobs/`, so images may lie anywhere below the repository.
    """
    for snapshots in folder.parents:
        if snapshots.name == "snapshots" and (snapshots.parent / "blobs").is_dir():
            return snapshots.parent
    return None


def data_folder(file: Path) -> Path:
    """The folder of a data file, absolute; within a snapshot of the Hub cache, its real place."""
    folder = file.parent.absolute()
    resolved = folder.resolve()
    return resolved if hub_repository(resolved) is not None else folder
