"""Several processes: how many there are, and weights of which each process holds a shard (FSDP)."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, distributed
from torch.distributed.tensor import DTensor, distribute_tensor

from holisafe.errors import TuningError
from holisafe.guard.attach import base_model


def process_count() -> int:
    """Processes that `torchrun` or `accelerate launch` started; 1 without them."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def wants_shards(fsdp: Any) -> bool:
    """Whether FSDP was asked for, by this `TrainingArguments` option or by `accelerate launch`.

    Raises:
        TuningError: It was, and there is one process.
    """
    is_wanted = bool(fsdp) or os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"
    if is_wanted and process_count() == 1:
        raise TuningError(
            "FSDP was asked for, but there is one process; start several with torchrun or accelerate launch, or leave "
            "FSDP out"
        )
    return is_wanted


def prepare_shards(trainer: Any, learned: Iterable[Tensor]) -> None:
    """Make a Trainer that has not begun ready for FSDP: layers that are sharded one by one, the same weights to begin.

    Args:
        trainer: A transformers Trainer for which FSDP was asked.
        learned: The weights that learn; all processes get those of the first, as DDP would do by itself.

    Raises:
        TuningError: accelerate does without FSDP, or it is of its first version.
    """
    if not trainer.is_fsdp_enabled:
        raise TuningError(
            f"FSDP was asked for, but accelerate gives none on {trainer.args.device.type} and would train with DDP; "
            "leave FSDP out, or use GPUs"
        )
    plugin = trainer.accelerator.state.fsdp_plugin
    if plugin.fsdp_version != 2:
        raise TuningError(
            f"FSDP: found version {plugin.fsdp_version}, whose shards are no weights that can be saved by name; "
            "expected version 2 (accelerate launch --fsdp_version 2)"
        )
    if plugin.transformer_cls_names_to_wrap is None:
        # a family's own list also names layers that a model of it lacks, at which accelerate stops
        base = base_model(trainer.model)
        present = {type(module).__name__ for module in base.modules()}
        plugin.transformer_cls_names_to_wrap = sorted(present & set(base._no_split_modules or ()))
    for tensor in learned:
        first = tensor.detach().to(trainer.args.device).contiguous()
        distributed.broadcast(first, src=0)
        fill(tensor, first)


def whole(tensor: Tensor) -> Tensor:
    """The tensor on the CPU, put together of its shards; all processes must ask for the same ones in the same order."""
    found = tensor.detach()
    return (found.full_tensor() if isinstance(found, DTensor) else found).cpu().contiguous()


def fill(tensor: Tensor, values: Tensor) -> None:
    """Give a weight, or this process's shard of it, these values, which are whole."""
    with torch.no_grad():
        tensor.copy_(_held_as(tensor, values))


def whole_optimizer(optimizer: Any, names: Mapping[Tensor, str]) -> dict[str, Any]:
    """What an optimizer such as AdamW has learned of each weight, by the weight's name; for all processes to ask."""
    state = {
        names[weight]: {key: whole(value) for key, value in optimizer.state[weight].items()}
        for group in optimizer.param_groups
        for weight in group["params"]
        if weight in optimizer.state  # none of a weight that has had no gradient, at which torch's own way back stops
    }
    groups = [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]
    return {"state": state, "groups": groups}


def fill_optimizer(optimizer: Any, names: Mapping[Tensor, str], kept: Mapping[str, Any]) -> None:
    """Give an optimizer that has not begun what `whole_optimizer` gave."""
    for group, values in zip(optimizer.param_groups, kept["groups"], strict=True):
        group.update(values)
        for weight in group["params"]:
            if names[weight] in kept["state"]:
                optimizer.state[weight] = {
                    key: _held_as(weight, value) if value.shape == weight.shape else value
                    for key, value in kept["state"][names[weight]].items()
                }


def _held_as(tensor: Tensor, values: Tensor) -> Tensor:
    """The values where and how this process holds the tensor."""
    values = values.to(tensor.device, tensor.dtype)
    return distribute_tensor(values, tensor.device_mesh, tensor.placements) if isinstance(tensor, DTensor) else values
