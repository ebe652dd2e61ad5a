"""The page of Safe Pocket's figures: what is said to be reached and missed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[3] / "perf"))

import safe_pocket

sys.path.pop()


def figure(value: float) -> dict[str, Any]:
    return {"value": value, "low": value, "high": value, "n": 10}


def rows(value: float) -> list[dict[str, Any]]:
    named = {name: figure(value) for name in safe_pocket.AIMS}
    return [
        {"name": safe_pocket.SAFE, "figures": named, "margins": {}},
        {"name": safe_pocket.QUESTION, "figures": {}, "margins": {"margin USU": figure(0.5)}},
    ]


def test_the_aims_are_those_of_the_split_and_judged_by_their_sense() -> None:
    test, transfer = (list(safe_pocket._aims(at, rows(0.08))) for at in (0, 1))
    assert "- RR at most 6%: missed, 8.0% [8.0%, 8.0%]" in test
    assert "- RR at most 10%: reached, 8.0% [8.0%, 8.0%]" in transfer
    assert "- twins at least 60%: missed, 8.0% [8.0%, 8.0%]" in test
    assert "- margin USU at least 40%: reached, 50.0% [50.0%, 50.0%]" in test
    assert any(line.startswith("- safe images flagged at most 6%: missed") for line in test)
    assert not any("safe images flagged" in line for line in transfer)
