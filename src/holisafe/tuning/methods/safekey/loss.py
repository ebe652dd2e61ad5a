"""Loss of SafeKey: the answer, the key sentence told from the understanding alone, and the safety heads.

    L = CE + key_weight · CE(K | U) + head_weight · [θ · BCE(head of U) + (1 − θ) · BCE(head of query and U)]

Source: arXiv 2505.16186.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from holisafe.guard import session
from holisafe.guard.attach import find_observer
from holisafe.tuning._answer_loss import ANSWER, answer_term, model_inputs
from holisafe.tuning._guard_loss import guard_hits, guard_terms
from holisafe.tuning._logits import learned_logits
from holisafe.tuning._loss import Loss, LossTerm
from holisafe.tuning._targets import IGNORED
from holisafe.tuning.methods.safekey.config import SafeKeyConfig
from holisafe.tuning.methods.safekey.data import HEAD, KEY, SPANS, UNSAFE, counts
from holisafe.tuning.methods.safekey.heads import HEADS, reading


def loss(model: Any, batch: Mapping[str, Any], config: SafeKeyConfig) -> Loss:
    """Run the model on a batch, once: rows with a masked query stand below the plain ones."""
    observer = find_observer(model)
    inputs = {name: value for name, value in model_inputs(batch).items() if name not in (SPANS, UNSAFE)}
    with ExitStack() as stack:
        if observer is not None:
            stack.enter_context(session(model))
        if config.head_weight:
            stack.enter_context(reading(model, batch[SPANS]))
        if config.key_weight:
            answer, key, outputs = _answer_and_key(model, inputs, batch)
        else:
            answer, outputs = answer_term(model, inputs)
            key = LossTerm(KEY, torch.zeros_like(answer.sum), 0, 0.0)
    head, hits = _head_term(outputs, batch, config, answer.sum)
    if observer is None:
        return Loss((answer, key, head), outputs, hits)
    outputs = _of_plain_rows(outputs, batch)
    terms = guard_terms(outputs, batch, observer.config, config.image_weight, config.joint_weight)
    hits |= guard_hits(outputs, batch, observer.config.labels)
    return Loss((answer, key, head, *terms), outputs, hits)


def _answer_and_key(model: Any, inputs: Mapping[str, Any], batch: Mapping[str, Any]) -> tuple[LossTerm, LossTerm, Any]:
    spans: Tensor = batch[SPANS]
    logits, targets, outputs = learned_logits(model, with_masked_query(inputs, spans))
    found = F.cross_entropy(logits, targets, reduction="none")  # (learned,)
    plain = counts(batch)[ANSWER]
    answer, key = found[:plain], found[plain:]
    return LossTerm(ANSWER, answer.sum(), len(answer)), LossTerm(KEY, key.sum(), len(key)), outputs


def with_masked_query(inputs: Mapping[str, Any], spans: Tensor) -> dict[str, Any]:
    """The rows twice: as they are, and with all before the answer masked, learning nothing but the key sentence."""
    doubled = {name: torch.cat([each, each]) if isinstance(each, Tensor) else each for name, each in inputs.items()}
    rows, width = inputs["labels"].shape
    column = torch.arange(width, device=inputs["labels"].device)
    answer, key, end = (each[:, None] for each in spans.to(column.device).unbind(1))  # (batch, 1) each
    doubled["attention_mask"][rows:] *= column >= answer
    doubled["labels"][rows:].masked_fill_((column < key) | (column >= end), IGNORED)
    return doubled


def _head_term(
    outputs: Any, batch: Mapping[str, Any], config: SafeKeyConfig, like: Tensor
) -> tuple[LossTerm, dict[str, Tensor]]:
    if not config.head_weight:
        return LossTerm(HEAD, torch.zeros_like(like), 0, 0.0), {}
    logits: Tensor = outputs[HEADS]  # (batch, 2)
    targets = batch[UNSAFE].to(logits.device)
    known = targets != IGNORED
    logits, targets = logits[known].float(), targets[known].float()
    losses = F.binary_cross_entropy_with_logits(logits, targets[:, None].expand_as(logits), reduction="none").sum(0)
    share = losses.new_tensor([config.understanding_share, 1 - config.understanding_share])
    right = (logits.detach().mean(1) > 0) == (targets > 0)
    hits = {HEAD: torch.stack([right.sum(), right.new_tensor(len(right), dtype=torch.long)])}
    return LossTerm(HEAD, losses @ share, int(known.sum()), config.head_weight), hits


def _of_plain_rows(outputs: Any, batch: Mapping[str, Any]) -> dict[str, Any]:
    """The outputs with what the guard said of the plain rows alone."""
    kept = dict(outputs)
    for name, targets in (("image_logits", "image_labels"), ("joint_logits", "combinations")):
        if kept.get(name) is not None and targets in batch:
            kept[name] = kept[name][: len(batch[targets])]
    return kept
