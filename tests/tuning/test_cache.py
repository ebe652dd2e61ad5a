"""What a resting vision encoder says is computed once, and nothing else changes."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

from guard.prompts import guard, pictures, tiny
from holisafe.guard import GuardConfig
from holisafe.models.pocket._vision import EfficientNetLiteConfig
from holisafe.tuning import Collator, TuneConfig
from holisafe.tuning._cache import FrozenFeatures
from holisafe.tuning._checkpoint import LEARNED_FILE
from holisafe.tuning._parts import configure_trainable_parts
from tiny_models import FAMILIES, TEXT, Tiny
from tuning.data import SETTINGS, loss_of, mixed, picture, sample, with_rates
from tuning.train_tiny import trainer

RESTS = TuneConfig(lora_r=2, precision="float32", learning_rates={"vision": None})
ENCODER_AND_MERGER_REST = with_rates(RESTS, projector=None)


def learning(family: str, config: TuneConfig = RESTS, **parts: Any) -> Tiny:
    """A guarded model whose vision encoder rests; without dropout, so that passes can be compared."""
    torch.manual_seed(0)  # of the adapter and the guard
    made = tiny(family)
    guard(made, **parts)
    return Tiny(configure_trainable_parts(made.model, config).eval(), made.processor)


def passed(made: Tiny, batch: dict[str, Any]) -> list[Tensor]:
    """The loss, and the gradients that it gives."""
    made.model.zero_grad()
    loss = loss_of(made.model, batch).total()
    loss.backward()
    return [loss.detach(), *(weight.grad.clone() for weight in made.model.parameters() if weight.grad is not None)]


def alike(found: list[Tensor], expected: list[Tensor]) -> bool:
    pairs = zip(found, expected, strict=True)
    return all(torch.allclose(a, b, rtol=1e-4, atol=1e-5 * float(b.abs().max().clamp(min=1))) for a, b in pairs)


def same(found: list[Tensor], expected: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("family", FAMILIES)
def test_losses_and_gradients_are_those_without_it(family: str) -> None:
    # Qwen's encoder holds the merger, which is the projector
    made = learning(family, ENCODER_AND_MERGER_REST if family == "qwen2_5_vl" else RESTS)
    batch = Collator(made.processor, GuardConfig())(mixed())
    expected = passed(made, batch)
    with FrozenFeatures(made.model) as cache:
        first = passed(made, batch)
        assert cache.reason == ""
        seen, computed = cache.hits, cache.misses  # tiles of a plain image are alike
        again = passed(made, batch)
        assert cache.misses == computed >= 3
        assert cache.hits - seen == seen + computed
    assert alike(first, expected)
    assert same(again, first)
    assert same(passed(made, batch), expected)


def test_the_features_of_an_image_do_not_depend_on_the_batch_that_it_was_first_in() -> None:
    made, samples = learning("llava"), mixed()
    collate = Collator(made.processor, GuardConfig())
    with FrozenFeatures(made.model):
        expected = passed(made, collate(samples))
    with FrozenFeatures(made.model) as cache:
        passed(made, collate(samples[:1]))
        assert same(passed(made, collate(samples)), expected)
        assert (cache.hits, cache.misses) == (1, 3)


def test_pockets_tower_is_served() -> None:
    vision = EfficientNetLiteConfig(image_size=64, grid=2)
    config = LlavaConfig(vision_config=vision, text_config=LlamaConfig(vocab_size=16, **TEXT), vision_feature_layer=-1)
    model = LlavaForConditionalGeneration(config).eval()
    model.get_encoder(modality="image").requires_grad_(False)
    pixels = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))

    def features() -> Tensor:
        return torch.stack(
            model.get_image_features(
                pixels, vision_feature_layer=-1, vision_feature_select_strategy="full"
            ).pooler_output
        )

    expected = features()
    with FrozenFeatures(model) as cache:
        features()
        found = features()
        assert (cache.reason, cache.hits, cache.misses) == ("", 3, 3)
        # a tensor that the output holds twice is kept once
        assert cache.bytes == 3 * 4 * (vision.num_tokens + 1) * vision.hidden_size
    assert torch.allclose(found, expected, atol=1e-6)
    assert found.requires_grad


def test_bfloat16_is_kept_as_it_is() -> None:
    made = learning("gemma3", replace(RESTS, precision="bfloat16"))
    batch = Collator(made.processor, GuardConfig())(mixed())
    with torch.autocast("cpu", torch.bfloat16):
        expected = float(passed(made, batch)[0])
        with FrozenFeatures(made.model) as cache:
            losses = [float(passed(made, batch)[0]) for _ in range(2)]
            assert cache.hits
    assert losses[0] == losses[1] == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize(
    ("family", "config", "parts", "message"),
    [
        ("qwen2_5_vl", RESTS, {}, r"Qwen2_5_VisionTransformer.* depends on a weight that learns, .*merger"),
        ("llava", RESTS, {"meta_token": True, "meta_token_in": "encoder"}, r"a weight that learns, .*guard.*meta"),
        ("llava", with_rates(RESTS, vision=1e-3), {}, "a weight that learns, .*vision_tower"),
    ],
)
def test_an_encoder_with_something_that_learns_runs_as_ever(
    family: str, config: TuneConfig, parts: Any, message: str
) -> None:
    config = replace(config, method="meta-token") if parts else config
    made = learning(family, config, **parts)
    batch = Collator(made.processor, GuardConfig())(mixed())
    expected = passed(made, batch)
    with FrozenFeatures(made.model) as cache:
        found = passed(made, batch)
    assert same(found, expected)
    assert cache.hits == cache.misses == 0
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(cache.reason)


class Centred(nn.Module):
    """An encoder whose output for an image depends on the others."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        found = self.encoder(*args, **kwargs)
        found.hidden_states = tuple(each if each is None else each - each.mean(0) for each in found.hidden_states)
        return found


def test_an_encoder_that_compares_images_runs_as_ever() -> None:
    made = learning("llava")
    inner = made.model.get_base_model().model
    inner.vision_tower = Centred(inner.vision_tower).eval()
    batch = Collator(made.processor, GuardConfig())(mixed())
    expected = passed(made, batch)
    with FrozenFeatures(made.model) as cache:
        assert same(passed(made, batch), expected)
    assert cache.reason == "what Centred gives for a batch is not what it gives for its images one by one"


def test_no_more_is_kept_than_allowed() -> None:
    made = learning("llava")
    batch = Collator(made.processor, GuardConfig())(mixed())
    with FrozenFeatures(made.model) as cache:
        expected = passed(made, batch)
        full = cache.bytes
    with FrozenFeatures(made.model, max_bytes=full - 1) as cache:
        for _ in range(2):
            assert same(passed(made, batch), expected)
        assert cache.bytes == full * 2 // 3
        assert (cache.hits, cache.misses) == (2, 4)
    assert cache.bytes == 0


def test_what_is_not_training_passes_by() -> None:
    made = learning("llava")
    batch = Collator(made.processor, GuardConfig())(mixed())
    with FrozenFeatures(made.model) as cache:
        with torch.no_grad():
            loss_of(made.model, batch)
        made.model.train()
        loss_of(made.model, batch)
    assert cache.hits == cache.misses == 0


def test_the_model_is_left_as_it_was() -> None:
    made = learning("llava")
    encoder = made.model.get_base_model().get_encoder(modality="image")
    names = set(vars(encoder))
    with FrozenFeatures(made.model):
        assert set(vars(encoder)) != names
    assert set(vars(encoder)) == names


def run(folder: Path, **changes: Any) -> Any:
    """A trainer that sees three images, each several times, and has gone to the end."""
    images = [picture(colour) for colour in ("red", "blue", "green")]
    samples = [sample(f"{i}", images=(images[i % 3],), query=f"what is {i}?") for i in range(24)]
    given = trainer(folder, replace(with_rates(SETTINGS, vision=None), **changes), samples=samples)
    given.tune()
    return given


def test_a_run_that_goes_on_ends_with_the_same_weights(tmp_path: Path) -> None:
    unbroken = run(tmp_path / "unbroken")
    assert (unbroken.features.misses, unbroken.features.hits) == (3, 21)
    shutil.copytree(tmp_path / "unbroken", tmp_path / "broken")
    shutil.rmtree(tmp_path / "broken" / "checkpoint-6")
    again = run(tmp_path / "broken")
    assert (again.features.misses, again.features.hits) == (3, 5)
    expected, found = (load_file(tmp_path / name / "checkpoint-6" / LEARNED_FILE) for name in ("unbroken", "broken"))
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_a_run_without_it_has_the_same_losses(tmp_path: Path) -> None:
    with_it, without = run(tmp_path / "with"), run(tmp_path / "without", cache_features=False)
    assert without.features.reason == "the settings turn it off"
    assert without.features.misses == 0
    expected, found = ([row["loss"] for row in each.state.log_history if "loss" in row] for each in (without, with_it))
    assert found == pytest.approx(expected, rel=1e-4)


def test_a_run_in_which_the_encoder_learns_says_so(tmp_path: Path) -> None:
    given = trainer(tmp_path, samples=[sample("0"), sample("1")])
    given.tune()
    assert given.features.reason == "the vision encoder learns"


def test_images_are_told_apart_by_their_pixels() -> None:
    made = learning("llava")
    collate = Collator(made.processor, GuardConfig())
    one, other, third = (
        made.processor.image_processor(each, return_tensors="pt")["pixel_values"] for each in pictures()
    )
    batch = collate([sample()])
    losses = []
    with FrozenFeatures(made.model) as cache:
        for pixels in (one, other, third, one):
            losses.append(float(passed(made, {**batch, "pixel_values": pixels})[0]))
        assert (cache.hits, cache.misses) == (1, 3)
    assert losses[0] == losses[3]
    assert len(set(losses)) == 3
