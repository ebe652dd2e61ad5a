"""What a defence has learned of a model: a folder with `defence.json` and `parts.safetensors`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load as load_parts
from safetensors.torch import save as save_parts
from torch import Tensor

from holisafe._files import read_bounded, read_json, write_atomically
from holisafe._version import __version__
from holisafe.defences._contract import FittedDefence
from holisafe.errors import DefenceError
from holisafe.families.layers import decoder_layers
from holisafe.models import LoadedModel

SETTINGS = "defence.json"
PARTS = "parts.safetensors"
FORMAT = 1

ANY, LAYER = "any", "layer"
"""A size that is not checked; the part that is the number of a layer."""

MAX_BYTES = 2**30
"""Largest file of parts that is read."""


def base_identity(loaded: LoadedModel) -> str:
    """What a model is, by its language model's weights: SHA-256 of names, shapes and evenly spaced values."""
    digest = hashlib.sha256()
    for name, weight in sorted(loaded.model.get_decoder().named_parameters()):
        flat = weight.detach().reshape(-1)
        picked = flat[:: max(1, flat.numel() // 64)].float().cpu().bfloat16().float()
        digest.update(f"{name}{tuple(weight.shape)}".encode() + picked.numpy().tobytes())
    return digest.hexdigest()


def save_fitted(
    folder: Path,
    name: str,
    settings: Mapping[str, Any],
    parts: Mapping[str, Tensor],
    base: str,
    data: Mapping[str, Any],
) -> None:
    """Write a folder.

    Args:
        folder: Made if missing.
        name: The defence's.
        settings: With which it was fitted.
        parts: What it learned.
        base: `base_identity` of the model.
        data: On what: name, split, samples.

    Raises:
        DefenceError: It cannot be written.
    """
    written = save_parts({key: value.detach().contiguous().cpu() for key, value in parts.items()})
    record = {
        "format": FORMAT, "holisafe": __version__, "defence": name, "settings": dict(settings), "base": base,
        "data": dict(data), "parts_sha256": hashlib.sha256(written).hexdigest(),
    }  # fmt: skip
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / PARTS, written)
        write_atomically(folder / SETTINGS, json.dumps(record, indent=2) + "\n")
    except OSError as error:
        raise DefenceError(f"{folder}: cannot be written ({error.strerror}); choose another folder") from error


def read_fitted(folder: str | Path, name: str) -> tuple[dict[str, Any], dict[str, Tensor], str]:
    """The record of a folder, its parts, and their SHA-256.

    Raises:
        DefenceError: It is no such folder, is damaged, or belongs to another defence.
    """
    path = Path(folder).expanduser()
    if not str(folder):
        raise DefenceError(
            f"{name} learns something of the model first: `holisafe defence fit {name} MODEL --out DIR`, then "
            f"--defence {name}:DIR"
        )
    record = read_json(path / SETTINGS, DefenceError)
    data = read_bounded(path / PARTS, DefenceError, max_bytes=MAX_BYTES)
    if not isinstance(record, dict) or record.get("format") != FORMAT or record.get("defence") != name:
        found = record.get("defence") if isinstance(record, dict) else None
        raise DefenceError(f"{path / SETTINGS}: defence: found {found!r}, expected {name!r} in format {FORMAT}")
    digest = hashlib.sha256(data).hexdigest()
    if digest != record.get("parts_sha256"):
        raise DefenceError(f"{path / PARTS}: its SHA-256 is not that of {SETTINGS}; the file is damaged, fit it again")
    try:
        return record, load_parts(data), digest
    except SafetensorError as error:
        raise DefenceError(f"{path / PARTS}: cannot be read: {error}") from error


def take_fitted(defence: FittedDefence, loaded: LoadedModel) -> None:
    """Read what a defence learned into it; call it from `check`.

    Raises:
        DefenceError: As `read_fitted`, it was fitted on another model, or a part that it needs is missing, has another
            shape or is not finite.
    """
    if defence.parts:
        return
    record, parts, digest = read_fitted(defence.settings.fitted, defence.name)
    base = base_identity(loaded)
    if record.get("base") != base:
        raise DefenceError(
            f"{defence.settings.fitted}: {defence.name} was fitted on another model "
            f"(base {str(record.get('base'))[:12]}, this one {base[:12]}); fit it on this one"
        )
    sizes: dict[str, int] = _sizes(loaded)
    for part, shape in defence.needs.items():
        wrong = _wrong_with(part, parts.get(part), shape, sizes)
        if wrong:
            raise DefenceError(f"{Path(defence.settings.fitted) / PARTS}: {part} {wrong}; fit it again")
    defence.parts, defence.digest = parts, digest


def _sizes(loaded: LoadedModel) -> dict[str, int]:
    vocabulary, _ = loaded.model.get_output_embeddings().weight.shape
    _, hidden = loaded.model.get_input_embeddings().weight.shape
    return {"vocabulary": vocabulary, "hidden": hidden, "layers": len(decoder_layers(loaded.model))}


def _wrong_with(name: str, part: Tensor | None, shape: Sequence[str | int], sizes: dict[str, int]) -> str:
    """What is wrong with a part; empty where nothing is. A size that parts share is noted when it is first met."""
    if part is None:
        return "is missing"
    found = tuple(part.shape)
    if len(found) == len(shape):
        for size, dimension in zip(found, shape, strict=True):
            if isinstance(dimension, str) and dimension != ANY:
                sizes.setdefault(dimension, size)
    expected = tuple(sizes.get(each, each) if isinstance(each, str) else each for each in shape)
    if len(found) != len(shape) or any(want not in (ANY, size) for size, want in zip(found, expected, strict=True)):
        return f"has the shape {_shown(found)}, expected {_shown(expected)}"
    if not bool(part.isfinite().all()):
        return "holds values that are not finite"
    if name == LAYER and not 0 <= int(part) < sizes["layers"]:
        return f"is {int(part)}, and the model has {sizes['layers']} layers"
    return ""


def _shown(shape: Sequence[str | int]) -> str:
    return f"({', '.join(map(str, shape))})"
