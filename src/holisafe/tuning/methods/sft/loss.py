"""Loss of supervised fine-tuning: the answer's cross-entropy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from holisafe.tuning._answer_loss import answer_term, model_inputs
from holisafe.tuning._loss import Loss
from holisafe.tuning.methods.sft.config import SftConfig


def loss(model: Any, batch: Mapping[str, Any], config: SftConfig) -> Loss:
    """Run the model on a batch."""
    answer, outputs = answer_term(model, model_inputs(batch))
    return Loss((answer,), outputs)
