"""A recipe: every setting of a tuning run."""

from __future__ import annotations

import dataclasses
import json
import math
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from holisafe.errors import TuningError

Method = Literal["vgm", "meta-token", "sft"]
Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TuneConfig:
    """How a model is tuned. The defaults are the published settings of SafeQwen2.5-VL where they are known.

    Source: arXiv 2506.04704 v5. Not published, and ours: joint_weight, lora_dropout, the adapted layers, warm-up,
    weight decay, gradient norm and seed.

    Raises:
        TuningError: A value is of another kind or out of its range.
    """

    method: Method = "vgm"
    """What learns beside the answer: "vgm" (a guard reads the images; v4 and v5 of the paper), "meta-token" (it reads
    a learned token after each image; v1 and v2), "sft" (no guard)."""
    image_weight: float = 1.0
    """λ, the weight of the image head's cross-entropy, at least 0."""
    joint_weight: float = 1.0
    """μ, the weight of the joint head's cross-entropies, at least 0."""

    lora_rank: int = 64
    """Rank of the adapter of the language model, at least 1."""
    lora_alpha: float = 64.0
    """What the adapter is scaled by, times 1 / rank; above 0."""
    lora_dropout: float = 0.0
    """Share of the adapter's inputs dropped in training, in [0, 1)."""
    lora_targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    """Names of the language model's linear layers that get an adapter."""

    language_rate: float | None = 5e-5
    """Peak learning rate of the language model's adapter, above 0; None: it gets none and rests."""
    projector_rate: float | None = 5e-5
    """Peak learning rate of the projector, above 0; None: it rests."""
    vision_rate: float | None = 5e-5
    """Peak learning rate of the vision encoder, above 0; None: it rests."""
    guard_rate: float | None = 5e-5
    """Peak learning rate of the guard, above 0; None: it rests. No meaning where there is no guard."""

    epochs: float = 5.0
    """Passes over the data, above 0."""
    steps: int | None = None
    """Optimizer steps, at least 1; in place of `epochs` unless None."""
    batch: int = 8
    """Samples of one forward pass of one process, at least 1."""
    accumulation: int = 16
    """Forward passes of one optimizer step, at least 1; with `batch` and one process, the paper's 128 samples."""
    warmup: float = 0.03
    """Share of the steps in which learning rates rise from 0 to their peak, in [0, 1); a cosine brings them back."""
    weight_decay: float = 0.0
    """Share of a weight that a step at a learning rate of 1 would take off, at least 0."""
    gradient_norm: float = 1.0
    """Norm of all gradients together beyond which they are scaled down, above 0."""
    seed: int = 0
    """Of the draw of samples, new weights and dropout; at least 0."""

    general_share: float = 0.0
    """Share of the samples that are general instruction data, in [0, 1)."""
    keep_twins: bool = True
    """Whether the harmless twin of a drawn sample is drawn with it; data without twins are drawn as ever."""
    twin_share: float | None = None
    """Share of the safety data that are whole pairs of twins, in (0, 1); None: as many as the balance brings."""
    safe_weight: float = 1.0
    """How many samples of SSS come for one of each unsafe combination, where the balance is kept; above 0."""
    group_by_length: bool = True
    """Whether a batch's samples are of like length, so that little of it is padding."""
    max_tokens: int | None = None
    """Longest conversation, visual tokens included, in tokens; None for any."""
    precision: Precision = "bfloat16"
    """Number format of forward and backward passes; what learns is kept in float32."""
    checkpointing: bool = False
    """Whether activations are computed again in the backward pass, which saves memory and costs time."""
    cache_features: bool = True
    """Whether what the vision encoder says of an image is computed once and kept; only done where it rests."""

    def __post_init__(self) -> None:
        hints = typing.get_type_hints(type(self))
        for name, hint in hints.items():
            _check_kind(name, getattr(self, name), hint)
        for name, (low, inside, high) in _RANGES.items():
            _check_range(name, getattr(self, name), low, inside, high)
        if not self.lora_targets and self.language_rate is not None:
            raise TuningError("lora_targets: found none; name the layers to adapt, or set language_rate to None")
        if not any((self.language_rate, self.projector_rate, self.vision_rate, self.guard_rate)):
            raise TuningError("nothing learns: language_rate, projector_rate, vision_rate and guard_rate are all None")
        if self.method == "sft" and not any((self.language_rate, self.projector_rate, self.vision_rate)):
            raise TuningError('nothing learns: method="sft" has no guard, and the rates of all other parts are None')

    def to_json(self) -> dict[str, Any]:
        """JSON values; `from_json` reads them."""
        return {**dataclasses.asdict(self), "lora_targets": list(self.lora_targets)}

    @classmethod
    def from_json(cls, values: Any, source: str = "recipe") -> TuneConfig:
        """Read what `to_json` wrote; fields that are missing have their defaults.

        Args:
            values: What the JSON file holds.
            source: Name of the file, for messages.

        Raises:
            TuningError: It is no object, a field is unknown, or its value is of another kind or out of its range.
        """
        if not isinstance(values, Mapping):
            raise TuningError(f"{source}: expected a JSON object, found {_shown(values)}")
        known = [field.name for field in dataclasses.fields(cls)]
        if unknown := sorted({str(key) for key in values} - set(known)):
            raise TuningError(f"{source}: unknown field {', '.join(unknown)}; expected some of {', '.join(known)}")
        given = dict(values)
        if isinstance(given.get("lora_targets"), list):
            given["lora_targets"] = tuple(given["lora_targets"])
        try:
            return cls(**given)
        except TuningError as error:
            raise TuningError(f"{source}: {error}") from None


_ABOVE_ZERO = (0.0, False, math.inf)
_RANGES: dict[str, tuple[float, bool, float]] = {  # lowest, whether it is allowed, what values stay below
    "image_weight": (0, True, math.inf), "joint_weight": (0, True, math.inf), "lora_rank": (1, True, math.inf),
    "lora_alpha": _ABOVE_ZERO, "lora_dropout": (0, True, 1), "language_rate": _ABOVE_ZERO,
    "projector_rate": _ABOVE_ZERO, "vision_rate": _ABOVE_ZERO, "guard_rate": _ABOVE_ZERO, "epochs": _ABOVE_ZERO,
    "steps": (1, True, math.inf), "batch": (1, True, math.inf), "accumulation": (1, True, math.inf),
    "warmup": (0, True, 1), "weight_decay": (0, True, math.inf), "gradient_norm": _ABOVE_ZERO,
    "seed": (0, True, 2**32), "general_share": (0, True, 1), "twin_share": (0, False, 1),
    "safe_weight": _ABOVE_ZERO, "max_tokens": (1, True, math.inf),
}  # fmt: skip


def _check_kind(name: str, value: Any, hint: Any) -> None:
    if typing.get_origin(hint) is Literal:
        if value not in get_args(hint):
            raise TuningError(f"{name}: expected one of {', '.join(get_args(hint))}, found {_shown(value)}")
    elif typing.get_origin(hint) is tuple:
        if not (isinstance(value, tuple) and all(isinstance(each, str) and each for each in value)):
            raise TuningError(f"{name}: expected a list of names, found {_shown(value)}")
    else:
        kinds = get_args(hint) or (hint,)
        is_right = type(value) in kinds or (float in kinds and type(value) is int)
        if not is_right:
            wanted = " or ".join(_KIND_NAMES[kind] for kind in kinds)
            raise TuningError(f"{name}: expected {wanted}, found {_shown(value)}")


def _check_range(name: str, value: float | None, low: float, low_is_allowed: bool, high: float) -> None:
    if value is None:
        return
    above = value >= low if low_is_allowed else value > low
    if not (above and value < high):
        border = f"{'at least' if low_is_allowed else 'above'} {low:g}"
        limit = "" if high == math.inf else f" and below {high:g}"
        raise TuningError(f"{name}: expected a number {border}{limit}, found {value}")


def _shown(value: Any) -> str:
    return json.dumps(value, default=repr)[:80]


_KIND_NAMES: dict[Any, str] = {
    float: "a number", int: "a whole number", bool: "true or false", type(None): "null",
}  # fmt: skip
