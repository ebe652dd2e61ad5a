"""Rows of a Parquet file that anybody may have written.

The Parquet library aborts the whole process on some damaged files, and a file of 3 kB can unpack to gigabytes. So a
child process reads it, with bounded memory and time, and sends validated rows back; what it does not survive is an
error of that file alone.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Literal

from holisafe.errors import HoliSafeError, ImageError
from holisafe.images.limits import SOURCE_LIMITS, SourceLimits, size_of

_CHILD = Path(__file__).with_name("_parquet_child.py")


def read_rows(
    path: str | Path,
    error: type[HoliSafeError],
    *,
    columns: Sequence[str] | Literal["images"] | None = None,
    limits: SourceLimits = SOURCE_LIMITS,
    batch_rows: int = 256,
) -> Iterator[dict[str, Any]]:
    """Read the rows of a Parquet file in a child process, as they are asked for.

    Args:
        path: The file.
        error: Kind of error to raise.
        columns: Names of the columns to read; "images" for those that hold encoded images; None for all.
        limits: What the file may take.
        batch_rows: Most rows that are held at once.

    Yields:
        One row as Python values by column.

    Raises:
        HoliSafeError: Of the given kind: the file is no Parquet file, damaged, or takes more than allowed. Rows
            before the damage have been given.
    """
    import pyarrow as pa

    path = Path(path)
    named = None if columns is None else columns if columns == "images" else list(columns)
    options = {"path": str(path.absolute()), "columns": named, "memory": limits.memory, "rows": batch_rows}
    try:
        budget = limits.budget(size_of(path))
        with _child(json.dumps(options), limits) as frames:
            for frame in frames:
                with pa.ipc.open_stream(pa.py_buffer(frame)) as stream:
                    for batch in stream:
                        budget.spend(batch.nbytes, items=batch.num_rows)
                        yield from batch.to_pylist()
    except (_Failed, ImageError) as why:
        raise error(f"{path}: cannot be read, or not any further ({why}); get the file again") from None
    except (OSError, ValueError, pa.ArrowException) as why:
        reason = " ".join(str(why).split()) or type(why).__name__
        raise error(f"{path}: cannot be read ({reason}); check the file") from why


class _Failed(Exception):
    """What the child said, or how it ended."""


@contextmanager
def _child(arguments: str, limits: SourceLimits) -> Iterator[Iterator[bytes]]:
    """Start the child; gives its batches, and ends it however the block ends."""
    # of its own session: Ctrl-C is for the parent, which decides what becomes of the child
    process = subprocess.Popen(
        [sys.executable, "-I", str(_CHILD), arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"ARROW_DEFAULT_MEMORY_POOL": "system", "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"},
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        yield _batches(process, process.stdout, limits)
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def _batches(process: subprocess.Popen[bytes], out: IO[bytes], limits: SourceLimits) -> Iterator[bytes]:
    while True:
        deadline = time.monotonic() + limits.seconds
        head = _read(process, out, 9, deadline, limits)
        kind, size = head[:1], int.from_bytes(head[1:], "big")
        if size > limits.memory:
            raise _Failed(f"a batch of {size} bytes is more than the {limits.memory} allowed")
        content = _read(process, out, size, deadline, limits)
        if kind == b"Z":
            return
        if kind != b"B":
            raise _Failed(content.decode("utf-8", "replace"))
        yield content


def _read(process: subprocess.Popen[bytes], out: IO[bytes], size: int, deadline: float, limits: SourceLimits) -> bytes:
    chunks: list[bytes] = []
    while size:
        ready, _, _ = select.select([out], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            raise _Failed(f"no rows within {limits.seconds:g} s")
        chunk = os.read(out.fileno(), min(size, 2**20))
        if not chunk:
            raise _Failed(_how_it_ended(process))
        chunks.append(chunk)
        size -= len(chunk)
    return b"".join(chunks)


def _how_it_ended(process: subprocess.Popen[bytes]) -> str:
    code = process.wait()
    if code < 0:
        return f"it is damaged so that the Parquet library aborts: {signal.Signals(-code).name}"
    return f"its reader ended early, with exit code {code}"
