from __future__ import annotations

import gzip
import io
import os
import struct
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from holisafe._assets import asset_folder
from holisafe.errors import ImageError
from holisafe.images import ImageLimits
from holisafe.images.sources import ImageSources, SourceImage

COLOURS = {"a": (255, 0, 0), "b": (0, 255, 0), "c": (0, 0, 255)}


def encoded(name: str = "a", form: str = "PNG", size: tuple[int, int] = (4, 3)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, COLOURS[name]).save(file, form)
    return file.getvalue()


def found(*places: Path, **options: Any) -> list[SourceImage]:
    return list(ImageSources(places, **options))


def names(images: list[SourceImage], below: Path) -> list[str]:
    return [image.name.removeprefix(f"{below}/") for image in images]


def pack_tar(path: Path, files: dict[str, bytes], mode: Any = "w") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def pack_zip(path: Path, files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def pack(path: Path, files: dict[str, bytes]) -> Path:
    if path.suffix == ".zip":
        return pack_zip(path, files)
    return pack_tar(path, files, "w" if path.suffix == ".tar" else "w:gz")


ARCHIVES = pytest.mark.parametrize("archive", ["x.zip", "x.tar", "x.tar.gz"])


# ---- where images come from


def test_a_file_is_one_image_whatever_its_name(tmp_path: Path) -> None:
    path = tmp_path / "picture"
    path.write_bytes(encoded("b"))
    (image,) = found(path)
    assert image.name == str(path) and image.error == ""
    assert image.image is not None and image.image.getpixel((0, 0)) == COLOURS["b"]


def test_a_file_that_a_person_names_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "a.png").write_bytes(encoded())
    (tmp_path / "near.png").symlink_to(tmp_path / "far" / "a.png")
    (image,) = found(tmp_path / "near.png")
    assert image.image is not None and image.name == str(tmp_path / "near.png")


def test_a_folder_that_a_person_names_may_be_a_link_and_none_in_it(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "a.png").write_bytes(encoded())
    (tmp_path / "near").symlink_to(tmp_path / "far")
    (tmp_path / "far" / "again").symlink_to(tmp_path / "far")
    sources = ImageSources([tmp_path / "near"])
    (image,) = sources
    assert image.image is not None and image.name == str(tmp_path / "near" / "a.png")


def test_a_folder_gives_all_below_it_by_name(tmp_path: Path) -> None:
    for name in ("b.png", "a/2.jpg", "a/1.webp", "c.GIF"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(encoded(form={"jpg": "JPEG"}.get(name[-3:], name[-3:].upper().replace("EBP", "WEBP"))))
    images = found(tmp_path)
    assert names(images, tmp_path) == ["a/1.webp", "a/2.jpg", "b.png", "c.GIF"]
    assert all(image.image for image in images)


def test_what_is_no_image_is_passed_over_in_a_folder_and_counted(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encoded())
    (tmp_path / "README.md").write_text("about")
    (tmp_path / "._a.png").write_bytes(b"\0\5\26\7 what macOS leaves beside a file")
    (tmp_path / "no_suffix").write_bytes(encoded("b"))
    os.mkfifo(tmp_path / "pipe")
    sources = ImageSources([tmp_path])
    assert names(list(sources), tmp_path) == ["a.png", "no_suffix"]
    assert sources.passed_over == 3


def test_archives_and_parquet_in_a_folder_are_read_too(tmp_path: Path) -> None:
    pack_zip(tmp_path / "1.zip", {"a.png": encoded()})
    pack_tar(tmp_path / "2.tgz", {"a.png": encoded()}, "w:gz")
    pq.write_table(pa.table({"image": [encoded()]}), tmp_path / "3.parquet")
    images = found(tmp_path)
    assert names(images, tmp_path) == ["1.zip/a.png", "2.tgz/a.png", "3.parquet#0"]
    assert all(image.image for image in images)


def test_what_is_being_written_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encoded())
    (tmp_path / "verdicts.parquet").write_bytes(b"PAR1 not finished")
    assert names(found(tmp_path, leave_out=[tmp_path / "verdicts.parquet"]), tmp_path) == ["a.png"]


@ARCHIVES
def test_an_archive_gives_its_images_in_its_order(tmp_path: Path, archive: str) -> None:
    path = pack(tmp_path / archive, {"b.png": encoded("b"), "in/a.png": encoded("a"), "notes.txt": b"notes"})
    sources = ImageSources([path])
    images = list(sources)
    assert names(images, path) == ["b.png", "in/a.png"]
    assert [image.image and image.image.getpixel((0, 0)) for image in images] == [COLOURS["b"], COLOURS["a"]]
    assert sources.passed_over == 1


def test_an_archive_is_known_by_its_first_bytes(tmp_path: Path) -> None:
    pack_zip(tmp_path / "x.zip", {"a.png": encoded()}).rename(tmp_path / "download")
    assert names(found(tmp_path / "download"), tmp_path) == ["download/a.png"]


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        ([encoded("a"), encoded("b")], pa.binary()),
        ([encoded("a"), encoded("b")], pa.large_binary()),
        ([{"bytes": encoded("a"), "path": "a.png"}, {"bytes": encoded("b"), "path": None}], None),
    ],
)
def test_parquet_gives_one_image_per_row(tmp_path: Path, column: list[Any], kind: Any) -> None:
    table = pa.table({"id": [1, 2], "image": pa.array(column, type=kind)})
    pq.write_table(table, tmp_path / "x.parquet", row_group_size=1)
    images = found(tmp_path / "x.parquet")
    assert names(images, tmp_path) == ["x.parquet#0", "x.parquet#1"]
    assert [image.image and image.image.getpixel((0, 0)) for image in images] == [COLOURS["a"], COLOURS["b"]]


def test_parquet_may_have_several_images_in_a_row(tmp_path: Path) -> None:
    pairs = [{"bytes": encoded("a"), "path": None}, {"bytes": encoded("b"), "path": None}]
    pq.write_table(pa.table({"images": [pairs]}), tmp_path / "lists.parquet")
    pq.write_table(pa.table({"x": pairs[:1], "y": pairs[1:], "hash": [b"123"]}), tmp_path / "two.parquet")
    assert names(found(tmp_path / "lists.parquet"), tmp_path) == ["lists.parquet#0[0]", "lists.parquet#0[1]"]
    assert names(found(tmp_path / "two.parquet"), tmp_path) == ["two.parquet#0/x", "two.parquet#0/y"]


def test_parquet_may_name_files_beside_it(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encoded())
    rows = [{"bytes": None, "path": "a.png"}, {"bytes": None, "path": "../../etc/passwd"}, None]
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    pq.write_table(pa.table({"image": pa.array(rows, type=kind)}), tmp_path / "x.parquet")
    first, second, third = found(tmp_path / "x.parquet")
    assert first.image is not None
    assert "'..' may not occur" in second.error
    assert third.error == "the row holds no image"


def test_our_own_images_are_read(tmp_path: Path) -> None:
    images = iter(ImageSources([asset_folder("open_1") / "images.parquet"]))
    assert all(next(images).image is not None for _ in range(20))


# ---- what is wrong with them


def test_a_place_that_is_not_there_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"nope\.png: no such file"):
        ImageSources([tmp_path / "nope.png"])
    with pytest.raises(ImageError, match="an address on the network"):
        ImageSources([Path("https://example.org/a.png")])
    with pytest.raises(ImageError, match="not a regular file"):
        ImageSources([Path("/dev/zero")])


def test_an_image_that_is_not_let_in_comes_with_the_reason_and_the_rest_go_on(tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes(encoded()[:40])
    (tmp_path / "2.png").write_bytes(b"")
    (tmp_path / "3.jpg").write_text("<html>not found</html>")
    (tmp_path / "4.png").symlink_to("/etc/hostname")
    (tmp_path / "5.png").symlink_to("nowhere")
    (tmp_path / "6.png").write_bytes(encoded(size=(40, 40)))
    (tmp_path / "7.png").write_bytes(encoded())
    images = found(tmp_path, limits=ImageLimits(max_pixels=1000))
    reasons = [
        "cannot be decoded",
        "empty",
        "found text",
        "outside its data folder",
        "no such file",
        "decompression",
        "",
    ]
    for image, reason in zip(images, reasons, strict=True):
        assert reason in image.error and not image.error.startswith(str(tmp_path))
        assert (image.image is None) == bool(reason)


@ARCHIVES
@pytest.mark.parametrize("inner", ["../a.png", "/etc/a.png", "x/../../a.png", "..\\a.png"])
def test_a_name_that_leads_out_of_an_archive_is_refused(tmp_path: Path, archive: str, inner: str) -> None:
    path = pack(tmp_path / archive, {inner: encoded(), "b.png": encoded()})
    first, second = found(path)
    assert "leads out of the archive" in first.error and first.image is None
    assert second.image is not None


@ARCHIVES
def test_a_file_larger_than_allowed_is_refused_unread(tmp_path: Path, archive: str) -> None:
    path = pack(tmp_path / archive, {"bomb.png": encoded() + bytes(2**22), "b.png": encoded()})
    first, second = found(path, limits=ImageLimits(max_bytes=2**20))
    assert "more than the 1048576 allowed" in first.error
    assert second.image is not None


def test_a_zip_that_lies_about_its_sizes_is_refused(tmp_path: Path) -> None:
    path = pack_zip(tmp_path / "x.zip", {"bomb.png": encoded() + bytes(2**22)})
    data = path.read_bytes()
    true_size, small = struct.pack("<L", 2**22 + len(encoded())), struct.pack("<L", 1000)
    path.write_bytes(data.replace(true_size, small))
    (image,) = found(path, limits=ImageLimits(max_bytes=2**20))
    assert image.image is None and image.error


def test_rare_zip_methods_and_locked_files_are_refused(tmp_path: Path) -> None:
    path = pack_zip(tmp_path / "x.zip", {"a.png": encoded()}, zipfile.ZIP_LZMA)
    assert "rare method" in found(path)[0].error
    data = bytearray(pack_zip(tmp_path / "y.zip", {"a.png": encoded()}).read_bytes())
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "y.zip").write_bytes(data)
    assert "encrypted" in found(tmp_path / "y.zip")[0].error


def test_links_in_archives_are_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE):
            info = tarfile.TarInfo("a.png")
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        info = zipfile.ZipInfo("a.png")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
    images = found(tmp_path / "x.tar", tmp_path / "x.zip")
    assert len(images) == 4 and all("link" in image.error for image in images)


def test_an_archive_in_an_archive_is_passed_over(tmp_path: Path) -> None:
    inner = pack_zip(tmp_path / "inner.zip", {"a.png": encoded()}).read_bytes()
    sources = ImageSources([pack_tar(tmp_path / "x.tar", {"inner.zip": inner})])
    assert not list(sources) and sources.passed_over == 1


@pytest.mark.parametrize("archive", ["x.tar", "x.tar.gz"])
@pytest.mark.parametrize("share", [0.4, 0.6, 0.8])
def test_a_tar_archive_cut_off_gives_what_is_there_and_says_so(tmp_path: Path, archive: str, share: float) -> None:
    path = pack(tmp_path / archive, {f"{place}.png": os.urandom(3000) for place in range(20)})
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    *_, last = images = found(path)
    assert 5 < len(images) <= 20
    assert "cut off" in last.error or "cannot be read, or not any further" in last.error


def test_a_damaged_header_in_a_tar_archive_is_said(tmp_path: Path) -> None:
    path = pack_tar(tmp_path / "x.tar", {"a.png": encoded(), "b.png": encoded()})
    data = bytearray(path.read_bytes())
    data[1024:1030] = b"\xff" * 6
    path.write_bytes(data)
    first, last = found(path)
    assert first.image is not None and "header is damaged" in last.error


def test_headers_of_a_tar_archive_cannot_fill_the_memory(tmp_path: Path) -> None:
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 2**40
    with gzip.open(tmp_path / "x.tar.gz", "wb") as file:
        file.write(info.tobuf(tarfile.GNU_FORMAT))
        file.write(bytes(2**22))
    (image,) = found(tmp_path / "x.tar.gz")
    assert "more than the 1048576 bytes allowed" in image.error


def test_a_parquet_file_without_images_says_which_columns_it_has(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["a"], "label": [1]}), tmp_path / "x.parquet")
    (image,) = found(tmp_path / "x.parquet")
    assert "no column holds images" in image.error and "text, label" in image.error


def test_a_column_that_unpacks_to_very_much_is_refused(tmp_path: Path) -> None:
    rows = pa.array([bytes(2**20)] * 300, type=pa.binary())
    pq.write_table(pa.table({"image": rows}), tmp_path / "x.parquet", compression="zstd", use_dictionary=False)
    (image,) = found(tmp_path / "x.parquet")
    assert "decompression bomb" in image.error


def test_names_can_be_written_whatever_their_bytes(tmp_path: Path) -> None:
    (Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png"))).write_bytes(encoded())
    (image,) = found(tmp_path)
    assert image.name.endswith("caf\\xe9.png") and image.image is not None


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(["x.zip", "x.tar", "x.tar.gz", "x.parquet"]),
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=8),
    length=st.floats(0.05, 1),
)
def test_damage_anywhere_never_stops_what_comes_after(
    tmp_path: Path, kind: str, changes: list[tuple[float, int]], length: float
) -> None:
    path = tmp_path / kind
    files = {f"{name}.png": encoded(name) for name in COLOURS}
    if kind == "x.parquet":
        pq.write_table(pa.table({"image": list(files.values())}), path)
    else:
        pack(path, files)
    data = bytearray(path.read_bytes())
    data = data[: max(1, int(len(data) * length))]
    for where, value in changes:
        data[int(where * len(data))] = value
    path.write_bytes(data)
    (tmp_path / "good.png").write_bytes(encoded())
    images = found(path, tmp_path / "good.png")
    assert images[-1].image is not None
