"""The only door through which image bytes come in.

`read_bytes` gives the encoded bytes behind a reference, `open_image` the pixels. Both raise `ImageError`, and nothing
else, for whatever is wrong with the file, its place or its content; the message names the image.

JPEG, PNG, WebP and GIF are let in: what data sets, browsers and model APIs exchange. BMP, TIFF, ICO, PSD, SVG and
the rest are not: no benchmark here uses them, and each further decoder is one more that hostile bytes can reach.
The first bytes decide which format an image is, not its name. Pillow's global limits are neither used nor changed.
"""

from __future__ import annotations

import codecs
import hashlib
import io
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from holisafe.errors import ImageError
from holisafe.records import ImageRef


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """How much of an image is let in.

    Attributes:
        max_bytes: Size of the encoded image, in bytes.
        max_pixels: Width × height, in pixels; read from the header, before anything is decoded.
        max_total_pixels: Sum of the pixels of decoded images that are held at once (a batch), in pixels; an RGB pixel
            takes 4 bytes in Pillow. One image may always be held.
        max_scans: Scans of a JPEG; each costs the time of a whole image. Progressive JPEGs have about 10.
        network_timeout: Time to fetch an image from the network, in seconds, from first to last byte.
    """

    max_bytes: int = 32 * 2**20
    max_pixels: int = 50_000_000
    max_total_pixels: int = 100_000_000
    max_scans: int = 64
    network_timeout: float = 20.0


LIMITS = ImageLimits()

_Decoder = Callable[[io.BytesIO], ImageFile.ImageFile]


def open_image(ref: ImageRef | str | Path, *, limits: ImageLimits = LIMITS, allow_network: bool = False) -> Image.Image:
    """Decode an image completely.

    EXIF orientation is applied, then all metadata and colour profiles are dropped; transparent parts become white;
    palettes, grey, 16-bit and CMYK become RGB; an animation gives its first frame.

    Args:
        ref: Where the image is; a path for a file anywhere.
        limits: How large it may be.
        allow_network: Whether an http(s) reference is fetched.

    Returns:
        An RGB image of its own, (height, width, 3) as an array, without file or metadata behind it.

    Raises:
        ImageError: The image cannot be let in; says why and what to do.
    """
    place = Path(ref) if isinstance(ref, str) else ref
    known = ImageRef(str(place), path=place) if isinstance(place, Path) else place
    return open_identified(known, limits=limits, allow_network=allow_network)[0]


def open_identified(
    ref: ImageRef, *, limits: ImageLimits = LIMITS, allow_network: bool = False
) -> tuple[Image.Image, str]:
    """Decode an image as `open_image` does, and give its digest; its bytes are read once.

    Returns:
        The RGB image, and the SHA-256 of its encoded bytes, in hex.

    Raises:
        ImageError: The image cannot be let in; says why and what to do.
    """
    data = read_bytes(ref, limits=limits, allow_network=allow_network)
    name = _name(ref)
    try:
        image = _decoder(data, name)(io.BytesIO(data))
        _check_cost(image, data, name, limits)
        image.load()
        return _upright_rgb(image), content_hash(data)
    except ImageError:
        raise
    except Exception as error:  # decoders raise some twenty kinds for hostile bytes
        raise _damaged(name, error) from error


def pixels_of(ref: ImageRef, *, limits: ImageLimits = LIMITS, allow_network: bool = False) -> int:
    """Width × height of an image, in pixels, as `size_of` gives them.

    Raises:
        ImageError: As `size_of`.
    """
    width, height = size_of(ref, limits=limits, allow_network=allow_network)
    return width * height


def size_of(ref: ImageRef, *, limits: ImageLimits = LIMITS, allow_network: bool = False) -> tuple[int, int]:
    """Width and height of an image, in pixels, from its header: nothing is decoded.

    Raises:
        ImageError: The image cannot be read, is no image, or has more pixels than allowed.
    """
    data = read_bytes(ref, limits=limits, allow_network=allow_network)
    name = _name(ref)
    try:
        image = _decoder(data, name)(io.BytesIO(data))
    except ImageError:
        raise
    except Exception as error:
        raise _damaged(name, error) from error
    _check_cost(image, data, name, limits)
    return image.width, image.height


def _check_cost(image: ImageFile.ImageFile, data: bytes, name: str, limits: ImageLimits) -> None:
    """Refuse what would take much memory or time to decode, before it is decoded."""
    width, height = image.size
    if width * height > limits.max_pixels:
        raise ImageError(
            f"{name}: {width} × {height} pixels are more than the {limits.max_pixels} allowed "
            "(a decompression bomb?); scale it down"
        )
    if not isinstance(image, JpegImageFile):
        return
    # entropy-coded data hold no such marker, so this counts scans, and those of previews in the metadata
    scans = data.count(b"\xff\xda")
    if scans > limits.max_scans or scans * width * height > 16 * limits.max_pixels:
        raise ImageError(
            f"{name}: a JPEG of {width} × {height} pixels in {scans} scans would take too long to decode; expected at "
            f"most {limits.max_scans} scans (16 at the largest size); save it again as a baseline JPEG"
        )


def _damaged(name: str, error: Exception) -> ImageError:
    return ImageError(f"{name}: cannot be decoded ({_reason(error)}): truncated or damaged; get the file again")


def read_bytes(ref: ImageRef, *, limits: ImageLimits = LIMITS, allow_network: bool = False) -> bytes:
    """The encoded bytes of an image, from its place checked and not larger than allowed.

    Raises:
        ImageError: There is no such file, it is not a file below its data folder, it is empty or too large, or it is
            on the network and `allow_network` is off.
    """
    if ref.data is not None:
        data = ref.data
    elif ref.url is not None:
        data = _fetch(ref.url, limits, allow_network)
    elif ref.path is not None:
        data = _read_file(ref.path, ref.root, limits)
    else:
        raise ImageError(f"{_name(ref)}: the reference holds no path, bytes or address; set one of them")
    if not data:
        raise ImageError(f"{_name(ref)}: empty, 0 bytes; get the file again")
    if len(data) > limits.max_bytes:
        raise ImageError(f"{_name(ref)}: more than the {limits.max_bytes} bytes allowed; compress it or scale it down")
    return data


def check_path(ref: ImageRef) -> Path:
    """The real path of a reference to a file, which exists and lies below its data folder.

    Raises:
        ImageError: It does not, or it is no regular file.
    """
    if ref.path is None:
        raise ImageError(f"{_name(ref)}: no path")
    return _resolve(ref.path, ref.root)


def identify(ref: ImageRef, *, limits: ImageLimits = LIMITS) -> ImageRef:
    """The same reference with the digest of its bytes; one on the network stays as it is.

    Raises:
        ImageError: Its bytes cannot be read.
    """
    if ref.digest or ref.url is not None:
        return ref
    return replace(ref, digest=content_hash(read_bytes(ref, limits=limits)))


def looks_like_image(start: bytes) -> bool:
    """Whether bytes begin as those of a format that is let in; the first 12 tell."""
    return _decoder_of(start) is not None


def content_hash(data: bytes) -> str:
    """SHA-256 of encoded image bytes, in hex: one name for one content, wherever it lies."""
    return hashlib.sha256(data).hexdigest()


def _read_file(path: Path, root: Path | None, limits: ImageLimits) -> bytes:
    resolved = _resolve(path, root)
    try:
        with resolved.open("rb") as file:
            return file.read(limits.max_bytes + 1)
    except OSError as error:
        raise ImageError(f"{path}: cannot be read ({_reason(error)}); check its permissions") from error


def _resolve(path: Path, root: Path | None) -> Path:
    """Follow links, then compare with the data folder: what counts is where the bytes really are."""
    if str(path).startswith(("http:/", "https:/")):
        raise ImageError(f"{path}: an address on the network, not a file; download it, or pass it as a URL")
    folder = path.parent if root is None else root
    below = path.relative_to(folder) if path.is_relative_to(folder) else path
    if ".." in below.parts:
        raise ImageError(f"{path}: '..' may not occur in an image path; name the file below {folder}")
    try:
        resolved = (folder / below).resolve()
        if not resolved.is_relative_to(folder.resolve()):
            raise ImageError(
                f"{path}: lies outside its data folder {folder} (it is {resolved}); "
                "copy the file into the folder; links out of it are not followed"
            )
        if resolved.is_dir():
            raise ImageError(f"{path}: a directory, expected an image file; name the file in it")
        if not resolved.exists():
            raise ImageError(f"{path}: no such file; check the path, or get the images of the data set")
        if not resolved.is_file():
            raise ImageError(f"{path}: not a regular file (a device, pipe or socket); name an image file")
    except (OSError, ValueError, RuntimeError) as error:  # name too long, NUL in it, links in a circle
        raise ImageError(f"{str(path)!r}: not a usable path ({_reason(error)}); check it") from error
    return resolved


class _HttpOnly(urllib.request.HTTPRedirectHandler):
    """Follows redirects to http and https alone."""

    def redirect_request(self, req: Any, fp: Any, code: Any, msg: Any, headers: Any, newurl: str) -> Any:
        if urllib.parse.urlsplit(newurl).scheme not in ("http", "https"):
            raise urllib.error.URLError(f"redirects to {newurl!r}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _fetch(url: str, limits: ImageLimits, allow_network: bool) -> bytes:
    if not allow_network:
        raise ImageError(f"{url}: on the network, which is not asked for; download it, or set allow_network=True")
    deadline = time.monotonic() + limits.network_timeout
    chunks: list[bytes] = []
    size = 0
    try:
        if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
            raise ImageError(f"{url}: expected an http or https address; give one, or a path")
        opener = urllib.request.build_opener(_HttpOnly)
        request = urllib.request.Request(url, headers={"User-Agent": "holisafe"})
        with opener.open(request, timeout=limits.network_timeout) as reply:
            while size <= limits.max_bytes and (chunk := reply.read1(65536)):
                chunks.append(chunk)
                size += len(chunk)
                if time.monotonic() > deadline:
                    raise TimeoutError(f"not complete after {limits.network_timeout:g} s")
    except ImageError:
        raise
    except Exception as error:  # urllib, http.client, ssl and codecs raise kinds of their own
        raise ImageError(f"{url}: cannot be fetched ({_reason(error)}); check the address, or download it") from error
    return b"".join(chunks)


def _decoder(data: bytes, name: str) -> _Decoder:
    found = _decoder_of(data)
    if found is not None:
        return found
    if data.startswith(b"version https://git-lfs"):
        raise ImageError(f"{name}: a Git LFS pointer, not the image itself; run `git lfs pull`")
    kind = "text" if _is_text(data[:512]) else f"bytes starting with {data[:8].hex(' ')}"
    raise ImageError(f"{name}: found {kind}, expected a JPEG, PNG, WebP or GIF image; convert or replace it")


def _decoder_of(start: bytes) -> _Decoder | None:
    """The decoder that the first bytes ask for; None where their format is not let in.

    The classes are called directly: `Image.open` would add Pillow's global pixel limit, which warns.
    """
    if start.startswith(b"\xff\xd8\xff"):
        return JpegImageFile
    if start.startswith(b"\x89PNG\r\n\x1a\n"):
        return PngImageFile
    if start.startswith((b"GIF87a", b"GIF89a")):
        return GifImageFile
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return WebPImageFile
    return None


def _is_text(start: bytes) -> bool:
    """Whether these bytes read as UTF-8 (the last character may be cut) without control characters."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(start)
    except UnicodeDecodeError:
        return False
    return all(byte >= 32 or byte in b"\t\n\r\f" for byte in start)


_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What brings an image upright, by its EXIF orientation."""


def _upright_rgb(image: Image.Image) -> Image.Image:
    turn = _TURNS.get(_orientation(image))
    rgb = _rgb(image)
    clean = Image.new("RGB", rgb.size)
    clean.paste(rgb)
    return clean if turn is None else clean.transpose(turn)


def _orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 to 8; damaged metadata, which are dropped anyway, count as upright."""
    try:
        return int(image.getexif().get(0x0112, 1))
    except Exception:
        return 1


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        return _from_16_bit(image)
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        colour = image.convert("RGBA")
        white = Image.new("RGBA", colour.size, "white")
        return Image.alpha_composite(white, colour).convert("RGB")
    return image.convert("RGB")


def _from_16_bit(image: Image.Image) -> Image.Image:
    """Scale 16-bit grey to 8 bits (Pillow would cut off at 255); the transparent value becomes white."""
    grey = np.asarray(image).astype(np.uint32)  # (height, width)
    scaled = ((grey.clip(0, 65535) * 255 + 32767) // 65535).astype(np.uint8)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        scaled[grey == transparent] = 255
    return Image.fromarray(scaled).convert("RGB")


def _name(ref: ImageRef) -> str:
    return str(ref.path or ref.url or f"image {ref.key!r}")


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
