from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch
from PIL import Image

from guard.families.weights import spread
from holisafe.errors import GuardError
from holisafe.guard import GuardConfig, attach_guard, classify_images, guard_of, guarded_generate
from holisafe.guard import classify as classification
from holisafe.images import ImageLimits
from holisafe.records import ImageVerdict
from tiny_models import FAMILIES, IMAGE_LAST, Tiny, llava, llava_onevision

SIZES = ((64, 64), (40, 90), (100, 50), (30, 30), (64, 20))


def guarded(tiny: Tiny, **parts: Any) -> Tiny:
    """With a guard whose verdicts differ from image to image."""
    spread(tiny.model, tiny.processor.tokenizer)
    attach_guard(tiny.model, GuardConfig(**parts), processor=tiny.processor)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in guard_of(tiny.model).parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator) * 0.4)
    return tiny


def pictures(sizes: Sequence[tuple[int, int]] = SIZES) -> list[Image.Image]:
    grey = (Image.linear_gradient("L"), Image.radial_gradient("L"))
    return [
        Image.merge("RGB", [grey[place % 2].rotate(90 * place + 30 * channel) for channel in range(3)]).resize(size)
        for place, size in enumerate(sizes)
    ]


def in_a_prompt(tiny: Tiny, picture: Image.Image, question: str = "What could this be used for?") -> ImageVerdict:
    """The verdict that comes with an answer."""
    content = [{"type": "image", "image": picture}, {"type": "text", "text": question}]
    inputs = tiny.processor.apply_chat_template(
        [{"role": "user", "content": content}],
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
        add_generation_prompt=True,
    )
    return guarded_generate(tiny.model, inputs, max_new_tokens=1).verdicts[0].images[0]


def assert_same(verdict: ImageVerdict, other: ImageVerdict) -> None:
    assert verdict.distribution == pytest.approx(dict(other.distribution), abs=1e-5)


def classify(tiny: Tiny, images: Sequence[Image.Image], **options: Any) -> list[ImageVerdict]:
    return list(classify_images(tiny.model, images, processor=tiny.processor, **options))


@pytest.mark.parametrize("features", ["projector", "language"])
@pytest.mark.parametrize("family", FAMILIES)
def test_an_image_has_the_verdict_that_it_has_in_a_prompt(family: str, features: str) -> None:
    tiny = guarded(FAMILIES[family](), features=features)
    verdicts = classify(tiny, pictures(), batch_size=3)
    assert len({round(verdict.probability, 6) for verdict in verdicts}) == len(SIZES), "a blind model proves nothing"
    for picture, verdict in zip(pictures(), verdicts, strict=True):
        assert_same(verdict, in_a_prompt(tiny, picture))


@pytest.mark.parametrize("features", ["projector", "language"])
@pytest.mark.parametrize("pooling", ["attention", "last"])
def test_pooling_is_that_of_a_prompt(pooling: str, features: str) -> None:
    tiny = guarded(llava_onevision(), features=features, pooling=pooling)
    for picture, verdict in zip(pictures(), classify(tiny, pictures()), strict=True):
        assert_same(verdict, in_a_prompt(tiny, picture))


def test_a_meta_token_is_read_as_in_a_prompt() -> None:
    tiny = guarded(llava_onevision(), meta_token=True)
    for picture, verdict in zip(pictures(), classify(tiny, pictures()), strict=True):
        assert_same(verdict, in_a_prompt(tiny, picture))


def test_where_the_question_comes_first_the_verdict_may_depend_on_it() -> None:
    tiny = guarded(llava(IMAGE_LAST))
    picture = pictures()[0]
    (verdict,) = classify(tiny, [picture])
    assert verdict.distribution != pytest.approx(dict(in_a_prompt(tiny, picture).distribution), abs=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_projector_features_never_run_the_language_model(family: str) -> None:
    tiny = guarded(FAMILIES[family](), features="projector")
    runs = count_runs(tiny.model.get_decoder().layers[0])
    classify(tiny, pictures())
    assert not runs
    in_a_prompt(tiny, pictures()[0])
    assert runs


def test_language_features_take_one_prefill_per_batch_and_one_column_of_logits() -> None:
    tiny = guarded(llava())
    runs = count_runs(tiny.model.get_decoder())
    logits = count_runs(tiny.model.get_output_embeddings())
    classify(tiny, pictures(), batch_size=2)
    assert [shape[0] for shape in runs] == [2, 2, 1]
    assert [shape[1] for shape in logits] == [1, 1, 1]


def count_runs(module: Any) -> list[tuple[int, ...]]:
    """Shapes that the module gives, one entry per run."""
    shapes: list[tuple[int, ...]] = []
    module.register_forward_hook(
        lambda _, __, output: shapes.append((output if isinstance(output, torch.Tensor) else output[0]).shape)
    )
    return shapes


@pytest.mark.parametrize("features", ["projector", "language"])
def test_no_more_images_are_taken_than_a_batch_needs(features: str) -> None:
    tiny = guarded(llava(), features=features)
    taken = 0

    def endless() -> Iterator[Image.Image]:
        nonlocal taken
        for picture in itertools.cycle(pictures()):
            taken += 1
            yield picture

    verdicts = classify_images(tiny.model, endless(), processor=tiny.processor, batch_size=4)
    assert taken == 0
    next(verdicts)
    assert taken == 4


def test_no_more_pixels_are_held_than_the_limits_allow(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = guarded(llava(), features="projector")
    expected = classify(tiny, pictures([(40, 40)] * 5))
    held: list[int] = []
    whole = classification.classify_batch

    def counted(model: Any, images: Sequence[Image.Image], *, processor: Any) -> list[ImageVerdict]:
        held.append(len(images))
        return whole(model, images, processor=processor)

    monkeypatch.setattr(classification, "classify_batch", counted)
    monkeypatch.setattr(classification, "LIMITS", ImageLimits(max_total_pixels=2 * 40 * 40))
    found = list(classify_images(tiny.model, pictures([(40, 40)] * 5), processor=tiny.processor, batch_size=4))
    assert held == [2, 2, 1]
    for verdict, other in zip(found, expected, strict=True):
        assert_same(verdict, other)


def test_grey_and_transparent_images_are_read_as_rgb() -> None:
    tiny = guarded(llava(), features="projector")
    grey = Image.linear_gradient("L")
    plain, *others = classify(tiny, [grey.convert("RGB"), grey, grey.convert("RGBA")])
    for other in others:
        assert_same(other, plain)


def test_the_model_stays_as_it_was() -> None:
    tiny = guarded(llava(), features="projector")
    decoder = tiny.model.get_decoder()
    hooks = len(decoder._forward_pre_hooks), len(decoder._forward_hooks)
    before = in_a_prompt(tiny, pictures()[0])
    classify(tiny, pictures())
    assert (len(decoder._forward_pre_hooks), len(decoder._forward_hooks)) == hooks
    assert_same(in_a_prompt(tiny, pictures()[0]), before)


def test_a_processor_without_chat_template_gets_its_bare_image_token() -> None:
    tiny = guarded(llava(), features="projector")
    with_template = classify(tiny, pictures())
    tiny.processor.chat_template = None
    for verdict, other in zip(classify(tiny, pictures()), with_template, strict=True):
        assert_same(verdict, other)


def test_a_guard_without_image_head_is_refused_before_any_image_is_taken() -> None:
    tiny = guarded(llava(), image_head=False)
    with pytest.raises(GuardError, match="no image head"):
        classify_images(tiny.model, [], processor=tiny.processor)


def test_a_model_without_guard_is_refused() -> None:
    tiny = llava()
    with pytest.raises(GuardError, match="has no guard"):
        classify_images(tiny.model, [], processor=tiny.processor)


def test_a_batch_size_of_nothing_is_refused() -> None:
    tiny = guarded(llava())
    with pytest.raises(GuardError, match="batch_size: expected at least 1, found 0"):
        classify_images(tiny.model, [], processor=tiny.processor, batch_size=0)


def test_features_that_are_not_finite_give_an_error_and_no_verdict() -> None:
    tiny = guarded(llava(), features="projector")
    with torch.no_grad():
        next(iter(guard_of(tiny.model).parameters())).fill_(float("nan"))
    with pytest.raises(GuardError, match="not finite"):
        classify(tiny, pictures())
