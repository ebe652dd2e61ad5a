"""A scan as one picklable object: rows in, rows out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from holisafe.errors import ImageError
from holisafe.images import LIMITS, ImageLimits
from holisafe.images.sources import SourceItem
from holisafe.records import ImageRef
from holisafe.scan.rows import ScanRow, kept
from holisafe.scan.stream import Seen, seen_rows

if TYPE_CHECKING:
    from PIL import Image

DRAWINGS_ONLY = ("pocket", "pocket-safe")
"""Models whose guard has seen nothing but the drawings of HoliSafe-Open."""


@dataclass
class Scanner:
    """Classifies rows of images; travels between processes without its model, which each loads when first called.

    The same object works in a plain loop, in the actors of Ray Data's `map_batches` (`holisafe.scan.TableScanner`), and
    on what a WebDataset gives.

    Attributes:
        model: As `holisafe.models.load` takes it.
        guard: Folder or Hub id of the guard; "own" for the one that comes with the model.
        device: E.g. "cpu", "cuda:1"; the first GPU, else the CPU, when None.
        dtype: "auto", "float32", "bfloat16" or "float16".
        batch_size: Most images that go through the model at once.
        limits: How large an image may be.
        features: Whether rows have `features`, the mean of the image's projector features (width,), float16.
    """

    model: str
    guard: str = "own"
    device: str | None = None
    dtype: str | None = None
    batch_size: int = 16
    limits: ImageLimits = LIMITS
    features: bool = False
    _loaded: tuple[Any, Any] | None = field(default=None, init=False, repr=False, compare=False)

    def __call__(self, rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Classify rows. Nothing about one image raises: what goes wrong with it is its row's `error`.

        Args:
            rows: Mappings with `id`, and `bytes` (an encoded image), `path`, or `error` (why there is none); `key` is
                copied.

        Returns:
            One row each, in their order, as `ScanRow.to_json` has it; rows with a verdict also say `calibrated`, and
            `made_for` where the guard knows one kind of images only.

        Raises:
            GuardError: The guard has nothing to say of images, or its features cannot be kept.
            ImageError: A row has no id.
        """
        given = list(rows)
        items = list(map(_item, given))
        about = self.about()
        found = seen_rows(items, self._see, self.batch_size, self.limits)
        return [self._row(row, each, about) for row, each in zip(found, given, strict=True)]

    def about(self) -> dict[str, Any]:
        """What rows with a verdict say of the guard: `calibrated`, and `made_for` where that is restricted."""
        from holisafe.guard import calibration_of

        calibration = calibration_of(self.loaded()[0])
        is_calibrated = calibration.flag_rate is not None or calibration.records > 0
        made_for = {"made_for": "drawings"} if self.model in DRAWINGS_ONLY else {}
        return {"calibrated": is_calibrated} | made_for

    def labels(self) -> list[str]:
        """The guard's labels, in the order of its outputs."""
        from holisafe.guard import guard_of

        return list(guard_of(self.loaded()[0]).config.labels)

    def settings(self) -> dict[str, Any]:
        """JSON values that verdicts depend on: a scan resumes only with the same ones."""
        from holisafe.guard import calibration_of
        from holisafe.guard.vectors import vision_digest

        model, processor = self.loaded()
        kept_of = {"vision_sha256": vision_digest(model, processor)} if self.features else {}
        return {
            "model": self.model,
            "guard": self.guard,
            "labels": self.labels(),
            "calibration": calibration_of(model).to_json(),
            "features": self.features,
        } | kept_of

    def loaded(self) -> tuple[Any, Any]:
        """The model with its guard, and the processor.

        Raises:
            ModelError, GuardError: They cannot be loaded, or the guard cannot do what is asked.
        """
        from holisafe.guard import classify_images
        from holisafe.guard.vectors import check_keeps_vectors
        from holisafe.models import load

        if self._loaded is None:
            model, processor = load(self.model, guard=self.guard, device=self.device, dtype=self.dtype)
            classify_images(model, [], processor=processor)  # refuses a guard that has nothing to say of images
            if self.features:
                check_keeps_vectors(model)
            self._loaded = model, processor
        return self._loaded

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the loaded model."""
        return self.__dict__ | {"_loaded": None}

    def _see(self, images: Sequence[Image.Image]) -> list[Seen]:
        from holisafe.guard.classify import read_batch

        model, processor = self.loaded()
        verdicts, vectors = read_batch(model, images, processor=processor)
        if not self.features or vectors is None:
            return [(verdict, None) for verdict in verdicts]
        each = map(kept, vectors.cpu().numpy().astype(np.float32))
        return list(zip(verdicts, each, strict=True))

    def _row(self, row: ScanRow, given: Mapping[str, Any], about: Mapping[str, Any]) -> dict[str, Any]:
        more: dict[str, Any] = {"key": str(given["key"])} if given.get("key") else {}
        if row.features is not None:
            more["features"] = row.features
        return row.to_json() | (dict(about) if row.verdict else {}) | more


def _item(row: Mapping[str, Any]) -> SourceItem:
    data, path, error = row.get("bytes"), row.get("path"), row.get("error")
    if "id" not in row:
        raise ImageError(
            f"a row without id; expected id, and bytes or path; found {', '.join(map(str, row)) or 'none'}"
        )
    name = str(row["id"])
    if error:
        return SourceItem(name, None, str(error))
    if isinstance(data, bytes):
        return SourceItem(name, ImageRef(name, data=data))
    if isinstance(path, (str, Path)):
        return SourceItem(name, ImageRef(name, path=Path(path)))
    return SourceItem(name, None, "the row holds neither bytes nor a path")
