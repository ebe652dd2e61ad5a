"""Loss of STAR-DSS: cross-entropy of what is safe, and the distance from the model as it was on what is not.

    L = Σ [ V · CE + (1 − V) · λ · ½ (log π − log π_ref)² ] / tokens

over the learned tokens, where V is the safety score of a token's chunk and the distance is the k2 estimate of the KL
divergence at the token. Source: arXiv 2505.17196, equation 3.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from holisafe.guard import session
from holisafe.guard.attach import find_observer
from holisafe.tuning._answer_loss import ANSWER, model_inputs
from holisafe.tuning._guard_loss import guard_hits, guard_terms
from holisafe.tuning._logits import learned_logits
from holisafe.tuning._loss import Loss, LossTerm
from holisafe.tuning._targets import IGNORED
from holisafe.tuning.methods.star_dss.config import StarDssConfig
from holisafe.tuning.methods.star_dss.data import DISTANCE, VALUES

REFERENCE = "reference_log_probabilities"
"""In a batch: log π_ref of each learned token (learned,), row by row."""


def reference(model: Any, batch: Mapping[str, Any], config: StarDssConfig) -> dict[str, Tensor]:
    """What the model as it was says of the learned tokens; nothing where no term needs it."""
    if not config.reference_weight:
        return {}
    log_probabilities, _ = _run(model, batch)
    return {REFERENCE: log_probabilities}


def loss(model: Any, batch: Mapping[str, Any], config: StarDssConfig) -> Loss:
    """Run the model on a batch."""
    observer = find_observer(model)
    if observer is None:
        found, outputs = _run(model, batch)
    else:
        with session(model):
            found, outputs = _run(model, batch)
    labels: Tensor = batch["labels"][:, 1:]
    values = batch[VALUES][:, 1:][labels != IGNORED].to(found)  # (learned,)
    terms = [LossTerm(ANSWER, -(values * found).sum(), len(found))]
    distance = torch.zeros_like(terms[0].sum)
    if config.reference_weight:
        distance = ((1 - values) * (found - batch[REFERENCE].to(found)).square() / 2).sum()
    terms.append(LossTerm(DISTANCE, distance, len(found), config.reference_weight))
    if observer is None:
        return Loss(tuple(terms), outputs)
    terms += guard_terms(outputs, batch, observer.config, config.image_weight, config.joint_weight)
    return Loss(tuple(terms), outputs, guard_hits(outputs, batch, observer.config.labels))


def _run(model: Any, batch: Mapping[str, Any]) -> tuple[Tensor, Any]:
    """Log-probability of each learned token (learned,), and the outputs."""
    inputs = {name: value for name, value in model_inputs(batch).items() if name not in (VALUES, REFERENCE)}
    logits, targets, outputs = learned_logits(model, inputs)
    return -F.cross_entropy(logits, targets, reduction="none"), outputs
