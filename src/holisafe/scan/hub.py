"""Images of data sets that the `datasets` library streams: from the Hub, or from a folder in any of its formats."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from holisafe.errors import DataError, ImageError, MissingDependencyError
from holisafe.images import LIMITS
from holisafe.images.sources import Shard, SourceItem
from holisafe.records import ImageRef

PREFIX = "hf:"


def is_streamed(place: str) -> bool:
    """Whether a place is written `hf:PATH[:CONFIG][@SPLIT]`; `hf://…` is an address of files."""
    return place.startswith(PREFIX) and not place.startswith("hf://")


@dataclass(frozen=True)
class HubUnit:
    """The rows of one file of a streamed data set. Picklable.

    Attributes:
        path: Hub id or folder.
        config: Its configuration; None for the only one.
        split: Its split.
        columns: Columns that hold images.
        index: Which of its files, from 0.
        count: How many files there are.
        part: The part of its rows to read.
    """

    path: str
    config: str | None
    split: str
    columns: tuple[str, ...]
    index: int
    count: int
    part: Shard | None = None

    @property
    def name(self) -> str:
        """Such as `hf:org/name@train/3`."""
        config = f":{self.config}" if self.config else ""
        return f"{PREFIX}{self.path}{config}@{self.split}/{self.index}"

    @property
    def size(self) -> int:
        """Not known: 0."""
        return 0

    def items(self) -> Iterator[SourceItem]:
        """Its images; what is wrong with the file is the last item."""
        try:
            rows = _without_decoding(_loaded(self.path, self.config, self.split), self.columns)
            for number, row in enumerate(rows.shard(num_shards=self.count, index=self.index)):
                if self.part is None or self.part.has(number):
                    yield from self._of_row(number, row)
        except Exception as error:  # datasets, fsspec and the readers of formats raise kinds of their own
            why = (" ".join(str(error).split()) or type(error).__name__)[:300]
            yield SourceItem(self.name, None, f"cannot be read, or not any further ({why}); get the file again")

    def _of_row(self, number: int, row: Mapping[str, Any]) -> Iterator[SourceItem]:
        given = {column: row[column] for column in self.columns if row.get(column) is not None}
        name = f"{self.name}#{number}"
        key = str(row["__key__"]) if isinstance(row.get("__key__"), str) else ""
        if not given:
            yield SourceItem(name, None, "the row holds no image", key)
        for column, value in given.items():
            named = name if len(self.columns) == 1 else f"{name}/{column}"
            for place, one in enumerate(value) if isinstance(value, list) else [(None, value)]:
                yield replace(self._item(named if place is None else f"{named}[{place}]", one), key=key)

    def _item(self, name: str, value: Any) -> SourceItem:
        data, path = (value.get("bytes"), value.get("path")) if isinstance(value, dict) else (value, None)
        if isinstance(data, bytes):
            return SourceItem(name, ImageRef(name, data=data))
        if not isinstance(path, str):
            return SourceItem(name, None, "the row holds no image")
        if "://" not in path:
            return SourceItem(name, ImageRef(name, path=Path(path), root=Path(self.path)))
        import fsspec

        try:
            with fsspec.open(path, "rb") as file:
                return SourceItem(name, ImageRef(name, data=file.read(LIMITS.max_bytes + 1)))
        except Exception as error:  # every store has errors of its own
            return SourceItem(name, None, f"cannot be read ({' '.join(str(error).split())[:200]})")


@dataclass(frozen=True)
class Stream:
    """A streamed data set.

    Attributes:
        first: Its first unit.
    """

    first: HubUnit

    def units(self, shard: Shard) -> Iterator[HubUnit]:
        """The units of a part: every n-th file, or, if there are fewer files than parts, every n-th row of each."""
        for index in range(self.first.count):
            unit = replace(self.first, index=index)
            if self.first.count < shard.count:
                yield replace(unit, part=shard)
            elif shard.has(index):
                yield unit


def open_stream(place: str, column: str | None) -> Stream:
    """Look for a data set, and for its columns of images.

    Args:
        place: `hf:PATH[:CONFIG][@SPLIT]`; the only split, or "train", where none is named.
        column: The column of images; all of them when None.

    Raises:
        ImageError: There is no such data set, split or column.
        MissingDependencyError: The `datasets` library is not installed.
    """
    path, _, split = place.removeprefix(PREFIX).partition("@")
    path, _, config = path.partition(":")
    try:
        rows = _loaded(path, config or None, split or "train")
        columns = (column,) if column else _image_columns(rows)
        count = rows.num_shards
        known = rows.column_names
    except MissingDependencyError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise ImageError(f"{place}: cannot be streamed ({reason}); check its name, configuration and split") from error
    if not columns or (known and not set(columns) <= set(known)):
        asked = f"no column {column}" if column else "no column of images"
        raise ImageError(f"{place}: {asked}; columns: {', '.join(known or ['none'])}; name one with --image-column")
    return Stream(HubUnit(path, config or None, split or "train", tuple(columns), 0, count))


def _loaded(path: str, config: str | None, split: str) -> Any:
    try:
        import datasets
    except ImportError:
        raise MissingDependencyError("hf: needs the datasets library; run: pip install 'holisafe[datasets]'") from None
    if not path:
        raise DataError("hf: without a name; expected hf:org/name")
    return datasets.load_dataset(path, config, split=split, streaming=True)


def _image_columns(rows: Any) -> tuple[str, ...]:
    import datasets

    features: dict[str, Any] = rows.features or next(iter(rows.take(1)), {})
    return tuple(
        name
        for name, kind in features.items()
        if isinstance(kind, datasets.Image)
        or isinstance(getattr(kind, "feature", None), datasets.Image)
        or (isinstance(kind, dict) and "bytes" in kind)
    )


def _without_decoding(rows: Any, columns: tuple[str, ...]) -> Any:
    import datasets

    for column in columns:
        if rows.features and isinstance(rows.features[column], datasets.Image):
            rows = rows.cast_column(column, datasets.Image(decode=False))
        elif rows.features and isinstance(getattr(rows.features[column], "feature", None), datasets.Image):
            rows = rows.cast_column(column, datasets.List(datasets.Image(decode=False)))
    return rows
