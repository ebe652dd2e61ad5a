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
    """A subclass of the processor class `family` that is built with None for its video processor.

    Args:
        family: The class; its video processor may be any of its parts, and need not be its last.
    """
    from transformers import ProcessorMixin

    every = family.get_attributes()
    parts = [part for part in every if part != "video_processor"]

    class VideoLeftOut(ProcessorMixin):  # type: ignore[misc]
        """Stands between the family and transformers' own class, and keeps from it what `family` hands on for video."""

        def __init__(self, *given: Any, **named: Any) -> None:
            named |= dict(zip(every, given, strict=False))
            named.pop("video_processor", None)
            super().__init__(**named)

    class Still(family, VideoLeftOut):  # type: ignore[misc]
        # what some processors read of it when they are built, or before they look whether there is a video
        video_processor = SimpleNamespace(
            num_frames=None, fps=None, slice_mode=None, downsample_mode=None, model_input_names=[]
        )

        @classmethod
        def get_attributes(cls) -> list[str]:
            return parts

        @classmethod
        def _get_arguments_from_pretrained(cls, *args: Any, **kwargs: Any) -> list[Any]:
            found = dict(zip(parts, super()._get_arguments_from_pretrained(*args, **kwargs), strict=True))
            return [found.get(part) for part in every]

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
