"""The learning rate of the alignment stage."""

from __future__ import annotations

import pytest
import torch
from research.pocket.align import cosine_schedule


def rates(done: int, until: int, steps: int) -> list[float]:
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = cosine_schedule(optimiser, done=done, steps=steps)
    seen = []
    for _ in range(done, until):
        seen.append(schedule.get_last_lr()[0])
        optimiser.step()
        schedule.step()
    return seen


def test_the_rate_reaches_zero_at_the_last_step_and_not_before() -> None:
    seen = rates(0, 400, 400)
    assert seen[200] == pytest.approx(0.5)
    assert min(seen[1:]) > 0
    assert seen[-1] == min(seen[1:])


def test_a_resumed_run_has_the_rates_of_an_unbroken_one() -> None:
    assert rates(134, 400, 400) == pytest.approx(rates(0, 400, 400)[134:])
