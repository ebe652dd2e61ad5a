"""Settings of a tuning run, with the names that transformers, PEFT and TRL use."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from holisafe.errors import TuningError
from holisafe.tuning._fields import ABOVE_ZERO, Range, check_fields, shown
from holisafe.tuning.methods import METHODS, Method, MethodConfig

PARTS = ("language", "projector", "vision", "guard")
"""Parts of a model that learn or are frozen; each can have its own learning rate."""


class Precision(StrEnum):
    """Dtype of forward and backward passes."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"


@dataclass(frozen=True, slots=True, kw_only=True)
class TuneConfig:
    """How a model is tuned. The defaults are the published settings of SafeQwen2.5-VL where they are known.

    Source: arXiv 2506.04704 v5. Not published, and ours: lora_dropout, the adapted layers, warmup_ratio, weight_decay,
    max_grad_norm and seed.

    Raises:
        TuningError: A value is of another kind or out of its range.
        UnknownNameError: There is no such method.
    """

    method: str = "vgm"
    """What learns beside the answer: "vgm" (a guard reads the images; v4 and v5 of the paper), "meta-token" (it reads
    a learned token after each image; v1 and v2), "sft" (no guard), "dpo", "vlguard", "mirage", "star-dss", "safekey"
    (with a guard or without), or a method of another package."""
    method_args: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """Settings of the method, such as image_weight (λ) and joint_weight (μ) of "vgm"; its defaults where missing."""

    learning_rate: float = 5e-5
    """Peak learning rate of each part that `learning_rates` does not name; above 0."""
    learning_rates: Mapping[str, float | None] = field(default_factory=dict, hash=False)
    """Peak learning rate by part ("language", "projector", "vision", "guard"), above 0; None freezes the part. The
    language model learns by an adapter (LoRA)."""

    lora_r: int = 64
    """Rank of the adapter of the language model, at least 1."""
    lora_alpha: float = 64.0
    """The adapter is scaled by lora_alpha / lora_r; above 0."""
    lora_dropout: float = 0.0
    """Share of the adapter's inputs dropped in training, in [0, 1)."""
    lora_target_modules: tuple[str, ...] = (
        "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj",
    )  # fmt: skip
    """Names of the language model's linear layers that get an adapter."""

    num_train_epochs: float = 5.0
    """Passes over the safety data, above 0."""
    max_steps: int | None = None
    """Optimizer steps, at least 1; in place of `num_train_epochs` unless None."""
    batch_size: int = 8
    """Samples of one forward pass of one process, at least 1."""
    gradient_accumulation_steps: int = 16
    """Forward passes of one optimizer step, at least 1; with `batch_size` and one process, the paper's 128 samples."""
    warmup_ratio: float = 0.03
    """Share of the steps in which learning rates rise from 0 to their peak, in [0, 1); a cosine brings them back."""
    weight_decay: float = 0.0
    """Decoupled weight decay (AdamW) of matrices, at least 0."""
    max_grad_norm: float = 1.0
    """Norm of all gradients together beyond which they are scaled down, above 0."""
    seed: int = 0
    """Of the draw of samples, new weights and dropout; at least 0."""

    general_share: float = 0.0
    """Share of the samples that are general instruction data, in [0, 1)."""
    keep_twins: bool = True
    """Whether the harmless twin of a drawn sample is drawn with it; no effect on data without twins."""
    twin_share: float | None = None
    """Share of the safety data that are whole pairs of twins, in (0, 1); None: as many as the balance brings."""
    safe_weight: float = 1.0
    """How many samples of SSS come for one of each unsafe combination, where the balance is kept; above 0."""
    group_by_length: bool = True
    """Whether the samples of an optimizer step are split into batches of like length, so that less is padding. The
    step's samples, and so its gradient, are the same."""
    max_length: int | None = None
    """Longest conversation, visual tokens included, in tokens; None for any."""
    chat_template_args: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """Arguments for the chat template, such as enable_thinking."""
    precision: Precision = Precision.BFLOAT16
    """Dtype of forward and backward passes, "bfloat16" or "float32"; what learns is kept in float32."""
    gradient_checkpointing: bool = False
    """Whether activations are computed again in the backward pass, which saves memory and costs time."""
    cache_features: bool = True
    """Whether the vision encoder's output for an image is computed once and kept; only done where it is frozen."""

    def __post_init__(self) -> None:
        check_fields(self, _RANGES)
        method = METHODS.get(self.method)
        try:
            args = method.config.from_mapping(self.method_args).to_json()
        except TuningError as error:
            raise TuningError(f"method_args: {error}") from None
        usual = method.config().to_json()
        object.__setattr__(self, "method_args", {name: arg for name, arg in args.items() if arg != usual[name]})
        for part, rate in self.learning_rates.items():
            if part not in PARTS:
                raise TuningError(f"learning_rates: expected some of {', '.join(PARTS)}, found {shown(part)}")
            if rate is not None and type(rate) not in (int, float):
                raise TuningError(f"learning_rates: {part}: expected a number or null, found {shown(rate)}")
            ABOVE_ZERO.check(f"learning_rates: {part}", rate, TuningError)
        if not self.lora_target_modules and self.rate("language") is not None:
            raise TuningError("lora_target_modules: found none; name the layers to adapt, or freeze the language model")
        if not self.rates:
            frozen = "learning_rates freezes every part"
            frozen += "" if method.takes_guard else f"; {self.method} has no guard"
            raise TuningError(f"nothing learns: {frozen}")

    @property
    def method_config(self) -> MethodConfig:
        """The method's settings, defaults filled in."""
        return self.method_part.config.from_mapping(self.method_args)

    @property
    def method_part(self) -> Method:
        """The method itself, from the registry."""
        return METHODS.get(self.method)

    def rate(self, part: str) -> float | None:
        """Peak learning rate of a part; None where it is frozen."""
        return self.learning_rates.get(part, self.learning_rate)

    @property
    def rates(self) -> dict[str, float]:
        """Peak learning rate of each part that learns; the guard only where the method can have one."""
        parts = [part for part in PARTS if part != "guard" or self.method_part.takes_guard]
        return {part: rate for part in parts if (rate := self.rate(part)) is not None}

    def to_json(self) -> dict[str, Any]:
        """JSON values; `from_json` reads them."""
        values = {each.name: getattr(self, each.name) for each in dataclasses.fields(self)}
        return values | {
            "method_args": self.method_config.to_json(),
            "learning_rates": dict(self.learning_rates),
            "lora_target_modules": list(self.lora_target_modules),
            "chat_template_args": dict(self.chat_template_args),
            "precision": self.precision.value,
        }

    @classmethod
    def from_json(cls, values: Any, source: str = "recipe") -> TuneConfig:
        """Read what `to_json` wrote; fields that are missing have their defaults.

        Args:
            values: What the JSON file holds.
            source: Name of the file, for messages.

        Raises:
            TuningError: It is no object, a field is unknown, or its value is of another kind or out of its range.
            UnknownNameError: There is no such method.
        """
        if not isinstance(values, Mapping):
            raise TuningError(f"{source}: expected a JSON object, found {shown(values)}")
        known = [each.name for each in dataclasses.fields(cls)]
        if unknown := sorted({str(key) for key in values} - set(known)):
            raise TuningError(f"{source}: unknown field {', '.join(unknown)}; expected some of {', '.join(known)}")
        try:
            return cls(**values)
        except TuningError as error:
            raise TuningError(f"{source}: {error}") from None


_RANGES = {
    "learning_rate": ABOVE_ZERO, "lora_r": Range(1), "lora_alpha": ABOVE_ZERO, "lora_dropout": Range(below=1),
    "num_train_epochs": ABOVE_ZERO, "max_steps": Range(1), "batch_size": Range(1),
    "gradient_accumulation_steps": Range(1), "warmup_ratio": Range(below=1), "weight_decay": Range(),
    "max_grad_norm": ABOVE_ZERO, "seed": Range(below=2**32), "general_share": Range(below=1),
    "twin_share": Range(0, includes_low=False, below=1), "safe_weight": ABOVE_ZERO, "max_length": Range(1),
}  # fmt: skip
