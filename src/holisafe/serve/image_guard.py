"""A guard that judges images alone: in batches, each image once, with what it said of the last ones kept."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from PIL import Image

from holisafe._checks import check_type
from holisafe.errors import GuardError, ImageError
from holisafe.guard import classify_images
from holisafe.guard.classify import classify_batch
from holisafe.images import LIMITS, content_hash, open_image, pixels_of
from holisafe.records import ImageRef, ImageVerdict
from holisafe.serve.metrics import Metrics

Classify = Callable[[Sequence[Image.Image]], Sequence[ImageVerdict]]


class ImageGuard:
    """Verdicts on images, without a question and without an answer.

    Args:
        model: A model with a guard that has an image head.
        processor: The model's processor.
        batch_size: Images in one forward pass.
        kept: Verdicts that are kept, by the images' bytes.

    Raises:
        GuardError: The guard has no image head.
    """

    def __init__(self, model: Any, processor: Any, *, batch_size: int = 16, kept: int = 65536) -> None:
        check_type(kept, int, "kept")
        classify_images(model, [], processor=processor)  # refuses a guard that has nothing to say of images
        self._classify: Classify = lambda images: classify_batch(model, images, processor=processor)
        self._batch_size = batch_size
        self._kept = kept
        self._known: OrderedDict[str, ImageVerdict] = OrderedDict()
        self._asked: dict[str, asyncio.Future[ImageVerdict]] = {}
        self._waiting: list[ImageRef] = []
        self._worker: asyncio.Task[None] | None = None
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="holisafe-guard")
        self.metrics: Metrics | None = None

    async def judge(self, images: Sequence[ImageRef]) -> list[ImageVerdict]:
        """One verdict per image, in their order.

        Raises:
            ImageError: An image cannot be decoded.
            GuardError: There is no verdict on one.
        """
        found = await asyncio.gather(*map(self._one, images), return_exceptions=True)
        for each in found:
            if isinstance(each, BaseException):
                raise each
        return [each for each in found if not isinstance(each, BaseException)]

    async def _one(self, image: ImageRef) -> ImageVerdict:
        digest = image.digest or content_hash(image.data or b"")
        known = self._known.get(digest)
        self._count(hit=known is not None)
        if known is not None:
            self._known.move_to_end(digest)
            return known
        if digest not in self._asked:
            self._asked[digest] = asyncio.get_running_loop().create_future()
            self._waiting.append(ImageRef(image.key, data=image.data, digest=digest))
            if self._worker is None or self._worker.done():
                self._worker = asyncio.create_task(self._work())
        return await asyncio.shield(self._asked[digest])

    async def _work(self) -> None:
        """Judge what waits, batch by batch; requests that come meanwhile share the next one."""
        loop = asyncio.get_running_loop()
        while self._waiting:
            batch = self._take()
            try:
                found = await loop.run_in_executor(self._threads, self._judged, batch)
            except Exception as error:
                found = [GuardError(f"the guard failed ({type(error).__name__})")] * len(batch)
            for image, verdict in zip(batch, found, strict=True):
                answer = self._asked.pop(image.digest)
                if isinstance(verdict, ImageVerdict):
                    self._keep(image.digest, verdict)
                    answer.set_result(verdict)
                else:
                    answer.set_exception(verdict)
                    answer.exception()  # nobody may be left who waits for it

    def _take(self) -> list[ImageRef]:
        """The next batch, bounded by count and pixels."""
        taken, pixels = 0, 0
        for image in self._waiting[: self._batch_size]:
            pixels += _pixels(image)
            if taken and pixels > LIMITS.max_total_pixels:
                break
            taken += 1
        batch, self._waiting = self._waiting[:taken], self._waiting[taken:]
        return batch

    def _judged(self, batch: Sequence[ImageRef]) -> list[ImageVerdict | Exception]:
        """Verdicts or errors, in another thread; where a batch fails, each of its images is tried alone."""
        decoded: list[Image.Image | Exception] = [_opened(image) for image in batch]
        good = [image for image in decoded if isinstance(image, Image.Image)]
        try:
            verdicts: list[ImageVerdict | Exception] = list(self._classify(good)) if good else []
        except Exception:
            verdicts = [self._alone(image) for image in good]
        rest = iter(verdicts)
        return [next(rest) if isinstance(image, Image.Image) else image for image in decoded]

    def _alone(self, image: Image.Image) -> ImageVerdict | Exception:
        try:
            return self._classify([image])[0]
        except Exception as error:
            failed = GuardError(f"the guard failed on an image ({type(error).__name__})")
            failed.__cause__ = error
            return failed

    def _keep(self, digest: str, verdict: ImageVerdict) -> None:
        self._known[digest] = verdict
        while len(self._known) > self._kept:
            self._known.popitem(last=False)

    def _count(self, *, hit: bool) -> None:
        if self.metrics is not None:
            self.metrics.cache_queries.inc()
            if hit:
                self.metrics.cache_hits.inc()

    def close(self) -> None:
        """Stop."""
        self._threads.shutdown(cancel_futures=True)


def _pixels(image: ImageRef) -> int:
    """Pixels of an image; 0 of one that will not be opened either."""
    try:
        return pixels_of(image)
    except ImageError:
        return 0


def _opened(image: ImageRef) -> Image.Image | Exception:
    try:
        return open_image(image)
    except Exception as error:
        return error
