"""What training makes small: the answer's cross-entropy, and that of the guard's heads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from holisafe.errors import TuningError
from holisafe.guard import add_meta_tokens, session
from holisafe.guard.attach import find_observer
from holisafe.taxonomy import Combination, GuardLabel, parse_label
from holisafe.tuning._logits import only_learned
from holisafe.tuning._targets import IGNORED

TARGETS = ("image_labels", "combinations", "categories")
"""What a batch holds for the guard, which the model itself does not take."""


@dataclass(frozen=True, slots=True)
class LossParts:
    """The loss of one batch and what it is the sum of.

    Attributes:
        total: What to call `backward` on.
        parts: Each part before its weight, detached, in nats: "answer" (mean over learned tokens), "image" (mean over
            labelled images), "combination" (mean over samples) and "category" (mean over unsafe samples), those of
            heads that the model has.
        outputs: What the model gave; its logits may be those of learned positions alone.
        guard_hits: How often the guard was right, and of how many, (2,): "image" (the most probable label of labelled
            images), "image_safe" (whether that is safe or unsafe) and "combination" (of samples), those of heads that
            the model has.
    """

    total: Tensor
    parts: Mapping[str, Tensor]
    outputs: Any
    guard_hits: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class GuardedLoss:
    """Next-token cross-entropy + λ · image head + μ · (combination + category, of unsafe samples only).

    A part of which a batch has no target is 0. A model without a guard has the answer's part alone. Source: arXiv
    2506.04704 v5, section 4, for the first two; the joint head's part is ours.

    Attributes:
        image_weight: λ (paper: 1, inferred from the released configurations).
        joint_weight: μ.
    """

    image_weight: float = 1.0
    joint_weight: float = 1.0

    def __call__(self, model: Any, batch: Mapping[str, Any]) -> LossParts:
        """Run the model on a batch of `Collator`, meta tokens added if the guard has one.

        Raises:
            TuningError: The batch lacks targets that a head needs, or the guard saw another number of images.
        """
        inputs = {key: value for key, value in batch.items() if key not in TARGETS}
        observer = find_observer(model)
        if observer is not None and observer.config.meta_token:
            inputs = add_meta_tokens(model, inputs)
        watched = nullcontext() if observer is None else session(model)
        with watched, only_learned(model, inputs["labels"]):
            outputs = model(**inputs)
        total: Tensor = outputs["loss"]
        parts = {"answer": total.detach()}
        for name, part, weight in self._guard_parts(outputs, batch):
            parts[name] = part.detach()
            total = total + weight * part.to(total.device)
        hits = {} if observer is None else _guard_hits(outputs, batch, observer.config.labels)
        return LossParts(total, parts, outputs, hits)

    def _guard_parts(self, outputs: Mapping[str, Any], batch: Mapping[str, Any]) -> list[tuple[str, Tensor, float]]:
        found = []
        if "image_logits" in outputs:
            found.append(("image", _cross_entropy(outputs["image_logits"], batch, "image_labels"), self.image_weight))
        if "joint_logits" in outputs:
            combinations, categories = outputs["joint_logits"].tensor_split([len(Combination)], dim=1)
            found.append(("combination", _cross_entropy(combinations, batch, "combinations"), self.joint_weight))
            found.append(("category", _cross_entropy(categories, batch, "categories"), self.joint_weight))
        return found


def _cross_entropy(logits: Tensor, batch: Mapping[str, Any], key: str) -> Tensor:
    """Mean over the targets that are not ignored; 0, with gradients of 0, where all are."""
    if key not in batch:
        raise TuningError(f"the batch holds no {key}, which the guard learns; build it with Collator(processor, guard)")
    targets: Tensor = batch[key].to(logits.device)
    if len(targets) != len(logits):
        raise TuningError(
            f"{key}: {len(targets)} targets, but the guard saw {len(logits)} in the batch; does the chat template "
            "show every image once?"
        )
    total = F.cross_entropy(logits.float(), targets, ignore_index=IGNORED, reduction="sum")
    return total / (targets != IGNORED).sum().clamp(min=1)


def _guard_hits(outputs: Mapping[str, Any], batch: Mapping[str, Any], labels: Sequence[str]) -> dict[str, Tensor]:
    hits = {}
    if "image_logits" in outputs:
        said, right = _learned(outputs["image_logits"], batch["image_labels"])
        hits["image"] = _share(said == right)
        if GuardLabel.SAFE in (named := [parse_label(label) for label in labels]):
            safe = named.index(GuardLabel.SAFE)
            hits["image_safe"] = _share((said == safe) == (right == safe))
    if "joint_logits" in outputs:
        said, right = _learned(outputs["joint_logits"][:, : len(Combination)], batch["combinations"])
        hits["combination"] = _share(said == right)
    return hits


def _learned(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """What was said and what is right, where that is known, each (targets that are not ignored,)."""
    targets = targets.to(logits.device)
    known = targets != IGNORED
    return logits.detach().argmax(1)[known], targets[known]


def _share(hits: Tensor) -> Tensor:
    """How many are right, and of how many, (2,)."""
    return torch.stack([hits.sum(), hits.new_tensor(len(hits), dtype=torch.long)])
