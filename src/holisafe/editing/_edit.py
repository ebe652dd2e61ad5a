"""Applying a method to a model: check, then write a new checkpoint, whole or not at all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from holisafe._files import write_atomically
from holisafe._version import __version__
from holisafe.checkpoints.tuned import IMAGES_FILE
from holisafe.editing._card import card
from holisafe.editing._checkpoint import Checkpoint
from holisafe.editing._method import EDITING_METHODS, Change
from holisafe.editing._sources import Sources, sources_or
from holisafe.editing._write import copy_other_files, write_weights
from holisafe.errors import EditingError
from holisafe.guard.checkpoint import public_name

EDIT_FILE = "edit.json"
CARD_FILE = "README.md"
SELECTION_FILE = "selection.safetensors"


@dataclass(frozen=True, slots=True)
class Edited:
    """An edited model.

    Attributes:
        folder: Its checkpoint.
        description: What `edit.json` says: method, settings, models, tensors that changed, SHA-256 of the files.
    """

    folder: Path
    description: Mapping[str, Any]


def edit(
    method: str,
    model: str | Path,
    out: str | Path,
    *,
    sources: Sources | None = None,
    **settings: Any,
) -> Edited:
    """Write a model with edited weights: safetensors under the base's tensor names, configuration, processor, card.

    Args:
        method: Name of an editing method, such as "merge".
        model: The model to edit: a folder with a checkpoint, a Hub id, a registered name, or a folder that
            `holisafe tune` made.
        out: A new folder.
        sources: Where models were opened before, to edit one several times; opened here when None.
        settings: The method's settings by name, such as `safe="pocket-safe", c=0.5`.

    Raises:
        UnknownNameError: There is no such method or model.
        EditingError: A setting is wrong, the models do not belong together, there is something at `out`, or the disk
            does not take it. Nothing is written.
        ModelError: A model cannot be loaded, its weights are pickled, quantized, incomplete or damaged.
    """
    part = EDITING_METHODS.get(method)
    config = part.config.from_mapping(settings)
    target = Path(out).expanduser()
    check_new(target)
    with sources_or(sources) as opened:
        base = opened.open(model)
        change = part.change(base, config, opened)
        if not change.tensors <= base.tensors.keys():
            missing = sorted(change.tensors - base.tensors.keys())
            raise EditingError(f"method {method} changes {missing[0]}, which {base.name} does not have")
        for name in base.tensors.keys() - change.tensors:
            base.check_finite(name)
        others = tuple(opened.open(getattr(config, name)) for name in part.models)
        return _write(target, base, others, change, _record(method, base, config.to_json(), change))


def check_new(target: Path) -> None:
    """Refuse a folder that holds something.

    Raises:
        EditingError: It does.
    """
    if not target.name:
        raise EditingError(f"{target}: expected a new folder with a name of its own, such as edited")
    if target.is_symlink():
        raise EditingError(f"{target} is a link; name the folder itself, or remove the link")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise EditingError(f"{target} is there already; choose a new folder")


def _record(method: str, base: Checkpoint, settings: Mapping[str, Any], change: Change) -> dict[str, Any]:
    shown = {name: public_name(value) if isinstance(value, str) else value for name, value in settings.items()}
    return {
        "holisafe": __version__,
        "method": method,
        "model": public_name(base.name),
        "settings": shown,
        "tensors_changed": len(change.tensors),
        "tensors": len(base.tensors),
        "found": dict(change.record),
    }


def _write(
    target: Path, base: Checkpoint, others: tuple[Checkpoint, ...], change: Change, record: dict[str, Any]
) -> Edited:
    unfinished = target.with_name(f"{target.name}.unfinished")
    try:
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        copy_other_files(base, unfinished)
        record["files"] = write_weights(base, change, unfinished)
        _keep(change, unfinished / SELECTION_FILE)
        _write_learned_images((base, *others), unfinished / IMAGES_FILE)
        write_atomically(unfinished / EDIT_FILE, json.dumps(record, indent=2) + "\n")
        write_atomically(unfinished / CARD_FILE, card(record, EDITING_METHODS.get(record["method"]).about, base.config))
        if target.exists():
            target.rmdir()
        unfinished.replace(target)
    except OSError as error:
        raise EditingError(f"the checkpoint cannot be written to {target}: {error}; make room and try again") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return Edited(target, record)


def _keep(change: Change, path: Path) -> None:
    if change.kept:
        from safetensors.torch import save

        write_atomically(path, save(dict(change.kept)))


def _write_learned_images(models: tuple[Checkpoint, ...], path: Path) -> None:
    """The images that any of the models learned from, so that a calibration can leave them out."""
    lists = [model.folder / IMAGES_FILE for model in models if (model.folder / IMAGES_FILE).is_file()]
    if lists:
        lines = {line for each in lists for line in each.read_text("utf-8").splitlines()}
        write_atomically(path, "\n".join(sorted(lines)) + "\n")
