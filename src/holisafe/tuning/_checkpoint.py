"""Checkpoints of a run: what learns and what the optimizer knows of it, by name, whole or in shards.

Whole: `learned.safetensors` and `optimizer.pt`. In shards, which torch.distributed.checkpoint writes and reads in
accelerate's folders: `pytorch_model_fsdp_0/` and `optimizer_0/`, with the optimizer's settings in `optimizer.pt`. Any
number of processes reads either form.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, distributed, nn
from transformers.trainer import OPTIMIZER_NAME

from holisafe.errors import TuningError
from holisafe.records import Sample
from holisafe.tuning._config import TuneConfig
from holisafe.tuning._processes import process_count
from holisafe.tuning._shards import fill, held_as, own_part, whole

RECIPE_FILE = "recipe.json"
"""What a folder's checkpoints were made with."""

LEARNED_FILE = "learned.safetensors"
"""The weights of a checkpoint that learn, and the statistics that they come with."""

WEIGHT_SHARDS = "pytorch_model_fsdp_0"
"""The same in shards."""

OPTIMIZER_SHARDS = "optimizer_0"


def last_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that was written to its end; None where there is none."""
    for path in sorted(folder.glob("checkpoint-*"), key=_step_of, reverse=True):
        try:
            state = json.loads((path / "trainer_state.json").read_text())  # what is written last
        except (OSError, ValueError):
            continue
        if state["global_step"] == _step_of(path):
            return path
    return None


def learned_weights(model: nn.Module) -> dict[str, Tensor]:
    """Weights that learn, and all statistics, such as a batch norm's, by name."""
    weights: dict[str, Tensor] = {_name(name): each for name, each in model.named_parameters() if each.requires_grad}
    kept = model.state_dict().keys()
    return weights | {_name(name): each for name, each in model.named_buffers() if name in kept}


def save_weights(model: nn.Module, folder: Path, in_shards: bool, *, writes: bool) -> str | None:
    """Write what learns; all processes of a sharded model must call it.

    Args:
        model: The model.
        folder: The checkpoint.
        in_shards: Whether each process writes its own part.
        writes: Whether this process writes where one does.

    Returns:
        The name of a weight that is not finite, and then nothing is written; None where all are.
    """
    learned = learned_weights(model)
    if in_shards:
        broken = [name for name, tensor in learned.items() if not _is_finite(own_part(tensor))]
        if names := [str(name) for each in _from_all(broken) for name in each]:
            return names[0]
        _write_shards({"model": {name: tensor.detach() for name, tensor in learned.items()}}, folder / WEIGHT_SHARDS)
        return None
    found = {name: whole(tensor) for name, tensor in learned.items()}
    for name, tensor in found.items():
        if not _is_finite(tensor):
            return name
    if writes:
        folder.mkdir(parents=True, exist_ok=True)
        save_file(found, folder / LEARNED_FILE)
    return None


def read_weights(checkpoint: Path) -> dict[str, Tensor]:
    """All that a checkpoint holds of what learns, whole, on the CPU."""
    if (checkpoint / WEIGHT_SHARDS).is_dir():
        return {
            name.removeprefix("model."): tensor for name, tensor in _read_shards(checkpoint / WEIGHT_SHARDS).items()
        }
    return dict(load_file(checkpoint / LEARNED_FILE))


def fill_weights(model: nn.Module, checkpoint: Path) -> None:
    """Give a model, or this process's part of it, what a checkpoint holds.

    Raises:
        TuningError: The checkpoint's weights are others.
    """
    present = learned_weights(model)
    shards = checkpoint / WEIGHT_SHARDS
    kept = None if shards.is_dir() else load_file(checkpoint / LEARNED_FILE)
    names = {each.removeprefix("model.") for each in _shapes(shards)} if kept is None else set(kept)
    if odd := sorted(names ^ present.keys()):
        raise TuningError(
            f"{checkpoint}: its weights are not those of this model, such as {odd[0]}; use another folder"
        )
    if kept is None:
        kept = _read_shards_into({f"model.{name}": tensor.detach() for name, tensor in present.items()}, shards)
        kept = {name.removeprefix("model."): tensor for name, tensor in kept.items()}
        with torch.no_grad():
            for name, tensor in present.items():
                tensor.copy_(kept[name])
        return
    for name, tensor in present.items():
        fill(tensor, kept[name])


def save_optimizer(optimizer: Any, model: nn.Module, folder: Path, in_shards: bool, *, writes: bool) -> None:
    """Write what an optimizer such as AdamW has learned of each weight; all processes of a sharded model must call it.

    Args:
        optimizer: The optimizer.
        model: Its model.
        folder: The checkpoint.
        in_shards: Whether each process writes its own part.
        writes: Whether this process writes where one does.
    """
    names = _names(model)
    # none of a weight that has had no gradient, at which torch's own way back stops
    weights = [w for group in optimizer.param_groups for w in group["params"] if w in optimizer.state]
    groups = [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]
    if in_shards:
        flat = {f"{key}/{names[w]}": value for w in weights for key, value in optimizer.state[w].items()}
        if flat:
            _write_shards(flat, folder / OPTIMIZER_SHARDS)
        kept: dict[str, Any] = {"groups": groups}
    else:
        state = {names[w]: {key: whole(value) for key, value in optimizer.state[w].items()} for w in weights}
        kept = {"state": state, "groups": groups}
    if writes:
        torch.save(kept, folder / OPTIMIZER_NAME)


def fill_optimizer(optimizer: Any, model: nn.Module, checkpoint: Path) -> None:
    """Give an optimizer that has not begun what `save_optimizer` wrote."""
    names = _names(model)
    weights = {names[weight]: weight for group in optimizer.param_groups for weight in group["params"]}
    kept = torch.load(checkpoint / OPTIMIZER_NAME, map_location="cpu", weights_only=True)
    for group, values in zip(optimizer.param_groups, kept["groups"], strict=True):
        group.update(values)
    if (checkpoint / OPTIMIZER_SHARDS).is_dir():
        shapes = _shapes(checkpoint / OPTIMIZER_SHARDS)
        places = {key: _place(weights[key.partition("/")[2]], shape) for key, shape in shapes.items()}
        for key, value in _read_shards_into(places, checkpoint / OPTIMIZER_SHARDS).items():
            kind, _, name = key.partition("/")
            optimizer.state[weights[name]][kind] = value
        return
    for name, values in kept["state"].items():
        weight = weights[name]
        optimizer.state[weight] = {
            key: held_as(weight, value) if value.shape == weight.shape else value for key, value in values.items()
        }


def settings_of(config: TuneConfig, samples: Sequence[Sample]) -> dict[str, Any]:
    """What a run's checkpoints are made with, as JSON values."""
    settings = config.to_json()
    return {
        "batches_per_step": settings.pop("gradient_accumulation_steps") * process_count(),
        "settings": settings,
        "samples": len(samples),
        "sample_ids_sha256": hashlib.sha256("\n".join(sample.id for sample in samples).encode()).hexdigest(),
    }


def check_settings(folder: Path, now: dict[str, Any]) -> None:
    """Refuse to resume from checkpoints that were made otherwise.

    Raises:
        TuningError: The folder's are of other settings or data.
    """
    path = folder / RECIPE_FILE
    if last_checkpoint(folder) is None or not path.is_file():
        return
    try:
        kept = json.loads(path.read_text())
        settings = TuneConfig.from_json(kept["settings"], str(path)).to_json()
        digest, batches = kept["sample_ids_sha256"], kept["batches_per_step"]
    except (ValueError, KeyError, TypeError) as error:
        raise TuningError(f"{path}: cannot be read ({error}); use another folder") from None
    check_batches(folder, batches, now["batches_per_step"])
    different = [name for name, value in now["settings"].items() if value != settings[name]]
    if digest != now["sample_ids_sha256"]:
        different.append("samples")
    if different:
        raise TuningError(
            f"{folder} holds checkpoints of another run, with other {', '.join(different)}; use another folder, or go "
            f"on with what {path} says"
        )


def check_batches(folder: Path, kept: int, now: int) -> None:
    """Refuse to resume where an optimizer step would have other samples.

    Args:
        folder: The run's.
        kept: `gradient_accumulation_steps` × processes of the run so far.
        now: The same of this one.

    Raises:
        TuningError: They differ.
    """
    if kept == now:
        return
    count = process_count()
    remedy = (
        f"use gradient_accumulation_steps {kept // count} with {count} process{'es' if count > 1 else ''}"
        if kept % count == 0
        else f"use a number of processes that divides {kept}"
    )
    raise TuningError(
        f"{folder} holds a run of {kept} batches per optimizer step (gradient_accumulation_steps × processes), and "
        f"this one would have {now}; {remedy}"
    )


def keep_settings(folder: Path, settings: dict[str, Any]) -> None:
    """Write down what checkpoints will be made with."""
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = folder / f"{RECIPE_FILE}.unfinished"
    unfinished.write_text(json.dumps(settings, indent=2))
    unfinished.replace(folder / RECIPE_FILE)


def _write_shards(tensors: dict[str, Any], folder: Path) -> None:
    from torch.distributed.checkpoint.filesystem import FileSystemWriter
    from torch.distributed.checkpoint.state_dict_saver import save

    folder.mkdir(parents=True, exist_ok=True)
    save(tensors, storage_writer=FileSystemWriter(folder))


def _read_shards(folder: Path) -> dict[str, Tensor]:
    """All tensors of a folder of shards, whole."""
    metadata = _metadata(folder)
    places = {name: torch.empty(each.size, dtype=each.properties.dtype) for name, each in metadata.items()}
    return _read_shards_into(places, folder, alone=True)


def _read_shards_into(places: dict[str, Tensor], folder: Path, *, alone: bool = False) -> dict[str, Tensor]:
    """Fill tensors, each whole or this process's part of it, from a folder of shards; they must be all that it holds.

    Args:
        places: Where to read to, by name.
        folder: The shards.
        alone: Whether this process reads without the others.
    """
    from torch.distributed.checkpoint.filesystem import FileSystemReader
    from torch.distributed.checkpoint.state_dict_loader import load

    if not alone and distributed.is_initialized():
        load(places, storage_reader=FileSystemReader(folder))
        return places
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled", UserWarning)  # as it shall be
        load(places, storage_reader=FileSystemReader(folder), no_dist=True)
    return places


def _metadata(folder: Path) -> dict[str, Any]:
    from torch.distributed.checkpoint.filesystem import FileSystemReader

    return dict(FileSystemReader(folder).read_metadata().state_dict_metadata)


def _shapes(folder: Path) -> dict[str, torch.Size]:
    return {name: each.size for name, each in _metadata(folder).items()}


def _place(weight: Tensor, shape: torch.Size) -> Tensor:
    """Where a value of a weight goes: as the weight where it has its shape, else a number of its own."""
    return torch.zeros_like(weight) if shape == weight.shape else torch.zeros(shape)


def _is_finite(tensor: Tensor) -> bool:
    return not tensor.is_floating_point() or bool(torch.isfinite(tensor).all())


def _from_all(value: Any) -> list[Any]:
    """What each process gives."""
    found: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(found, value)
    return found


def _names(model: nn.Module) -> dict[Tensor, str]:
    return {weight: _name(name) for name, weight in model.named_parameters()}


def _name(name: str) -> str:
    """A weight's name without what FSDP's own activation checkpointing and torch.compile put into it."""
    return name.replace("_checkpoint_wrapped_module.", "").replace("_orig_mod.", "")


def _step_of(path: Path) -> int:
    number = path.name.removeprefix("checkpoint-")
    return int(number) if number.isdecimal() else -1
