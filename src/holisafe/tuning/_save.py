"""What a run came to, on the disk: see `holisafe.checkpoints.tuned` for the files."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from holisafe.checkpoints.adapter import ADAPTER_FILE
from holisafe.checkpoints.manifest import file_manifest
from holisafe.checkpoints.tuned import ADAPTER, GUARD, IMAGES_FILE, PARTS_FILE, TUNED_FILE
from holisafe.errors import GuardError, TuningError
from holisafe.guard import save_guard
from holisafe.guard.attach import NAME, base_model, find_observer, name_of
from holisafe.guard.checkpoint import public_name
from holisafe.tuning._card import model_card
from holisafe.tuning._parts import TRAINING_ONLY

CARD_FILE = "README.md"


def save_tuned(model: Any, folder: Path, description: Mapping[str, Any], images: Iterable[str] = ()) -> Path:
    """Write a tuned model, whole or not at all.

    Args:
        model: The model as the trainer has it, with its adapter and guard.
        folder: Where to; what is there is replaced.
        description: What `tuned.json` says; the list of files is added.
        images: What `image_digests` gives of the images that it learned from.

    Raises:
        TuningError: The disk does not take it.
    """
    from safetensors import SafetensorError

    unfinished = folder.with_name(f"{folder.name}.unfinished")
    try:
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        _write(model, unfinished, description)
        (unfinished / IMAGES_FILE).write_text("".join(f"{each}\n" for each in sorted(images)), encoding="ascii")
        whole = {**description, "files": file_manifest(unfinished)}
        text = json.dumps(whole, indent=2, ensure_ascii=False)
        (unfinished / TUNED_FILE).write_text(f"{text}\n", encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        unfinished.replace(folder)
    except (OSError, SafetensorError, GuardError) as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise TuningError(
            f"the tuned model cannot be written to {folder}: {error}; its checkpoint is kept: make room and start the "
            "same command again"
        ) from error
    return folder


def _write(model: Any, folder: Path, description: Mapping[str, Any]) -> None:
    from peft import PeftModel
    from safetensors.torch import save_file

    if isinstance(model, PeftModel):
        _write_adapter(model, folder / ADAPTER)
    if parts := _parts(base_model(model)):
        save_file(parts, folder / PARTS_FILE, metadata={"format": "pt"})
    if find_observer(model) is not None:
        save_guard(model, folder / GUARD)
    (folder / CARD_FILE).write_text(model_card(description), encoding="utf-8")


def _write_adapter(model: Any, folder: Path) -> None:
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    folder.mkdir()
    weights = get_peft_model_state_dict(model, save_embedding_layers=False)
    config = copy.deepcopy(model.peft_config[model.active_adapter])
    config.inference_mode = True
    config.base_model_name_or_path = public_name(name_of(base_model(model)))
    config.save_pretrained(folder)
    save_file(
        {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()},
        folder / ADAPTER_FILE,
        metadata={"format": "pt"},
    )


def _parts(base: Any) -> dict[str, Tensor]:
    """Weights beside adapter and guard that have learned, and the statistics that come with them."""
    own: dict[str, Tensor] = {
        name: weight
        for name, weight in base.named_parameters()
        if weight.requires_grad and ".lora_" not in name and not name.startswith(_NOT_PARTS)
    }
    if not own:
        return {}
    kept = base.state_dict().keys()
    own |= {
        name: each
        for name, each in base.named_buffers()
        if name in kept and not name.startswith((f"{NAME}.", f"{TRAINING_ONLY}."))
    }
    return {name: tensor.detach().cpu().contiguous() for name, tensor in own.items()}


_NOT_PARTS = (f"{NAME}.", f"{TRAINING_ONLY}.")
