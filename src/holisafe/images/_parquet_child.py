"""Reads one Parquet file in a process of its own, which hostile bytes may abort without harm to anything else.

Run as a script by `holisafe.images.parquet`; imports nothing of holisafe. Its argument is a JSON object with `path`,
`columns` ("images", null for all, or a list), `memory` (bytes it may use beyond its libraries) and `rows` (most rows
in a batch). It writes frames to standard output: one byte for the kind, 8 bytes for the length (big-endian), content:

- `B`: an Arrow IPC stream with one validated record batch
- `E`: what is wrong, as UTF-8; the last frame
- `Z`: nothing is wrong; the last frame
"""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

VIEWS = {"binary_view": pa.large_binary(), "string_view": pa.large_string()}
"""Types of which many values can share their bytes, and the same with bytes of their own."""

BATCH_BYTES = 2**22
"""Size of a batch that is aimed for, from what the metadata say of a row."""


def main(arguments: str, out: BinaryIO) -> None:
    """Write a file's rows as frames, then how it ended."""
    options = json.loads(arguments)
    try:
        limit_memory(options["memory"])
        write_rows(options, out)
        write_frame(out, b"Z", b"")
    except BrokenPipeError:  # nobody reads any further
        pass
    except MemoryError:
        write_frame(out, b"E", b"unpacks to more memory than is allowed (a decompression bomb?)")
    except Exception as error:  # pyarrow raises a dozen kinds for hostile bytes
        text = " ".join(str(error).split()) or type(error).__name__
        write_frame(out, b"E", text.encode("utf-8", "backslashreplace")[:2000])


def limit_memory(allowed: int) -> None:
    """Bound the address space to what is in use now and so many bytes more, where the system can."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + allowed
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (OSError, ValueError):
        pass


def write_rows(options: dict[str, Any], out: BinaryIO) -> None:
    """Write the chosen columns batch by batch."""
    # buffered, so that no more of a row group is held than is being read
    with pq.ParquetFile(options["path"], buffer_size=2**20) as table:
        columns = options["columns"]
        if columns == "images":
            columns = image_columns(table.schema_arrow)
            if not columns:
                known = ", ".join(table.schema_arrow.names)
                raise ValueError(f"no column holds images: expected bytes, or bytes and path; found {known}"[:500])
        check_packing(table.metadata)
        for batch in table.iter_batches(
            batch_size=batch_rows(table, options["rows"]), columns=columns, use_threads=False
        ):
            batch.validate(full=True)
            batch = decoded(batch)
            sink = pa.BufferOutputStream()
            with pa.ipc.new_stream(sink, batch.schema) as stream:
                stream.write_batch(batch)
            write_frame(out, b"B", sink.getvalue())


def decoded(batch: Any) -> Any:
    """The batch without dictionaries and views, where many rows share one large value: each row has its own bytes."""
    schema = pa.schema([field.with_type(plain_type(field.type)) for field in batch.schema])
    return batch if schema.equals(batch.schema) else pa.Table.from_batches([batch]).cast(schema).to_batches()[0]


def plain_type(kind: Any) -> Any:
    """The type without dictionaries and views, at any depth."""
    if pa.types.is_dictionary(kind):
        return plain_type(kind.value_type)
    if pa.types.is_struct(kind):
        members = [kind.field(place) for place in range(kind.num_fields)]
        return pa.struct([member.with_type(plain_type(member.type)) for member in members])
    if pa.types.is_map(kind):
        return pa.map_(plain_type(kind.key_type), plain_type(kind.item_type))
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(kind.value_field.with_type(plain_type(kind.value_type)), kind.list_size)
    if pa.types.is_list(kind):
        return pa.list_(kind.value_field.with_type(plain_type(kind.value_type)))
    if pa.types.is_large_list(kind):
        return pa.large_list(kind.value_field.with_type(plain_type(kind.value_type)))
    return VIEWS.get(str(kind), kind)


def batch_rows(table: Any, most: int) -> int:
    """Rows of a batch of some megabytes, by what the metadata say."""
    metadata = table.metadata
    size = sum(metadata.row_group(group).total_byte_size for group in range(metadata.num_row_groups))
    return int(max(1, min(most, BATCH_BYTES * metadata.num_rows // max(1, size))))


def check_packing(metadata: Any) -> None:
    """Refuse a file of which a column shrinks to a fiftieth: images are compressed already.

    Raises:
        ValueError: It holds such a column, and that is large.
    """
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        for column in map(group.column, range(group.num_columns)):
            size = column.total_uncompressed_size
            if size > 2**28 and size > 50 * column.total_compressed_size:
                raise ValueError(f"column {column.path_in_schema} unpacks to {size} bytes (a decompression bomb?)")


def image_columns(schema: Any) -> list[str]:
    """Columns that hold encoded images: those with bytes and path, else "image", else all of bytes."""
    pairs, plain = [], []
    for field in schema:
        kind = field.type
        if pa.types.is_list(kind) or pa.types.is_large_list(kind):
            kind = kind.value_type
        if pa.types.is_struct(kind):
            members = {kind.field(place).name: kind.field(place).type for place in range(kind.num_fields)}
            if is_binary(members.get("bytes")):
                pairs.append(field.name)
        elif is_binary(kind):
            plain.append(field.name)
    return pairs or (["image"] if "image" in plain else plain)


def is_binary(kind: Any) -> bool:
    """Whether a type holds bytes."""
    return kind is not None and (pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def write_frame(out: BinaryIO, kind: bytes, content: Any) -> None:
    """Write one frame."""
    out.write(kind + len(content).to_bytes(8, "big"))
    out.write(content)
    out.flush()


if __name__ == "__main__":
    main(sys.argv[1], sys.stdout.buffer)
