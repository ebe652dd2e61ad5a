"""Processors without their video half.

Several families' processors cannot be built unless torchvision is installed, only because their video half needs it.
Questions about still images never touch that half, so it is left out, and the image half uses Pillow.
"""

from __future__ import annotations

import re
from functools import cache
from types import SimpleNamespace
from typing import Any


@cache
def still_images_only(family: type[Any]) -> type[Any]:
    """A subclass of the processor class `family` that is built with None for its video processor."""
    parts = [part for part in family.get_attributes() if part != "video_processor"]

    class Still(family):  # type: ignore[misc]
        # some processors ask for the frame rate before they look whether there is a video
        video_processor = SimpleNamespace(num_frames=None, fps=None)

        @classmethod
        def get_attributes(cls) -> list[str]:
            return parts

        @classmethod
        def _get_arguments_from_pretrained(cls, *args: Any, **kwargs: Any) -> list[Any]:
            found = dict(zip(parts, super()._get_arguments_from_pretrained(*args, **kwargs), strict=True))
            return [found.get(part) for part in family.get_attributes()]

    Still.__name__ = Still.__qualname__ = family.__name__  # transformers writes the name into saved processors
    Still.__doc__ = f"{family.__name__} for still images."
    return Still


def only_video_half_missing(error: BaseException) -> bool:
    """Whether building a processor failed only for its video half: no torchvision, or none was saved."""
    return isinstance(error, (ImportError, OSError)) and bool(
        re.search("torchvision|video processor", str(error), re.I)
    )


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
