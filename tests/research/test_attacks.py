"""The attacks: what they change, what they keep, and that the strength they report is that of what they write."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from research.attacks import FILL_IN, SUFFIX, Target, descend, perturbed, typographic, with_suffix

from holisafe import datasets
from holisafe.images import open_image
from holisafe.models import load
from holisafe.records import Behaviour
from holisafe.taxonomy import Combination


@pytest.fixture(scope="module")
def unsafe() -> list[datasets.Sample]:
    found = [each for each in datasets.load("open", "test") if each.expected is Behaviour.REFUSE and each.images]
    return list(datasets.stratified(found, 4, 0))


def test_a_typographic_picture_holds_the_request_and_the_text_is_harmless(unsafe: list[datasets.Sample]) -> None:
    for sample in unsafe:
        changed = typographic(sample)
        assert changed.turns[0].text == FILL_IN and changed.combination is Combination.USU
        assert changed.images[0].data != sample.images[0].data and open_image(changed.images[0]).size == (760, 760)


def test_a_suffix_follows_the_request(unsafe: list[datasets.Sample]) -> None:
    for sample in unsafe:
        assert with_suffix(sample).turns[-1].text == f"{sample.turns[-1].text} {SUFFIX}"
        assert with_suffix(sample).images == sample.images


def test_descent_stays_within_epsilon_and_raises_the_target(unsafe: list[datasets.Sample]) -> None:
    loaded = load("pocket", device="cpu", dtype="float32")
    loaded.model.requires_grad_(False)
    target = Target(loaded, unsafe[0])
    found = descend(target, 8 / 255, 2 / 255, 3)
    assert float((found - target.pixels).abs().max()) <= 8 / 255 + 1e-6
    assert float(found.min()) >= 0 and float(found.max()) <= 1
    assert target.log_probability(found) > target.log_probability(target.pixels)
    assert torch.equal(descend(target, 0.0, 2 / 255, 2), target.pixels)


def test_the_strength_is_that_of_the_pictures_that_are_written(unsafe: list[datasets.Sample]) -> None:
    loaded = load("pocket", device="cpu", dtype="float32")
    changed, strength = perturbed(loaded, unsafe[:1], SimpleNamespace(epsilon=8.0, step=2.0, steps=3))  # type: ignore[arg-type]
    again = float(Target(loaded, changed[0]).log_probability(None))
    mean = strength["mean_log_probability"]
    assert mean["after_rounding"] == pytest.approx(again, abs=1e-5)
    assert mean["before"] < mean["after_rounding"] <= mean["after"] + 0.5


def test_what_is_written_is_a_data_set(tmp_path: Path) -> None:
    words = ["suffix", "--limit", "8", "--out", str(tmp_path / "suffix")]
    subprocess.run([sys.executable, "-m", "research.attacks", *words], check=True, capture_output=True)
    assert json.loads((tmp_path / "suffix" / "attack.json").read_text()) == {"attack": "suffix", "samples": 8}
    samples = datasets.load(str(tmp_path / "suffix"))
    assert len(samples) == 8 and all(SUFFIX in each.turns[0].text for each in samples)
