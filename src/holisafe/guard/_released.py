"""Reading the heads of the six released checkpoints into a guarded model, without their remote code."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor

from holisafe.errors import GuardError, HoliSafeError
from holisafe.guard._config import Features, GuardConfig, GuardSite
from holisafe.guard._weights import SavedGuard, fill_guard, read_json, read_some
from holisafe.guard.attach import base_model
from holisafe.guard.calibration import Calibration
from holisafe.taxonomy import parse_label

M = TypeVar("M")


@dataclass(frozen=True, slots=True)
class Released:
    """One released checkpoint.

    Attributes:
        name: Its name at etri-vilab.
        model_type: transformers' name of the family that reads it.
        width: Hidden size of its language model.
    """

    name: str
    model_type: str
    width: int


RELEASED = (
    Released("SafeLLaVA-7B", "llava", 4096),
    Released("SafeLLaVA-13B", "llava", 5120),
    Released("SafeQwen2.5-VL-7B", "qwen2_5_vl", 3584),
    Released("SafeQwen2.5-VL-32B", "qwen2_5_vl", 5120),
    Released("SafeGem-12B", "gemma3", 3840),
    Released("SafeGem-27B", "gemma3", 5376),
)
"""The published checkpoints."""


def import_released_guard(model: M, folder: str | Path, *, processor: Any = None) -> M:
    """Attach the image head of a released checkpoint: the same model object comes back. Source: arXiv 2506.04704 v5.

    Of the checkpoint only `config.json` and the weight files that hold the head (`img_safety_head.mlp.*`) are
    read. The model is one that the caller loaded with current transformers. The head was trained together with its
    model, so its verdicts are those of the paper only over the checkpoint's own weights. SafeQwen2.5-VL's other keys
    are Qwen2.5-VL's: `Qwen2_5_VLForConditionalGeneration.from_pretrained(folder)` reads them, and reports the head as
    unexpected. Over the base model's weights the head runs, but nobody has measured how well.

    Args:
        model: A model of the family `llava` (SafeLLaVA), `qwen2_5_vl` (SafeQwen2.5-VL) or `gemma3` (SafeGem), of the
            checkpoint's hidden size, also one wrapped by PEFT.
        folder: The checkpoint's folder: `config.json`, and safetensors files, sharded or not.
        processor: See `attach_guard`.

    Raises:
        GuardError: The files cannot be read, hold no such head, or do not fit the model, which is then as it was.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise GuardError(f"{folder}: no such folder; expected that of a released checkpoint")
    model_type = str(base_model(model).config.model_type)
    if model_type not in _FEATURES:
        raise GuardError(f"the released heads are for {', '.join(_FEATURES)} models, and this one is {model_type}")
    described = folder / "config.json"
    values = read_json(described)
    weights = _by_order(_head_weights(folder), folder)
    matrices = [tensor for tensor in weights.values() if tensor.ndim == 2]
    try:
        config = GuardConfig.paper(
            features=_FEATURES[model_type],
            labels=_labels(values),
            depth=len(matrices),
            hidden_ratio=_hidden_ratio(matrices),
        )
        site = GuardSite(model_type, "", int(matrices[0].shape[1]))
    except HoliSafeError as error:
        raise GuardError(f"{described}: {error}") from None
    _check_described(values, config, site.width, described)
    return fill_guard(model, SavedGuard(config, site, Calibration(), weights, str(folder)), processor)


def _head_weights(folder: Path) -> dict[str, Tensor]:
    """The head's tensors by their names in the checkpoint."""
    found: dict[str, Tensor] = {}
    for file in _files_with_head(folder):
        found |= read_some(folder / file, _HEAD.search)
    if not found:
        raise GuardError(f"{folder}: no weights called img_safety_head.mlp.*; is it a released checkpoint?")
    return found


def _files_with_head(folder: Path) -> list[str]:
    """Names of the weight files to open."""
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return ["model.safetensors"]
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict):
        raise GuardError(f"{index}: weight_map is missing; expected the file of each weight")
    head = {key: file for key, file in places.items() if _HEAD.search(key)}
    for key, file in head.items():
        if not isinstance(file, str) or Path(file).name != file:
            raise GuardError(f"{index}: {key}: expected the name of a file beside it, found {file!r}")
    return sorted(set(head.values()))


def _by_order(found: Mapping[str, Tensor], folder: Path) -> dict[str, Tensor]:
    """The tensors under our head's names. Linear layers are known by their order: their numbers are not published."""
    layers: dict[int, dict[str, Tensor]] = {}
    prefixes = set()
    for key, tensor in found.items():
        match = _HEAD.search(key)
        assert match is not None
        prefixes.add(key[: match.start()])
        layers.setdefault(int(match["number"]), {})[match["part"]] = tensor
    if len(prefixes) > 1:
        raise GuardError(f"{folder}: expected one head, found one under each of {', '.join(sorted(prefixes))}")
    named: dict[str, Tensor] = {}
    for place, (number, parts) in enumerate(sorted(layers.items())):
        for part, dimensions in (("weight", 2), ("bias", 1)):
            if part not in parts:
                raise GuardError(f"{folder}: img_safety_head.mlp.{number}.{part} is missing")
            if parts[part].ndim != dimensions or not parts[part].numel():
                raise GuardError(
                    f"{folder}: img_safety_head.mlp.{number}.{part}: expected {dimensions} dimensions, found shape "
                    f"{list(parts[part].shape)}; quantised heads are not read"
                )
            named[f"image_head.mlp.{3 * place}.{part}"] = parts[part]  # ours: Linear, GELU, Dropout, Linear, …
    return named


def _labels(values: Mapping[str, Any]) -> tuple[str, ...]:
    """Labels by index, from a list of names, from {index: name} or from {name: index}."""
    given = values.get("safety_categories")
    if isinstance(given, dict):
        given = _in_order(given)
    if not isinstance(given, list) or not given or not all(isinstance(name, str) for name in given):
        raise GuardError(f"safety_categories: expected a name for each index from 0, found {given!r}"[:300])
    return tuple(parse_label(name).value for name in given)


def _in_order(given: Mapping[str, Any]) -> list[Any]:
    is_by_index = all(isinstance(name, str) for name in given.values())
    names = {str(index): name for index, name in (given.items() if is_by_index else map(reversed, given.items()))}
    return [names.get(str(index)) for index in range(len(names))]


def _hidden_ratio(matrices: list[Tensor]) -> float:
    """Width of the hidden layers over that of the model; of no meaning in a head without any."""
    hidden, width = matrices[0].shape
    ratio = hidden / width if len(matrices) > 1 else 0.5
    return ratio if len(matrices) == 1 or int(width * ratio) == hidden else math.nextafter(ratio, math.inf)


def _check_described(values: Mapping[str, Any], config: GuardConfig, width: int, path: Path) -> None:
    """Hold what config.json says of the head against its weights."""
    said = {
        "num_safety_categories": (len(config.labels), "labels"),
        "safety_num_hidden_layers": (config.depth - 1, "hidden layers"),
    }
    for field, (found, what) in said.items():
        if field in values and values[field] != found:
            raise GuardError(f"{path}: {field} is {values[field]!r}, and the head has {found} {what}")
    scale, hidden = values.get("safety_head_hidden_scale", config.hidden_ratio), config.hidden_width(width)
    is_number = isinstance(scale, (int, float)) and 0 < scale <= 16
    if config.depth > 1 and not (is_number and int(width * scale) == hidden):
        raise GuardError(
            f"{path}: safety_head_hidden_scale is {scale!r}, and the head's hidden layers have {hidden} of {width}"
        )


_HEAD = re.compile(r"(?:^|(?<=\.))img_safety_head\.mlp\.(?P<number>\d{1,4})\.(?P<part>weight|bias)$")
_FEATURES: dict[str, Features] = {
    "llava": Features.LANGUAGE,
    "qwen2_5_vl": Features.LANGUAGE,
    "gemma3": Features.PROJECTOR,
}
