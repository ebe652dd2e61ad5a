"""Weights of which each process holds a shard (FSDP of version 2), beside a guard that all processes hold whole."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin
from torch import Tensor, distributed
from torch.distributed.fsdp import CPUOffloadPolicy
from torch.distributed.tensor import DTensor, distribute_tensor

from holisafe.errors import TuningError
from holisafe.guard.attach import NAME, base_model
from holisafe.tuning._parts import TRAINING_ONLY


def on_cpu(state: Any, plugin_args: Mapping[str, Any] | None) -> bool:
    """Turn on FSDP in an accelerate state of CPU processes, for which accelerate itself has DDP alone.

    Args:
        state: The `AcceleratorState`, before a model is prepared.
        plugin_args: What `TrainingArguments.fsdp_plugin_args` holds; None where `accelerate launch` asked for FSDP,
            whose environment variables then hold.

    Returns:
        Whether it is on; not where the processes are not several on CPUs.

    Raises:
        TuningError: What it keeps on the CPU is to be put there.
    """
    if state.distributed_type is not DistributedType.MULTI_CPU:
        return False
    plugin = FullyShardedDataParallelPlugin(**(plugin_args or {}))
    if isinstance(plugin.cpu_offload, CPUOffloadPolicy):
        raise TuningError("FSDP: cpu_offload: the weights are on the CPU already; leave it out")
    if state.mixed_precision != "no":
        plugin.set_mixed_precision(state.mixed_precision)
    state.distributed_type, state.fsdp_plugin = DistributedType.FSDP, plugin
    return True


def prepare_shards(trainer: Any, learned: Iterable[Tensor]) -> list[Tensor]:
    """Make a Trainer that has not begun ready for FSDP: what is sharded by itself, and what not at all.

    All processes get the first weights of process 0, as DDP would do by itself.

    Args:
        trainer: A transformers Trainer for which FSDP was asked.
        learned: The weights that learn.

    Returns:
        The weights that learn and are replicated, whose gradients `average_gradients` has to reduce.

    Raises:
        TuningError: accelerate does without FSDP, it is of its first version, or wraps layers to save activations.
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
    if plugin.activation_checkpointing:
        raise TuningError(
            "FSDP: activation_checkpointing: a guard does not see through its wrappers; use gradient_checkpointing "
            "(--gradient-checkpointing)"
        )
    base = base_model(trainer.model)
    if plugin.transformer_cls_names_to_wrap is None:
        # a family's own list also names layers that a model of it lacks, at which accelerate stops
        present = {type(module).__name__ for module in base.modules()}
        plugin.transformer_cls_names_to_wrap = sorted(present & set(base._no_split_modules or ()))
    replicated = [module for name, module in base.named_children() if name in (NAME, TRAINING_ONLY)]
    for module in replicated:
        module.to(trainer.args.device)
    plugin.ignored_modules = replicated
    # every process has loaded all weights, and accelerate's way to spread those of one takes sharded ones alone
    plugin.cpu_ram_efficient_loading = False
    for tensor in learned:
        first = tensor.detach().to(trainer.args.device).contiguous()
        distributed.broadcast(first, src=0)
        fill(tensor, first)
    return [weight for module in replicated for weight in module.parameters() if weight.requires_grad]


def saves_shards(trainer: Any) -> bool:
    """Whether each process writes its own part of a checkpoint."""
    is_sharded: bool = trainer.is_fsdp_enabled
    return is_sharded and "SHARDED" in str(trainer.accelerator.state.fsdp_plugin.state_dict_type)


def average_gradients(weights: Sequence[Tensor]) -> None:
    """Give all processes the mean of their gradients; a weight keeps none where no process has one."""
    there = torch.tensor([weight.grad is not None for weight in weights], dtype=torch.int32, device=weights[0].device)
    distributed.all_reduce(there, op=distributed.ReduceOp.MAX)
    with_one = [weight for weight, has in zip(weights, there.tolist(), strict=True) if has]
    if not with_one:
        return
    found = [torch.zeros_like(weight) if weight.grad is None else weight.grad for weight in with_one]
    flat = torch.cat([gradient.float().flatten() for gradient in found])  # (numbers,)
    distributed.all_reduce(flat)
    parts = torch.split(flat / distributed.get_world_size(), [gradient.numel() for gradient in found])
    for weight, part in zip(with_one, parts, strict=True):
        weight.grad = part.view_as(weight).to(weight.dtype)


def whole(tensor: Tensor) -> Tensor:
    """The tensor on the CPU, put together of its shards; all processes must ask for the same ones in the same order."""
    found = tensor.detach()
    return (found.full_tensor() if isinstance(found, DTensor) else found).cpu().contiguous()


def fill(tensor: Tensor, values: Tensor) -> None:
    """Give a weight, or this process's shard of it, these values, which are whole."""
    with torch.no_grad():
        tensor.copy_(held_as(tensor, values))


def held_as(tensor: Tensor, values: Tensor) -> Tensor:
    """The values where and how this process holds the tensor."""
    values = values.to(tensor.device, tensor.dtype)
    return distribute_tensor(values, tensor.device_mesh, tensor.placements) if isinstance(tensor, DTensor) else values


def own_part(tensor: Tensor) -> Tensor:
    """What this process itself holds of a tensor."""
    found = tensor.detach()
    return found.to_local() if isinstance(found, DTensor) else found
