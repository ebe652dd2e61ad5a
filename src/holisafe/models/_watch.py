"""The guard of a model at work while batches are answered: the same prefill gives the answer and the verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from holisafe.guard.attach import find_observer
from holisafe.guard.generate import add_meta_tokens, prepare_inputs, read_verdicts
from holisafe.guard.observer import turn
from holisafe.models.prompts import Prepared
from holisafe.records import GuardVerdict

if TYPE_CHECKING:
    from holisafe.guard.observer import Observer
    from holisafe.models._family import Family
    from holisafe.models.engine.prefill import FeatureCache


class Watch:
    """What the guard says of one batch, however its prompts are read; use it as a context manager.

    Prompts are read whole (`start`), or in two steps: what prompts about the same images share (`start_shared`), then
    the rest of each (`go_on`). Images are then judged in the first step, once for all prompts that share them, and
    each request at the end of the second. Without a guard nothing here does anything.

    Args:
        model: The model, with or without a guard.
        judges: Whether verdicts are wanted; a guard that is not asked rests.
    """

    def __init__(self, model: Any, *, judges: bool = True) -> None:
        self._model = model
        self._resting = find_observer(model)
        self._observer: Observer | None = self._resting if judges else None
        self._of_images: list[GuardVerdict] | None = None

    def __enter__(self) -> Watch:
        """Let the guard wait until prompts are announced, or rest."""
        if self._resting is not None:
            self._turn = turn(self._resting)
            self._turn.acquire()
        if self._observer is not None:
            self._observer.wait()
        elif self._resting is not None:
            self._resting.rest()
        return self

    def __exit__(self, *_: object) -> None:
        """Let the guard find prompts by itself again."""
        if self._resting is not None:
            self._resting.forget()
            self._turn.release()

    @torch.inference_mode()
    def start(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Announce prompts that are read whole; their inputs come back as the guard needs them."""
        if self._observer is None:
            return inputs
        prepared = prepare_inputs(self._model, inputs)
        self._observer.plan(self._observer.layout(prepared))
        return prepared

    def marked(self, family: Family, cache: FeatureCache, prompts: Sequence[Prepared]) -> list[Prepared]:
        """Prompts with the guard's meta tokens, for reading in two steps; as they are where it has none."""
        if self._observer is None or not self._observer.config.meta_token:
            return list(prompts)
        return [self._mark(prompt, cache.features(self._model, family, prompt)) for prompt in prompts]

    def start_shared(self, inputs: Mapping[str, Any]) -> None:
        """Announce what prompts about the same images share, one row per group of prompts."""
        if self._observer is not None:
            self._observer.plan(self._observer.layout(inputs))

    def go_on(self, sizes: Sequence[int], rest: Mapping[str, Any]) -> None:
        """Keep what was said of the images of each group, of `sizes` prompts, and announce the rest of the prompts."""
        if self._observer is not None:
            read = read_verdicts(self._observer, len(sizes))
            self._of_images = [group for group, size in zip(read, sizes, strict=True) for _ in range(size)]
            self._observer.plan(self._observer.layout(rest))

    def verdicts(self, prompts: int) -> Sequence[GuardVerdict]:
        """One per prompt, in the order of the batch; empty without a guard.

        Raises:
            GuardError: The model's features are not finite.
        """
        if self._observer is None:
            return [GuardVerdict()] * prompts
        read = read_verdicts(self._observer, prompts)
        if self._of_images is None:
            return read
        return [GuardVerdict(seen.images, end.request) for seen, end in zip(self._of_images, read, strict=True)]

    def _mark(self, prompt: Prepared, features: Any) -> Prepared:
        one = {key: value[None] for key, value in {"input_ids": prompt.ids, **prompt.per_token}.items()}
        found = add_meta_tokens(self._model, {**one, "mm_encoder_outputs": {"image": features}})
        per_token = {key: found[key][0] for key in prompt.per_token}
        return replace(prompt, ids=found["input_ids"][0], per_token=per_token)
