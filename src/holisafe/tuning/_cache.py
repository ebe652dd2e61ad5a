"""The output of a frozen vision encoder for an image, computed once and kept for later steps."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers.utils import ModelOutput

from holisafe.guard.attach import base_model

CACHE_BYTES = 4 * 2**30
"""How much is kept in the computer's memory, in bytes, unless another limit is given."""

TOLERANCE = 0.05
"""How far, as a share of its norm, an encoder's output for a batch may be from that for its images one by one."""


class FrozenFeatures:
    """Stands before a model's vision encoder while it is entered as a context, and gives again what was computed.

    An image is known by its pixels and all else that the encoder is given. What it gives is computed image by image,
    whatever the batch, so that a run that was interrupted sees what an unbroken one does, and kept in its own format
    in the computer's memory. When that is full, no more is taken in: to drop the oldest would lose, in each pass over
    the data, every image before it comes again.

    Only forward passes that build a graph are served, with the encoder in evaluation mode. The first of them finds out
    whether the encoder can be cached: whether its output depends on a weight that learns, and whether it can be put
    together from that for single images, which is tried with an image and its negative. Where it cannot, the encoder
    runs as ever and `reason` says why.

    Args:
        model: A transformers model, its parts frozen or trainable.
        max_bytes: How much is kept.
        why_not: Why nothing shall be cached, if so.

    Attributes:
        hits: Images whose features were kept.
        misses: Images whose features were computed.
        bytes: What is kept, in bytes.
        reason: Why nothing is cached; empty where something is.
    """

    def __init__(self, model: Any, *, max_bytes: int = CACHE_BYTES, why_not: str = "") -> None:
        base = base_model(model)
        self.hits = self.misses = self.bytes = 0
        self.reason = why_not
        self._model = base
        self._encoder: Any = base.get_encoder(modality="image")
        if self._encoder is base and not why_not:
            self.reason = f"{type(base).__name__} has no image encoder of its own"
        self._max_bytes = max_bytes
        self._kept: dict[bytes, _Features] = {}
        self._is_tried = False

    def __enter__(self) -> FrozenFeatures:
        """Stand before the encoder."""
        self._plain: Callable[..., Any] = self._encoder.forward
        self._before = vars(self._encoder).get("forward")
        if not self.reason:
            self._encoder.forward = self._forward
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the encoder as it was; forget what was kept."""
        vars(self._encoder).pop("forward", None)
        if self._before is not None:
            self._encoder.forward = self._before
        self._kept.clear()
        self.bytes = 0

    def _forward(self, *args: Any, **kwargs: Any) -> Any:
        """The encoder's output, from what is kept where it is."""
        if self.reason or self._encoder.training or not torch.is_grad_enabled():
            return self._plain(*args, **kwargs)
        inputs = _taken_apart((args, kwargs))
        images = _by_image(inputs)
        if images is None:
            self.reason = f"{self._named()} takes its images in a form that cannot be taken apart"
            return self._plain(*args, **kwargs)
        if not self._is_tried:
            self.reason = self._why_not(images[0])
            self._is_tried = True
            if self.reason:
                return self._plain(*args, **kwargs)
        found = _together([self._of(image) for image in images])
        return found.whole(self._device)

    def _of(self, image: _Features) -> _Features:
        """The features of one image."""
        key = _key(image)
        if key in self._kept:
            self.hits += 1
            return self._kept[key]
        self.misses += 1
        features = self._computed(image).on_cpu()
        size = sum(tensor.nbytes for tensor in features.tensors)
        if self.bytes + size <= self._max_bytes:
            self._kept[key] = features
            self.bytes += size
        return features

    @torch.no_grad()
    def _computed(self, image: _Features) -> _Features:
        args, kwargs = image.whole()
        return _taken_apart(self._plain(*args, **kwargs))

    def _why_not(self, image: _Features) -> str:
        """Why this encoder cannot be cached, found by trying; empty if it can."""
        tried = [image, _negative(image)]
        args, kwargs = _together(tried).whole()
        batch = _taken_apart(self._plain(*args, **kwargs))
        if name := self._learned_weight_of(batch.tensors):
            return f"what {self._named()} gives depends on a weight that learns, {name}"
        alone = [self._computed(each) for each in tried]
        if any(each.form != batch.form for each in alone) or not all(
            _alike(of_batch.detach(), of_images)
            for of_batch, *of_images in zip(batch.tensors, *(each.tensors for each in alone), strict=True)
        ):
            return f"what {self._named()} gives for a batch is not what it gives for its images one by one"
        self._device = batch.tensors[0].device
        return ""

    def _learned_weight_of(self, outputs: Sequence[Tensor]) -> str:
        """The name of a weight that learns and that the outputs depend on, if there is one."""
        learned = {name: each for name, each in self._model.named_parameters() if each.requires_grad}
        sums = [each.float().sum() for each in outputs if each.requires_grad]
        if not sums or not learned:
            return ""
        slopes = torch.autograd.grad(sums, list(learned.values()), allow_unused=True)
        return next((name for name, slope in zip(learned, slopes, strict=True) if slope is not None), "")

    def _named(self) -> str:
        return type(self._encoder).__name__


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a tensor was taken out of a structure."""

    index: int


@dataclass(frozen=True, slots=True)
class _Features:
    """Arguments or outputs of an encoder, their tensors apart from their form; a tensor that is there twice, once."""

    form: Any
    tensors: tuple[Tensor, ...]

    def whole(self, device: torch.device | None = None) -> Any:
        """The structure as it was, its tensors on a device."""
        moved = [tensor.to(device) if device else tensor for tensor in self.tensors]
        return _changed(self.form, _Place, lambda place: moved[place.index])

    def on_cpu(self) -> _Features:
        """Copies that hold no more than what they show."""
        kept = (t.detach().to("cpu", copy=True, memory_format=torch.contiguous_format) for t in self.tensors)
        return _Features(self.form, tuple(kept))


def _taken_apart(value: Any) -> _Features:
    tensors: list[Tensor] = []

    def taken(tensor: Tensor) -> _Place:
        index = next((index for index, each in enumerate(tensors) if each is tensor), len(tensors))
        tensors[index:] = [tensor] if index == len(tensors) else tensors[index:]
        return _Place(index)

    form = _changed(value, Tensor, taken)
    return _Features(form, tuple(tensors))


def _changed(value: Any, kind: type, change: Callable[[Any], Any]) -> Any:
    """The same structure with everything of a kind changed."""
    if isinstance(value, kind):
        return change(value)
    if isinstance(value, ModelOutput):
        return type(value)(**{name: _changed(each, kind, change) for name, each in value.items()})
    if isinstance(value, dict):
        return {name: _changed(each, kind, change) for name, each in value.items()}
    if isinstance(value, (tuple, list)):
        return type(value)(_changed(each, kind, change) for each in value)
    return value


def _by_image(inputs: _Features) -> list[_Features] | None:
    """The encoder's arguments for each image alone; None if they cannot be separated.

    Either the pixels are (images, channels, height, width) or (images, patches, width), or they are the patches of all
    images, (patches, width), with a grid (images, 3) that says how many frames, rows and columns each image has.
    """
    if not inputs.tensors:
        return None
    pixels = inputs.tensors[0]
    sizes = [1] * len(pixels) if pixels.ndim > 2 else next(_grids(inputs.tensors), [])
    pieces = []
    for tensor in inputs.tensors:
        if not sizes or tensor.ndim == 0 or len(tensor) not in (sum(sizes), len(sizes)):
            return None
        pieces.append(torch.split(tensor, sizes if len(tensor) == sum(sizes) else 1))
    return [_Features(inputs.form, image) for image in zip(*pieces, strict=True)]


def _grids(tensors: Sequence[Tensor]) -> Iterator[list[int]]:
    """Patches of each image by a grid among the tensors."""
    pixels, *others = tensors
    for each in others:
        if pixels.ndim == 2 and each.ndim == 2 and each.shape[1] == 3 and not each.is_floating_point():
            sizes = each.prod(1)
            if int(sizes.sum()) == len(pixels):
                yield sizes.tolist()


def _together(images: Sequence[_Features]) -> _Features:
    """One batch of images that have the same form."""
    tensors = zip(*(image.tensors for image in images), strict=True)
    return _Features(images[0].form, tuple(torch.cat(each) for each in tensors))


def _negative(image: _Features) -> _Features:
    return _Features(image.form, tuple(-each if each.is_floating_point() else each for each in image.tensors))


def _alike(batch: Tensor, images: Sequence[Tensor]) -> bool:
    if batch.ndim == 0 or any(each.shape[1:] != batch.shape[1:] for each in images):
        return False
    alone = torch.cat(list(images))
    same_size = alone.shape == batch.shape
    return same_size and bool((alone.double() - batch.double()).norm() <= TOLERANCE * batch.double().norm())


def _key(image: _Features) -> bytes:
    """A digest of all that an encoder is given for an image, and of the format that it computes in."""
    device = image.tensors[0].device.type
    autocast = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
    shapes = [(each.dtype, each.shape) for each in image.tensors]
    digest = hashlib.sha256(repr((image.form, shapes, autocast)).encode())
    for tensor in image.tensors:
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    return digest.digest()
