"""Direct preference optimisation: what has to hold exactly, on a small real model."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from guard.prompts import guard, tiny
from holisafe.errors import TuningError
from holisafe.guard.attach import base_model
from holisafe.models import ModelSpec
from holisafe.records import Sample
from holisafe.tuning import GuardedTrainer, TuneConfig, configure_trainable_parts, plan
from holisafe.tuning._reference import Reference
from holisafe.tuning.methods.dpo.data import PairCollator
from holisafe.tuning.methods.dpo.loss import REFERENCE, answer_log_probabilities, preference_losses
from tuning.data import SETTINGS, in_pairs, mixed, sample, with_rates

CONFIG = replace(SETTINGS, method="dpo", method_args={"beta": 0.3}, lora_dropout=0.0)


@pytest.fixture(scope="module")
def made() -> Any:
    return tiny("llava")


@pytest.fixture
def adapted(made: Any) -> Any:
    """A model with a new adapter, before it learns, and its batch."""
    fresh = tiny("llava")
    model = configure_trainable_parts(fresh.model, CONFIG).eval()
    return model, collate(fresh)


def collate(made: Any, samples: list[Sample] | None = None) -> dict[str, Any]:
    return CONFIG.method_part.collator(made.processor, None)(samples or in_pairs(mixed()))


def with_reference(model: Any, batch: Mapping[str, Any]) -> dict[str, Any]:
    with torch.no_grad():
        return {**batch, **CONFIG.method_part.reference(model, batch, CONFIG.method_config)}


def loss_of(model: Any, batch: Mapping[str, Any]) -> Any:
    return CONFIG.method_part.loss(model, batch, CONFIG.method_config)


def moved(model: Any, by: float = 0.05) -> Any:
    """The model with all that learns moved by chance."""
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight += by * torch.randn_like(weight)
    return model


def gradient(model: Any, scalar: Tensor) -> Tensor:
    learned = [weight for weight in model.parameters() if weight.requires_grad]
    found = torch.autograd.grad(scalar, learned, allow_unused=True, retain_graph=True)
    pairs = zip(found, learned, strict=True)
    return torch.cat([(torch.zeros_like(w) if each is None else each).flatten().double() for each, w in pairs])


def test_at_the_reference_the_loss_is_ln_2_and_margins_are_0(adapted: Any) -> None:
    model, batch = adapted
    batch = with_reference(model, batch)
    loss = loss_of(model, batch)
    assert loss.means["preference"] == pytest.approx(math.log(2), abs=1e-6)
    now, _ = answer_log_probabilities(model, {k: v for k, v in batch.items() if k != REFERENCE})
    _, margins = preference_losses(now.detach(), batch[REFERENCE], 0.3)
    assert margins.abs().max() == 0
    assert loss.hits["preference"].tolist() == [0, 2]


def test_at_the_reference_the_gradient_is_minus_half_beta_of_the_log_ratio(adapted: Any) -> None:
    model, batch = adapted
    found = gradient(model, loss_of(model, with_reference(model, batch)).total())
    now, _ = answer_log_probabilities(model, batch)
    better, worse = now.chunk(2)
    expected = -0.3 / 2 * gradient(model, (better - worse).mean())
    assert (found - expected).norm() / expected.norm() < 1e-5
    assert expected.norm() > 0


def test_swapping_the_pair_flips_margins(adapted: Any, made: Any) -> None:
    model, batch = adapted
    batch = with_reference(model, batch)
    moved(model)
    with torch.no_grad():
        now, _ = answer_log_probabilities(model, {k: v for k, v in batch.items() if k != REFERENCE})
    losses, margins = preference_losses(now, batch[REFERENCE], 0.3)
    of_swapped, swapped = preference_losses(now.roll(2), batch[REFERENCE].roll(2), 0.3)
    assert torch.equal(swapped, -margins) and margins.abs().min() > 1e-3
    assert torch.allclose(losses - of_swapped, -margins, atol=1e-6)  # log σ(m) − log σ(−m) = m


def test_the_adapter_off_is_a_separate_frozen_copy_after_training(tmp_path: Path) -> None:
    fresh = tiny("llava")
    run = GuardedTrainer(
        fresh.model, fresh.processor, with_rates(CONFIG, vision=None), in_pairs(mixed()) * 8, tmp_path, use_cpu=True
    )
    copy = tiny("llava")
    run.tune()
    batch = collate(copy)
    with torch.no_grad():
        expected, _ = answer_log_probabilities(copy.model.eval(), batch)
        learned, _ = answer_log_probabilities(run.model.eval(), batch)
        with run._reference:
            found, _ = answer_log_probabilities(run.model, batch)
        again, _ = answer_log_probabilities(run.model, batch)
    assert (found - expected).abs().max() < 1e-6
    assert (learned - expected).abs().max() > 1e-3
    assert torch.equal(again, learned)


def test_going_back_changes_neither_modes_nor_weights_nor_what_learns(adapted: Any) -> None:
    model, _ = adapted
    reference = Reference(model)
    moved(model).train()
    kept = {name: (each.detach().clone(), each.requires_grad) for name, each in model.named_parameters()}
    modes = [module.training for module in model.modules()]
    with reference:
        assert not any(module.training for module in model.modules()) and not torch.is_grad_enabled()
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(each, kept[name][0]) for name, each in model.named_parameters())
    assert all(each.requires_grad is kept[name][1] for name, each in model.named_parameters())


def test_in_bfloat16_the_reference_leaves_the_gradient_alone(tmp_path: Path) -> None:
    def first_gradient(name: str, *, with_none: bool) -> float:
        fresh = tiny("llava")
        config = replace(CONFIG, precision="bfloat16", batch_size=2, gradient_accumulation_steps=1, warmup_ratio=0.0)
        run = GuardedTrainer(fresh.model, fresh.processor, config, in_pairs(mixed()), tmp_path / name, use_cpu=True)
        if with_none:  # what the reference says is known at the first step: what the model itself does
            kept, run._reference = run._reference, None
            batch = run.data_collator(run.train_dataset)
            with run.accelerator.autocast(), kept:
                known = dict(run.method.reference(run.model, batch, run.method_config))
            plain = run.method.collator(fresh.processor, None)
            run.data_collator = lambda samples: {**plain(samples), **known}
        run.args.logging_steps = run.state.logging_steps = 1
        run.tune()
        return float(run.state.log_history[0]["grad_norm"])

    assert first_gradient("a", with_none=False) == pytest.approx(first_gradient("b", with_none=True), rel=0.02)


@pytest.mark.parametrize("columns", [0, 1, 7])
def test_padding_changes_no_log_probability(made: Any, columns: int) -> None:
    batch = collate(made)
    alone = [collate(made, [each]) for each in in_pairs(mixed())]
    padding = made.processor.tokenizer.pad_token_id
    for name, fill in (("input_ids", padding), ("attention_mask", 0), ("labels", -100)):
        batch[name] = torch.nn.functional.pad(batch[name], (0, columns), value=fill)
    with torch.no_grad():
        together, _ = answer_log_probabilities(made.model.eval(), batch)
        better, worse = zip(*(answer_log_probabilities(made.model, each)[0] for each in alone), strict=True)
    assert torch.allclose(together, torch.stack([*better, *worse]), rtol=1e-5)


def test_a_log_probability_is_the_sum_over_the_answers_tokens(made: Any) -> None:
    batch = collate(made)
    with torch.no_grad():
        found, _ = answer_log_probabilities(made.model.eval(), batch)
        logits = made.model(**{k: v for k, v in batch.items() if k != "labels"})["logits"].log_softmax(-1)
    for row, labels in enumerate(batch["labels"]):
        places = (labels != -100).nonzero()[:, 0]
        expected = sum(float(logits[row, at - 1, labels[at]]) for at in places)
        assert float(found[row]) == pytest.approx(expected, rel=1e-5)


def test_better_answers_come_first_and_the_guard_learns_of_them_alone(made: Any) -> None:
    fresh = tiny("llava")
    guard(fresh)
    from holisafe.guard.attach import observer_of

    samples = in_pairs(mixed())
    batch = CONFIG.method_part.collator(fresh.processor, observer_of(fresh.model).config)(samples)
    said = [fresh.processor.tokenizer.decode(row[row != -100], skip_special_tokens=True) for row in batch["labels"]]
    wanted = [*(each.reference for each in samples), *(each.rejected for each in samples)]
    assert ["".join(text.split()) for text in said] == ["".join((text or "").split()) for text in wanted]
    assert (batch["image_labels"][3:] == -100).all() and (batch["image_labels"][:3] != -100).all()
    assert batch["combinations"].tolist()[2:] == [-100, -100]
    counts = CONFIG.method_part.counts(batch)
    assert counts == {"preference": 2, "image": 3, "combination": 2, "category": 1}


@pytest.fixture
def quiet() -> Iterator[None]:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.mark.usefixtures("quiet")
def test_the_loss_and_its_gradient_equal_trls_on_one_batch(tmp_path: Path) -> None:
    trl = pytest.importorskip("trl", reason="needs trl, of the extra dev: pip install trl")
    from datasets import Dataset

    ours, theirs, before = tiny("llava"), tiny("llava"), tiny("llava")
    for made in (ours, theirs):
        made.model.requires_grad_(True)
        moved(made.model, 0.01).eval()
    batch = collate(ours)
    now = loss_of(ours.model, with_reference(before.model.eval(), batch)).total()
    now.backward()
    trainer = trl.DPOTrainer(
        theirs.model,
        before.model,
        args=trl.DPOConfig(
            output_dir=str(tmp_path), beta=0.3, use_cpu=True, bf16=False, report_to=[], gradient_checkpointing=False
        ),
        train_dataset=Dataset.from_list([{"images": [], "prompt": "?", "chosen": "a", "rejected": "b"}]),
        processing_class=theirs.processor,
        data_collator=lambda rows: rows,
    )
    model_inputs = {name: value for name, value in batch.items() if name != "labels"}
    loss = trainer.compute_loss(theirs.model.eval(), {**model_inputs, "completion_mask": (batch["labels"] != -100) * 1})
    loss.backward()
    assert float(loss) != pytest.approx(math.log(2), abs=1e-3)
    assert float(now) == pytest.approx(float(loss), abs=1e-5)  # log-probabilities are near −400 in float32
    pairs = zip(ours.model.parameters(), theirs.model.parameters(), strict=True)
    both = [(a.grad.flatten(), b.grad.flatten()) for a, b in pairs if a.grad is not None and b.grad is not None]
    one, other = (torch.cat(each) for each in zip(*both, strict=True))
    assert len(both) > 20
    assert (one - other).norm() / other.norm() < 1e-5


def test_a_batch_without_the_reference_is_refused(adapted: Any) -> None:
    with pytest.raises(TuningError, match="the batch holds no reference_log_probabilities"):
        loss_of(*adapted)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rejected": None}, "sample two: rejected: found none.*`holisafe data pairs`"),
        ({"rejected": " "}, "sample two: rejected: found none"),
        ({"reference": None}, "sample two: reference: found none"),
        ({"reference": "Same.", "rejected": "Same. "}, "sample two: rejected: found the reference again"),
    ],
)
def test_a_pair_that_is_none_is_refused_before_the_model_is_loaded(change: dict[str, Any], message: str) -> None:
    samples = in_pairs([sample("one"), sample("two")])
    samples[1] = replace(samples[1], **change)
    with pytest.raises(TuningError, match=message):
        plan(ModelSpec("there/is-no-such-model"), samples, TuneConfig(method="dpo"))


def test_general_data_have_to_be_pairs_too() -> None:
    config = TuneConfig(method="dpo", general_share=0.5)
    with pytest.raises(TuningError, match="sample general: rejected: found none"):
        plan(ModelSpec("there/is-no-such-model"), in_pairs([sample()]), config, general=[sample("general")])


def test_the_longer_answer_counts_against_the_limit(made: Any) -> None:
    from holisafe.tuning._samples import find_unfit

    longer = replace(sample(), rejected="far too long " * 40)
    collate = CONFIG.method_part.collator(made.processor, None)
    assert isinstance(collate, PairCollator)
    assert [each.reason for each in find_unfit([longer, *in_pairs([sample("fits")])], collate, 120)] == ["length"]


def test_the_base_stays_unwrapped_of_the_swapped_weights(adapted: Any) -> None:
    model, _ = adapted
    names = [name for name, _ in base_model(model).named_parameters()]
    with Reference(model):
        assert [name for name, _ in base_model(model).named_parameters()] == names
