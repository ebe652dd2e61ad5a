"""What watches a guarded model's forward passes and lets the guard classify what it saw."""

from __future__ import annotations

import copy
import dataclasses
import functools
import inspect
import threading
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from holisafe.errors import GuardError
from holisafe.guard._config import GuardConfig
from holisafe.guard._spans import Layout, find_images, last_columns, last_tokens, pooling_weights, slots
from holisafe.guard._vision_tower import vision_embeddings
from holisafe.guard.calibration import Calibration
from holisafe.guard.family import GuardFamily

IGNORED = -100
"""Label of tokens that are not learned, as in transformers."""


@dataclass(frozen=True, slots=True)
class GuardOutput:
    """What the guard said in one forward pass.

    Attributes:
        image_logits: (images, labels), None without an image head.
        image_rows: The prompt of each image (images,).
        joint_logits: (prompts, 12): five combinations, then seven categories; None without a joint head.
    """

    image_logits: Tensor | None
    image_rows: Tensor
    joint_logits: Tensor | None


def turn(observer: Observer) -> threading.RLock:
    """What a thread holds while it asks the guard: an observer watches for the prompts of one call at a time.

    Not kept in the observer, which is copied and pickled with its model.
    """
    with _TURNS_LOCK:
        return _TURNS.setdefault(observer, threading.RLock())


class Observer:
    """Hooks on a model and its language model; no module, so that it is in no state dict.

    Attributes:
        calibration: Temperatures and thresholds of the verdicts.
        output: What the guard said of the prompts that `plan` announced; None before it has seen them to their end.
    """

    def __init__(self, base: Any, language_model: nn.Module, family: GuardFamily, config: GuardConfig) -> None:
        self.base = base
        self.family = family
        self.config = config
        self.calibration = Calibration()
        self.output: GuardOutput | None = None
        self._layout: Layout | None = None
        self._is_planned = False
        self._takes_part = True
        self._seen = 0
        self._pooled: Tensor | None = None
        self._weight: Tensor | None = None
        self._peak: Tensor | None = None
        self._ends: Tensor | None = None
        self._is_meta: Tensor | None = None  # where the pass that goes on has the meta token (rows, columns)
        self._hooks = [
            base.register_forward_pre_hook(self._before, with_kwargs=True),
            base.register_forward_hook(self._after),
            language_model.register_forward_hook(self._watch, with_kwargs=True),
        ]
        if config.meta_in_encoder:
            self._hooks.append(vision_embeddings(base, family).register_forward_hook(self._append_meta_token))
        elif config.meta_token:
            self._hooks.append(language_model.register_forward_pre_hook(self._embed_meta_token, with_kwargs=True))

    def __deepcopy__(self, memo: dict[int, Any]) -> Observer:
        """Come along with a copy of the whole model; stay where a part is copied, as PEFT does to train all of it."""
        if id(self.base) not in memo:
            return self
        copied = memo[id(self)] = Observer.__new__(Observer)
        vars(copied).update(copy.deepcopy(vars(self), memo))
        return copied

    @property
    def image_token(self) -> int:
        """Id of the placeholder of a visual token."""
        return int(getattr(self.base.config, self.family.image_token))

    @property
    def meta_token_id(self) -> int | None:
        """Id that stands for the meta token in a prompt; None without one."""
        return self.image_token if self.config.meta_in_encoder else self.config.meta_token_id

    @property
    def needs_lengths(self) -> bool:
        """Whether only the visual features tell which placeholders are one image."""
        return self.family.grouping == "features"

    def remove(self) -> None:
        """Take the hooks off."""
        for hook in self._hooks:
            hook.remove()
        self._takes_part = False  # a copy of the vision encoder, such as PEFT's, keeps its hook

    def plan(self, layout: Layout) -> None:
        """Watch for these prompts, whose forward passes may come in chunks; then for no others until `forget`."""
        self._start(layout)
        self._is_planned = self._takes_part = True

    def wait(self) -> None:
        """Watch for nothing until `plan` or `forget`; the vision encoder sees the meta token."""
        self._layout, self._is_planned, self.output, self._takes_part = None, True, None, True

    def rest(self) -> None:
        """Have no part in anything until `plan` or `forget`: the model is as it is without its guard."""
        self.wait()
        self._takes_part = False

    def forget(self) -> None:
        """End what `plan`, `wait` or `rest` began."""
        self.wait()
        self._is_planned = False

    # sizes depend on the prompt, and decoding steps, which are worth compiling, do not come here
    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def layout(self, inputs: Mapping[str, Any]) -> Layout:
        """Where the images of a batch of inputs are; visual features must be there if the family needs them."""
        ids: Tensor = inputs["input_ids"]
        mask = inputs.get("attention_mask")
        ends = last_columns(mask, ids.shape[1], ids.shape[0])
        labels = inputs.get("labels")
        if labels is not None:
            learned = labels.cpu() != IGNORED
            # the joint head reads the prompt's last position: the one before the first that is learned
            ends = torch.where(learned.any(1), learned.long().argmax(1) - 1, ends).clamp(min=0)
        lengths = feature_lengths(inputs)
        if lengths is not None and len(lengths) < int((ids == self.image_token).any(1).sum()):
            lengths = None  # a chunk of a prefill: features of all prompts in one piece
        in_encoder = self.config.meta_in_encoder
        if in_encoder and lengths and int((ids == self.image_token).sum()) == sum(lengths) - len(lengths):
            raise GuardError(_UNMARKED)
        found = find_images(ids.cpu(), self.image_token, self.family, self.config.boundary_ids, lengths, ends)
        if in_encoder:
            return last_tokens(found)
        token = self.config.meta_token_id
        return found if token is None else meta_layout(ids.cpu(), found, token)

    def classify_embedded(self, embedded: Tensor) -> None:
        """Classify the planned images by what would go into the language model (rows, columns, width)."""
        layout = self._layout
        assert layout is not None
        self._pool(layout, embedded, 0, layout.width)
        self._classify(layout)

    def _start(self, layout: Layout) -> None:
        self._layout, self._seen = layout, 0
        self._pooled = self._weight = self._peak = self._ends = None
        self.output = None

    def _before(self, _: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]] | None:
        """Find the images of a prompt that nobody announced."""
        token = self.config.meta_token_id
        if self._is_planned and token is None:
            return None
        if args:
            names = inspect.signature(self.base.forward).parameters
            args, kwargs = (), dict(zip(names, args, strict=False)) | kwargs
        ids = kwargs.get("input_ids")
        self._is_meta = None
        if token is not None and ids is not None and ids.shape[1] > 1:  # no step of decoding
            self._is_meta = torch.eq(ids, token)
        if self._is_planned:
            return args, kwargs
        self._layout = self.output = None
        if ids is None or ids.shape[1] == 1 or goes_on(kwargs.get("past_key_values")):
            return args, kwargs
        if self.needs_lengths:
            kwargs = encode_first(self.base, kwargs)
        self._start(self.layout({**kwargs, "input_ids": ids}))
        return args, kwargs

    def _watch(self, _: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        """Read what this pass shows of the prompts; classify once all has been seen."""
        if self._layout is not None:
            self._read(self._layout, kwargs, output[0])

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _read(self, layout: Layout, kwargs: Mapping[str, Any], hidden: Tensor) -> None:
        """Pool what these hidden states (rows, columns, width) show of the images, or what went in for them."""
        states = hidden if self.config.features == "language" else kwargs["inputs_embeds"]
        beams = hidden.shape[0] // len(layout.ends)
        start, stop = self._seen, self._seen + hidden.shape[1]
        self._seen = stop
        if self.config.image_head and layout.images:
            self._pool(layout, states[::beams], start, stop)
        if self.config.joint_head:
            self._read_ends(layout, hidden[::beams], start, stop)
        if stop >= layout.width:
            self._classify(layout)

    def _pool(self, layout: Layout, states: Tensor, start: int, stop: int) -> None:
        """Add these columns to the weighted sum of each image's states."""
        weights = pooling_weights(layout, start, stop, len(layout.ends))  # (rows, images of a row, columns)
        if self.config.pooling == "last":
            weights = pooling_weights(last_tokens(layout), start, stop, len(layout.ends))
        weights = weights.to(states.device)
        if self.config.pooling == "attention":
            weights = self._attend(states, weights)
        # sums of thousands of states overflow float16; a power of two is exact in every format
        weights = (weights * 2.0 ** -int(layout.counts.max()).bit_length()).to(states.dtype)
        pooled = (weights @ states).float()  # (rows, images of a row, width)
        total = weights.float().sum(-1)  # (rows, images of a row)
        self._pooled = pooled if self._pooled is None else self._pooled + pooled
        self._weight = total if self._weight is None else self._weight + total

    def _attend(self, states: Tensor, is_of: Tensor) -> Tensor:
        """Attention weights (rows, images of a row, columns), at most 1; earlier chunks' sums are brought in line."""
        query: Tensor = self._guard().query.to(states.device, states.dtype) / states.shape[-1] ** 0.5
        scores = (states @ query).float()[:, None].masked_fill(is_of == 0, -torch.inf)
        before = is_of.new_full(is_of.shape[:2], _LOWEST) if self._peak is None else self._peak
        peak = torch.maximum(before, scores.detach().amax(-1))  # (rows, images of a row)
        if self._pooled is not None and self._weight is not None:
            kept = (before - peak).exp()
            self._pooled, self._weight = self._pooled * kept[..., None], self._weight * kept
        self._peak = peak
        return (scores - peak[..., None]).exp()

    def _read_ends(self, layout: Layout, hidden: Tensor, start: int, stop: int) -> None:
        inside = ((layout.ends >= start) & (layout.ends < stop)).nonzero()[:, 0]
        if self._ends is None:
            self._ends = hidden.new_zeros(len(layout.ends), hidden.shape[-1])
        rows = inside.to(hidden.device)
        read = hidden[rows, (layout.ends[inside] - start).to(hidden.device)]
        self._ends = self._ends.index_copy(0, rows, read)

    def _classify(self, layout: Layout) -> None:
        images = None
        if self._pooled is not None and self._weight is not None:
            mean = self._pooled / self._weight.clamp(min=torch.finfo(torch.float32).tiny)[..., None]
            images = mean[layout.rows.to(mean.device), slots(layout).to(mean.device)]  # (images, width)
        image_logits, joint_logits = self._guard()(images, self._ends)
        self.output = GuardOutput(image_logits, layout.rows, joint_logits)
        self._layout = None
        self._pooled = self._weight = self._peak = self._ends = None

    def _after(self, _: Any, __: tuple[Any, ...], output: Any) -> Any:
        """Put what the guard said into the model's output."""
        said = self.output
        if said is None or self._is_planned:
            return None
        self.output = None  # kept, it would hold the graph of a training step
        return _with_verdicts(output, said) if isinstance(output, dict) else None

    def _embed_meta_token(
        self, _: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        """Put the learned token where it stands in the prompt."""
        layout = self._layout
        if layout is None and self._is_meta is None:
            return None
        embedded: Tensor | None = kwargs.get("inputs_embeds")
        if embedded is None:
            raise GuardError(
                f"{self.family.model_type} models cannot have a meta token: their language model embeds prompts itself"
            )
        is_meta = self._is_meta
        if layout is not None:
            row, column, _image = layout.tokens
            start, stop = self._seen, self._seen + embedded.shape[1]
            beams = embedded.shape[0] // len(layout.ends)
            inside = (column >= start) & (column < stop)
            is_meta = torch.zeros(len(layout.ends), embedded.shape[1], dtype=torch.bool)
            is_meta[row[inside], column[inside] - start] = True
            is_meta = is_meta.repeat_interleave(beams, 0)
        assert is_meta is not None
        is_meta = is_meta.to(embedded.device)[..., None]
        token = self._guard().meta_token.to(embedded.device, embedded.dtype)
        return args, {**kwargs, "inputs_embeds": torch.where(is_meta, token, embedded)}

    def _append_meta_token(self, _: Any, __: tuple[Any, ...], embedded: Tensor) -> Tensor | None:
        """Put the learned token, which has no position, after an image's patches (images, patches, vision width)."""
        if not self._takes_part:
            return None
        token = self._guard().meta_token.to(embedded.device, embedded.dtype)
        return torch.cat([embedded, token.expand(len(embedded), 1, -1)], 1)  # (images, patches + 1, vision width)

    def _guard(self) -> Any:
        return self.base.get_submodule("guard")


@torch.compiler.disable  # type: ignore[untyped-decorator]
def _with_verdicts(output: Any, said: GuardOutput) -> Any:
    """The model's output with the guard's among its fields."""
    from transformers.utils import ModelOutput

    if isinstance(output, ModelOutput):
        output = _with_fields(type(output))(**vars(output))  # type: ignore[arg-type]  # classes are hashable
    if said.image_logits is not None:
        output["image_logits"] = said.image_logits
        output["image_rows"] = said.image_rows.to(said.image_logits.device)
    if said.joint_logits is not None:
        output["joint_logits"] = said.joint_logits
    return output


@functools.cache
def _with_fields(kind: Any) -> Any:
    """The kind of output with fields for the guard's: DDP takes outputs apart and builds them anew by field."""
    names = (field.name for field in dataclasses.fields(GuardOutput))
    return dataclasses.make_dataclass(kind.__name__, [(name, Any, None) for name in names], bases=(kind,))


def feature_lengths(inputs: Mapping[str, Any]) -> list[int] | None:
    """Visual tokens of each entry of visual features that are already computed; None where there are none."""
    encoded = (inputs.get("mm_encoder_outputs") or {}).get("image")
    if encoded is None:
        return None
    features: Any = encoded.pooler_output  # one tensor per image or tile, or all of the same size in one
    if features is None or (isinstance(features, Tensor) and features.ndim == 2):
        return None  # a chunk of a prefill: features of all images in one piece
    return [len(each) for each in features]


def encode_first(base: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    """Run the vision encoder now, as `generate` does, so that its output tells how long each image is.

    Inputs come back as they are where there is nothing to encode.
    """
    if not base._supports_mm_encoder_outputs() or inputs.get("mm_encoder_outputs"):
        return inputs
    encoded = base._prepare_multimodal_encoder_kwargs_for_generation(dict(inputs))
    # sizes stay, since token positions depend on them in some families; pixels do not
    return {**{key: value for key, value in inputs.items() if not key.startswith(_PIXELS)}, **encoded}


_PIXELS = ("pixel_values", "image_patches")
_LOWEST = -1e30
"""Below every score, and finite, so that differences are."""


def goes_on(cache: Any) -> bool:
    """Whether a pass continues a prompt of which the cache holds the beginning."""
    from transformers import Cache

    return isinstance(cache, Cache) and bool(cache.get_seq_length() > 0)


def meta_layout(input_ids: Tensor, layout: Layout, meta_token: int) -> Layout:
    """The layout whose only visual token of each image is the meta token right after it.

    Raises:
        GuardError: It is not there.
    """
    last = last_tokens(layout)
    rows, columns, images = last.tokens[0], last.tokens[1] + 1, last.tokens[2]
    is_there = columns < layout.width
    if not bool(is_there.all()) or not bool(torch.eq(input_ids[rows, columns], meta_token).all()):
        raise GuardError(_UNMARKED)
    return replace(last, tokens=(rows, columns, images))


_UNMARKED = (
    "an image of the prompt has no meta token after it; pass the inputs through add_meta_tokens(model, inputs), or use "
    "guarded_generate, which does so"
)


_TURNS: weakref.WeakKeyDictionary[Observer, threading.RLock] = weakref.WeakKeyDictionary()
_TURNS_LOCK = threading.Lock()
