"""A scan as one picklable object: rows in, rows out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from holisafe.errors import ImageError
from holisafe.images import LIMITS, ImageLimits
from holisafe.images.sources import SourceItem
from holisafe.records import ImageRef
from holisafe.scan.stream import scan


@dataclass
class Scanner:
    """Classifies rows of images; travels between processes without its model, which each loads when first called.

    Attributes:
        model: As `holisafe.models.load` takes it.
        guard: Folder or Hub id of the guard; "own" for the one that comes with the model.
        device: E.g. "cpu", "cuda:1"; the first GPU, else the CPU, when None.
        dtype: "auto", "float32", "bfloat16" or "float16".
        batch_size: Most images that go through the model at once.
        limits: How large an image may be.
    """

    model: str
    guard: str = "own"
    device: str | None = None
    dtype: str | None = None
    batch_size: int = 16
    limits: ImageLimits = LIMITS
    _loaded: tuple[Any, Any] | None = field(default=None, init=False, repr=False, compare=False)

    def __call__(self, rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Classify rows.

        Args:
            rows: Mappings with `id`, and `bytes` (an encoded image) or `path`.

        Returns:
            One row each, in their order, as `ScanRow.to_json` has it.
        """
        from holisafe.models import load

        if self._loaded is None:
            self._loaded = tuple(load(self.model, guard=self.guard, device=self.device, dtype=self.dtype))
        assert self._loaded is not None
        model, processor = self._loaded
        found = scan(map(_item, rows), model, processor=processor, batch_size=self.batch_size, limits=self.limits)
        return [row.to_json() for row in found]

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the loaded model."""
        return self.__dict__ | {"_loaded": None}


def _item(row: Mapping[str, Any]) -> SourceItem:
    data, path = row.get("bytes"), row.get("path")
    if "id" not in row:
        raise ImageError(
            f"a row without id; expected id, and bytes or path; found {', '.join(map(str, row)) or 'none'}"
        )
    name = str(row["id"])
    if isinstance(data, bytes):
        return SourceItem(name, ImageRef(name, data=data))
    if isinstance(path, (str, Path)):
        return SourceItem(name, ImageRef(name, path=Path(path)))
    return SourceItem(name, None, "the row holds neither bytes nor a path")
