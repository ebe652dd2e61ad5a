"""Logits at the positions that are learned and nowhere else: most positions are prompt, and a vocabulary is large."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from holisafe.guard.attach import base_model
from holisafe.tuning._targets import IGNORED


@contextmanager
def only_learned(model: Any, labels: Tensor) -> Iterator[None]:
    """Within it, a forward pass with these labels computes the same loss from learned positions alone.

    The output's `logits` are then (1, learned tokens, vocabulary). Nothing changes where a model does not compute its
    loss by transformers' `loss_function`, or reads logits at other positions than the labels'.

    Args:
        model: A transformers model, wrapped or not.
        labels: (batch, tokens), -100 where nothing is learned.
    """
    base: Any = base_model(model)
    head = base.get_output_embeddings()
    if head is None or "self.loss_function(" not in inspect.getsource(type(base).forward):
        yield
        return
    wanted = labels[:, 1:] != IGNORED  # a token is told from the position before it
    targets = labels[:, 1:][wanted]
    before = base.loss_function
    has_picked = False

    def pick(_: Any, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        nonlocal has_picked
        hidden = args[0]  # (batch, tokens, hidden)
        has_picked = hidden.shape[:-1] == labels.shape
        if not has_picked:
            return None
        return (hidden[:, :-1][wanted.to(hidden.device)][None], *args[1:])

    def loss(logits: Tensor, *args: Any, **options: Any) -> Tensor:
        if not has_picked:
            found: Tensor = before(logits, *args, **options)
            return found
        if not len(targets):  # as transformers has it
            return logits.new_tensor(torch.nan, dtype=torch.float32)
        return F.cross_entropy(logits[0].float(), targets.to(logits.device))

    hook = head.register_forward_pre_hook(pick)
    own = vars(base).get("_loss_function")
    base.loss_function = loss
    try:
        yield
    finally:
        hook.remove()
        if own is None:
            del base._loss_function
        else:
            base.loss_function = own


def learned_logits(model: Any, inputs: Mapping[str, Any]) -> tuple[Tensor, Tensor, Any]:
    """Run the model on a batch and take what it says of the learned tokens, row by row.

    Args:
        model: A transformers model, wrapped or not.
        inputs: What it takes, with `labels` (batch, tokens), -100 where nothing is learned.

    Returns:
        Logits (learned, vocabulary) in float32, the tokens that are learned (learned,), and the model's outputs.
    """
    labels: Tensor = inputs["labels"]
    with only_learned(model, labels):
        outputs = model(**inputs)
    wanted = labels[:, 1:] != IGNORED  # a token is told from the position before it
    logits: Tensor = outputs["logits"]
    logits = logits[:, :-1][wanted.to(logits.device)] if logits.shape[:2] == labels.shape else logits[0]
    return logits.float(), labels[:, 1:][wanted].to(logits.device), outputs
