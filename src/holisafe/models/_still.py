"""Processors without their video half.

Several families' processors cannot be built unless torchvision is installed, only because their video half needs it.
Questions about still images never touch that half, so it is left out, and the image half uses Pillow.
"""

from __future__ import annotations

import inspect
from functools import cache
from types import SimpleNamespace
from typing import Any


@cache
def still_images_only(family: type[Any]) -> type[Any]:
    """A subclass of the processor class `family` that is built without a video processor."""
    signature = inspect.signature(family.__init__)
    parts = [part for part in family.get_attributes() if part != "video_processor"]

    def build(self: Any, *args: Any, **kwargs: Any) -> None:
        kwargs |= dict(zip(parts, args, strict=False))
        family.__init__(self, **(kwargs | {"video_processor": None}))

    build.__signature__ = signature  # type: ignore[attr-defined]  # transformers reads the accepted names from it
    body = {
        "__init__": build,
        "__doc__": f"{family.__name__} for still images.",
        "get_attributes": classmethod(lambda cls: parts),
        # some chat templates ask for the frame rate before they look whether there is a video
        "video_processor": SimpleNamespace(num_frames=None, fps=None),
    }
    return type(family.__name__, (family,), body)


def needs_video_half(error: BaseException) -> bool:
    """Whether building a processor failed only because torchvision is not installed."""
    return isinstance(error, ImportError) and "Torchvision" in str(error)


def still_processor(source: str, **options: Any) -> Any:
    """Load the processor of the checkpoint `source` without its video half.

    Args:
        source: Folder or Hub id.
        options: Further arguments of `from_pretrained`.
    """
    from transformers import AutoConfig
    from transformers.models.auto.processing_auto import PROCESSOR_MAPPING

    family = PROCESSOR_MAPPING[type(AutoConfig.from_pretrained(source, **options))]
    return still_images_only(family).from_pretrained(source, **options)
