"""Reading weight files without trusting them, and filling a guard from them."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from holisafe import _files
from holisafe.errors import GuardError
from holisafe.guard._config import GuardConfig, GuardSite
from holisafe.guard.attach import attach_known, base_model, detach_guard, observer_of
from holisafe.guard.calibration import Calibration
from holisafe.guard.head import Guard

M = TypeVar("M")

FLOATS = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
"""Dtypes of weights that a guard computes with."""


_MAX_JSON_BYTES = 2**24


@dataclass(frozen=True, slots=True)
class SavedGuard:
    """A guard that is in no model.

    Attributes:
        config: Its parts.
        site: What was found of the model that it was made for.
        calibration: Its temperatures and thresholds.
        weights: Its state dict.
        source: Where it was read from, for messages.
    """

    config: GuardConfig
    site: GuardSite
    calibration: Calibration
    weights: Mapping[str, Tensor]
    source: str


def fill_guard(model: M, saved: SavedGuard, processor: Any) -> M:
    """Attach a guard and give it the saved weights, in their own dtype.

    Raises:
        GuardError: It does not fit. The model is then as it was.
    """
    check_weights(saved)
    kind = functools.reduce(torch.promote_types, (tensor.dtype for tensor in saved.weights.values()))
    attach_known(model, saved.config, saved.site, processor)
    guard = base_model(model).get_submodule("guard")
    place = next(guard.parameters()).device
    try:
        # assigned, not copied: a head trained in float32 stays so beside a model in bfloat16
        guard.load_state_dict(
            {key: tensor.to(place, kind, copy=True) for key, tensor in saved.weights.items()}, assign=True
        )
    except BaseException:
        detach_guard(model)
        raise
    observer_of(model).calibration = saved.calibration
    return model


def check_weights(saved: SavedGuard) -> None:
    """Hold the weights against the configuration.

    Raises:
        GuardError: One is missing, is not the configuration's, or has another shape, dtype or no finite values.
    """
    if saved.config.depth > len(saved.weights):
        raise GuardError(f"{saved.source}: {saved.config.depth} layers deep, but {len(saved.weights)} tensors")
    expected = shapes(saved.config, saved.site)
    if missing := [key for key in expected if key not in saved.weights]:
        raise GuardError(f"{saved.source}: {_some(missing)} missing; the configuration asks for {_some(expected)}")
    if unknown := [key for key in saved.weights if key not in expected]:
        raise GuardError(f"{saved.source}: {_some(unknown)} not expected; the configuration asks for {_some(expected)}")
    for key, tensor in saved.weights.items():
        if tensor.shape != expected[key]:
            raise GuardError(f"{saved.source}: {key}: expected shape {list(expected[key])}, found {list(tensor.shape)}")
        if tensor.dtype not in FLOATS:
            raise GuardError(f"{saved.source}: {key}: expected floating-point numbers, found {tensor.dtype}")
        if not bool(tensor.isfinite().all()):
            raise GuardError(f"{saved.source}: {key} has values that are not finite; save the guard again")


def shapes(config: GuardConfig, site: GuardSite) -> dict[str, torch.Size]:
    """Name and shape of each of a guard's weights."""
    with torch.device("meta"):
        return {key: tensor.shape for key, tensor in Guard(config, site).state_dict().items()}


def read_all(path: Path) -> tuple[dict[str, Tensor], str]:
    """All tensors of a small safetensors file, on the CPU, and the SHA-256 of the bytes they were read from.

    Raises:
        GuardError: It is missing, truncated, pickled or otherwise no safetensors file.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    _refuse_pickles(path)
    try:
        content = path.read_bytes()
        return load(content), hashlib.sha256(content).hexdigest()
    except (SafetensorError, OSError) as error:
        raise _damaged(path, error) from error


def read_some(path: Path, is_wanted: Callable[[str], object]) -> dict[str, Tensor]:
    """The wanted tensors of a large safetensors file, on the CPU; the others are not read.

    Raises:
        GuardError: It is missing, truncated, pickled or otherwise no safetensors file.
    """
    from safetensors import SafetensorError, safe_open

    _refuse_pickles(path)
    try:
        with safe_open(path, "pt") as opened:
            # cloned: what safetensors gives is the file itself, and goes wrong when somebody writes over it
            return {name: opened.get_tensor(name).clone() for name in opened.keys() if is_wanted(name)}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise _damaged(path, error) from error


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        GuardError: The file is missing, is no JSON, or holds no object.
    """
    if not path.exists() and not path.is_symlink():
        raise GuardError(f"{path} is missing")
    try:
        values = _files.read_json(path, GuardError, max_bytes=_MAX_JSON_BYTES, allow_nan=True)
    except GuardError as error:
        raise GuardError(f"{path}: no readable JSON ({str(error).removeprefix(f'{path}: ')})") from None
    if not isinstance(values, dict):
        raise GuardError(f"{path}: expected a JSON object, found {json.dumps(values)[:60]}")
    return values


def _refuse_pickles(path: Path) -> None:
    if not path.is_file():
        raise GuardError(f"{path} is missing{_pickled_instead(path.parent)}")
    with path.open("rb") as file:
        begin = file.read(2)
    if begin in _PICKLES:
        raise GuardError(
            f"{path} is a pickled file, which can run code when it is read; expected safetensors: save it again with "
            "save_guard or safetensors.torch.save_file"
        )


def _damaged(path: Path, error: Exception) -> GuardError:
    return GuardError(f"{path}: no whole safetensors file ({error}); is it truncated? fetch it again")


def _pickled_instead(folder: Path) -> str:
    found = sorted(path.name for path in folder.glob("*") if path.suffix in {".bin", ".pt", ".pth", ".pkl"})
    if not found:
        return ""
    return f"; {found[0]} is there, but pickled files are not read, since they can run code: convert it to safetensors"


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    return ", ".join(listed[:3]) + (f" and {len(listed) - 3} more" if len(listed) > 3 else "")


_PICKLES = (b"PK", *(bytes((0x80, protocol)) for protocol in range(2, 6)))  # torch's zip archives, and plain pickles
