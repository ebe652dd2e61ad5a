"""The two heads that tell harm from a thought; they learn beside the model, and are not saved with it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from holisafe.guard.attach import base_model, language_model_of
from holisafe.guard.family import guardable_family
from holisafe.tuning._parts import TRAINING_ONLY

HEADS = "safety_head_logits"
"""In the model's outputs: (batch, 2)."""


class SafetyHeads(nn.Module):
    """One head reads the mean state of the understanding, the other that of query and understanding.

    Args:
        width: Of the language model's hidden states.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.understanding = nn.Linear(width, 1)
        self.both = nn.Linear(width, 1)

    def forward(self, hidden: Tensor, spans: Tensor) -> Tensor:
        """Logits of "unsafe" (batch, 2), of states (batch, tokens, width) and `SPANS`; of no use without a K."""
        column = torch.arange(hidden.shape[1], device=hidden.device)
        answer, key, _ = (each[:, None] for each in spans.to(hidden.device).unbind(1))  # (batch, 1) each
        before = column < key  # (batch, tokens)
        states = hidden.float()
        return torch.cat(
            [self.understanding(_mean(states, before & (column >= answer))), self.both(_mean(states, before))], 1
        )


def _mean(states: Tensor, wanted: Tensor) -> Tensor:
    """Mean of the wanted states of each row (batch, width); zeros without any."""
    weights = wanted.to(states.dtype)
    return (weights[:, None] @ states)[:, 0] / weights.sum(1, keepdim=True).clamp(min=1)


@contextmanager
def reading(model: Any, spans: Tensor) -> Iterator[None]:
    """Within it the model's outputs hold what the heads say of the first rows, as many as there are spans.

    They are read within the forward pass, so that DDP and FSDP know of them.
    """
    base = base_model(model)
    heads: Any = base.get_submodule(TRAINING_ONLY)
    seen: list[Tensor] = []

    def keep(_: Any, __: Any, output: Any) -> None:
        seen[:] = [output[0]]

    def add(_: Any, __: Any, output: Any) -> dict[str, Any]:
        return {**output, HEADS: heads(seen.pop()[: len(spans)], spans)}

    hooks = [
        language_model_of(base, guardable_family(base)).register_forward_hook(keep),
        base.register_forward_hook(add),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
