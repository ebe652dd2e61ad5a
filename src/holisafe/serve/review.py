"""A sample of verdicts that is kept for people to review: digests and scores, and pictures only where asked."""

from __future__ import annotations

import errno
import json
import logging
import os
import secrets
import threading
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from holisafe.errors import RunError
from holisafe.images import content_hash
from holisafe.records import GuardVerdict, ImageRef
from holisafe.serve.metrics import Metrics
from holisafe.serve.settings import Mode

_LOG = logging.getLogger("holisafe.serve")

SAMPLE, PICTURES = "review.jsonl", "images"
MAX_SAMPLE_BYTES = 64 * 2**20
MAX_PICTURE_BYTES = 2**30
MAX_WAITING = 32
"""Records that wait for the disk; where it is slower than that, further ones are left out."""


def check_rate(rate: float) -> None:
    """Refuse what is no share.

    Raises:
        RunError: The rate is not in (0, 1].
    """
    if not 0 < rate <= 1:
        raise RunError(f"--review-rate is {rate}; expected a share of requests above 0 and at most 1")


class ReviewSample:
    """Writes a random sample of verdicts to `review.jsonl` in a folder, readable by its owner alone.

    A record is `{"id", "time", "images": [{"sha256", "label", "unsafe_probability", "flagged", "file"}],
    "request_probability", "action", "policy"}`: no prompt, no answer, no address of a client. `file` is there only
    where pictures are kept. What is there already is added to. Once the sample holds 64 MiB, or the pictures 1 GiB,
    nothing more is kept.

    Args:
        folder: Where; made if it is not there.
        rate: Share of requests, in (0, 1].
        pictures: Whether to keep the pictures as they were sent.
        max_bytes: Largest size of the sample in bytes.
        max_picture_bytes: Largest size of all pictures in bytes.
        draw: A number in [0, 1) that clients cannot foresee.

    Raises:
        RunError: The rate is none, or nothing can be written there.
    """

    def __init__(
        self,
        folder: Path,
        *,
        rate: float,
        pictures: bool = False,
        max_bytes: int = MAX_SAMPLE_BYTES,
        max_picture_bytes: int = MAX_PICTURE_BYTES,
        draw: Callable[[], float] = secrets.SystemRandom().random,
    ) -> None:
        check_rate(rate)
        self._folder = folder
        self._rate = rate
        self._pictures = folder / PICTURES if pictures else None
        self._max_bytes = max_bytes
        self._max_picture_bytes = max_picture_bytes
        self._draw = draw
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if self._pictures is not None:
                self._pictures.mkdir(mode=0o700, exist_ok=True)
            self._end_line()
            kept = [] if self._pictures is None else [each.stat().st_size for each in self._pictures.iterdir()]
        except OSError as error:
            raise RunError(f"--review-dir {folder}: nothing can be written there ({error.strerror})") from error
        self._picture_bytes = sum(kept)
        self._is_broken = False  # whether the last record was cut short by a full disk
        self._waiting = threading.Semaphore(MAX_WAITING)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="holisafe-review")
        self.metrics: Metrics | None = None

    def offer(
        self, request_id: str | None, verdict: GuardVerdict, images: Sequence[ImageRef], action: str, policy: Mode
    ) -> None:
        """Keep a verdict if it is drawn; returns before it is written.

        Args:
            request_id: The id that the log has; inputs of one call share it. None for a new one.
            verdict: The verdict.
            images: The images that were judged, in its order.
            action: "pass", "observe" or "block".
            policy: What a flag led to.
        """
        if self._draw() >= self._rate:
            return
        if not self._waiting.acquire(blocking=False):
            self._count("busy")
            return
        about = {
            "id": request_id or uuid.uuid4().hex,
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "images": [
                {
                    "sha256": ref.digest or content_hash(ref.data or b""),
                    "label": each.label.value,
                    "unsafe_probability": each.unsafe,
                    "flagged": each.flagged,
                }
                for each, ref in zip(verdict.images, images, strict=bool(verdict.images))
            ],
            "request_probability": None if verdict.request is None else verdict.request.unsafe,
            "action": action,
            "policy": policy.value,
        }
        data = [ref.data or b"" for ref in images] if self._pictures is not None and verdict.images else []
        self._thread.submit(self._keep, about, data)

    def close(self) -> None:
        """Write what waits, and stop."""
        self._thread.shutdown()

    def _keep(self, record: dict[str, Any], pictures: Sequence[bytes]) -> None:
        try:
            self._count(self._written(record, pictures))
        except OSError as error:
            self._count("failed")
            _LOG.warning("review sample not written", extra={"facts": {"error": error.strerror}})
        finally:
            self._waiting.release()

    def _written(self, record: dict[str, Any], pictures: Sequence[bytes]) -> str:
        """Write a record and its pictures; what came of it."""
        path = self._folder / SAMPLE
        longest = len(json.dumps(record)) + 200 * len(record["images"])
        if path.stat().st_size + longest > self._max_bytes:
            return "full"
        if self._picture_bytes + sum(map(len, pictures)) > self._max_picture_bytes:
            return "full"
        for image, data in zip(record["images"], pictures, strict=bool(pictures)):
            image["file"] = self._put(image["sha256"], data)
        if self._is_broken:
            self._end_line()
        line = json.dumps(record).encode() + b"\n"
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW), "wb", buffering=0) as file:
            written = file.write(line)  # in one piece, so that lines of two servers do not mix
        self._is_broken = written != len(line)
        if self._is_broken:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return "kept"

    def _put(self, digest: str, data: bytes) -> str:
        """Write a picture, once; its path below the folder."""
        name = f"{PICTURES}/{digest}.{_ending(data)}"
        target = self._folder / name
        if not target.exists():
            unfinished = target.with_suffix(f".{uuid.uuid4().hex}")
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
            try:
                with os.fdopen(os.open(unfinished, flags, 0o600), "wb") as file:
                    file.write(data)
                unfinished.replace(target)
            except OSError:
                unfinished.unlink(missing_ok=True)
                raise
            self._picture_bytes += len(data)
        return name

    def _end_line(self) -> None:
        """Make the sample if it is not there; end its last line, where a server was killed while it wrote."""
        descriptor = os.open(self._folder / SAMPLE, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "r+b") as file:
            if file.seek(0, os.SEEK_END):
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    file.write(b"\n")

    def _count(self, outcome: str) -> None:
        if self.metrics is not None:
            self.metrics.review.labels(outcome).inc()


def _ending(data: bytes) -> str:
    """By the first bytes, which the door has checked."""
    starts = {b"\xff\xd8": "jpg", b"\x89PNG": "png", b"GIF8": "gif", b"RIFF": "webp"}
    return next((ending for start, ending in starts.items() if data.startswith(start)), "bin")
