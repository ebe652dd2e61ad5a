"""Which way of answering is right for a model: tried out once on the loaded model, before any answer depends on it.

Two drawn images and three questions are read in every way. A way is used only if it gives the same scores for the next
token as reading each prompt alone, up to the rounding of the model's dtype.
"""

from __future__ import annotations

import copy
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import torch
from PIL import Image, ImageDraw
from torch import Tensor
from transformers import GenerationConfig

from holisafe.families.features import ForwardInputs
from holisafe.models._watch import Watch
from holisafe.models.engine.options import generation_config
from holisafe.models.engine.prefill import FeatureCache, feature_inputs, plain_inputs, prefix_inputs
from holisafe.models.prompts import Prepared, Prompt, prepare
from holisafe.records import ImageRef

EXACT = 1e-3
"""Largest difference of scores in float32, as a share of their standard deviation, that is rounding."""


DIFFER = "the scores differ"


class Way(StrEnum):
    """How a batch is answered; see `holisafe.models.engine.prefill`."""

    PLAIN = "plain"
    FEATURES = "features"
    PREFIX = "prefix"


@dataclass(frozen=True, slots=True)
class Reuse:
    """The way that was found right, why not a faster one, and whether several prompts may share a batch.

    Attributes:
        way: How batches are answered.
        reason: Why no faster way is used; empty for the fastest.
        batched: Whether padding leaves the model's scores as they are.
    """

    way: Way
    reason: str = ""
    batched: bool = True


def try_out(model: Any, processor: Any, family: ForwardInputs, *, reuse: bool = True) -> Reuse:
    """Find the fastest way that is right for `model`; a guard has no part in it.

    Args:
        model: The loaded model.
        processor: Its processor.
        family: What the model accepts.
        reuse: False to stay with the plain way.
    """
    with Watch(model, judges=False) as watch:
        return _try_out(model, processor, family, reuse, watch)


def _try_out(model: Any, processor: Any, family: ForwardInputs, reuse: bool, watch: Watch) -> Reuse:
    prompts = _prompts(processor)
    config = generation_config(model, processor.tokenizer, 1)
    alone = torch.cat([_scores(model, plain_inputs(model, processor, [p]), config) for p in prompts])
    spread = float(alone.std())
    is_exact = model.dtype == torch.float32 and not torch.is_autocast_enabled(model.device.type)
    tried = _Tried(model, family, prompts, alone, config, watch)
    if reuse and is_exact and family.takes_features and not tried.features(1, EXACT * spread):
        why = tried.prefixes(EXACT * spread)  # the usual case, without the steps that only say why not
        if not why:
            return Reuse(Way.PREFIX)
        if why != DIFFER:
            return Reuse(Way.FEATURES, f"the image's prefix cannot be reused: {why}")
    together = _try(lambda: plain_inputs(model, processor, prompts), model, config)
    rounding = EXACT if is_exact else 1e-1
    noise = torch.inf if isinstance(together, str) else float((together - alone).abs().max())
    if noise > rounding * spread:
        why = together if isinstance(together, str) else "padding changes the scores"
        return Reuse(Way.PLAIN, f"prompts are not batched: {why}", batched=False)
    if not reuse:
        return Reuse(Way.PLAIN, "not asked for")
    if not family.takes_features:
        return Reuse(Way.PLAIN, "the forward pass takes no visual features computed before")
    allowed = max(EXACT * spread, 4 * noise)
    if why := tried.features(0, allowed):
        return Reuse(Way.PLAIN, f"visual features cannot be reused: {why}")
    if why := tried.prefixes(allowed):
        return Reuse(Way.FEATURES, f"the image's prefix cannot be reused: {why}")
    return Reuse(Way.PREFIX)


class _Tried:
    """The two faster ways on the drawn prompts, beside the scores of each prompt alone."""

    def __init__(
        self,
        model: Any,
        family: ForwardInputs,
        prompts: Sequence[Prepared],
        alone: Tensor,
        config: GenerationConfig,
        watch: Watch,
    ) -> None:
        self._model, self._family, self._config, self._watch = model, family, config, watch
        self._prompts, self._alone = prompts, alone  # (prompts, vocabulary)
        self._cache = FeatureCache(2**26)

    def features(self, first: int, allowed: float) -> str:
        """Why the prompts from `first` on cannot share visual features and a batch; empty where they can."""
        prompts, pad = self._prompts[first:], self._config.pad_token_id
        return self._why_not(
            lambda: feature_inputs(self._model, self._family, self._cache, prompts, pad), first, allowed
        )

    def prefixes(self, allowed: float) -> str:
        """Why they cannot share what is read up to the end of an image; empty where they can."""
        groups = [self._prompts[:2], self._prompts[2:]]
        return self._why_not(
            lambda: prefix_inputs(self._model, self._family, self._cache, groups, self._config, self._watch), 0, allowed
        )

    def _why_not(self, build: Callable[[], dict[str, Any] | None], first: int, allowed: float) -> str:
        scores = _try(build, self._model, self._config)
        if isinstance(scores, str):
            return scores
        return "" if float((scores - self._alone[first:]).abs().max()) <= allowed else DIFFER


def _try(build: Callable[[], dict[str, Any] | None], model: Any, config: GenerationConfig) -> Tensor | str:
    """The scores that the built inputs give, or why there are none."""
    try:
        inputs = build()
        if inputs is None:
            return "the chat template does not put the image first, or the cache is of another kind"
        return _scores(model, inputs, config)
    except (RuntimeError, ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"


@torch.inference_mode()
def _scores(model: Any, inputs: dict[str, Any], config: GenerationConfig) -> Tensor:
    """Scores of the first new token, (rows, vocabulary)."""
    wanted = copy.deepcopy(config)
    wanted.output_logits = wanted.return_dict_in_generate = True
    return torch.as_tensor(model.generate(**inputs, generation_config=wanted).logits[0]).float().cpu()


def _prompts(processor: Any) -> Sequence[Prepared]:
    """Two questions about one drawn image and one about another, of different lengths and shapes."""
    first, second = _drawn("wide", (96, 64)), _drawn("tall", (64, 80))
    asked = [
        Prompt.ask("What is this?", first),
        Prompt.ask("Which colours do you see in this picture?", first),
        Prompt.ask("Describe it.", second),
    ]
    return [prepare(processor, prompt, keep_prompt=True) for prompt in asked]


def _drawn(key: str, size: tuple[int, int]) -> ImageRef:
    image = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(image)
    for step in range(0, size[0], 8):
        pen.rectangle((step, step // 2, step + 5, size[1] - 4), fill=(step * 2 % 256, 255 - step, 90))
    encoded = io.BytesIO()
    image.save(encoded, "PNG")
    return ImageRef(f"holisafe-try-out-{key}", data=encoded.getvalue())
