"""Archives, Parquet files and images that are small and ask for very much: refused, and what comes after is read."""

from __future__ import annotations

import gzip
import io
import resource
import struct
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from holisafe.errors import DataError, ImageError
from holisafe.images import ImageLimits, content_hash, open_identified, open_image, pixels_of
from holisafe.images.limits import SourceLimits
from holisafe.images.parquet import read_rows
from holisafe.images.sources import ImageSources, SourceItem
from holisafe.records import ImageRef


def png(size: tuple[int, int] = (4, 3)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, "red").save(file, "PNG")
    return file.getvalue()


def items_of(path: Path, **options: Any) -> list[SourceItem]:
    """The items of a file, and after it those of a good one, which must be there."""
    good = path.with_name("good.png")
    good.write_bytes(png())
    *items, last = ImageSources([path, good], **options).items()
    assert last.ref is not None and last.name == str(good)
    return items


# ---- tar


def header(name: str, size: bytes, kind: bytes = tarfile.REGTYPE) -> bytes:
    info = tarfile.TarInfo(name)
    info.type = kind
    raw = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    raw[124:136] = size
    raw[148:156] = b" " * 8
    raw[148:156] = b"%06o\0 " % sum(raw)
    return bytes(raw)


def negative(value: int) -> bytes:
    """A size in the base-256 form of GNU tar."""
    return (256**12 - value).to_bytes(12, "big")


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.XGLTYPE])
@pytest.mark.parametrize("size", [512, 1024, 1, 2**40])
@pytest.mark.parametrize("packed", [False, True])
def test_a_negative_size_in_a_tar_archive_ends_it(tmp_path: Path, kind: bytes, size: int, packed: bool) -> None:
    data = header("a.png", b"%011o\0" % len(png())) + png().ljust(512, b"\0")
    data += header("b.png", negative(size), kind) + bytes(2048)
    (tmp_path / "x.tar").write_bytes(gzip.compress(data) if packed else data)
    items = items_of(tmp_path / "x.tar")
    assert len(items) <= 2 and items[0].ref is not None and (len(items) == 1 or items[1].error)


def test_a_pax_header_with_a_negative_size_ends_it(tmp_path: Path) -> None:
    info = tarfile.TarInfo("a.png")
    info.pax_headers = {"size": "-1024"}
    (tmp_path / "x.tar").write_bytes(info.tobuf(tarfile.PAX_FORMAT) + bytes(2048))
    assert len(items_of(tmp_path / "x.tar")) <= 1


def test_a_packed_tar_archive_that_unpacks_to_very_much_is_ended(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "x.tar.gz", "wb", 1) as file:
        file.write(header("a.bin", b"%011o\0" % (2**24)) + bytes(2**24))
        file.write(header("b.png", b"%011o\0" % len(png())) + png().ljust(512, b"\0") + bytes(1024))
    (item,) = items_of(tmp_path / "x.tar.gz", source_limits=SourceLimits(free_bytes=2**20, expansion=10))
    assert "decompression bomb" in item.error
    assert items_of(tmp_path / "x.tar.gz")[0].ref is not None


# ---- zip


def test_files_of_a_zip_archive_that_share_their_bytes_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("a.png", png())
        archive.writestr("b.png", png())
        info = archive.infolist()[0]
        for number in range(100):
            copy = zipfile.ZipInfo(f"copy{number}.png")
            for field in ("compress_size", "file_size", "CRC", "header_offset"):
                setattr(copy, field, getattr(info, field))
            archive.filelist.append(copy)
    items = items_of(tmp_path / "x.zip")
    assert len(items) == 102
    assert [item.name[-5:] for item in items if item.ref is not None] == ["b.png"]
    assert all("shares its bytes" in item.error for item in items if item.ref is None)


def test_a_zip_archive_that_unpacks_to_very_much_in_all_is_ended(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(20):
            archive.writestr(f"{number}.png", png() + bytes(2**20))
    items = items_of(tmp_path / "x.zip", source_limits=SourceLimits(free_bytes=2**22, expansion=10))
    assert len(items) < 10 and "decompression bomb" in items[-1].error


def test_a_zip_archive_that_claims_a_huge_list_of_files_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("a.png", png())
    data = bytearray((tmp_path / "x.zip").read_bytes())
    place = data.rindex(b"PK\x05\x06")
    data[place + 12 : place + 16] = struct.pack("<L", 2**31)
    (tmp_path / "x.zip").write_bytes(data)
    (item,) = items_of(tmp_path / "x.zip")
    assert "list of files" in item.error


def test_too_many_files_end_an_archive(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for number in range(20):
            archive.writestr(f"{number}.png", png())
    items = items_of(tmp_path / "x.zip", source_limits=SourceLimits(max_items=5))
    assert len(items) == 6 and "more files or rows than allowed" in items[-1].error


# ---- Parquet


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def test_a_dictionary_of_one_large_value_does_not_fill_the_memory(tmp_path: Path) -> None:
    value = pa.array([bytes(2**23)], type=pa.binary())
    column = pa.DictionaryArray.from_arrays(pa.array(np.zeros(20_000, np.int32)), value)
    pq.write_table(
        pa.table({"image": column}), tmp_path / "x.parquet", compression="zstd", dictionary_pagesize_limit=2**25
    )
    assert (tmp_path / "x.parquet").stat().st_size < 10_000
    before = peak_mib()
    items = items_of(tmp_path / "x.parquet")
    assert "cannot be read" in items[-1].error and len(items) < 200
    assert peak_mib() - before < 700


@pytest.mark.parametrize("nested", ["column", "list", "struct", "large list", "fixed list"])
def test_values_that_share_their_bytes_are_counted_once_each(tmp_path: Path, nested: str) -> None:
    shared = pa.DictionaryArray.from_arrays(pa.array(np.zeros(1000, np.int32)), pa.array([bytes(2**20)], pa.binary()))
    places = np.arange(0, 1001, 100)
    made = {
        "column": shared,
        "list": pa.ListArray.from_arrays(pa.array(places, pa.int32()), shared),
        "large list": pa.LargeListArray.from_arrays(pa.array(places, pa.int64()), shared),
        "fixed list": pa.FixedSizeListArray.from_arrays(shared, 100),
        "struct": pa.StructArray.from_arrays([shared], ["bytes"]),
    }
    pq.write_table(pa.table({"image": made[nested]}), tmp_path / "x.parquet", compression="zstd")
    assert (tmp_path / "x.parquet").stat().st_size < 10_000
    limits = SourceLimits(free_bytes=2**26, memory=2**30)
    with pytest.raises(DataError, match="decompression bomb"):
        list(read_rows(tmp_path / "x.parquet", DataError, limits=limits, batch_rows=8))


def test_dictionaries_at_any_depth_are_read_as_plain_values(tmp_path: Path) -> None:
    words = pa.array(["x", "y", None]).dictionary_encode()
    lists = pa.ListArray.from_arrays(pa.array([0, 1, 2, 3], pa.int32()), words)
    pairs = pa.array([[("k", 1)], [], None], pa.map_(pa.string(), pa.int64()))
    pq.write_table(pa.table({"word": words, "list": lists, "map": pairs}), tmp_path / "x.parquet")
    assert list(read_rows(tmp_path / "x.parquet", DataError)) == [
        {"word": "x", "list": ["x"], "map": [("k", 1)]},
        {"word": "y", "list": ["y"], "map": []},
        {"word": None, "list": [None], "map": None},
    ]


def test_one_list_of_very_many_values_does_not_fill_the_memory(tmp_path: Path) -> None:
    values = pa.DictionaryArray.from_arrays(
        pa.array(np.zeros(3_000_000, np.int32)), pa.array([bytes(1000)], type=pa.binary())
    )
    lists = pa.ListArray.from_arrays(pa.array([0, 3_000_000], pa.int32()), values)
    pq.write_table(pa.table({"image": lists}), tmp_path / "x.parquet", compression="zstd")
    assert (tmp_path / "x.parquet").stat().st_size < 100_000
    before = peak_mib()
    (item,) = items_of(tmp_path / "x.parquet", source_limits=SourceLimits(memory=2**30))
    assert "cannot be read" in item.error
    assert peak_mib() - before < 700


def test_a_reader_that_aborts_loses_that_file_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    child = tmp_path / "child.py"
    child.write_text("import os; os.abort()")
    monkeypatch.setattr("holisafe.images.parquet._CHILD", child)
    pq.write_table(pa.table({"image": [png()]}), tmp_path / "x.parquet")
    (item,) = items_of(tmp_path / "x.parquet")
    assert "SIGABRT" in item.error


def test_a_reader_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    child = tmp_path / "child.py"
    child.write_text("import time; time.sleep(100)")
    monkeypatch.setattr("holisafe.images.parquet._CHILD", child)
    pq.write_table(pa.table({"image": [png()]}), tmp_path / "x.parquet")
    (item,) = items_of(tmp_path / "x.parquet", source_limits=SourceLimits(seconds=0.2))
    assert "no rows within 0.2 s" in item.error


def test_rows_of_any_table_are_read(tmp_path: Path) -> None:
    rows = [{"id": "a", "n": 1, "tags": ["x"], "image": {"bytes": b"1", "path": None}}, {"id": "b", "n": None}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "x.parquet")
    found = list(read_rows(tmp_path / "x.parquet", DataError))
    assert found[0] == rows[0] and found[1]["id"] == "b" and found[1]["image"] is None
    assert list(read_rows(str(tmp_path / "x.parquet"), DataError, columns=["id"])) == [{"id": "a"}, {"id": "b"}]
    for path in (tmp_path / "gone.parquet", tmp_path, Path(__file__)):
        with pytest.raises(DataError, match="cannot be read"):
            list(read_rows(path, DataError))


# ---- images


def progressive(scans: int, size: tuple[int, int] = (64, 64)) -> bytes:
    """A progressive JPEG whose last scan is repeated."""
    file = io.BytesIO()
    Image.effect_noise(size, 50).convert("RGB").save(file, "JPEG", progressive=True)
    data = file.getvalue()
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * max(1, scans - data.count(b"\xff\xda") + 1) + data[-2:]


def test_a_jpeg_of_very_many_scans_is_refused_before_it_is_decoded() -> None:
    for scans in (65, 5000):
        with pytest.raises(ImageError, match="scans would take too long"):
            open_image(ImageRef("x", data=progressive(scans)))
    assert open_image(ImageRef("x", data=progressive(10))).size == (64, 64)
    with pytest.raises(ImageError, match="scans would take too long"):
        open_image(ImageRef("x", data=progressive(20)), limits=ImageLimits(max_pixels=4096))


def test_pixels_are_counted_from_the_header() -> None:
    assert pixels_of(ImageRef("x", data=png((40, 30)))) == 1200
    with pytest.raises(ImageError, match="decompression bomb"):
        pixels_of(ImageRef("x", data=png((40, 30))), limits=ImageLimits(max_pixels=1000))


def test_pixels_and_digest_come_from_one_reading() -> None:
    image, digest = open_identified(ImageRef("x", data=png()))
    assert image.size == (4, 3) and digest == content_hash(png())


@pytest.mark.parametrize("size", [512, 1024, 2048])
def test_a_sparse_file_of_negative_size_ends_a_tar_archive(tmp_path: Path, size: int) -> None:
    # its size is the unpacked one, which says nothing of where the next header is
    data = header("a.png", b"%011o\0" % len(png())) + png().ljust(512, b"\0")
    data += header("b.png", negative(size), tarfile.GNUTYPE_SPARSE) + bytes(2048)
    (tmp_path / "x.tar").write_bytes(data)
    items = items_of(tmp_path / "x.tar")
    assert items[0].ref is not None and len(items) <= 3
