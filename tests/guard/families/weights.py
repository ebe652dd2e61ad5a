"""Random weights for the tiny models, in which no vector silences what it scales."""

from __future__ import annotations

from typing import Any

import torch
from transformers import PreTrainedTokenizerFast

from tiny_models import _finish


def spread(model: Any, tokens: PreTrainedTokenizerFast) -> Any:
    """Spread the weights as `tiny_models` does, but set to zero only biases, and keep convolutions' outputs near one.

    A norm need not have "norm" in its name (Qwen2-VL's merger calls it `ln_q`), and at zero it makes all images alike.
    """
    model = _finish(model, tokens)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim <= 1 and "norm" not in name and not name.endswith("bias"):
                weight.copy_(torch.rand(weight.shape, generator=generator) + 0.5)
            elif weight.ndim > 3:  # convolutions, whose inputs are more than their last dimension
                weight.mul_((weight.shape[-1] / weight[0].numel()) ** 0.5)
    return model
