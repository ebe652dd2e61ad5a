"""What STAR-DSS must be exactly, on a tiny real model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from guard.prompts import guard, tiny
from holisafe.errors import TuningError
from holisafe.guard import GuardConfig
from holisafe.records import Sample
from holisafe.tuning import Loss, TuneConfig, configure_trainable_parts
from holisafe.tuning._reference import Reference
from holisafe.tuning.conformance import MethodConformance, drawn_samples
from holisafe.tuning.methods.star_dss.data import DISTANCE, VALUES
from holisafe.tuning.methods.star_dss.loss import REFERENCE
from holisafe.tuning.methods.star_dss.scores import Chunks, scored
from tiny_models import llava
from tuning.answers import in_chunks
from tuning.data import SETTINGS, mixed, sample

ALONE = replace(SETTINGS, method="star-dss", lora_dropout=0.0)


def valued(values: Sequence[float], samples: Sequence[Sample] | None = None) -> list[Sample]:
    """Samples whose answers are cut into as many equal chunks as there are values."""
    return in_chunks(mixed() if samples is None else samples, values)


class Run:
    """A tiny model that learns by a method, and the loss of samples."""

    def __init__(self, method: str = "star-dss", *, with_guard: bool = False, **args: Any) -> None:
        made = tiny("llava")
        if with_guard:
            guard(made)
        self.config: TuneConfig = replace(ALONE, method=method, method_args=args)
        self.processor = made.processor
        torch.manual_seed(0)  # of the adapter
        self.model = configure_trainable_parts(made.model, self.config).eval()
        self.first = Reference(self.model)

    def learn(self, amount: float = 0.05) -> Run:
        """Move what learns, as training would."""
        generator = torch.Generator().manual_seed(1)
        for weight in self.model.parameters():
            if weight.requires_grad:
                weight.data += torch.randn(weight.shape, generator=generator) * amount
        return self

    def batch(self, samples: Sequence[Sample]) -> dict[str, Any]:
        found: dict[str, Any] = self.config.method_part.collator(self.processor, None)(samples)
        return found

    def loss(self, samples: Sequence[Sample], **changes: Any) -> Loss:
        method, settings = self.config.method_part, self.config.method_config
        batch = self.batch(samples) | changes
        with self.first:
            batch |= method.reference(self.model, batch, settings)
        return method.loss(self.model, batch, settings)

    def gradient(self, loss: Any) -> Tensor:
        """Of all that learns (weights,)."""
        self.model.zero_grad()
        loss.backward()
        learned = [weight for weight in self.model.parameters() if weight.requires_grad]
        return torch.cat([(torch.zeros_like(w) if w.grad is None else w.grad).flatten().double() for w in learned])


def test_scores_of_one_are_plain_cross_entropy() -> None:
    run, plain = Run().learn(), Run("sft").learn()
    found, expected = run.loss(valued([1.0])).total(), plain.loss(mixed()).total()
    assert float(found.detach()) == pytest.approx(float(expected.detach()), abs=1e-6)
    torch.testing.assert_close(run.gradient(found), plain.gradient(expected), rtol=0, atol=1e-6)


def test_scores_of_zero_at_the_model_as_it_was_give_loss_and_gradient_of_zero() -> None:
    run = Run()
    total = run.loss(valued([0.0])).total()
    assert float(total.detach()) == 0.0
    assert not run.gradient(total).any()


def test_equal_scores_in_many_chunks_are_one_chunk() -> None:
    run = Run().learn()
    one, many = (run.loss(valued([0.3] * chunks)) for chunks in (1, 4))
    assert one.means[DISTANCE] > 0
    assert one.means == many.means


def test_scores_of_zero_and_one_per_answer_without_a_reference_are_rejection_sampling() -> None:
    run, plain = Run(reference_weight=0.0).learn(), Run("sft").learn()
    kept, dropped = mixed()
    found = run.loss([*valued([1.0], [kept]), *valued([0.0], [dropped])])
    (expected,) = plain.loss([kept]).terms
    assert float(found.terms[0].sum.detach()) == pytest.approx(float(expected.sum.detach()), rel=1e-6)
    ours, theirs = run.gradient(found.terms[0].sum), plain.gradient(expected.sum)
    assert float((ours - theirs).norm() / theirs.norm()) < 1e-6
    assert float(found.total().detach()) == pytest.approx(float(found.terms[0].sum.detach()) / found.terms[0].count)


def test_weights_of_both_terms_add_up_to_the_tokens() -> None:
    run = Run()
    samples = valued([0.9, 0.2, 0.6])
    batch = run.batch(samples)
    learned = batch["labels"] != -100
    values = batch[VALUES]
    assert float(values[learned].sum() + (1 - values[learned]).sum()) == pytest.approx(int(learned.sum()))
    assert not values[~learned].any()
    counts = run.config.method_part.counts(batch)
    assert counts["answer"] == counts[DISTANCE] == int(learned.sum())


def test_the_token_that_ends_the_turn_has_the_score_of_the_last_chunk() -> None:
    run = Run()
    batch = run.batch(valued([0.9, 0.25]))
    for row in range(2):
        last = int((batch["labels"][row] != -100).nonzero()[-1])
        assert batch["labels"][row, last] == run.processor.tokenizer.eos_token_id
        assert float(batch[VALUES][row, last]) == 0.25


def test_a_token_has_the_score_of_the_chunk_in_which_it_begins() -> None:
    run = Run()
    one = scored(sample(reference="ab cd é!"), Chunks((3, 4, 6), (0.1, 0.2, 0.3)))
    values = run.batch([one])[VALUES][0]
    # bytes " ab", " c", "d", " é" of two bytes and "!", and the end
    assert values[values > 0].tolist() == pytest.approx([0.1] * 5 + [0.2] + [0.3] * 5)


def test_the_adapter_switched_off_equals_a_frozen_copy() -> None:
    run, copy = Run(), tiny("llava")
    batch = run.batch(valued([0.5]))
    inputs = {name: value for name, value in batch.items() if name != VALUES}
    logits = copy.model(**inputs)["logits"][:, :-1].log_softmax(-1)
    labels = batch["labels"][:, 1:]
    expected = logits.gather(2, labels.clamp(min=0)[..., None])[..., 0][labels != -100]
    run.learn()  # projector and vision encoder too
    with run.first:
        found = run.config.method_part.reference(run.model, batch, run.config.method_config)[REFERENCE]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_the_distance_is_half_the_squared_difference_of_log_probabilities() -> None:
    run = Run().learn()
    batch = run.batch(valued([0.0]))
    with run.first:
        before = run.config.method_part.reference(run.model, batch, run.config.method_config)[REFERENCE]
    now = run.config.method_part.reference(run.model, batch, run.config.method_config)[REFERENCE]
    found = run.loss(valued([0.0]))
    expected = ((now - before) ** 2 / 2).mean()
    assert found.means[DISTANCE] == pytest.approx(float(expected.detach()), rel=1e-5)
    assert float(found.total().detach()) == pytest.approx(0.5 * found.means[DISTANCE], rel=1e-5)


def test_a_guard_learns_beside_it() -> None:
    run = Run(with_guard=True).learn()
    method, settings = run.config.method_part, run.config.method_config
    batch = method.collator(run.processor, GuardConfig())(valued([0.5]))
    with run.first:
        batch |= method.reference(run.model, batch, settings)
    found = method.loss(run.model, batch, settings)
    assert [term.name for term in found.terms] == ["answer", DISTANCE, "image", "combination", "category"]
    assert set(found.hits) >= {"image", "combination"}


def test_a_sample_without_scores_is_refused() -> None:
    with pytest.raises(TuningError, match="sample one: it has no safety scores"):
        Run().batch(mixed())


class TestConformance(MethodConformance):
    name = "star-dss"
    method_args = {"reference_weight": 0.25}  # noqa: RUF012

    def fresh(self) -> tuple[Any, Any]:
        made = llava()
        return made.model, made.processor

    def samples(self) -> list[Sample]:
        return valued([0.75, 0.25], drawn_samples())


class TestConformanceWithGuard(TestConformance):
    guard = GuardConfig()
