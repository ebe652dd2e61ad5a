"""Which weights learn, at which rate."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from guard.prompts import guard, tiny
from holisafe.errors import TuningError
from holisafe.guard import GuardConfig
from holisafe.guard.attach import base_model
from holisafe.tuning import Collator, TuneConfig, configure_trainable_parts
from holisafe.tuning._config import PARTS
from holisafe.tuning._parts import parameter_groups
from tiny_models import FAMILIES, Tiny, llava
from tuning.data import loss_of, mixed

SMALL = TuneConfig(lora_r=2, precision="float32", lora_target_modules=("q_proj", "v_proj"))


def guarded(family: str = "llava", **parts: Any) -> Tiny:
    made = tiny(family)
    guard(made, **parts)
    return made


def learning(model: nn.Module) -> set[str]:
    return {name for name, weight in model.named_parameters() if weight.requires_grad}


def known_part(name: str) -> str:
    """The part by the five families' own names."""
    if "lora_" in name:
        return "language"
    if "guard." in name:
        return "guard"
    return "projector" if any(each in name for each in ("multi_modal_projector", "merger", "connector")) else "vision"


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("part", PARTS)
def test_each_part_learns_alone(family: str, part: str) -> None:
    config = replace(SMALL, learning_rates={each: 1e-3 if each == part else None for each in PARTS})
    model = configure_trainable_parts(guarded(family).model, config)
    found = learning(model)
    assert found
    # LLaVA-OneVision has a learned line break between the rows of an image, which its projector's output passes
    assert {known_part(name) for name in found if "image_newline" not in name} == {part}


@pytest.mark.parametrize("family", FAMILIES)
def test_together_they_are_all_but_the_language_model(family: str) -> None:
    made = guarded(family)
    language = {id(weight) for weight in made.model.get_decoder().parameters()}
    language |= {id(weight) for weight in made.model.get_output_embeddings().parameters()}
    model = configure_trainable_parts(made.model, SMALL)
    resting = {id(weight) for weight in model.parameters() if not weight.requires_grad}
    assert resting == language


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_model_saved_in_bfloat16_learns_in_either_precision(family: str, precision: Any) -> None:
    made = guarded(family)
    made.model.to(torch.bfloat16)
    model = configure_trainable_parts(made.model, replace(SMALL, precision=precision)).train()
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
        loss = loss_of(model, Collator(made.processor, GuardConfig())(mixed())).total()
    loss.backward()
    assert bool(torch.isfinite(loss.detach()))
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    assert {weight.dtype for weight in weights} == {torch.float32}


def test_groups_have_each_parts_rate_and_hold_every_weight_once() -> None:
    config = replace(SMALL, learning_rates=dict(zip(PARTS, (1e-1, 1e-2, 1e-3, 1e-4), strict=True)), weight_decay=0.5)
    model = configure_trainable_parts(guarded().model, config)
    groups = parameter_groups(model, config)
    assert {group["part"]: group["lr"] for group in groups} == dict(zip(PARTS, (1e-1, 1e-2, 1e-3, 1e-4), strict=True))
    held = [id(weight) for group in groups for weight in group["params"]]
    assert sorted(held) == sorted(id(weight) for weight in model.parameters() if weight.requires_grad)
    for group in groups:
        assert all((weight.ndim > 1) == (group["weight_decay"] == 0.5) for weight in group["params"])


def test_the_adapter_has_the_rank_and_the_layers_that_were_asked_for() -> None:
    model = configure_trainable_parts(guarded().model, SMALL)
    adapters = {name: weight for name, weight in base_model(model).named_parameters() if "lora_A" in name}
    assert {name.split(".lora_A")[0].rpartition(".")[2] for name in adapters} == {"q_proj", "v_proj"}
    assert {len(weight) for weight in adapters.values()} == {2}
    assert all("language_model" in name for name in adapters)


@pytest.mark.parametrize(
    ("parts", "changes", "message"),
    [
        ({}, {"method": "meta-token"}, r"the guard has no meta token; .*GuardConfig\(meta_token=True\)"),
        ({"meta_token": True}, {}, r"the guard has a meta token; .*GuardConfig\(meta_token=False\)"),
        ({}, {"method": "sft"}, 'method="sft" has no guard'),
        (
            {},
            {"lora_target_modules": ("c_attn",)},
            "lora_target_modules: found c_attn, .* down_proj, gate_proj",
        ),
    ],
)
def test_settings_that_do_not_fit_the_model_are_refused(parts: Any, changes: Any, message: str) -> None:
    with pytest.raises(TuningError, match=message):
        configure_trainable_parts(guarded(**parts).model, replace(SMALL, **changes))


def test_a_method_with_a_guard_needs_one() -> None:
    with pytest.raises(TuningError, match='method="vgm" needs a guard'):
        configure_trainable_parts(llava().model, SMALL)


def test_without_a_guard_the_rest_learns() -> None:
    found = learning(configure_trainable_parts(llava().model, replace(SMALL, method="sft")))
    assert {known_part(name) for name in found} == {"language", "projector", "vision"}


def test_an_adapted_model_is_not_adapted_again() -> None:
    model = configure_trainable_parts(guarded().model, SMALL)
    with pytest.raises(TuningError, match="merge its adapter first"):
        configure_trainable_parts(model, SMALL)
