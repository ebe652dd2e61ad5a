"""Parts of a scan that are read back: as they were written, with the columns that are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import types

from holisafe.errors import RunError
from holisafe.scan.parts import checked_rows, manifest_of


def check_part(part: Path, columns: Sequence[str]) -> None:
    """Refuse a part that was damaged or written over, before its rows are read.

    Args:
        part: The file; where a manifest is beside it, the SHA-256 there has to be its own.
        columns: Columns of `row_schema` that it has to have.

    Raises:
        RunError: It is not as it was written, cannot be read, or lacks a column.
    """
    if manifest_of(part).exists():
        checked_rows(part)
    with readable(part):
        schema = pq.read_schema(part)
    for name in columns:
        if name not in schema.names:
            raise RunError(f"{part}: column {name}: is missing; give a folder as `holisafe scan` wrote it")
        kind = schema.field(name).type
        if not any(is_kind(kind) for is_kind in _KINDS[name]):
            raise RunError(f"{part}: column {name}: found {kind}; give a folder as `holisafe scan` wrote it")


@contextmanager
def readable(part: Path) -> Iterator[None]:
    """Say of what file it is when rows cannot be read.

    Raises:
        RunError: They cannot.
    """
    try:
        yield
    except (OSError, ValueError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise RunError(
            f"{part}: no rows of a scan ({reason}); move it away, and --resume scans its images again"
        ) from error


def _is_features(kind: pa.DataType) -> bool:
    return bool(types.is_list(kind)) and bool(types.is_floating(kind.value_type))


_TEXT = (types.is_string, types.is_large_string, types.is_null)
_KINDS: Mapping[str, Sequence[Callable[[pa.DataType], bool]]] = {
    **dict.fromkeys(("image", "digest", "key", "label", "error"), _TEXT),
    **dict.fromkeys(("unsafe", "threshold"), (types.is_floating, types.is_null)),
    "flagged": (types.is_boolean, types.is_null),
    "features": (_is_features,),
}
