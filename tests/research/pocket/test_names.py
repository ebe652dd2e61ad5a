"""Safe Pocket's second stage: the projector writes names anew."""

from __future__ import annotations

import pytest
import torch
from research.pocket.names import Views, write_names
from research.pocket.project import Projector, Words
from torch.nn import functional as F

from research.pocket import names

pytestmark = pytest.mark.slow

WIDTH, TOKENS = 32, 3
NAMES = ("carrot", "chocolate bar", "terrorism", None)


def test_the_projector_writes_the_names_of_things_and_much_of_what_it_said_stays() -> None:
    torch.manual_seed(0)
    looks = torch.randn(len(NAMES), 1, WIDTH)
    shown = [i % len(NAMES) for i in range(64)]
    tokens = torch.stack([looks[i] + 0.1 * torch.randn(TOKENS, WIDTH) for i in shown])
    words = Words(names.NAMES)
    projector = Projector(WIDTH, words.width)
    with torch.inference_mode():
        before = projector(tokens).clone()
    which = torch.tensor([-100 if NAMES[i] is None else names.NAMES.index(str(NAMES[i])) for i in shown])
    history = write_names(projector, Views(tokens.half(), before.half(), which), epochs=60, rate=3e-3, seed=0)
    assert history[-1]["name"] < history[0]["name"] / 2
    assert not any(each.requires_grad for each in projector.parameters())
    with torch.inference_mode():
        after = projector(tokens)
    near = F.normalize(after[:, 0], dim=-1) @ words._unit.T
    for i, row in zip(shown, near, strict=True):
        name = NAMES[i]
        if name is not None:
            assert int(row.argmax()) in words._pieces[name]
    is_other = which < 0
    changes = [(after[some] - before[some]).square().mean() for some in (is_other, ~is_other)]
    assert changes[0] < changes[1] / 2
