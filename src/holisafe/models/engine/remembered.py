"""What was found right for a checkpoint, kept in the cache folder: trying out takes as long as several answers."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable
from typing import Any

import torch
import transformers

from holisafe._cache import cache_folder
from holisafe._files import read_json, write_atomically
from holisafe._version import __version__
from holisafe.errors import ModelError
from holisafe.models.engine.reuse import Reuse, Way


def remembered(identity: str | None, model: Any, reuse: bool, find: Callable[[], Reuse]) -> Reuse:
    """What `find` found for a model before, on a device and with libraries of the same kind; else what it finds now.

    Args:
        identity: What tells the model's files from all others; None to find out anew.
        model: The loaded model.
        reuse: Whether faster ways are asked for.
        find: Tries the ways out.
    """
    if identity is None:
        return find()
    file = cache_folder() / "reuse" / f"{_key(identity, model, reuse)}.json"
    known = _read(file)
    if known is not None:
        return known
    found = find()
    with contextlib.suppress(OSError):  # where nothing can be kept, the next run tries again
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, json.dumps({"way": found.way, "reason": found.reason, "batched": found.batched}))
    return found


def _read(file: Any) -> Reuse | None:
    """What is kept; None where nothing is, or something else."""
    try:
        found = read_json(file, ModelError)
        return Reuse(Way(found["way"]), str(found["reason"]), bool(found["batched"]))
    except (ModelError, OSError, KeyError, TypeError, ValueError):
        return None


def _key(identity: str, model: Any, reuse: bool) -> str:
    device = torch.cuda.get_device_name(model.device) if model.device.type == "cuda" else model.device.type
    parts = [
        identity,
        type(model).__qualname__,
        str(model.dtype),
        model.config._attn_implementation,
        device,
        torch.is_autocast_enabled(model.device.type),
        reuse,
        __version__,
        torch.__version__,
        transformers.__version__,
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
