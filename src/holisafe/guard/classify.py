"""Verdicts on images alone: no question, no answer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers import ProcessorMixin

from holisafe._checks import check_type
from holisafe.errors import GuardError
from holisafe.guard._config import Features
from holisafe.guard._verdict import image_verdicts
from holisafe.guard.attach import base_model, observer_of
from holisafe.guard.observer import Observer
from holisafe.guard.sessions import session
from holisafe.images import LIMITS
from holisafe.records import ImageVerdict


def classify_images(
    model: Any, images: Iterable[Image.Image], *, processor: Any, batch_size: int = 16
) -> Iterator[ImageVerdict]:
    """Say what images are, without a question and without an answer.

    Images are taken as the verdicts are asked for, one batch at a time. With features="projector" the language model
    does not run; with features="language" it reads one short prompt per image. Either way an image has the verdict
    it has in any prompt where it comes before the text, since what comes later is not seen. Not so with
    features="language" in families whose language model reads a whole prompt in both directions (PaliGemma), and
    where a chat template puts a question before its image: there verdicts depend on the question. The joint head has
    nothing to say without one and is left out.

    Args:
        model: A model with a guard, in evaluation mode.
        images: Decoded images.
        processor: The model's processor.
        batch_size: Images that go through the model at once; fewer where they have more pixels in sum than
            `holisafe.images.LIMITS` allows.

    Returns:
        One verdict per image, in their order.

    Raises:
        GuardError: The model has no guard, the guard has no image head, or an image's features are not finite.
    """
    check_type(batch_size, int, "batch_size")
    check_type(processor, ProcessorMixin, "processor")
    given: object = images
    if isinstance(given, (str, bytes)):
        raise TypeError(f"images: expected decoded images, found {type(given).__name__}; `holisafe.scan` reads files")
    if batch_size < 1:
        raise GuardError(f"batch_size: expected at least 1, found {batch_size}")
    _image_observer(model)
    return _batch_by_batch(model, iter(images), processor, batch_size)


def _batch_by_batch(
    model: Any, images: Iterator[Image.Image], processor: Any, batch_size: int
) -> Iterator[ImageVerdict]:
    for verdicts in map(partial(classify_batch, model, processor=processor), _batches(images, batch_size)):
        yield from verdicts


def _batches(images: Iterator[Image.Image], batch_size: int) -> Iterator[list[Image.Image]]:
    """Batches bounded by count and by pixels; none is held while the next is taken."""
    batch: list[Image.Image] = []
    pixels = 0
    for place, image in enumerate(images):
        _check_image(image, place)
        size = image.width * image.height
        if batch and pixels + size > LIMITS.max_total_pixels:
            yield batch
            batch, pixels = [], 0
        batch.append(image)
        pixels += size
        del image  # it is the batch's alone, also while the next one is decoded
        if len(batch) == batch_size:
            yield batch
            batch, pixels = [], 0
    if batch:
        yield batch


def _check_image(image: object, place: int) -> None:
    check_type(image, Image.Image, f"images[{place}]")
    assert isinstance(image, Image.Image)
    if not image.width or not image.height:
        raise GuardError(f"images[{place}]: found {image.width} x {image.height} pixels, expected at least one")


def classify_batch(model: Any, images: Sequence[Image.Image], *, processor: Any) -> list[ImageVerdict]:
    """One verdict per image, all at once; see `classify_images`."""
    return read_batch(model, images, processor=processor)[0]


def read_batch(
    model: Any, images: Sequence[Image.Image], *, processor: Any
) -> tuple[list[ImageVerdict], Tensor | None]:
    """One verdict per image, and the mean of its projector features (images, width), float32 on the model's device.

    The second is None where the guard reads the language model's states.
    """
    for place, image in enumerate(images):
        _check_image(image, place)
    if len(images) > 1 and processor.tokenizer.pad_token is None:  # prompts of different lengths cannot share a batch
        alone = [read_batch(model, [image], processor=processor) for image in images]
        vectors = [vector for _, vector in alone if vector is not None]
        return [verdict for verdicts, _ in alone for verdict in verdicts], torch.cat(vectors) if vectors else None
    return _read_inputs(model, _shortest_prompts(base_model(model), images, processor))


def classify_inputs(model: Any, inputs: Mapping[str, Any]) -> list[ImageVerdict]:
    """One verdict per prompt of a processor's output: one image each, and as little else as can be."""
    return _read_inputs(model, inputs)[0]


@torch.no_grad()
def _read_inputs(model: Any, inputs: Mapping[str, Any]) -> tuple[list[ImageVerdict], Tensor | None]:
    observer = _image_observer(model)
    base = base_model(model)
    with session(model, inputs) as watched:
        if observer.config.features is Features.PROJECTOR:
            watched.read_embeddings()
        else:
            options = {"logits_to_keep": 1} if base._supports_logits_to_keep() else {}
            base(**watched.inputs, use_cache=False, **options)
    logits = None if watched.logits is None else watched.logits.image_logits
    images = len(inputs["input_ids"])
    if logits is None or len(logits) != images:
        found = "none" if logits is None else len(logits)
        raise GuardError(f"expected a verdict on each of {images} images, found {found}")
    return image_verdicts(logits, observer.config.labels, observer.calibration), watched.vectors


def _image_observer(model: Any) -> Observer:
    observer = observer_of(model)
    if not observer.config.image_head:
        raise GuardError(
            "the guard has no image head, so it says nothing of an image without a question; use guarded_generate, or "
            "a guard with image_head=True"
        )
    return observer


def _shortest_prompts(base: Any, images: Sequence[Image.Image], processor: Any) -> dict[str, Any]:
    """One prompt per image that holds nothing else, padded on the right so that positions begin at 0."""
    pictures = [image if image.mode == "RGB" else image.convert("RGB") for image in images]
    padding = {"padding": True, "padding_side": "right"} if len(images) > 1 else {}
    if processor.chat_template:
        inputs = processor.apply_chat_template(
            [[{"role": "user", "content": [{"type": "image", "image": picture}]}] for picture in pictures],
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            add_generation_prompt=False,
            processor_kwargs=padding,
        )
    else:
        inputs = processor(
            text=[processor.image_token] * len(pictures),
            images=[[picture] for picture in pictures],
            return_tensors="pt",
            **padding,
        )
    return {key: _placed(value, base) for key, value in inputs.items()}


def _placed(value: Any, base: Any) -> Any:
    if not isinstance(value, Tensor):
        return value
    return value.to(base.device, base.dtype if value.is_floating_point() else None)
