"""Reads the shipped HoliSafe-Open."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from holisafe._assets import asset_folder
from holisafe.datasets._open_versions import SPLITS, VERSION
from holisafe.errors import DataError, UnknownNameError
from holisafe.images import identify
from holisafe.records import ImageRef, Sample
from holisafe.taxonomy import Category, Combination, GuardLabel, Subcategory

SAMPLES_FILE = "samples.parquet"
IMAGES_FILE = "images.parquet"
MANIFEST_FILE = "manifest.json"


def data_folder(version: int = VERSION) -> Path:
    """Where a shipped version lies.

    Raises:
        MissingDependencyError: holisafe-assets is not installed.
    """
    return asset_folder(f"open_{version}")


def load_open(split: str | None = None, *, version: int = VERSION, folder: Path | None = None) -> list[Sample]:
    """The samples of HoliSafe-Open.

    Args:
        split: One of `SPLITS[version]`; None for all of them, in this order.
        version: 1 or 2.
        folder: Where a set that was built elsewhere lies; the shipped one when None.

    Returns:
        Samples in a fixed order, each with its image's bytes.

    Raises:
        UnknownNameError: There is no such split.
        DataError: The files are missing or damaged.
    """
    wanted = _groups(split, version)
    folder = folder or data_folder(version)
    images = {
        row["key"]: identify(ImageRef(key=row["key"], data=row["bytes"]))
        for row in _rows(folder / IMAGES_FILE, wanted, ["key", "bytes"])
    }
    return [_sample(row, images[row["image"]]) for row in _rows(folder / SAMPLES_FILE, wanted)]


def open_images(
    split: str | None = None, *, version: int = VERSION, folder: Path | None = None
) -> list[dict[str, Any]]:
    """What is known of each image beside its bytes: key, label, what it shows, artworks, background, licence."""
    wanted = _groups(split, version)
    folder = folder or data_folder(version)
    columns = [name for name in pq.read_schema(folder / IMAGES_FILE).names if name != "bytes"]
    return _rows(folder / IMAGES_FILE, wanted, columns)


def open_queries(split: str, *, version: int = VERSION) -> list[str]:
    """What is asked in a split of a shipped version."""
    path = data_folder(version) / SAMPLES_FILE
    return [row["query"] for row in _rows(path, _groups(split, version), ["query"])]


def _groups(split: str | None, version: int) -> list[int]:
    """The row groups of a split, or of all."""
    splits = SPLITS[version]
    if split is not None and split not in splits:
        raise UnknownNameError(f"split of open@{version}", split, splits)
    return [splits.index(split)] if split else list(range(len(splits)))


def _rows(path: Path, groups: list[int], columns: list[str] | None = None) -> list[dict[str, Any]]:
    try:
        with pq.ParquetFile(path) as file:
            rows: list[dict[str, Any]] = file.read_row_groups(groups, columns=columns).to_pylist()
    except (OSError, ValueError, IndexError) as error:
        raise DataError(f"{path}: cannot be read ({error}); reinstall holisafe-assets") from None
    return rows


def open_sample(row: dict[str, Any], image: bytes) -> Sample:
    """A sample from its row of the table and its image's bytes."""
    return _sample(row, identify(ImageRef(key=row["image"], data=image)))


def _sample(row: dict[str, Any], image: ImageRef) -> Sample:
    return Sample.ask(
        id=row["id"],
        images=(image,),
        query=row["query"],
        combination=Combination(row["combination"]),
        category=row["category"] and Category(row["category"]),
        subcategory=row["subcategory"] and Subcategory(row["subcategory"]),
        image_labels=tuple(GuardLabel(label) for label in row["image_labels"]),
        reference=row["reference"],
        twin=row["twin"],
        cluster=row["cluster"],
        source=row["source"],
        licence=row["licence"],
    )
