"""From a name, a path or a Hub id to samples."""

from __future__ import annotations

import logging
from pathlib import Path

from holisafe._checks import check_type
from holisafe.datasets import _hub, _registry, holisafe_bench, releases
from holisafe.datasets._identity import identified
from holisafe.datasets._loaded import Loaded, Problem
from holisafe.datasets._recognised import looks_like, read_release, said_so
from holisafe.datasets._registry import Dataset
from holisafe.datasets._released import find_release, split_spec
from holisafe.errors import DataError, ImageError, UnknownNameError
from holisafe.images import open_image
from holisafe.records import Sample

_log = logging.getLogger(__name__)
assert releases  # importing it registers the formats


def load(name_or_path: str | Path, split: str | None = None) -> list[Sample]:
    """The good samples of a data set; what is broken is logged as a warning, in number and by example.

    Args:
        name_or_path: A registered name ("open"), a file or folder with records, a file, folder or zip as its authors
            release it ("mssbench:PATH"), or a Hub id.
        split: Which split; None for all of them.

    Raises:
        UnknownNameError: No data set has that name, or it has no such split.
        DataError: The data cannot be read, or hold no good record.
    """
    loaded = read(name_or_path, split)
    if loaded.broken and not loaded.samples:
        raise DataError(f"{name_or_path}: every record is broken; the first: {loaded.broken[0]}")
    if loaded.broken:
        _log.warning(
            "%s: %d broken records left out, %d loaded; the first: %s; `holisafe data validate` lists them all",
            name_or_path,
            loaded.broken_records,
            len(loaded.samples),
            loaded.broken[0],
        )
    return list(loaded.samples)


def read(name_or_path: str | Path, split: str | None = None) -> Loaded:
    """The good samples of a data set, and what is wrong with the rest.

    Args:
        name_or_path: A registered name ("open"), a file or folder with records, a file, folder or zip as its authors
            release it ("mssbench:PATH"), or a Hub id.
        split: Which split; None for all of them.

    Raises:
        UnknownNameError: No data set has that name, or it has no such split.
        DataError: The data cannot be read at all.
    """
    check_type(name_or_path, (str, Path), "name_or_path")
    if isinstance(name_or_path, str) and _registry.is_registered(name_or_path):
        return _read_registered(_registry.find(name_or_path), split)
    if (released := split_spec(name_or_path)) is not None:
        made, path = find_release(released[0]), Path(released[1]).expanduser()
        return read_release(made.name, path, lambda: made.load(path, split))
    if _is_path(name_or_path):
        return _read_path(_path(name_or_path), split)
    return _hub.read_hub(str(name_or_path), split)


def _read_path(path: Path, split: str | None) -> Loaded:
    """Records at a path; where they look like a released format, the error or a note says how to read them as it.

    Raises:
        DataError: They cannot be read.
    """
    try:
        return said_so(holisafe_bench.read_path(path, split), path)
    except DataError as error:
        if (found := looks_like(path)) is None:
            raise
        raise DataError(f"{error}; this looks like {found.title}: use --data {found.name}:{path}") from error


def validate(name_or_path: str | Path, split: str | None = None) -> Loaded:
    """Read a path, or `NAME:PATH`, and decode every image once; what cannot be decoded counts as broken.

    Args:
        name_or_path: A file or folder with records, or a release as `read` takes it.
        split: Which split; None for all of them.

    Raises:
        UnknownNameError: There is no such split.
        DataError: The data cannot be read at all.
    """
    if split_spec(name_or_path) is None:
        return holisafe_bench.validate_path(name_or_path, split)
    loaded = read(name_or_path, split)
    refused: dict[str, str] = {}
    for ref in {ref.identity: ref for sample in loaded.samples for ref in sample.images}.values():
        try:
            open_image(ref)
        except ImageError as error:
            refused[ref.identity] = f"the image was refused: {error}"
    bad = [(s, ref) for s in loaded.samples for ref in s.images if ref.identity in refused]
    problems = [
        Problem(str(name_or_path), None, s.id, "image", ref.key, "a readable image", refused[ref.identity])
        for s, ref in bad
    ]
    left_out = {s.id for s, _ in bad}
    good = tuple(s for s in loaded.samples if s.id not in left_out)
    return Loaded(good, (*loaded.problems, *problems))


def _read_registered(found: Dataset, split: str | None) -> Loaded:
    """The samples that a registered function gives, their images with digests."""
    if split is not None and found.splits and split not in found.splits:
        raise UnknownNameError(f"split of {found.name}", split, found.splits)
    good, broken = identified(found.load(split))
    expected = "a readable image"
    problems = (
        Problem(found.name, at, sample.id, "image", ref.key, expected, f"the image was refused: {error}")
        for at, sample, ref, error in broken
    )
    return Loaded(tuple(good), tuple(problems))


def split_names(name_or_path: str | Path) -> list[str]:
    """Names of a data set's splits; none where it has but one, without a name.

    Raises:
        DataError: It is on the Hub and cannot be loaded.
    """
    if isinstance(name_or_path, str) and _registry.is_registered(name_or_path):
        return list(_registry.find(name_or_path).splits)
    if (released := split_spec(name_or_path)) is not None:
        return list(find_release(released[0]).splits)
    folder = Path(name_or_path)
    if folder.is_dir():
        files = sorted(folder.glob("*.parquet")) or sorted(folder.glob("data/*.parquet"))
        return sorted({file.stem.split("-")[0] for file in files})
    is_hub_id = not folder.exists() and _hub.is_hub_id(str(name_or_path))
    return _hub.split_names(str(name_or_path)) if is_hub_id else []


def _is_path(name_or_path: str | Path) -> bool:
    """Whether to look on the disk; a name of the form `owner/name` that is not there is a Hub id."""
    return isinstance(name_or_path, Path) or Path(name_or_path).exists() or not _hub.is_hub_id(name_or_path)


def _path(name_or_path: str | Path) -> Path:
    path = Path(name_or_path)
    is_word = isinstance(name_or_path, str) and path.name == name_or_path and not path.suffix
    if is_word and (not name_or_path or not path.exists()):
        _registry.find(str(name_or_path))  # no such name: raises what to do
    return path
