"""One plain checkpoint of a tuned model."""

from __future__ import annotations

import shutil
from pathlib import Path

from safetensors import SafetensorError

from holisafe.checkpoints.tuned import GUARD, IMAGES_FILE, find_tuned
from holisafe.errors import GuardError, TuningError
from holisafe.guard import detach_guard, save_guard
from holisafe.models import load
from holisafe.tuning._save import CARD_FILE


def merge_tuned(tuned: str | Path, out: str | Path, *, dtype: str = "auto") -> Path:
    """Write a tuned model as `save_pretrained` does, with its processor, and its guard in the subfolder `guard`.

    Args:
        tuned: A folder that `tune` made.
        out: A new folder.
        dtype: "auto" for the base model's own dtype, else "float32", "bfloat16" or "float16".

    Returns:
        The new folder.

    Raises:
        TuningError: `tuned` holds no tuned model, there is something at `out`, or the disk does not take it.
        ModelError: The base model cannot be loaded or is another one.
    """
    target = Path(out)
    source = find_tuned(Path(tuned).expanduser())
    if source is None:
        raise TuningError(f"{tuned} holds no tuned model; expected a folder that `holisafe tune` made")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise TuningError(f"{target} is there already; choose a new folder")
    has_guard = (source.folder / GUARD).is_dir()
    loaded = load(str(source.folder), device="cpu", dtype=dtype, guard="own" if has_guard else None)
    unfinished = target.with_name(f"{target.name}.unfinished")
    try:
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        if has_guard:
            save_guard(loaded.model, unfinished / GUARD)
            detach_guard(loaded.model)
        loaded.model.save_pretrained(unfinished)
        loaded.processor.save_pretrained(unfinished)
        for name in (CARD_FILE, IMAGES_FILE):
            if (source.folder / name).is_file():
                shutil.copyfile(source.folder / name, unfinished / name)
        if target.exists():
            target.rmdir()
        unfinished.replace(target)
    except (OSError, SafetensorError, GuardError) as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise TuningError(f"the checkpoint cannot be written to {target}: {error}; make room and try again") from error
    return target
