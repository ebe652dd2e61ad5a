"""A small safety tuning of Pocket, for those who want to see it happen within minutes on two CPU cores."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holisafe.tuning import OnStage, Precision, Progress, Tuned

STEPS = 150
"""Optimizer steps: what fits into a quarter of an hour together with the measurements."""

BATCH = 8
"""Samples of a step."""

FEWEST_STEPS = 5
"""Steps whose samples hold every combination and category."""

SAVE_EVERY = 20
"""Steps between checkpoints: what an interruption costs at most."""


def tune_small(model: str, folder: Path, steps: int = STEPS, *, progress: Progress, on_stage: OnStage) -> Tuned:
    """Tune a model on HoliSafe-Open's training split, with a guard on its projector's features.

    The vision tower is frozen, so that its features of an image are computed once. Interrupted and called again, it
    resumes from its newest checkpoint.

    Args:
        model: "pocket", or another model that is as small.
        folder: Folder of the run.
        steps: Optimizer steps.
        progress: Called after each step.
        on_stage: Called with what is being done.

    Raises:
        TuningError: The folder is of another run or cannot be written.
    """
    # PEFT asks transformers by a name that transformers is about to drop
    warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
    from holisafe.guard import GuardConfig
    from holisafe.models import ModelSpec
    from holisafe.tuning import TuneConfig, tune

    config = TuneConfig(
        lora_r=16,
        lora_alpha=32.0,
        learning_rate=5e-4,
        learning_rates={"vision": None, "guard": 3e-3},
        max_steps=steps,
        batch_size=BATCH,
        gradient_accumulation_steps=1,
        warmup_ratio=0.1,
        precision=_faster_precision(),
    )
    return tune(
        ModelSpec(model, device="cpu"),
        "open",
        folder,
        config,
        guard=GuardConfig(features="projector", pooling="attention", joint_head=False),
        save_steps=SAVE_EVERY,
        logging_steps=5,
        progress=progress,
        on_stage=on_stage,
    )


def _faster_precision() -> Precision:
    """What this CPU computes matrix products with sooner; where it has no AVX-512, bfloat16 is many times as slow."""
    import torch

    from holisafe.tuning import Precision

    is_fast = torch.backends.cpu.get_cpu_capability().startswith("AVX512")
    return Precision.BFLOAT16 if is_fast else Precision.FLOAT32
