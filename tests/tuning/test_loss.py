"""The loss against a plain computation, and what learns from it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model

from guard.prompts import guard, tiny
from holisafe.errors import TuningError
from holisafe.guard import GuardConfig, add_meta_tokens, guard_of, session, train_guard
from holisafe.tuning import Collator
from tiny_models import FAMILIES, Tiny, llava
from tuning.data import loss_of, mixed, sample


def logs(values: torch.Tensor) -> torch.Tensor:
    """Log-probabilities, written out."""
    values = values.double()
    return values - values.exp().sum(-1, keepdim=True).log()


def plain(made: Tiny, batch: dict[str, Any]) -> dict[str, float]:
    """The parts, one token, image and sample at a time."""
    inputs = {k: v for k, v in batch.items() if k not in ("image_labels", "combinations", "categories")}
    with torch.no_grad(), session(made.model):
        said = made.model(**inputs)
    answers = [
        -float(logs(said.logits[row, column - 1])[label])
        for row, labels in enumerate(inputs["labels"].tolist())
        for column, label in enumerate(labels)
        if label != -100
    ]
    images = [-float(logs(said.image_logits[i])[t]) for i, t in enumerate(batch["image_labels"].tolist()) if t >= 0]
    combinations = [-float(logs(said.joint_logits[i, :5])[t]) for i, t in enumerate(batch["combinations"].tolist())]
    categories = [
        -float(logs(said.joint_logits[i, 5:])[t]) for i, t in enumerate(batch["categories"].tolist()) if t >= 0
    ]
    named = {"answer": answers, "image": images, "combination": combinations, "category": categories}
    return {name: math.fsum(values) / len(values) for name, values in named.items()}


def guarded(family: str, **parts: Any) -> tuple[Tiny, Collator]:
    """A tiny model with a guard, and the collator for both."""
    made = tiny(family)
    guard(made, **parts)
    return made, Collator(made.processor, GuardConfig(**parts))


@pytest.mark.parametrize("family", FAMILIES)
def test_it_is_the_weighted_sum_of_what_a_plain_computation_gives(family: str) -> None:
    made, collate = guarded(family)
    samples = [*mixed(), replace(mixed()[1], id="three", image_labels=())]
    batch = collate(samples)
    expected = plain(made, batch)
    loss = loss_of(made.model, batch, image_weight=0.5, joint_weight=0.25)
    assert {name: float(part) for name, part in loss.means.items()} == pytest.approx(expected, rel=1e-4)
    both = expected["combination"] + expected["category"]
    assert float(loss.total().detach()) == pytest.approx(
        expected["answer"] + 0.5 * expected["image"] + 0.25 * both, rel=1e-4
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_it_reaches_the_adapter_the_projector_and_the_heads(family: str) -> None:
    made, collate = guarded(family)
    peft = get_peft_model(made.model, LoraConfig(r=2, target_modules=r".*(language|text)_model.*\.(q_proj|v_proj)"))
    train_guard(peft)
    projector = {
        name: weight
        for name, weight in made.model.named_parameters()
        if any(part in name for part in ("multi_modal_projector", "visual.merger", "connector"))
    }
    for weight in projector.values():
        weight.requires_grad_(True)
    peft.train()
    loss_of(peft, collate(mixed())).total().backward()
    learning = {name: weight for name, weight in peft.named_parameters() if weight.requires_grad}
    # the first half of an adapter starts to learn once the second, which begins at 0, has moved
    still = [n for n, w in learning.items() if "lora_A" not in n and (w.grad is None or not bool(w.grad.any()))]
    assert not still
    assert projector
    assert {"image_head", "joint_head"} <= {name.split(".")[0] for name, _ in guard_of(peft).named_parameters()}
    assert any("lora_B" in name for name in learning)


def test_the_image_part_teaches_the_projector_too() -> None:
    made, collate = guarded("llava")
    batch = collate(mixed())
    made.model.requires_grad_(False)
    made.model.model.multi_modal_projector.requires_grad_(True)
    first = made.model.model.multi_modal_projector.linear_1.weight
    without = torch.autograd.grad(loss_of(made.model, batch, image_weight=0.0, joint_weight=0.0).total(), first)[0]
    with_it = torch.autograd.grad(loss_of(made.model, batch, image_weight=1.0, joint_weight=0.0).total(), first)[0]
    assert not torch.equal(without, with_it)


@pytest.mark.parametrize("place", ["language", "encoder"])
def test_a_meta_token_is_added_and_learns(place: str) -> None:
    made, collate = guarded("llava", meta_token=True, meta_token_in=place)
    batch = collate(mixed())
    loss = loss_of(made.model, batch)
    loss.total().backward()
    token = guard_of(made.model).meta_token
    assert token is not None and token.grad is not None
    assert bool(token.grad.any())
    targets = ("image_labels", "combinations", "categories")
    inputs = add_meta_tokens(made.model, {k: v for k, v in batch.items() if k not in targets})
    with session(made.model):
        expected = float(made.model(**inputs).loss.detach())
    assert float(loss.means["answer"]) == pytest.approx(expected)


def test_a_model_without_a_guard_learns_the_answer_alone() -> None:
    made = llava()
    batch = Collator(made.processor)(mixed())
    loss = loss_of(made.model, batch)
    assert list(loss.means) == ["answer"]
    assert float(loss.total().detach()) == float(made.model(**batch).loss.detach())


def test_a_published_guard_has_no_joint_part() -> None:
    made, collate = guarded("llava", joint_head=False)
    assert list(loss_of(made.model, collate(mixed())).means) == ["answer", "image"]


def test_parts_without_a_target_in_the_batch_are_0() -> None:
    made, collate = guarded("llava")
    loss = loss_of(made.model, collate([replace(mixed()[1], image_labels=())]))
    assert float(loss.means["image"]) == float(loss.means["category"]) == 0.0
    loss.total().backward()
    assert all(bool(torch.isfinite(w.grad).all()) for w in guard_of(made.model).parameters() if w.grad is not None)


def test_a_batch_without_the_guards_targets_is_refused() -> None:
    made, _ = guarded("llava")
    with pytest.raises(TuningError, match="the batch holds no image_labels"):
        loss_of(made.model, Collator(made.processor)([sample()]))


def test_another_number_of_images_than_labels_is_refused() -> None:
    made, collate = guarded("llava")
    batch = collate(mixed())
    batch["image_labels"] = batch["image_labels"][:2]
    with pytest.raises(TuningError, match="image_labels: 2 targets, but the guard saw 3"):
        loss_of(made.model, batch)
