"""Parquet files that unpack to far more than they are, are damaged, or hold what nobody expects."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hostile import images

PICTURE = images.encoded("PNG", size=(5, 4))


@dataclass(frozen=True)
class HostileTable:
    """A Parquet file.

    Attributes:
        name: What is wrong with it; unique in a corpus.
        data: Its bytes.
        good: Pictures that must come out of it; None where any number may.
    """

    name: str
    data: bytes
    suffix: str = ".parquet"
    good: int | None = None


def table(columns: Any, **options: Any) -> bytes:
    """A Parquet file."""
    file = io.BytesIO()
    pq.write_table(columns if isinstance(columns, pa.Table) else pa.table(columns), file, **options)
    return file.getvalue()


def deliberate() -> Iterator[HostileTable]:
    """Each kind of trouble that has a name, but for the bombs."""
    yield HostileTable("one good", table({"image": [PICTURE]}), good=1)
    pairs = [{"bytes": PICTURE, "path": "a.png"}, {"bytes": None, "path": "a.png"}, None]
    yield HostileTable("bytes and path", table({"image": pairs}))
    ways = ("../secret.png", "/etc/passwd", "a\0b", "x" * 5000, "", "up/secret.png", "\u202e.png", "a\nerror: b")
    away = [{"bytes": b"", "path": way} for way in ways] + [{"bytes": None, "path": way} for way in ways]
    yield HostileTable("paths that lead out", table({"image": away}), good=0)
    yield HostileTable("lists of pictures", table({"image": [[PICTURE, b"x"], [], None]}))
    yield HostileTable("lists of lists", table({"image": [[[PICTURE]]]}))
    yield HostileTable("no rows", table({"image": pa.array([], pa.binary())}), good=0)
    yield HostileTable("no columns", table(pa.table({})), good=0)
    yield HostileTable("nulls", table({"image": pa.nulls(5)}))
    yield HostileTable("nulls of bytes", table({"image": pa.array([None] * 5, pa.binary())}), good=0)
    yield HostileTable("texts", table({"image": ["a", "/etc/passwd"]}))
    yield HostileTable("numbers", table({"image": [1, 2]}), good=0)
    yield HostileTable("dates", table({"image": pa.array([10**15], pa.timestamp("ns"))}), good=0)
    yield HostileTable("maps", table({"image": pa.array([[("a", PICTURE)]], pa.map_(pa.string(), pa.binary()))}))
    yield HostileTable("bytes of fixed length", table({"image": pa.array([b"1234"], pa.binary(4))}))
    yield HostileTable("large bytes", table({"image": pa.array([PICTURE], pa.large_binary())}), good=1)
    yield HostileTable("a name of NUL and line breaks", table({"a\0\nerror: b": [PICTURE], "": [PICTURE]}))
    twice = pa.Table.from_arrays([pa.array([PICTURE])] * 2, ["image", "image"])
    yield HostileTable("a name twice", table(twice))
    yield HostileTable("2,000 columns", table({f"c{number}": [number] for number in range(2000)}), good=0)
    deep: Any = [PICTURE]
    for _ in range(60):
        deep = [deep]
    yield HostileTable("lists 60 deep", table({"image": [deep]}))
    yield HostileTable("200 groups of rows", table({"image": [PICTURE] * 200}, row_group_size=1), good=200)
    good = table({"image": [PICTURE]})
    yield HostileTable("only the mark", b"PAR1PAR1")
    yield HostileTable("encrypted", b"PARE" + good[4:-4] + b"PARE")
    for size in (0, 1, 2**31 - 1, 2**32 - 1):
        yield HostileTable(f"metadata of {size} bytes", good[:-8] + size.to_bytes(4, "little") + b"PAR1")
    for length in (4, 8, 12, len(good) // 2, len(good) - 1):
        yield HostileTable(f"cut at {length}", good[:length])
    yield HostileTable("doubled", good + good, good=None)
    yield HostileTable("a zip archive by another name", b"PK\x03\x04" + bytes(100))


def bombs() -> Iterator[HostileTable]:
    """Files of some kilobytes that unpack to gigabytes."""

    def column(count: int, size: int) -> pa.DictionaryArray:
        value = pa.array([PICTURE + bytes(size)], type=pa.binary())
        return pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, np.int32)), value)

    many = column(20_000, 2**23)
    yield HostileTable("a dictionary of one large value", table({"image": many}, compression="zstd",
                                                                dictionary_pagesize_limit=2**25))  # fmt: skip
    lists = pa.ListArray.from_arrays(pa.array([0, 3_000_000], pa.int32()), column(3_000_000, 1000))
    yield HostileTable("one list of very many values", table({"image": lists}, compression="zstd"))
    nothing = pa.array([None], pa.binary()).take(pa.array(np.zeros(5_000_000, np.int64)))
    yield HostileTable("five million nulls", table({"image": nothing}), good=0)
    zeros = pa.array([bytes(2**20)] * 64, pa.binary())
    yield HostileTable("64 MiB of zeros", table({"image": zeros}, compression="zstd", use_dictionary=False), good=0)


def damaged_table(seed: int, index: int) -> HostileTable:
    """A good file with a few bytes changed, or cut, the same for the same seed and index."""
    chance = random.Random(f"{seed}-{index}")
    options = {
        "compression": chance.choice(["none", "snappy", "zstd", "gzip"]),
        "use_dictionary": chance.random() < 0.5,
        "data_page_version": chance.choice(["1.0", "2.0"]),
        "row_group_size": chance.choice([2, 100]),
    }
    rows = {"image": [{"bytes": PICTURE, "path": f"{number}.png"} for number in range(6)], "n": list(range(6))}
    data = bytearray(table(rows, **options))
    footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    for _ in range(chance.choice([1, 1, 1, 3, 10])):
        # half of the damage falls on the metadata, which lie at the end
        place = chance.randrange(footer, len(data)) if chance.random() < 0.5 else chance.randrange(len(data))
        data[place] = chance.choice([data[place] ^ 1 << chance.randrange(8), chance.randrange(256), 255, 0])
    if chance.random() < 0.1:
        place = chance.randrange(len(data))
        del data[place : place + chance.randrange(1, 40)]
    return HostileTable(f"damaged table {index}", bytes(data))
