"""The guard of a model at work while batches are answered: the same prefill gives the answer and the verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any

import torch

from holisafe.guard import GuardSession, add_meta_tokens, disable, prepare_inputs, session
from holisafe.guard.attach import find_observer
from holisafe.models.prompts import Prepared
from holisafe.records import GuardVerdict

if TYPE_CHECKING:
    from holisafe.families.features import ForwardInputs
    from holisafe.models.engine.prefill import FeatureCache


class Watch:
    """What the guard says of one batch, however its prompts are read; use it as a context manager.

    Prompts are read whole (`start`), or in two steps: what prompts about the same images share (`start_shared`), then
    the rest of each (`go_on`). Images are then judged in the first step, once for all prompts that share them, and
    each request at the end of the second. Without a guard nothing here does anything.

    Args:
        model: The model, with or without a guard.
        judges: Whether verdicts are wanted; else the guard is disabled.
    """

    def __init__(self, model: Any, *, judges: bool = True) -> None:
        self._model = model
        self._session: GuardSession | None = session(model) if judges and find_observer(model) is not None else None
        self._context: AbstractContextManager[Any] = disable(model) if self._session is None else self._session
        self._of_images: list[GuardVerdict] | None = None

    def __enter__(self) -> Watch:
        """Begin the guard's session, or disable it, in this thread."""
        self._context.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End it."""
        self._context.__exit__(kind, error, traceback)

    @torch.inference_mode()
    def start(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Announce prompts that are read whole; their inputs come back as the guard needs them."""
        return inputs if self._session is None else self._session.plan(prepare_inputs(self._model, inputs))

    def marked(self, family: ForwardInputs, cache: FeatureCache, prompts: Sequence[Prepared]) -> list[Prepared]:
        """Prompts with the guard's meta tokens, for reading in two steps; as they are where it has none."""
        observer = find_observer(self._model)
        if self._session is None or observer is None or not observer.config.meta_token:
            return list(prompts)
        return [self._mark(prompt, cache.features(self._model, family, prompt)) for prompt in prompts]

    def start_shared(self, inputs: Mapping[str, Any]) -> None:
        """Announce what prompts about the same images share, one row per group of prompts."""
        if self._session is not None:
            self._session.plan(inputs)

    def go_on(self, sizes: Sequence[int], rest: Mapping[str, Any]) -> None:
        """Keep what was said of the images of each group, of `sizes` prompts, and announce the rest of the prompts."""
        if self._session is not None:
            read = self._session.verdicts()
            self._of_images = [group for group, size in zip(read, sizes, strict=True) for _ in range(size)]
            self._session.plan(rest)

    def verdicts(self, prompts: int) -> Sequence[GuardVerdict]:
        """One per prompt, in the order of the batch; empty without a guard.

        Raises:
            GuardError: The model's features are not finite.
        """
        if self._session is None:
            return [GuardVerdict()] * prompts
        read = self._session.verdicts()
        if self._of_images is None:
            return read
        return [GuardVerdict(seen.images, end.request) for seen, end in zip(self._of_images, read, strict=True)]

    def _mark(self, prompt: Prepared, features: Any) -> Prepared:
        one = {key: value[None] for key, value in {"input_ids": prompt.ids, **prompt.per_token}.items()}
        found = add_meta_tokens(self._model, {**one, "mm_encoder_outputs": {"image": features}})
        per_token = {key: found[key][0] for key in prompt.per_token}
        return replace(prompt, ids=found["input_ids"][0], per_token=per_token)
