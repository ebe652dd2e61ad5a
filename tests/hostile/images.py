"""Images that break decoders, readers and expectations: made from a seed, each with a name that says what is wrong.

`corpus(seed, damaged)` gives every deliberate image once and `damaged` images that are damaged at random.
"""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

KINDS = ("JPEG", "PNG", "WEBP", "GIF")


@dataclass(frozen=True)
class HostileImage:
    """A file that calls itself an image.

    Attributes:
        name: What is wrong with it; unique in a corpus.
        data: Its bytes.
        suffix: Of its file name.
        is_good: Whether it must open (True), must be refused (False), or may do either (None).
    """

    name: str
    data: bytes
    suffix: str = ".png"
    is_good: bool | None = None


def corpus(seed: int = 0, damaged: int = 300) -> Iterator[HostileImage]:
    """All deliberate images, then `damaged` random ones."""
    yield from deliberate()
    for index in range(damaged):
        yield damaged_image(seed, index)


def write(images: Iterator[HostileImage], folder: Path) -> dict[str, Path]:
    """Write each image to a file of its own; gives the paths by name."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = {}
    for number, image in enumerate(images):
        paths[image.name] = folder / f"{number:05}{image.suffix}"
        paths[image.name].write_bytes(image.data)
    return paths


# ---- plain images to start from


def picture(mode: str = "RGB", size: tuple[int, int] = (37, 23), seed: int = 0) -> Image.Image:
    """A noisy image of any mode."""
    noise = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 4), np.uint8)
    if mode == "I;16":
        return Image.fromarray(noise[..., :2].copy().view(np.uint16)[..., 0])
    return Image.fromarray(noise).convert("RGB" if mode == "CMYK" else "RGBA").convert(mode)


def encoded(kind: str, mode: str = "RGB", size: tuple[int, int] = (37, 23), seed: int = 0, **options: object) -> bytes:
    """A whole image file."""
    file = io.BytesIO()
    picture(mode, size, seed).save(file, kind, **options)
    return file.getvalue()


# ---- deliberate


def deliberate() -> Iterator[HostileImage]:
    """Each kind of trouble that has a name."""
    yield from _modes()
    yield from _not_images()
    yield from _bombs()
    yield from _jpegs()
    yield from _pngs()
    yield from _gifs()
    yield from _webps()
    yield from _polyglots()
    yield from _metadata()


def _modes() -> Iterator[HostileImage]:
    for kind, mode in (
        ("JPEG", "RGB"), ("JPEG", "L"), ("JPEG", "CMYK"), ("PNG", "RGB"), ("PNG", "RGBA"), ("PNG", "L"), ("PNG", "LA"),
        ("PNG", "1"), ("PNG", "P"), ("PNG", "I;16"), ("WEBP", "RGB"), ("WEBP", "RGBA"), ("GIF", "P"), ("GIF", "L"),
    ):  # fmt: skip
        for size in ((1, 1), (1, 300), (37, 23)):
            data = encoded(kind, mode, size)
            yield HostileImage(f"whole {kind} {mode} {size[0]}x{size[1]}", data, f".{kind.lower()}", is_good=True)
        for other in KINDS:
            if other != kind:
                data = encoded(kind, mode)
                yield HostileImage(f"{kind} {mode} called {other}", data, f".{other.lower()}", is_good=True)
    yield HostileImage("transparent palette", encoded("PNG", "P", transparency=bytes(range(256))), is_good=True)
    yield HostileImage("transparent grey of 16 bits", encoded("PNG", "I;16", transparency=99), is_good=True)
    yield HostileImage("transparent grey", encoded("PNG", "L", transparency=300), is_good=None)


def _not_images() -> Iterator[HostileImage]:
    texts = {
        "nothing": b"",
        "one NUL": b"\0",
        "only NUL": bytes(4096),
        "HTML": b"<!doctype html><html><script>1</script></html>",
        "SVG": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
        "entities": b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><svg>&b;</svg>',
        "Git LFS": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n",
        "pickle": b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R.",
        "PDF": b"%PDF-1.7\n1 0 obj<<>>endobj",
        "ELF": b"\x7fELF" + bytes(60),
        "gzip": zlib.compress(bytes(10)),
        "zip": b"PK\x05\x06" + bytes(18),
        "EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(true) system\n",
        "text of lone surrogates": b"\xed\xa0\x80" * 20,
        "HEIC": b"\0\0\0\x18ftypheic" + bytes(40),
        "AVIF": b"\0\0\0\x18ftypavif" + bytes(40),
        "JPEG 2000": b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(40),
        "ICNS": b"icns\0\0\0\x10" + b"ic07\xff\xff\xff\xff",
        "PSD": b"8BPS\0\1" + bytes(60),
    }
    for name, data in texts.items():
        yield HostileImage(f"{name} in the place of an image", data, is_good=False)
    for kind in ("BMP", "TIFF", "ICO", "PPM", "TGA", "PCX", "SGI"):
        yield HostileImage(f"{kind}, which is not let in", encoded(kind), is_good=False)
    for name, start in {"JPEG": b"\xff\xd8\xff", "PNG": b"\x89PNG\r\n\x1a\n", "GIF": b"GIF89a"}.items():
        for more in (b"", b"\0", b"\xff" * 50, bytes(5000)):
            yield HostileImage(f"the first bytes of {name} and {len(more)} more", start + more, is_good=False)
    yield HostileImage("the first bytes of WEBP", b"RIFF\xff\xff\xff\xffWEBPVP8 ", is_good=False)


def chunk(kind: bytes, data: bytes, crc: int | None = None) -> bytes:
    """A PNG chunk."""
    check = zlib.crc32(kind + data) if crc is None else crc
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)


def png(
    *chunks: bytes, width: int = 8, height: int = 6, depth: int = 8, colour: int = 2, rows: bytes | None = None
) -> bytes:
    """A PNG file with further chunks before its pixels."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    pixels = zlib.compress(bytes((1 + 3 * 8) * 6) if rows is None else rows)
    whole = chunk(b"IHDR", header) + b"".join(chunks) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + whole


def _bombs() -> Iterator[HostileImage]:
    for side in (2**14, 2**20, 2**31 - 1, 2**32 - 1):
        yield HostileImage(f"PNG of {side} x {side} by its header", png(width=side, height=side), is_good=False)
        yield HostileImage(f"PNG of 1 x {side} by its header", png(width=1, height=side), is_good=None)
    yield HostileImage("PNG of no width", png(width=0), is_good=False)
    yield HostileImage("PNG of no height", png(height=0), is_good=False)
    rows = bytes((1 + 3 * 12_000) * 12_000)
    yield HostileImage("PNG of 144 megapixels", png(width=12_000, height=12_000, rows=rows), is_good=False)
    rows = bytes(1 + 65 * 1000) * 7000
    bomb = png(width=65_000, height=7000, colour=0, rows=rows)
    yield HostileImage("PNG of 455 megapixels of grey that is cut", bomb, is_good=False)
    much = zlib.compress(bytes(2**26), 9)
    for kind in (b"zTXt", b"iTXt", b"iCCP"):
        text = {b"zTXt": b"x\0\0", b"iTXt": b"x\0\1\0\0\0", b"iCCP": b"x\0\0"}[kind] + much
        yield HostileImage(f"PNG with 64 MiB in {kind.decode()}", png(chunk(kind, text)), is_good=None)
        yield HostileImage(f"PNG with 200 times 64 MiB in {kind.decode()}", png(*[chunk(kind, text)] * 200))
    gif = bytearray(encoded("GIF", "P"))
    gif[6:10] = b"\xff\xff\xff\xff"
    yield HostileImage("GIF of 65,535 x 65,535 by its header", bytes(gif), ".gif", is_good=False)
    jpeg = bytearray(encoded("JPEG"))
    frame = jpeg.index(b"\xff\xc0")
    for height, width in ((65_500, 65_500), (65_535, 700), (0, 10), (10, 0), (1, 65_535)):
        jpeg[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
        refused = width * height > 50_000_000 or not width * height
        yield HostileImage(
            f"JPEG of {width} x {height} by its header", bytes(jpeg), ".jpg", is_good=False if refused else None
        )
    webp = bytearray(encoded("WEBP", lossless=True))
    webp[21:25] = b"\xff\xff\xff\x0f"
    yield HostileImage("WEBP of 16,384 x 16,384 by its header", bytes(webp), ".webp", is_good=False)


def _jpegs() -> Iterator[HostileImage]:
    progressive = encoded("JPEG", size=(64, 64), progressive=True)
    last = progressive.rindex(b"\xff\xda")
    for scans in (20, 70, 2000, 10_000):
        data = progressive[:last] + progressive[last:-2] * scans + progressive[-2:]
        yield HostileImage(f"progressive JPEG of {scans} more scans", data, ".jpg", is_good=scans <= 64)
    large = encoded("JPEG", size=(2000, 2000), progressive=True)
    cut = large.rindex(b"\xff\xda")
    yield HostileImage("large JPEG of 500 scans", large[:cut] + large[cut : cut + 500] * 500 + b"\xff\xd9", ".jpg")
    plain = encoded("JPEG")
    segments = b"".join(b"\xff\xe1\xff\xff" + b"Exif\0\0" + bytes(65_527) for _ in range(200))
    yield HostileImage("JPEG with 13 MB of metadata", plain[:2] + segments + plain[2:], ".jpg", is_good=None)
    many = b"\xff\xfe\0\2" * 300_000
    yield HostileImage("JPEG with 300,000 comments", plain[:2] + many + plain[2:], ".jpg", is_good=None)
    yield HostileImage("JPEG with a segment of no length", plain[:2] + b"\xff\xe0\0\0" + plain[2:], ".jpg")
    yield HostileImage("JPEG without its end", plain[:-2], ".jpg", is_good=None)
    yield HostileImage("JPEG and 1 MB of fill bytes", plain[:2] + b"\xff" * 1_000_000 + plain[2:], ".jpg")
    yield HostileImage("JPEG that begins again", plain[:200] + plain, ".jpg")
    for number in range(200, 210):
        yield HostileImage(f"JPEG without frame, then bytes {number}", b"\xff\xd8\xff" + bytes([number]) * 500, ".jpg")


def _pngs() -> Iterator[HostileImage]:
    good = png()
    yield HostileImage("PNG by hand", good, is_good=True)
    yield HostileImage("PNG without pixels", b"\x89PNG\r\n\x1a\n" + good[8:33] + chunk(b"IEND", b""), is_good=False)
    yield HostileImage("PNG with two headers", good[:33] + good[8:33] + good[33:])
    yield HostileImage("PNG with a wrong checksum", png(chunk(b"tEXt", b"x\0y", crc=1)))
    yield HostileImage("PNG with a chunk of 4 GiB", good[:33] + b"\xff\xff\xff\xfftEXt" + good[33:], is_good=False)
    yield HostileImage("PNG with 50,000 empty chunks", png(*[chunk(b"tEXt", b"a\0b")] * 50_000))
    yield HostileImage("PNG with a chunk without letters", png(chunk(b"\0\1\2\3", b"x")))
    yield HostileImage("PNG with too few rows", png(height=6000))
    yield HostileImage("PNG with too many rows", png(rows=bytes(100_000)))
    yield HostileImage("PNG of a palette that is missing", png(colour=3, rows=bytes(9 * 6)))
    yield HostileImage("PNG of an unknown colour type", png(colour=5), is_good=False)
    yield HostileImage("PNG of 3 bits", png(depth=3), is_good=False)
    yield HostileImage("PNG of 16 bits in colour", png(depth=16, rows=bytes((1 + 6 * 8) * 6)), is_good=True)
    yield HostileImage("PNG with filters that do not exist", png(rows=b"\x09" * ((1 + 3 * 8) * 6)))
    frames = [picture(seed=number) for number in range(40)]
    file = io.BytesIO()
    frames[0].save(file, "PNG", save_all=True, append_images=frames[1:])
    yield HostileImage("animated PNG", file.getvalue(), is_good=True)
    control = chunk(b"acTL", struct.pack(">II", 2**31 - 1, 0))
    yield HostileImage("animated PNG of 2^31 frames by its header", png(control))
    yield HostileImage("animated PNG of no frames", png(chunk(b"acTL", bytes(8))))
    frame = chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, 2**31, 2**31, 0, 0, 1, 1, 9, 9))
    yield HostileImage("animated PNG with a frame outside", png(control, frame))


def _gifs() -> Iterator[HostileImage]:
    frames = [picture("P", seed=number) for number in range(60)]
    file = io.BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:], loop=0)
    animated = file.getvalue()
    yield HostileImage("animated GIF", animated, ".gif", is_good=True)
    yield HostileImage("animated GIF cut in its second frame", animated[: len(animated) // 40], ".gif", is_good=True)
    plain = encoded("GIF", "P")
    comment = b"\x21\xfe" + (b"\xff" + bytes(255)) * 20_000 + b"\0"
    start = 13 + 3 * 256
    yield HostileImage("GIF with 5 MB of comment", plain[:start] + comment + plain[start:], ".gif", is_good=True)
    yield HostileImage("GIF with 200,000 extensions", plain[:start] + b"\x21\xfe\0" * 200_000 + plain[start:], ".gif")
    place = plain.index(b"\x2c", start)
    moved = bytearray(plain)
    moved[place + 1 : place + 9] = struct.pack("<HHHH", 65_000, 65_000, 60, 60)
    yield HostileImage("GIF whose frame lies outside", bytes(moved), ".gif")
    moved[place + 1 : place + 9] = struct.pack("<HHHH", 0, 0, 0, 0)
    yield HostileImage("GIF whose frame is empty", bytes(moved), ".gif")
    moved[place + 1 : place + 9] = struct.pack("<HHHH", 0, 0, 65_535, 65_535)
    yield HostileImage("GIF whose frame is larger than itself", bytes(moved), ".gif", is_good=False)
    yield HostileImage("GIF of frames without end", plain[:-1] + plain[start:-1] * 3000, ".gif")


def _webps() -> Iterator[HostileImage]:
    frames = [picture(seed=number) for number in range(20)]
    file = io.BytesIO()
    frames[0].save(file, "WEBP", save_all=True, append_images=frames[1:])
    yield HostileImage("animated WEBP", file.getvalue(), ".webp", is_good=True)
    for size in (0, 1, 2**31, 2**32 - 1):
        data = bytearray(encoded("WEBP"))
        data[4:8] = struct.pack("<I", size)
        yield HostileImage(f"WEBP of {size} bytes by its header", bytes(data), ".webp")


def _polyglots() -> Iterator[HostileImage]:
    tails = {
        "zip": b"PK\x03\x04" + bytes(40) + b"PK\x05\x06" + bytes(18),
        "HTML": b"<script>alert(1)</script>",
        "pickle": b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R.",
        "shell script": b"\n#!/bin/sh\ntouch here\n",
        "another image": encoded("PNG", size=(99, 99)),
    }
    for kind in KINDS:
        for name, tail in tails.items():
            mode = "P" if kind == "GIF" else "RGB"
            yield HostileImage(f"{kind} and {name}", encoded(kind, mode) + tail, f".{kind.lower()}", is_good=True)


def _metadata() -> Iterator[HostileImage]:
    def with_exif(block: bytes) -> bytes:
        plain = encoded("JPEG")
        body = b"Exif\0\0" + block
        return plain[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + plain[2:]

    def directory(*entries: tuple[int, int, int, int], following: int = 0) -> bytes:
        packed = b"".join(struct.pack("<HHII", *entry) for entry in entries)
        return b"II*\0" + struct.pack("<IH", 8, len(entries)) + packed + struct.pack("<I", following)

    blocks = {
        "whose next directory is itself": directory((0x0112, 3, 1, 1), following=8),
        "whose Exif directory is itself": directory((0x8769, 4, 1, 8)),
        "whose GPS directory is itself": directory((0x8825, 4, 1, 8)),
        "with 2^31 orientations": directory((0x0112, 3, 2**31, 8)),
        "with an orientation in text": directory((0x0112, 2, 4, 0x41414141)),
        "with an orientation of 99": directory((0x0112, 3, 1, 99)),
        "with an orientation of 0": directory((0x0112, 3, 1, 0)),
        "of orientation 6": directory((0x0112, 3, 1, 6)),
        "with an entry of an unknown type": directory((0x0112, 99, 1, 1)),
        "that points outside": directory((0x010E, 2, 10_000, 2**31)),
        "of 65,535 entries": b"II*\0\x08\0\0\0\xff\xff" + bytes(100),
        "that is cut": b"II*\0\x08\0\0\0",
        "that is empty": b"",
        "of zeros divided by zeros": directory((0x011A, 5, 1, 8)),
    }
    for name, block in blocks.items():
        yield HostileImage(f"JPEG with metadata {name}", with_exif(block), ".jpg", is_good=True)
        yield HostileImage(f"PNG with metadata {name}", png(chunk(b"eXIf", block)), is_good=True)
        webp = encoded("WEBP", exif=b"Exif\0\0" + (block or b"\0"))
        yield HostileImage(f"WEBP with metadata {name}", webp, ".webp", is_good=True)
    yield HostileImage("PNG with a profile of garbage", png(chunk(b"iCCP", b"x\0\0" + zlib.compress(b"junk"))))
    yield HostileImage(
        "JPEG with a profile of garbage", encoded("JPEG", icc_profile=b"junk" * 999), ".jpg", is_good=True
    )
    packet = b"<x:xmpmeta>" + b"<a>" * 20_000
    yield HostileImage("WEBP with deep XMP", encoded("WEBP", xmp=packet), ".webp", is_good=True)
    yield HostileImage("JPEG with deep XMP", encoded("JPEG", xmp=packet), ".jpg", is_good=True)


# ---- damaged at random


_STARTS: dict[tuple[str, str], bytes] = {}


def damaged_image(seed: int, index: int) -> HostileImage:
    """One image that is damaged at random, the same for the same seed and index."""
    chance = random.Random(f"{seed}-{index}")
    kind, mode = chance.choice(
        [("JPEG", "RGB"), ("JPEG", "L"), ("JPEG", "CMYK"), ("PNG", "RGBA"), ("PNG", "P"), ("PNG", "I;16"),
         ("WEBP", "RGB"), ("WEBP", "RGBA"), ("GIF", "P")]
    )  # fmt: skip
    if (kind, mode) not in _STARTS:
        _STARTS[kind, mode] = encoded(kind, mode)
    data = bytearray(_STARTS[kind, mode])
    how = chance.choice(["cut", "flip", "flips", "zeros", "delete", "repeat", "insert", "swap", "numbers"])
    place = chance.randrange(len(data))
    length = chance.randrange(1, 64)
    match how:
        case "cut":
            del data[place:]
        case "flip":
            data[place] ^= 1 << chance.randrange(8)
        case "flips":
            for _ in range(chance.randrange(2, 40)):
                data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        case "zeros":
            data[place : place + length] = bytes(length)
        case "delete":
            del data[place : place + length]
        case "repeat":
            data[place:place] = data[place : place + length] * chance.randrange(1, 50)
        case "insert":
            data[place:place] = chance.randbytes(length)
        case "swap":
            data = data[place:] + data[:place] if place > 16 else data[::-1]
        case "numbers":  # lengths and sizes live in the first bytes
            place = chance.randrange(min(64, len(data) - 4))
            data[place : place + 4] = chance.choice([b"\xff" * 4, b"\x7f\xff\xff\xff", b"\0\0\0\0", b"\x80\0\0\0"])
    return HostileImage(f"{kind} {mode}, {how} at {place}, number {index}", bytes(data), f".{kind.lower()}")
