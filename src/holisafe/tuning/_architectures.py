"""Architectures of released models as data, so that a run can be planned where the model is not: no weights, no Hub.

Each file of `architectures/` has a model's Hub id, the number of its parameters, and the fields of its configuration
that differ from its class's defaults. The number is that of the released weights, but for llava-1.5-13b, of which we
know the configuration alone.
"""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForImageTextToText

from holisafe.errors import TuningError
from holisafe.guard import GuardConfig, attach_guard
from holisafe.tuning._config import TuneConfig
from holisafe.tuning._parts import configure_trainable_parts
from holisafe.tuning._targets import IGNORED

_FILES = files("holisafe.tuning") / "architectures"

_PIXELS = 448
"""Side of an image whose size is free (Qwen2.5-VL), in pixels: 256 visual tokens."""


def architecture_names() -> list[str]:
    """Names of the shipped architectures."""
    return sorted(each.name.removesuffix(".json") for each in _FILES.iterdir() if each.name.endswith(".json"))


def read_architecture(name: str) -> dict[str, Any]:
    """The values of one of `architecture_names()`."""
    return dict(json.loads((_FILES / f"{name}.json").read_text("utf-8")))


def architecture_of(model: str) -> dict[str, Any]:
    """The architecture of a Hub id.

    Raises:
        TuningError: There is none of it.
    """
    found = {values["model"]: values for values in map(read_architecture, architecture_names())}
    if model not in found:
        raise TuningError(
            f"the architecture of {model or 'the model'} is not among those shipped ({', '.join(found)}); give MODEL"
        )
    return found[model]


def build_architecture(model: str) -> Any:
    """The model of a Hub id on the meta device: its classes and shapes, in bfloat16, without numbers.

    Raises:
        TuningError: Its architecture is not shipped.
    """
    values = architecture_of(model)
    config = AutoConfig.for_model(
        values["model_type"], text_config=values["text_config"], vision_config=values["vision_config"]
    )
    with torch.device("meta"):
        built = AutoModelForImageTextToText.from_config(config, dtype=torch.bfloat16)
    count = sum(weight.numel() for weight in built.parameters())
    assert count == values["parameters"], (model, count)
    return built


def ready_architecture(model: str, config: TuneConfig, guard: GuardConfig | None) -> Any:
    """The same with what learns, as a run would make it.

    Raises:
        TuningError: Its architecture is not shipped, or does not fit the settings.
    """
    built = build_architecture(model)
    if guard is not None:
        attach_guard(built, guard)
    return configure_trainable_parts(built, config)


def synthetic_batch(
    model: Any, config: TuneConfig, guard: GuardConfig | None, text_tokens: int, images: int = 1
) -> dict[str, Tensor]:
    """A micro-batch of answers: images, and text of which the second half is learned.

    A method that compares two answers has both, as rows of their own.

    Args:
        model: From `ready_architecture`.
        config: The settings.
        guard: The guard that learns.
        text_tokens: Tokens of a sample that are text.
        images: Images of a sample.
    """
    rows = config.batch_size * (2 if config.method_part.has_reference else 1)
    shapes = model.config
    pixels, count = _pixels(shapes, rows * images)
    question = text_tokens // 2
    text = torch.full((rows, text_tokens), 5)
    image = torch.full((rows, images * count), int(shapes.image_token_id))
    gap = torch.full((rows, 1), 5)  # images side by side are one to some families
    shown = torch.cat([torch.cat([part, gap], 1) for part in torch.split(image, count, 1)], 1)
    ids = torch.cat([text[:, :question], shown, text[:, question:]], 1)  # (rows, tokens)
    labels = torch.full_like(ids, IGNORED)
    labels[:, question + shown.shape[1] :] = 5
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels, **pixels}
    types = (ids == shapes.image_token_id).long()
    if shapes.model_type == "gemma3":
        batch["token_type_ids"] = types
    if shapes.model_type == "qwen2_5_vl":
        batch["mm_token_type_ids"] = types.int()
    if guard is not None:
        batch["image_labels"] = torch.zeros(rows * images, dtype=torch.long)
        batch["combinations"] = torch.zeros(rows, dtype=torch.long)
        batch["categories"] = torch.zeros(rows, dtype=torch.long)
    return batch


def _pixels(config: Any, images: int) -> tuple[dict[str, Tensor], int]:
    """What the vision encoder takes for so many images, and the visual tokens of one."""
    vision = config.vision_config
    if config.model_type == "qwen2_5_vl":
        side = _PIXELS // vision.patch_size
        width = vision.in_channels * vision.temporal_patch_size * vision.patch_size**2
        grid = torch.tensor([[1, side, side]] * images)
        return (
            {"pixel_values": torch.zeros(images * side * side, width), "image_grid_thw": grid},
            (side // vision.spatial_merge_size) ** 2,
        )
    side = vision.image_size
    tokens = int(config.mm_tokens_per_image) if config.model_type == "gemma3" else (side // vision.patch_size) ** 2
    return {"pixel_values": torch.zeros(images, 3, side, side)}, tokens
