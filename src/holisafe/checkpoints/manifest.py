"""Which files a saved model consists of, so that a reader knows whether it has them all, as they were written."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from holisafe.errors import ModelError

_NOTES = frozenset({"README.md", "tuned.json"})
"""Files that may be edited or hold the manifest itself."""

_OPEN = ("guard/",)
"""Folders whose files may change afterwards (a guard is calibrated in place): only their presence is recorded."""


def file_manifest(folder: Path) -> dict[str, str | None]:
    """The files of a folder, for the field "files" of its description.

    Returns:
        For each file, by its path below the folder with "/", its SHA-256 in hex; None for those that may change.
    """
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return {name: None if name.startswith(_OPEN) else _hash(folder / name) for name in names if name not in _NOTES}


def check_files(folder: Path, manifest: Mapping[str, str | None], wanted: tuple[str, ...]) -> None:
    """Refuse a folder whose files are not those that were saved.

    Args:
        folder: The folder.
        manifest: What `file_manifest` gave when it was saved.
        wanted: Paths, and beginnings of paths, of files that must not be there unless they were saved.

    Raises:
        ModelError: Names the file that is missing, was changed or was added.
    """
    for name, digest in manifest.items():
        path = folder / name
        if not path.is_file():
            raise ModelError(f"{path}: missing, though it was saved with this model; get the folder again")
        if digest is not None and _hash(path) != digest:
            raise ModelError(f"{path}: not the file that was saved (SHA-256 differs): damaged or changed; get it again")
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name.startswith(wanted) and name not in manifest:
            raise ModelError(f"{path}: was not saved with this model; remove it, or get the folder again")


def parse_manifest(value: Any, path: Path) -> dict[str, str | None]:
    """Read the field "files" of a description.

    Raises:
        ModelError: It is none, or names files outside the folder.
    """
    if not isinstance(value, dict) or not all(isinstance(digest, str | None) for digest in value.values()):
        raise ModelError(f"{path}: files: expected the SHA-256 of each file; save the model again")
    for name in value:
        if name.startswith("/") or "\\" in name or any(part in ("", ".", "..") for part in name.split("/")):
            raise ModelError(f"{path}: files: {name!r} is no path below the folder")
    return dict(value)


def _hash(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error}); check its permissions") from error
