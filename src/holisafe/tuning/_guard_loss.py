"""The terms of a guard's heads: cross-entropy per labelled image, per combination and per category."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from holisafe.errors import TuningError
from holisafe.guard import GuardConfig
from holisafe.taxonomy import Combination, GuardLabel, parse_label
from holisafe.tuning._loss import LossTerm
from holisafe.tuning._targets import IGNORED

_TARGETS = {"image": "image_labels", "combination": "combinations", "category": "categories"}
"""A term's targets in the batch."""


def count_guard(batch: Mapping[str, Any]) -> dict[str, int]:
    """Targets of each head in a batch: labelled images, samples with a combination, unsafe samples with a category."""
    return {name: int((batch[key] != IGNORED).sum()) for name, key in _TARGETS.items() if key in batch}


def guard_terms(
    outputs: Mapping[str, Any], batch: Mapping[str, Any], guard: GuardConfig, image_weight: float, joint_weight: float
) -> tuple[LossTerm, ...]:
    """One term for each head that the guard has; 0, with gradients of 0, where a batch has no target of it.

    Args:
        outputs: What the guarded model gave: `image_logits` (images, labels), `joint_logits` (batch, 12).
        batch: The collator's.
        guard: The guard's parts.
        image_weight: λ.
        joint_weight: μ.

    Raises:
        TuningError: The batch lacks targets that a head needs, or the guard saw another number of images.
    """
    terms = []
    if guard.image_head:
        terms.append(_term("image", outputs.get("image_logits"), batch, image_weight))
    if guard.joint_head:
        logits = outputs.get("joint_logits")
        both = (None, None) if logits is None else logits.tensor_split([len(Combination)], dim=1)
        terms += [_term(name, part, batch, joint_weight) for name, part in zip(_JOINT, both, strict=True)]
    return tuple(terms)


def guard_hits(outputs: Mapping[str, Any], batch: Mapping[str, Any], labels: Sequence[str]) -> dict[str, Tensor]:
    """How often the guard was right, and of how many, (2,) each.

    "image": the most probable label of labelled images; "image_safe": whether that is safe or unsafe; "combination": of
    samples.
    """
    hits = {}
    if outputs.get("image_logits") is not None:
        found, right = _learned(outputs["image_logits"], batch["image_labels"])
        hits["image"] = _share(found == right)
        if GuardLabel.SAFE in (named := [parse_label(label) for label in labels]):
            safe = named.index(GuardLabel.SAFE)
            hits["image_safe"] = _share((found == safe) == (right == safe))
    if outputs.get("joint_logits") is not None:
        found, right = _learned(outputs["joint_logits"][:, : len(Combination)], batch["combinations"])
        hits["combination"] = _share(found == right)
    return hits


_JOINT = ("combination", "category")


def _term(name: str, logits: Tensor | None, batch: Mapping[str, Any], weight: float) -> LossTerm:
    key = _TARGETS[name]
    if key not in batch:
        raise TuningError(f"the batch holds no {key}, which the guard learns; build it with Collator(processor, guard)")
    targets: Tensor = batch[key]
    seen = 0 if logits is None else len(logits)
    if len(targets) != seen and (logits is not None or name == "image"):
        raise TuningError(
            f"{key}: {len(targets)} targets, but the guard saw {seen} in the batch; does the chat template "
            "show every image once?"
        )
    if logits is None:
        return LossTerm(name, torch.zeros((), device=targets.device), 0, weight)
    targets = targets.to(logits.device)
    total = F.cross_entropy(logits.float(), targets, ignore_index=IGNORED, reduction="sum")
    return LossTerm(name, total, int((targets != IGNORED).sum()), weight)


def _learned(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """What was found and what is right, where that is known, each (targets that are not ignored,)."""
    targets = targets.to(logits.device)
    known = targets != IGNORED
    return logits.detach().argmax(1)[known], targets[known]


def _share(hits: Tensor) -> Tensor:
    """How many are right, and of how many, (2,)."""
    return torch.stack([hits.sum(), hits.new_tensor(len(hits), dtype=torch.long)])
