"""The loop of a scan: images in, one row each out, in batches bounded by count and by pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holisafe.errors import ImageError
from holisafe.images import LIMITS, ImageLimits, open_identified, pixels_of, read_bytes
from holisafe.images.sources import ImageSources, SourceItem, reason_of
from holisafe.records import ImageRef, ImageVerdict
from holisafe.scan.rows import ScanRow

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from PIL import Image

Classify = Callable[[Sequence["Image.Image"]], Sequence[ImageVerdict]]
"""Verdicts on decoded images, in their order."""

Seen = tuple[ImageVerdict, "npt.NDArray[np.float16] | None"]
"""A verdict, and the image's features where they are kept."""

See = Callable[[Sequence["Image.Image"]], Sequence[Seen]]
"""Verdicts and features of decoded images, in their order."""


def scan(
    source: ImageSources | Iterable[SourceItem | str | Path],
    model: Any,
    *,
    processor: Any,
    batch_size: int = 16,
    limits: ImageLimits = LIMITS,
    is_done: Callable[[str], bool] = lambda _: False,
) -> Iterator[ScanRow]:
    """Classify many images with a guarded model. Lazy: images are read while you iterate.

    Args:
        source: Sources, places (files, folders, archives, URLs), or items.
        model: A model with a guard, in evaluation mode.
        processor: The model's processor.
        batch_size: Most images that go through the model at once.
        limits: How large an image may be, and how many pixels a batch.
        is_done: Ids for which this is true are skipped; asked once per image.

    Returns:
        One row per image, in their order; an image that fails is a row with an error.

    Raises:
        GuardError: The model has no guard, or the guard has no image head.
        ImageError: A place is not there.
    """
    from holisafe.guard import classify_images
    from holisafe.guard.classify import classify_batch

    classify_images(model, [], processor=processor, batch_size=batch_size)  # refuses a guard without image head
    return rows_of(
        _items(source), lambda images: classify_batch(model, images, processor=processor), batch_size, limits, is_done
    )


def rows_of(
    items: Iterable[SourceItem],
    classify: Classify,
    batch_size: int = 16,
    limits: ImageLimits = LIMITS,
    is_done: Callable[[str], bool] = lambda _: False,
) -> Iterator[ScanRow]:
    """The rows of a scan, by any classifier; see `scan`."""

    def see(images: Sequence[Image.Image]) -> list[Seen]:
        return [(verdict, None) for verdict in classify(images)]

    return seen_rows(items, see, batch_size, limits, is_done)


def seen_rows(
    items: Iterable[SourceItem],
    see: See,
    batch_size: int = 16,
    limits: ImageLimits = LIMITS,
    is_done: Callable[[str], bool] = lambda _: False,
) -> Iterator[ScanRow]:
    """The rows of a scan with features, by any classifier; see `scan`."""
    batch: list[tuple[ScanRow, Image.Image | None]] = []
    pixels = pictures = 0
    for item in items:
        if is_done(item.name):
            continue
        ref, size, error = _measured(item, limits)
        if pictures and pixels + size > limits.max_total_pixels:
            yield from _classified(batch, see)
            batch, pixels, pictures = [], 0, 0
        row, image = ScanRow(item.name, "", None, error), None
        if ref is not None:
            row, image = _opened(item.name, ref, limits)
        batch.append((row, image))
        pixels += size if image is not None else 0
        pictures += image is not None
        if pictures == batch_size or len(batch) == 4 * batch_size:
            yield from _classified(batch, see)
            batch, pixels, pictures = [], 0, 0
    yield from _classified(batch, see)


def _items(source: ImageSources | Iterable[SourceItem | str | Path]) -> Iterator[SourceItem]:
    if isinstance(source, ImageSources):
        return source.items()
    if isinstance(source, (str, Path)):
        return ImageSources([source]).items()
    return _mixed(source)


def _mixed(source: Iterable[SourceItem | str | Path]) -> Iterator[SourceItem]:
    for each in source:
        if isinstance(each, SourceItem):
            yield each
        else:
            yield from ImageSources([each]).items()


def _measured(item: SourceItem, limits: ImageLimits) -> tuple[ImageRef | None, int, str]:
    """The image with its bytes in memory, its pixels, or why it is missing; its bytes are read once."""
    if item.ref is None:
        return None, 0, item.error
    try:
        ref = replace(item.ref, data=read_bytes(item.ref, limits=limits), path=None, root=None, url=None)
    except ImageError as error:
        return None, 0, reason_of(error, item.ref)
    except Exception as error:  # nothing of one image ends a scan
        return None, 0, _words(error)
    try:
        return ref, pixels_of(ref, limits=limits), ""
    except ImageError:
        return ref, 0, ""  # opening it says why, and gives its digest


def _opened(name: str, ref: ImageRef, limits: ImageLimits) -> tuple[ScanRow, Image.Image | None]:
    from holisafe.images import content_hash

    try:
        image, digest = open_identified(ref, limits=limits)
    except ImageError as error:
        return ScanRow(name, content_hash(ref.data or b""), None, reason_of(error, ref)), None
    return ScanRow(name, digest, None), image


def _classified(batch: Sequence[tuple[ScanRow, Image.Image | None]], see: See) -> Iterator[ScanRow]:
    pictures = [image for _, image in batch if image is not None]
    try:
        found = iter(see(pictures) if pictures else [])
    except Exception as error:  # a processor may refuse an image in any way: one of a batch must not take the rest down
        if len(batch) > 1:
            for each in batch:
                yield from _classified([each], see)
        else:
            yield replace(batch[0][0], error=_words(error))
        return
    for row, image in batch:
        if image is None:
            yield row
        else:
            verdict, features = next(found)
            yield replace(row, verdict=verdict, features=features)


def _words(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
