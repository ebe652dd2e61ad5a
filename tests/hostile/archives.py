"""Archives that lie about themselves: deliberate ones, and ones damaged at random from a seed."""

from __future__ import annotations

import bz2
import gzip
import io
import random
import stat
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from hostile import images

PICTURE = images.encoded("PNG", size=(5, 4))


@dataclass(frozen=True)
class HostileArchive:
    """An archive.

    Attributes:
        name: What is wrong with it; unique in a corpus.
        data: Its bytes.
        suffix: Of its file name.
        good: Pictures that must come out of it; None where any number may.
    """

    name: str
    data: bytes
    suffix: str
    good: int | None = None


def write(archives: Iterator[HostileArchive], folder: Path) -> dict[str, Path]:
    """Write each archive to a file of its own; gives the paths by name."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = {}
    for number, archive in enumerate(archives):
        paths[archive.name] = folder / f"{number:05}{archive.suffix}"
        paths[archive.name].write_bytes(archive.data)
    return paths


NAMES = (
    "/etc/cron.d/a.png", "../../../a.png", "..\\..\\a.png", "a/../../b.png", "C:\\a.png", "//server/share/a.png",
    "~/a.png", "a\0.png", "a\nerror: b.png", "\x1b[2J.png", "\u202egnp.a.png", "n" * 60_000 + ".png",
    "d/" * 5000 + "a.png",
    ".png", "./a.png", "a.png/", "nul.png", "-rf.png", "$(touch x).png", "\U0001f600.png",
)  # fmt: skip
"""Names that lead out, cannot be written, or say more than a name."""


def deliberate() -> Iterator[HostileArchive]:
    """Each kind of trouble that has a name."""
    yield from _tars()
    yield from _zips()


# ---- tar


def entry(
    name: str = "a.png",
    data: bytes = PICTURE,
    *,
    kind: bytes = tarfile.REGTYPE,
    link: str = "",
    size: bytes | None = None,
    checked: bool = True,
) -> bytes:
    """A header and its data, with any size in the header."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, len(data)
    raw = bytearray(info.tobuf(tarfile.GNU_FORMAT, errors="surrogatepass"))
    start = len(raw) - 512
    if size is not None:
        raw[start + 124 : start + 136] = size
    if checked:
        raw[start + 148 : start + 156] = b" " * 8
        raw[start + 148 : start + 156] = b"%06o\0 " % sum(raw[start:])
    return bytes(raw) + data + bytes(-len(data) % 512)


END = bytes(1024)


def _tars() -> Iterator[HostileArchive]:
    good = entry()
    yield HostileArchive("tar: one good", good + END, ".tar", good=1)
    yield HostileArchive("tar: nothing", END, ".tar")
    yield HostileArchive("tar: without its end", good, ".tar", good=1)
    yield HostileArchive("tar: packed", gzip.compress(good + END), ".tar.gz", good=1)
    yield HostileArchive("tar: packed twice", gzip.compress(gzip.compress(good + END)), ".tar.gz")
    yield HostileArchive("tar: packed by bzip2", bz2.compress(good + END), ".tar")
    yield HostileArchive("tar: packed and cut", gzip.compress(good + END)[:-20], ".tar.gz")
    for name in NAMES:
        shown = name.encode("unicode_escape").decode()[:30]
        yield HostileArchive(f"tar: called {shown}", entry(name) + entry("b.png") + END, ".tar")
    sizes = {
        "-512": (256**12 - 512).to_bytes(12, "big"),
        "-1": b"\xff" * 12,
        "-2^40": (256**12 - 2**40).to_bytes(12, "big"),
        "2^62": b"\x80" + (2**62).to_bytes(11, "big"),
        "2^88": b"\x80" + b"\xff" * 11,
        "8 GiB": b"77777777777\0",
        "letters": b"abcdefghijkl",
        "blanks": b" " * 12,
        "a minus sign": b"-0000000777\0",
    }
    kinds = {
        "file": tarfile.REGTYPE, "long name": tarfile.GNUTYPE_LONGNAME, "long link": tarfile.GNUTYPE_LONGLINK,
        "extended header": tarfile.XHDTYPE, "global header": tarfile.XGLTYPE, "sparse": tarfile.GNUTYPE_SPARSE,
        "folder": tarfile.DIRTYPE, "link": tarfile.SYMTYPE, "unknown": b"?",
    }  # fmt: skip
    for called, kind in kinds.items():
        for told, size in sizes.items():
            data = good + entry("b.png", kind=kind, size=size) + entry("c.png") + END
            yield HostileArchive(f"tar: {called} of size {told}", data, ".tar")
        yield HostileArchive(f"tar: packed {called} of size -512", gzip.compress(data), ".tgz")
    for called, kind in {"symbolic": tarfile.SYMTYPE, "hard": tarfile.LNKTYPE}.items():
        for target in ("/etc/passwd", "../../secret.png", "a.png", "link.png"):
            data = good + entry("link.png", b"", kind=kind, link=target) + END
            yield HostileArchive(f"tar: {called} link to {target}", data, ".tar", good=1)
    for called, kind in {"device": tarfile.CHRTYPE, "pipe": tarfile.FIFOTYPE, "block": tarfile.BLKTYPE}.items():
        yield HostileArchive(f"tar: {called}", entry("b.png", b"", kind=kind) + good + END, ".tar", good=1)
    fields = (
        "size=-1024", "size=99999999999999999999", "size=x", "path=../x.png", "path=/x.png", "mtime=nan",
        "hdrcharset=BINARY", "GNU.sparse.map=0,-1", "GNU.sparse.size=-5", "GNU.sparse.numblocks=99999999",
    )  # fmt: skip
    for field in fields:
        record = f" {field}\n"
        record = f"{len(record) + 2}{record}"
        data = entry("x", record.encode(), kind=tarfile.XHDTYPE) + good + entry("b.png") + END
        yield HostileArchive(f"tar: extended header with {field}", data, ".tar")
    for record in (b"0 a=b\n", b"99999999999 a=b\n", b"-5 a=b\n", b"x a=b\n", b"6 a=b", b"\xff" * 600):
        data = entry("x", record, kind=tarfile.XHDTYPE) + good + END
        yield HostileArchive(f"tar: extended header {record[:12]!r}", data, ".tar")
    yield HostileArchive("tar: 3,000 long names in a row", entry("x" * 90, b"y", kind=b"L") * 3000 + good + END, ".tar")
    yield HostileArchive(
        "tar: 5,000 folders", entry("d", b"", kind=tarfile.DIRTYPE) * 5000 + good + END, ".tar", good=1
    )
    yield HostileArchive("tar: a wrong checksum", entry(checked=False, size=b"0" * 12) + good + END, ".tar")
    zeros = gzip.compress(entry("a.bin", bytes(2**25)) * 10, 9)
    yield HostileArchive("tar: 320 MiB of zeros in 300 kB", zeros, ".tar.gz")
    big = entry("a.png", PICTURE, size=b"%011o\0" % (2**33 - 1))
    yield HostileArchive("tar: 8 GiB that are not there", gzip.compress(big + END), ".tar.gz")
    bomb = gzip.compress(entry("a.png", PICTURE + bytes(2**25 + 5)), 9)
    yield HostileArchive("tar: a picture and 32 MiB of zeros", bomb, ".tar.gz")


# ---- zip


def zipped(fill: Callable[[zipfile.ZipFile], object]) -> bytes:
    """A zip archive."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        fill(archive)
    return file.getvalue()


def _zips() -> Iterator[HostileArchive]:
    def one(name: str = "a.png", method: int = zipfile.ZIP_DEFLATED, mode: int = 0, data: bytes = PICTURE) -> bytes:
        info = zipfile.ZipInfo(name)
        info.compress_type, info.external_attr = method, mode << 16
        return zipped(lambda archive: archive.writestr(info, data))

    good = one()
    yield HostileArchive("zip: one good", good, ".zip", good=1)
    yield HostileArchive("zip: nothing", zipped(lambda archive: None), ".zip")
    yield HostileArchive("zip: after other bytes", b"#!/bin/sh\n" + good, ".zip")
    yield HostileArchive("zip: before other bytes", good + b"x" * 100, ".zip")
    yield HostileArchive("zip: with the longest comment", good[:-2] + b"\xff\xff" + bytes(65_535), ".zip", good=1)
    for name in NAMES:
        if "\0" not in name:
            shown = name.encode("unicode_escape").decode()[:30]
            yield HostileArchive(f"zip: called {shown}", one(name), ".zip")
    for method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA, zipfile.ZIP_STORED):
        data = one(method=method)
        yield HostileArchive(f"zip: packed by {method}", data, ".zip", good=1 if method == zipfile.ZIP_STORED else 0)
    for kind in (stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFDIR):
        yield HostileArchive(f"zip: of file type {kind:o}", one(mode=kind | 0o777, data=b"/etc/passwd"), ".zip", good=0)
    place = good.rindex(b"PK\x01\x02")
    fields = {"flags": 8, "method": 10, "checksum": 16, "packed size": 20, "size": 24, "name length": 28,
              "extra length": 30, "comment length": 32, "disk": 34, "place": 42}  # fmt: skip
    for field, offset in fields.items():
        for value in (0, 1, 0x7FFFFFFF, 0xFFFFFFFF):
            data = bytearray(good)
            width = 4 if offset in (16, 20, 24, 42) else 2
            data[place + offset : place + offset + width] = struct.pack("<I", value)[:width]
            yield HostileArchive(f"zip: {field} of {value:#x} in the directory", bytes(data), ".zip")
    end = good.rindex(b"PK\x05\x06")
    for field, offset, width in (("files", 10, 2), ("directory size", 12, 4), ("directory place", 16, 4)):
        for value in (0, 2, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF):
            data = bytearray(good)
            data[end + offset : end + offset + width] = struct.pack("<I", value & (256**width - 1))
            yield HostileArchive(f"zip: {field} of {value:#x} at the end", bytes(data), ".zip")

    def overlapping(archive: zipfile.ZipFile) -> None:
        archive.writestr("a.png", PICTURE + bytes(2**20), zipfile.ZIP_DEFLATED)
        first = archive.infolist()[0]
        for number in range(3000):
            copy = zipfile.ZipInfo(f"{number}.png")
            for name in ("compress_type", "compress_size", "file_size", "CRC", "header_offset"):
                setattr(copy, name, getattr(first, name))
            archive.filelist.append(copy)

    def bomb(archive: zipfile.ZipFile) -> None:
        for number in range(30):
            archive.writestr(f"{number}.png", PICTURE + bytes(2**23), zipfile.ZIP_DEFLATED)

    yield HostileArchive("zip: 3,000 files of the same bytes", zipped(overlapping), ".zip", good=0)
    yield HostileArchive("zip: 240 MiB in 240 kB", zipped(bomb), ".zip")
    many = zipped(lambda archive: [archive.writestr(f"{number}.txt", b"") for number in range(5000)])
    yield HostileArchive("zip: 5,000 empty files", many, ".zip", good=0)
    same = zipped(lambda archive: [archive.writestr(f"{number}.png", PICTURE) for number in range(20)])
    yield HostileArchive("zip: 20 files of one name", same.replace(b"1.png", b"0.png"), ".zip")
    nested = good
    for _ in range(20):
        nested = one("inner.zip", data=nested)
    yield HostileArchive("zip: in 20 others", nested, ".zip", good=0)
    locked = bytearray(good)
    locked[6] |= 1
    locked[place + 8] |= 1
    yield HostileArchive("zip: encrypted", bytes(locked), ".zip", good=0)


# ---- damaged at random


def damaged_archive(seed: int, index: int) -> HostileArchive:
    """An archive of several pictures with a few bytes changed, cut, doubled or moved."""
    chance = random.Random(f"{seed}-{index}")
    suffix = chance.choice([".zip", ".tar", ".tar.gz"])
    if suffix == ".zip":
        made = zipped(lambda archive: [archive.writestr(f"{n}.png", PICTURE, n % 2 * 8) for n in range(4)])
    else:
        made = b"".join(entry(f"{number}.png") for number in range(4)) + END
    data = bytearray(made)
    for _ in range(chance.randrange(1, 5)):
        place = chance.randrange(len(data))
        match chance.randrange(5):
            case 0:
                data[place] = chance.randrange(256)
            case 1:
                del data[place : place + chance.randrange(1, 600)]
            case 2:
                data[place:place] = data[place : place + chance.randrange(1, 600)]
            case 3:
                data[place : place + 4] = chance.choice([b"\xff" * 4, bytes(4), b"\x80\0\0\0", b"PK\1\2", b"PK\3\4"])
            case 4:
                del data[place:]
        if not data:
            break
    if suffix == ".tar.gz":
        data = bytearray(gzip.compress(bytes(data)))
        if chance.random() < 0.5:
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return HostileArchive(f"damaged archive {index}", bytes(data), suffix)
