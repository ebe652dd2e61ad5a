"""Loss of direct preference optimisation: −log σ(β · ((log π_w − log π_l) − (log π_ref,w − log π_ref,l)))."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from holisafe.errors import TuningError
from holisafe.guard import session
from holisafe.guard.attach import find_observer
from holisafe.tuning._answer_loss import model_inputs
from holisafe.tuning._guard_loss import guard_hits, guard_terms
from holisafe.tuning._logits import learned_logits
from holisafe.tuning._loss import Loss, LossTerm
from holisafe.tuning._targets import IGNORED
from holisafe.tuning.methods.dpo.config import DpoConfig
from holisafe.tuning.methods.dpo.data import PREFERENCE

REFERENCE = "reference_log_probabilities"
"""What the model as it was gives to the answers of a batch, (2 · samples,)."""


def loss(model: Any, batch: Mapping[str, Any], config: DpoConfig) -> Loss:
    """Run the model on a batch of pairs.

    Raises:
        TuningError: The batch holds nothing of the model as it was.
    """
    if REFERENCE not in batch:
        raise TuningError(f"the batch holds no {REFERENCE}, which the loss compares with; add what `reference` gives")
    observer = find_observer(model)
    with nullcontext() if observer is None else session(model):
        now, outputs = answer_log_probabilities(model, _inputs(batch))
    losses, margins = preference_losses(now, batch[REFERENCE].to(now.device), config.beta)
    term = LossTerm(PREFERENCE, losses.sum(), len(losses))
    hits = {PREFERENCE: torch.stack([(margins > 0).sum(), margins.new_tensor(len(margins), dtype=torch.long)])}
    if observer is None:
        return Loss((term,), outputs, hits)
    terms = guard_terms(outputs, batch, observer.config, config.image_weight, config.joint_weight)
    return Loss((term, *terms), outputs, hits | guard_hits(outputs, batch, observer.config.labels))


def reference(model: Any, batch: Mapping[str, Any]) -> dict[str, Tensor]:
    """What the loss compares with, of the model as it was."""
    return {REFERENCE: answer_log_probabilities(model, _inputs(batch))[0]}


def preference_losses(now: Tensor, before: Tensor, beta: float) -> tuple[Tensor, Tensor]:
    """Loss and margin of each pair.

    Args:
        now: Log-probabilities of the better answers, then of the worse ones, (2 · pairs,), in nats.
        before: Those of the model as it was.
        beta: What log-ratios are multiplied by.

    Returns:
        Losses in nats, and margins, (pairs,) each; a margin above 0 prefers the better answer more than before.
    """
    better, worse = (beta * (now - before)).chunk(2)  # (pairs,) each
    margins = better - worse
    return -F.logsigmoid(margins), margins


def answer_log_probabilities(model: Any, inputs: Mapping[str, Any]) -> tuple[Tensor, Any]:
    """Run the model, and sum the log-probabilities of each row's learned tokens.

    Args:
        model: A transformers model, wrapped or not.
        inputs: What it takes, with `labels`.

    Returns:
        Sums in nats (batch,), and the model's outputs.
    """
    logits, targets, outputs = learned_logits(model, inputs)
    tokens = -F.cross_entropy(logits, targets, reduction="none")  # (learned,)
    rows = (inputs["labels"][:, 1:] != IGNORED).nonzero()[:, 0].to(tokens.device)  # (learned,)
    return tokens.new_zeros(len(inputs["labels"])).index_add(0, rows, tokens), outputs


def _inputs(batch: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in model_inputs(batch).items() if name != REFERENCE}
