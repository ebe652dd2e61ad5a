"""Images of a request: from data URLs, and from allowed hosts, through the image door, within limits."""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import replace

from holisafe.errors import ImageError
from holisafe.images import content_hash, looks_like_image, pixels_of
from holisafe.records import ImageRef
from holisafe.serve.errors import ApiError
from holisafe.serve.remote import RemoteImages
from holisafe.serve.settings import Limits

_DATA_URL = re.compile(r"data:(image/[\w.+-]{1,40})?(;[\w.=+-]{1,60})*;base64,", re.ASCII | re.IGNORECASE)


async def read_images(urls: Sequence[tuple[str, str]], limits: Limits, remote: RemoteImages) -> list[ImageRef]:
    """The images of a request; nothing is decoded but their headers.

    Args:
        urls: Of each image, its place in the request (such as "messages.0.content.1") and its URL.
        limits: How many, and how large.
        remote: Fetches what is not a data URL, where allowed.

    Raises:
        ApiError: One cannot be let in.
    """
    if len(urls) > limits.images:
        raise ApiError(
            400,
            f"the request has {len(urls)} images; at most {limits.images} are read",
            param=urls[limits.images][0],
            code="too_many_images",
        )
    found = []
    for place, url in urls:
        if url[:5].lower() == "data:":
            data = await asyncio.to_thread(_decode, url, place, limits)
        else:
            data = await remote.fetch(url, place, limits.image_bytes)
        found.append(ImageRef(place, data=data))
    return await asyncio.to_thread(_checked, found, limits)


def _decode(url: str, place: str, limits: Limits) -> bytes:
    start = _DATA_URL.match(url[:300])
    if start is None:
        raise _invalid(place, "expected a data URL of the form data:image/png;base64,…")
    encoded = url[start.end() :]
    if len(encoded) // 4 * 3 > limits.image_bytes + 3:
        raise _too_large(place, limits)
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise _invalid(place, "the data URL is not valid base64") from None


def _checked(images: Sequence[ImageRef], limits: Limits) -> list[ImageRef]:
    """Each with its digest, after a look at its header."""
    pixels = 0
    checked = []
    for image in images:
        data = image.data or b""
        if len(data) > limits.image_bytes:
            raise _too_large(image.key, limits)
        if not looks_like_image(data[:16]):
            raise _invalid(image.key, "expected a JPEG, PNG, WebP or GIF image")
        try:
            pixels += pixels_of(image, limits=limits.image_limits)
        except ImageError:
            why = f"it is damaged, has more than {limits.image_pixels} pixels, or costs too much to decode"
            raise _invalid(image.key, why) from None
        if pixels > limits.total_pixels:
            raise ApiError(
                400,
                f"the images have more than the {limits.total_pixels} pixels allowed in sum",
                param=image.key,
                code="image_too_large",
            )
        checked.append(replace(image, digest=content_hash(data)))
    return checked


def damaged_image() -> ApiError:
    """An image that passed the first look and could not be decoded."""
    return ApiError(400, "an image is damaged and cannot be decoded", code="invalid_image")


def _invalid(place: str, why: str) -> ApiError:
    return ApiError(400, f"the image cannot be read: {why}", param=place, code="invalid_image")


def _too_large(place: str, limits: Limits) -> ApiError:
    return ApiError(
        400, f"the image has more than the {limits.image_bytes} bytes allowed", param=place, code="image_too_large"
    )
