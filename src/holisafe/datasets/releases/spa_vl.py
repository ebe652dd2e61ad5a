"""SPA-VL (Zhang et al., CVPR 2025, arXiv 2406.12030; CC-BY-4.0): preference pairs, and two sets to evaluate on.

The Hub repository holds Parquet files: `test/harm-*.parquet` (HarmEval) and `test/help-*.parquet` (HelpEval) with
`image`, `question`, `class1`, `class2`, `class3`; and `data/train-*.parquet`, `validation/validation-*.parquet` with
`question`, `image`, `chosen`, `rejected` besides. Exports of them as JSON, with images in a folder, are read too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from holisafe.datasets._loaded import Loaded
from holisafe.datasets._release_reader import (
    ReleaseReader,
    WrongField,
    check_split,
    identifier,
    open_release,
    optional_text,
    text,
)
from holisafe.datasets._release_rows import release_rows, row, row_image
from holisafe.datasets._released import released
from holisafe.datasets._rows import SUFFIXES
from holisafe.datasets._values import show
from holisafe.errors import DataError
from holisafe.records import Behaviour, Sample

NAME, TITLE, LICENCE = "spa-vl", "SPA-VL", "CC-BY-4.0"
SPLITS = ("harm", "help", "train", "validation")
SPLIT_TAG = "split"

_RIGHT = {"harm": Behaviour.REFUSE, "help": Behaviour.ANSWER}
"""HarmEval counts unsafe answers, HelpEval helpful ones; of the pairs, the data do not say what is right."""

_FOLDERS = ("", "test", "data", "validation")
_PARQUET = tuple(f"{folder}{split}-00000-of-00001.parquet" for split in ("harm", "help") for folder in ("", "test/"))


@dataclass(frozen=True, slots=True)
class PreferencePair:
    """A request and two answers.

    Attributes:
        sample: The request; its reference is `chosen`.
        chosen: The answer that was preferred.
        rejected: The other one.
    """

    sample: Sample
    chosen: str
    rejected: str


@released(
    NAME,
    title=TITLE,
    splits=SPLITS,
    description="HarmEval and HelpEval, and preference pairs",
    files=_PARQUET,
    fields=({"image", "question", "class1"}, {"image", "question", "chosen", "rejected"}),
)
def load_spa_vl(path: Path, split: str | None) -> Loaded:
    """SPA-VL, the splits that are there.

    Args:
        path: One of its files, or their folder.
        split: "harm" (HarmEval), "help" (HelpEval), "train", "validation", or None for HarmEval and HelpEval.

    Raises:
        DataError: There are no records to be had.
        UnknownNameError: There is no such split.
    """
    reader = _reader(path, split)
    for place, raw in _rows(reader, (split,) if split else tuple(_RIGHT)):
        with reader.record(place.at, place.name, file=place.file):
            _add(reader, row(raw), place)
    return reader.loaded(split)


def read_preferences(path: Path, split: str = "train") -> tuple[tuple[PreferencePair, ...], Loaded]:
    """The preference pairs of a split, and what was read.

    Args:
        path: One of its files, or their folder.
        split: "train" or "validation".

    Raises:
        DataError: There are no records to be had.
        UnknownNameError: There is no such split.
    """
    check_split(split, ("train", "validation"), TITLE)
    reader = _reader(path, split)
    for place, raw in _rows(reader, (split,)):
        with reader.record(place.at, place.name, file=place.file):
            _add(reader, row(raw), place)
    loaded = reader.loaded(split)
    pairs = (PreferencePair(each, each.reference or "", each.rejected or "") for each in loaded.samples)
    return tuple(pairs), loaded


def _reader(path: Path, split: str | None) -> ReleaseReader:
    check_split(split, SPLITS, TITLE)
    return open_release(path, NAME, TITLE, _PARQUET, LICENCE)


def _files(reader: ReleaseReader, splits: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """The files of the splits, each with the split that it is of, told by the beginning of its name.

    Raises:
        DataError: There are none.
    """
    files = reader.files
    if files.path.is_file() and files.folder.is_dir():
        named = [files.path.name]
    else:
        named = [name for folder in _FOLDERS for name in files.names(folder)]
    tables = [name for name in named if PurePosixPath(name).suffix.lower() in SUFFIXES]
    found = [(name, of) for of in splits for name in tables if PurePosixPath(name).stem.lower().startswith(of)]
    if not found:
        expected = " or ".join(f"{of}-*.parquet" for of in splits)
        raise DataError(
            f"{files.path}: found no file {expected}; give the folder of the Hub snapshot, or one such file"
        )
    yield from found


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a record is: its file and position there, its split, and a name by its position in the split."""

    file: str
    at: int
    split: str
    name: str


def _rows(reader: ReleaseReader, splits: tuple[str, ...]) -> Iterator[tuple[_Place, Any]]:
    """The records of the splits, which may be in several files each."""
    counts = dict.fromkeys(splits, 0)
    for file, split in _files(reader, splits):
        for at, raw in enumerate(release_rows(reader.files, file)):
            yield _Place(file, at, split, f"{split}-{counts[split]}"), raw
            counts[split] += 1


def _add(reader: ReleaseReader, raw: Mapping[str, Any], place: _Place) -> None:
    """Add the sample of a record; its position stands for its id where it has none (HarmEval, HelpEval)."""
    name = place.name if raw.get("id") is None else f"{place.split}-{identifier(raw, 'id')}"
    classes = {f"class{level}": optional_text(raw, f"class{level}") for level in (1, 2, 3)}
    chosen, rejected = (None, None) if place.split in _RIGHT else (text(raw, "chosen"), text(raw, "rejected"))
    if chosen is not None and rejected is not None and chosen.strip() == rejected.strip():
        raise WrongField("rejected", show(rejected), "another answer than chosen")
    reader.add(
        name,
        (row_image(reader, raw, "image", "images"),),
        text(raw, "question"),
        expected=_RIGHT.get(place.split),
        reference=chosen,
        rejected=rejected,
        tags={SPLIT_TAG: place.split, **classes},
        topics=(classes["class1"], classes["class2"]),
    )
