"""Loss of the visual guard module: answer + λ · image + μ · (combination + category)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from holisafe.errors import TuningError
from holisafe.guard import add_meta_tokens, session
from holisafe.guard.attach import find_observer
from holisafe.tuning._answer_loss import answer_term, model_inputs
from holisafe.tuning._guard_loss import guard_hits, guard_terms
from holisafe.tuning._loss import Loss
from holisafe.tuning.methods.vgm.config import VgmConfig


def loss(model: Any, batch: Mapping[str, Any], config: VgmConfig) -> Loss:
    """Run the guarded model on a batch.

    Raises:
        TuningError: The model has no guard, or the batch's targets do not fit it.
    """
    observer = find_observer(model)
    if observer is None:
        raise TuningError("the model has no guard; add one with attach_guard(model)")
    with session(model):
        inputs = model_inputs(batch)
        if observer.config.meta_token:
            inputs = add_meta_tokens(model, inputs)
        answer, outputs = answer_term(model, inputs)
    terms = guard_terms(outputs, batch, observer.config, config.image_weight, config.joint_weight)
    return Loss((answer, *terms), outputs, guard_hits(outputs, batch, observer.config.labels))
