"""Memory and time of a run before it starts: per GPU, for one or several, each with the whole model or a shard of it.

What a micro-batch holds and computes is found by running the model, its loss and the way back on shapes. The rest is
arithmetic:

- *whole* (DDP; one process without it): weights, gradients (4 bytes per trained parameter), AdamW's two moments (8
  bytes), and DDP's buckets, which hold the gradients once more.
- *shards* (FSDP2): of weights, gradients and moments each process has its part of dimension 0; the guard is whole. In
  addition there are the largest layer three times in the dtype of the forward pass (gathered, as copied out of what was
  gathered, and the next one), and what stays gathered from the forward to the backward pass: embeddings, the last norm
  and all that lies outside the layers.

Not in it: the CUDA context (about 0.5 GiB), NCCL's buffers, fragmentation, workspaces of kernels.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from holisafe.errors import TuningError
from holisafe.guard.attach import NAME, base_model
from holisafe.tuning._config import Precision, TuneConfig
from holisafe.tuning._parts import TRAINING_ONLY
from holisafe.tuning._shapes import without_numbers
from holisafe.tuning._trainer import frozen_modules, passed_through

GPUS = (1, 8, 16)
"""Numbers of GPUs that are estimated for."""

MOMENT_BYTES = 8
"""AdamW's, of a parameter."""

GATHERED_LAYERS = 3


@dataclass(frozen=True, slots=True)
class GpuNeeds:
    """What one GPU holds at once, in bytes.

    Attributes:
        processes: GPUs.
        sharded: Whether by FSDP2.
        accumulation: Micro-batches of one GPU in an optimizer step; None where the step's do not divide.
        weights: Weights that stay on the GPU.
        gradients: Those of the weights that learn.
        optimizer: AdamW's moments.
        activations: The most that a micro-batch adds.
        communication: DDP's buckets, or the layers that FSDP gathers.
        seconds: Of one optimizer step.
    """

    processes: int
    sharded: bool
    accumulation: int | None
    weights: int
    gradients: int
    optimizer: int
    activations: int
    communication: int
    seconds: float | None

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.gradients + self.optimizer + self.activations + self.communication


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a run needs.

    Attributes:
        batch_size: Samples of a micro-batch.
        tokens: Tokens of its longest sample, visual ones included.
        flops: Floating-point operations of a micro-batch, forward and backward.
        gpus: What each GPU needs, for each number of GPUs, with and without shards.
    """

    batch_size: int
    tokens: int
    flops: int
    gpus: Sequence[GpuNeeds]

    def to_json(self) -> dict[str, Any]:
        """JSON values, with the `total` of each number of GPUs."""
        return asdict(self) | {"gpus": [asdict(each) | {"total": each.total} for each in self.gpus]}


@dataclass(frozen=True, slots=True)
class Speed:
    """How fast a GPU is taken to be.

    Attributes:
        tflops: Peak of dense matrix products in the precision of the run, in 10¹² operations per second.
        mfu: Share of it that a run reaches (model FLOPs utilisation), in (0, 1].

    Raises:
        TuningError: One is not a number in its range.
    """

    tflops: float = 312.0
    mfu: float = 0.35

    def __post_init__(self) -> None:
        """Refuse what gives no time."""
        if not 0 < self.tflops < math.inf:
            raise TuningError(f"tflops: found {self.tflops}, expected a number above 0")
        if not 0 < self.mfu <= 1:
            raise TuningError(f"mfu: found {self.mfu}, expected a share above 0 and at most 1")

    def seconds(self, flops: float) -> float:
        """Time of so many operations."""
        return flops / (self.tflops * 1e12 * self.mfu)


def estimate(
    model: Any, config: TuneConfig, batch: Mapping[str, Any], speed: Speed | None = None, gpus: Sequence[int] = GPUS
) -> Estimate:
    """What a run needs. The model's numbers are lost: it is of no more use.

    Args:
        model: From `configure_trainable_parts`, on a CPU or the meta device.
        config: The settings; `batch_size` × `gradient_accumulation_steps` are those of one process.
        batch: A micro-batch, of the method's collator.
        speed: How fast a GPU is taken to be.
        gpus: Numbers of GPUs.

    Raises:
        TuningError: What the model does depends on its weights' numbers, so that shapes do not tell it.
    """
    speed = speed or Speed()
    activations, flops = _micro_batch(model, config, batch)
    parts = [
        _part(model, config, count, sharded, activations, speed.seconds(flops))
        for count in gpus
        for sharded in ((False, True) if count > 1 else (False,))
    ]
    return Estimate(config.batch_size, int(batch["input_ids"].shape[1]), flops, parts)


def _micro_batch(model: Any, config: TuneConfig, batch: Mapping[str, Any]) -> tuple[int, int]:
    """The most bytes that a micro-batch holds beside weights and their gradients, and its operations."""
    method, settings = config.method_part, config.method_config
    if config.gradient_checkpointing:
        with warnings.catch_warnings():
            # its new name is not in all supported versions of transformers
            warnings.filterwarnings("ignore", "`gradient_checkpointing_enable` is deprecated", FutureWarning)
            model.gradient_checkpointing_enable({"use_reentrant": False})
    model.train()
    for module in frozen_modules(model):
        module.eval()
    for layer in passed_through(model) if config.gradient_checkpointing else []:
        layer.training = True
    is_half = config.precision is Precision.BFLOAT16
    with without_numbers(model) as shapes:
        before = shapes.bytes
        with torch.autocast("cpu", torch.bfloat16) if is_half else nullcontext():
            if method.has_reference:
                with torch.no_grad():
                    batch = {**batch, **method.reference(model, batch, settings)}
            total = method.loss(model, batch, settings).total()
        total.backward()  # type: ignore[no-untyped-call]
        return shapes.peak_apart - before, shapes.flops


def _part(model: Any, config: TuneConfig, count: int, sharded: bool, activations: int, seconds: float) -> GpuNeeds:
    batches = config.gradient_accumulation_steps
    accumulation = batches // count if batches % count == 0 else None
    replicated = {id(weight) for weight in _replicated(model)}
    weights = gradients = 0
    for weight in model.parameters():
        held = weight.nbytes
        if sharded and id(weight) not in replicated:
            rows = weight.shape[0] if weight.ndim else 1
            held = -(-rows // count) * (weight.nbytes // max(rows, 1))
        weights += held
        gradients += held if weight.requires_grad else 0
    weights += sum(buffer.nbytes for buffer in model.buffers())
    return GpuNeeds(
        processes=count,
        sharded=sharded,
        accumulation=accumulation,
        weights=weights,
        gradients=gradients,
        optimizer=gradients * MOMENT_BYTES // 4,
        activations=activations,
        communication=_gathered(model, config) if sharded else (gradients if count > 1 else 0),
        seconds=None if accumulation is None else seconds * accumulation,
    )


def _gathered(model: Any, config: TuneConfig) -> int:
    """Bytes of whole weights that a process has at once."""
    base = base_model(model)
    kinds = set(base._no_split_modules or ())
    is_half = config.precision is Precision.BFLOAT16
    layers = [module for module in base.modules() if type(module).__name__ in kinds]
    inside = {id(weight) for layer in layers for weight in layer.parameters()}
    apart = inside | {id(weight) for weight in _replicated(model)}
    largest = max((_size(layer.parameters(), is_half) for layer in layers), default=0)
    rest = (weight for weight in base.parameters() if id(weight) not in apart)
    return GATHERED_LAYERS * largest + _size(rest, is_half)


def _size(weights: Iterable[nn.Parameter], is_half: bool) -> int:
    return sum(2 * weight.numel() if is_half else weight.nbytes for weight in weights)


def _replicated(model: Any) -> Iterator[nn.Parameter]:
    for name, module in base_model(model).named_children():
        if name in (NAME, TRAINING_ONLY):
            yield from module.parameters()
