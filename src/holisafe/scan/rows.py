"""The result of a scan for one image, as an object, as JSON and as a row of a table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from holisafe.records import ImageVerdict

LARGEST = float(np.finfo(np.float16).max)
"""Largest number that features may hold, which are kept as float16."""


@dataclass(frozen=True, slots=True)
class ScanRow:
    """One image, and its verdict or why it has none.

    Attributes:
        id: Where the image is: "cat.png", "pets.tar/cat.png", "pets.parquet#12".
        digest: SHA-256 of its encoded bytes, in hex; empty where they could not be read.
        verdict: What the guard says; None where there is an error.
        error: Why there is no verdict; empty where there is one.
        features: Mean of its projector features (width,), float16; None where they are not kept.
    """

    id: str
    digest: str
    verdict: ImageVerdict | None
    error: str = ""
    features: npt.NDArray[np.float16] | None = None

    def to_json(self) -> dict[str, Any]:
        """The documented object (docs/json.md): image, digest, and the verdict's fields or error."""
        named = {"image": self.id} | ({"digest": self.digest} if self.digest else {})
        return named | ({"error": self.error} if self.verdict is None else self.verdict.to_json())


def row_schema(labels: Sequence[str], *, key: bool = False, features: bool = False) -> pa.Schema:
    """Columns of a table of rows: a row's JSON, flat.

    Args:
        labels: The guard's labels.
        key: Whether there is a column of WebDataset keys.
        features: Whether there is a column of features.
    """
    number = pa.float64()
    columns = {
        "image": pa.string(),
        "digest": pa.string(),
        "key": pa.string(),
        "label": pa.string(),
        "probability": number,
        "distribution": pa.struct([(label, number) for label in labels]),
        "unsafe": number,
        "threshold": number,
        "flagged": pa.bool_(),
        "calibrated": pa.bool_(),
        "made_for": pa.string(),
        "error": pa.string(),
        "features": pa.list_(pa.float16()),
    }
    left_out = {name for name, is_there in (("key", key), ("features", features)) if not is_there}
    return pa.schema({name: kind for name, kind in columns.items() if name not in left_out})


def table_of(rows: Iterable[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    """Rows as a table; what a row lacks is null."""
    return pa.Table.from_pylist([dict(row) for row in rows], schema=schema)


def kept(vector: npt.NDArray[np.float32]) -> npt.NDArray[np.float16] | None:
    """Features as they are kept; None where float16 cannot hold them."""
    return vector.astype(np.float16) if bool((np.abs(vector) <= LARGEST).all()) else None
