"""Logits of learned positions alone: the same loss and gradients as of all."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from guard.prompts import tiny
from holisafe.tuning import Collator
from holisafe.tuning._logits import only_learned
from tiny_models import FAMILIES
from tuning.data import mixed


def gradients(model: Any, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    loss.backward()
    return {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}


@pytest.mark.parametrize("family", FAMILIES)
def test_loss_and_gradients_are_those_of_all_positions(family: str) -> None:
    made = tiny(family)
    batch = Collator(made.processor)(mixed())
    plain = made.model(**batch)
    expected = gradients(made.model, plain.loss)
    with only_learned(made.model, batch["labels"]):
        found = made.model(**batch)
    learned = int((batch["labels"][:, 1:] != -100).sum())
    assert found.logits.shape == (1, learned, plain.logits.shape[-1])
    torch.testing.assert_close(found.loss, plain.loss)
    for name, gradient in gradients(made.model, found.loss).items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-3, atol=1e-6, msg=name)


def test_the_model_is_left_as_it_was() -> None:
    made = tiny("llava")
    batch = Collator(made.processor)(mixed())
    before = made.model(**batch)
    with pytest.raises(ZeroDivisionError), only_learned(made.model, batch["labels"]):
        raise ZeroDivisionError
    after = made.model(**batch)
    assert "_loss_function" not in vars(made.model)
    assert torch.equal(after.logits, before.logits) and torch.equal(after.loss, before.loss)


def test_a_loss_function_of_the_models_own_is_put_back() -> None:
    made = tiny("llava")
    batch = Collator(made.processor)(mixed())

    def own(**_: Any) -> torch.Tensor:
        return torch.tensor(7.0)

    made.model.loss_function = own
    with only_learned(made.model, batch["labels"]):
        pass
    assert made.model(**batch).loss == 7


def test_a_pass_with_other_positions_than_the_labels_is_left_alone() -> None:
    made = tiny("llava")
    batch = Collator(made.processor)(mixed())
    plain = made.model(**batch)
    with only_learned(made.model, batch["labels"][:, :-1]):
        found = made.model(**batch)
    assert torch.equal(found.logits, plain.logits) and torch.equal(found.loss, plain.loss)


def test_a_model_that_computes_its_loss_another_way_is_left_alone() -> None:
    made = tiny("llava")
    batch = Collator(made.processor)(mixed())
    plain = made.model(**batch)

    class Other(type(made.model)):  # type: ignore[misc]
        def forward(self, **inputs: Any) -> Any:
            return super().forward(**inputs)

    made.model.__class__ = Other
    with only_learned(made.model, batch["labels"]):
        found = made.model(**batch)
    assert torch.equal(found.logits, plain.logits)
