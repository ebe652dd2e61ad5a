"""Whether what was loaded is the whole checkpoint, and finite: a damaged one is not measured in silence."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from importlib.resources import files
from typing import Any

import torch

from holisafe.errors import ModelError


def check_loaded(model: Any, info: Mapping[str, Any], name: str) -> None:
    """Refuse a model whose checkpoint lacks weights, holds unknown ones, or ones that are not finite.

    Args:
        model: What transformers loaded.
        info: Its loading information.
        name: The model's name, for messages.

    Raises:
        ModelError: Names the first such weights.
    """
    harmless = _harmless(model.config.model_type)
    missing = _others(info["missing_keys"], harmless["missing"])
    unexpected = _others(info["unexpected_keys"], harmless["unexpected"])
    mismatched = sorted(str(each[0]) if isinstance(each, tuple) else str(each) for each in info["mismatched_keys"])
    for found, what in (
        (missing, "lacks weights that the model needs"),
        (mismatched, "holds weights of another shape than its configuration says"),
        (unexpected, "holds weights that the model has no place for"),
    ):
        if found:
            raise ModelError(
                f"{name}: the checkpoint {what}: {_some(found)}; get its files again, or save it again with "
                "save_pretrained"
            )
    check_finite(model, name)


def check_finite(model: Any, name: str) -> None:
    """Refuse a model with weights that are infinite or no numbers.

    Raises:
        ModelError: Names the first of them.
    """
    for key, tensor in model.state_dict().items():
        if not isinstance(tensor, torch.Tensor) or tensor.is_meta or tensor.dtype not in _FLOATS:
            continue
        # a sum is quick, and finite only where every value is
        if not bool(torch.isfinite(tensor.sum(dtype=torch.float32))) and not bool(torch.isfinite(tensor).all()):
            raise ModelError(
                f"{name}: {key} holds values that are not finite ({str(tensor.dtype).removeprefix('torch.')}); the "
                "checkpoint is damaged, or needs another dtype"
            )


_FLOATS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


def _harmless(model_type: str) -> dict[str, list[str]]:
    """Patterns of keys that may be missing or left over, of any family and of this one."""
    known = json.loads(files("holisafe.models").joinpath("harmless_keys.json").read_text("utf-8"))
    own = known.get(model_type, {"missing": [], "unexpected": []})
    return {kind: known["*"][kind] + own[kind] for kind in ("missing", "unexpected")}


def _others(keys: Iterable[str], patterns: Iterable[str]) -> list[str]:
    return sorted(key for key in keys if not any(re.search(pattern, key) for pattern in patterns))


def _some(keys: list[str]) -> str:
    more = len(keys) - 3
    return ", ".join(keys[:3]) + (f" and {more} more" if more > 0 else "")
