"""MIRage: several images in order through collator and loss, and what is no such data."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from guard.prompts import tiny
from holisafe.errors import TuningError
from holisafe.models import ModelSpec
from holisafe.records import ImageRef, Sample
from holisafe.taxonomy import Combination, GuardLabel
from holisafe.tuning import TuneConfig, plan
from tuning.data import picture, sample

CONFIG = TuneConfig(method="mirage")
COLOURS = ("red", "green", "blue")


def about(*images: ImageRef) -> Sample:
    """A request about the first of several images, of which the answer describes each."""
    return sample(
        "several",
        images=images,
        image_labels=(GuardLabel.SAFE,) * len(images),
        query="Look at the first picture. What is it?",
        combination=Combination.SSS,
        reference="The first picture shows a square and the second shows another. It is a square.",
    )


def collate(made: Any, *samples: Sample) -> dict[str, Any]:
    return CONFIG.method_part.collator(made.processor, None)(list(samples))


def features_seen(made: Any, batch: dict[str, Any]) -> tuple[Tensor, float]:
    """What the language model reads at the image tokens (images, tokens, hidden), and the loss."""
    seen: list[Tensor] = []
    language = made.model.get_decoder()
    hook = language.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs["inputs_embeds"]), with_kwargs=True
    )
    try:
        with torch.no_grad():
            loss = CONFIG.method_part.loss(made.model.eval(), batch, CONFIG.method_config)
    finally:
        hook.remove()
    at = batch["input_ids"] == made.model.config.image_token_id
    count = len(batch["pixel_values"])
    return seen[0][at].reshape(count, -1, seen[0].shape[-1]), float(loss.total())


@pytest.mark.parametrize("count", [2, 3])
def test_swapped_images_are_swapped_in_the_batch_and_before_the_language_model(count: int) -> None:
    made = tiny("llava")
    images = [picture(colour) for colour in COLOURS[:count]]
    as_given, turned = (collate(made, about(*each)) for each in (images, images[::-1]))
    assert torch.equal(as_given["pixel_values"], turned["pixel_values"].flip(0))
    assert len(as_given["pixel_values"].unique(dim=0)) == count
    assert torch.equal(as_given["input_ids"], turned["input_ids"])
    assert torch.equal(as_given["labels"], turned["labels"])
    (seen, loss), (seen_turned, loss_turned) = features_seen(made, as_given), features_seen(made, turned)
    assert torch.allclose(seen, seen_turned.flip(0), atol=1e-6)
    assert len(seen.unique(dim=0)) == count
    assert abs(loss - loss_turned) > 1e-5


def test_images_of_a_batch_stay_with_their_samples() -> None:
    made = tiny("llava")
    red, green, blue = map(picture, COLOURS)
    batch = collate(made, about(red, green), replace(about(blue, red, green), id="other"))
    alone = [collate(made, about(*each))["pixel_values"] for each in ((red, green), (blue, red, green))]
    assert torch.equal(batch["pixel_values"], torch.cat(alone))


def test_each_image_has_its_label_in_order() -> None:
    made = tiny("llava")
    labels = (GuardLabel.SAFE, GuardLabel.TERRORISM)
    config = CONFIG.method_part.guard(None)
    assert config is None
    from holisafe.guard import GuardConfig

    guard = GuardConfig()
    one = replace(about(picture("red"), picture("blue")), image_labels=labels)
    other = replace(one.with_images(one.images[::-1]), id="other", image_labels=labels[::-1])
    batch = CONFIG.method_part.collator(made.processor, guard)([one, other])
    assert batch["image_labels"].tolist()[:2] == batch["image_labels"].tolist()[:1:-1]


@pytest.mark.parametrize(("count", "found"), [(0, "none"), (1, "1")])
def test_a_sample_of_too_few_images_is_refused_before_the_model_is_loaded(count: int, found: str) -> None:
    few = replace(about(picture("red")).with_images((picture("red"),) * count), image_labels=())
    with pytest.raises(TuningError, match=f"sample several: images: found {found}, expected at least 2.*data mirage"):
        plan(ModelSpec("there/is-no-such-model"), [few], CONFIG)


def test_general_data_need_no_images() -> None:
    general = [replace(sample("general", combination=None, category=None).with_images(()), image_labels=())]
    method = CONFIG.method_part
    assert method.prepare_general(general, CONFIG.method_config) == general
