"""The model as it was before training, without a second copy of it."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor

from holisafe.guard.attach import NAME, base_model


class Reference:
    """Within it, a model has the weights that it began with, is in evaluation mode, and builds no graph.

    The adapter is off; parts that learn by themselves, such as the projector, get copies of what they were when this
    was made. Afterwards all is as before.

    Args:
        model: The model before it learns, from `configure_trainable_parts`.

    Attributes:
        first: Copies of the weights that learn beside the adapter and the guard, and of statistics, by name.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self._base = base_model(model)
        kept = self._base.state_dict().keys()
        learned = {name: each for name, each in self._base.named_parameters() if each.requires_grad}
        learned |= {name: each for name, each in self._base.named_buffers() if name in kept}
        self.first: dict[str, Tensor] = {
            name: each.detach().clone()
            for name, each in learned.items()
            if ".lora_" not in name and not name.startswith(f"{NAME}.")
        }

    def __enter__(self) -> None:
        """Go back to the beginning."""
        self._left = ExitStack()
        self._left.enter_context(torch.no_grad())
        modes = [(module, module.training) for module in self._model.modules()]
        for module, was in modes:
            self._left.callback(setattr, module, "training", was)
        self._model.eval()
        if isinstance(self._model, PeftModel):
            self._left.enter_context(self._model.disable_adapter())
        for name, now in {**dict(self._base.named_parameters()), **dict(self._base.named_buffers())}.items():
            if name in self.first:
                self._left.callback(setattr, now, "data", now.data)
                self.first[name] = self.first[name].to(now.device)
                now.data = self.first[name]

    def __exit__(self, *_: object) -> None:
        """Come back."""
        self._left.close()
