"""Safe Pocket's guard: its image head learns on, and nothing else does."""

from __future__ import annotations

import pytest
import torch
from research.pocket.verdicts import LabelledTokens, learn

from holisafe.guard import GuardConfig, GuardSite
from holisafe.guard.head import Guard

pytestmark = pytest.mark.slow

WIDTH, TOKENS, LABELS = 32, 4, 3
SITE = GuardSite("llava", "", WIDTH)


def test_the_image_head_learns_to_tell_what_one_of_the_tokens_says() -> None:
    torch.manual_seed(0)
    config = GuardConfig(features="projector", pooling="attention", joint_head=True)
    guard = Guard(config, SITE).requires_grad_(False)
    labels = torch.arange(96) % LABELS
    tokens = 0.3 * torch.randn(len(labels), TOKENS, WIDTH)
    tokens[:, 1, :LABELS] += 4 * torch.nn.functional.one_hot(labels, LABELS)
    assert guard.joint_head is not None
    before = {name: each.clone() for name, each in guard.joint_head.state_dict().items()}
    history = learn(guard, LabelledTokens(tokens.half(), labels), epochs=150, rate=1e-2, seed=0)
    assert history[-1] < history[0] / 3
    assert guard.query is not None and guard.query.abs().max() > 0
    assert all(torch.equal(each, before[name]) for name, each in guard.joint_head.state_dict().items())
    assert not any(each.requires_grad for each in guard.parameters()) and not guard.training
    weights = (tokens @ (guard.query / WIDTH**0.5)).softmax(-1)
    logits, _ = guard((weights[..., None] * tokens).sum(1), None)
    assert logits is not None and (logits.argmax(-1) == labels).float().mean() > 0.95


def test_the_same_seed_gives_the_same_head() -> None:
    config = GuardConfig(features="projector", pooling="attention")
    views = LabelledTokens(torch.randn(40, TOKENS, WIDTH).half(), torch.arange(40) % LABELS)
    found = []
    for seed in (0, 0, 1):
        torch.manual_seed(7)
        guard = Guard(config, SITE)
        learn(guard, views, epochs=2, rate=1e-2, seed=seed)
        found.append(guard.state_dict())
    assert all(torch.equal(each, found[1][name]) for name, each in found[0].items())
    assert not all(torch.equal(each, found[2][name]) for name, each in found[0].items())
