"""What a run needs is told from shapes alone, and is what a run takes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from guard.prompts import guard, tiny
from holisafe.errors import TuningError
from holisafe.guard import GuardConfig
from holisafe.tuning import Collator, Speed, TuneConfig, configure_trainable_parts, estimate, read_recipe
from holisafe.tuning._architectures import (
    architecture_names,
    build_architecture,
    read_architecture,
    ready_architecture,
    synthetic_batch,
)
from holisafe.tuning._recipes import recipe_names
from tuning.data import SETTINGS, mixed

ONE = replace(SETTINGS, gradient_accumulation_steps=16)


def ready(family: str, config: TuneConfig) -> tuple[Any, dict[str, Any]]:
    made = tiny(family)
    guard(made)
    return configure_trainable_parts(made.model, config), Collator(made.processor, GuardConfig())(mixed())


@pytest.mark.parametrize("family", ["llava", "qwen2_5_vl", "gemma3"])
def test_operations_are_those_that_torch_counts_in_a_real_run(family: str) -> None:
    model, batch = ready(family, ONE)
    model.train()
    with FlopCounterMode(display=False) as counter:
        ONE.method_part.loss(model, batch, ONE.method_config).total().backward()
    model, batch = ready(family, ONE)
    assert estimate(model, ONE, batch).flops == counter.get_total_flops()


def test_weights_gradients_and_moments_are_counted() -> None:
    model, batch = ready("llava", ONE)
    weights = sum(each.nbytes for each in (*model.parameters(), *model.buffers()))
    learned = sum(each.nbytes for each in model.parameters() if each.requires_grad)
    alone, whole, sharded, *_ = estimate(model, ONE, batch).gpus
    assert (alone.weights, alone.gradients, alone.optimizer) == (weights, learned, 2 * learned)
    assert (alone.communication, whole.communication) == (0, learned)  # DDP's buckets
    assert sharded.gradients < learned / 4 and sharded.weights < weights / 4
    assert alone.activations == sharded.activations > 0


def test_time_is_operations_at_the_given_speed() -> None:
    model, batch = ready("llava", ONE)
    found = estimate(model, ONE, batch, Speed(tflops=1e-6, mfu=0.5))
    assert found.gpus[0].seconds == pytest.approx(16 * found.flops / 5e5)
    assert [each.accumulation for each in found.gpus] == [16, 2, 2, 1, 1]
    model, batch = ready("llava", ONE)
    uneven = estimate(model, replace(ONE, gradient_accumulation_steps=9), batch)
    assert uneven.gpus[1].accumulation is None and uneven.gpus[1].seconds is None


@pytest.mark.parametrize(
    "given", [{"tflops": 0.0}, {"tflops": float("nan")}, {"tflops": float("inf")}, {"mfu": 0.0}, {"mfu": 1.5}]
)
def test_a_speed_that_is_none_is_refused(given: dict[str, float]) -> None:
    with pytest.raises(TuningError, match=f"{next(iter(given))}: expected a number"):
        Speed(**given)


def test_gradient_checkpointing_holds_less_and_computes_more() -> None:
    plain, checkpointed = (estimate(*_given(replace(ONE, gradient_checkpointing=is_on))) for is_on in (False, True))
    assert checkpointed.gpus[0].activations < plain.gpus[0].activations
    assert checkpointed.flops > plain.flops


def _given(config: TuneConfig) -> tuple[Any, TuneConfig, dict[str, Any]]:
    model, batch = ready("llava", config)
    return model, config, batch


@pytest.mark.slow
@pytest.mark.parametrize("name", architecture_names())
def test_a_shipped_architecture_has_its_number_of_parameters(name: str) -> None:
    values = read_architecture(name)
    model = build_architecture(values["model"])
    assert sum(each.numel() for each in model.parameters()) == values["parameters"]
    assert all(each.is_meta for each in model.parameters())


def test_every_recipe_of_a_model_has_its_architecture() -> None:
    models = {read_architecture(name)["model"] for name in architecture_names()}
    named = {model for name in recipe_names() if "/" in (model := read_recipe(name).model)}
    assert named and named <= models


@pytest.mark.slow
@pytest.mark.parametrize("name", [each for each in recipe_names() if each.endswith("-7b")])
def test_a_7b_recipe_learns_the_same_parts_on_the_real_architecture(name: str) -> None:
    recipe = read_recipe(name)
    model = ready_architecture(recipe.model, recipe.config, recipe.guard)
    batch = synthetic_batch(model, recipe.config, recipe.guard, 16)
    assert batch["input_ids"].shape == batch["labels"].shape
    learned = sum(each.numel() for each in model.parameters() if each.requires_grad)
    assert 1e8 < learned < 2e9
    assert {each.dtype for each in model.parameters() if each.requires_grad} == {torch.float32}


@pytest.mark.slow
def test_the_real_architecture_of_a_recipe_is_estimated() -> None:
    recipe = read_recipe("llava-1.5-7b")
    config = replace(recipe.config, batch_size=1)
    model = ready_architecture(recipe.model, config, recipe.guard)
    found = estimate(model, config, synthetic_batch(model, config, recipe.guard, 64))
    tokens = found.tokens
    # frozen weights forward, again (checkpointing), and back to their inputs: 2 operations per weight and token each
    assert 3 * 2 * 6.6e9 * tokens < found.flops < 1.2 * 3 * 2 * 7.1e9 * tokens
    assert 14 < found.gpus[0].weights / 2**30 < 16
