"""The guard's state during one call. `holisafe.guard.sessions` has the functions that make it."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import torch
from torch import Tensor

from holisafe.errors import GuardError
from holisafe.guard._context import Entry, enter, leave
from holisafe.guard._reading import GuardLogits, Reading
from holisafe.guard._verdict import image_verdicts, joint_verdicts
from holisafe.guard.observer import Observer, encode_first, goes_on
from holisafe.records import GuardVerdict, ImageVerdict


class GuardSession:
    """A call in which the guard of one model works; `holisafe.guard.session` makes it.

    While it is entered, forward passes of the model in this context (thread or asyncio task) are read for it. Another
    context joins by entering it too, or with a copy of the context (`contextvars.copy_context`).

    Attributes:
        inputs: The planned prompts as the model has to be given them; empty where none were planned.
        logits: What the guard's heads output for the latest prompts; None until they have been read to their end.
        vectors: The mean of each image's projector features (images, width), float32; None before `read_embeddings`.
    """

    def __init__(self, observer: Observer) -> None:
        self.inputs: dict[str, Any] = {}
        self.logits: GuardLogits | None = None
        self.vectors: Tensor | None = None
        self._observer = observer
        self._calibration = observer.calibration
        self._reading: Reading | None = None
        self._prompts = 0
        self._is_planned = False
        self._ends_at_language_model = False
        self._injects = False
        self._entry: Entry = (observer, self)
        self._entered: list[Entry] = []  # once per context that is in it

    def __enter__(self) -> GuardSession:
        """Let the guard work for this session in the current context."""
        self._entered.append(self._entry)
        enter(self._entry)
        if not self._is_planned or self._reading is not None:
            self._observer.watch(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End it in the current context; what was read stays readable."""
        leave(self._entered.pop())
        if not self._entered:
            self._observer.unwatch(self)
            self._reading = None

    def plan(self, prepared: Mapping[str, Any]) -> dict[str, Any]:
        """Read these prompts, whose forward passes may come in chunks, then no others.

        Args:
            prepared: Inputs as `prepare_inputs` returns them.

        Returns:
            The same inputs.
        """
        self.inputs = dict(prepared)
        self._is_planned = True
        self._start(prepared)
        if self._entered:
            self._observer.watch(self)
        return self.inputs

    def verdicts(self) -> tuple[GuardVerdict, ...]:
        """The guard's verdicts, one per prompt.

        Raises:
            GuardError: The model has not read the prompts to their end, or its features are not finite.
        """
        found = self.logits
        if found is None:
            raise GuardError(
                "the model has not read the prompts to their end, so the guard has no verdicts: run the model inside "
                "the session, `with session(model, inputs) as s: model.generate(**s.inputs)`; another thread needs a "
                "copy of the context (contextvars.copy_context)"
            )
        labels = self._observer.config.labels
        images = [] if found.image_logits is None else image_verdicts(found.image_logits, labels, self._calibration)
        joint = [] if found.joint_logits is None else joint_verdicts(found.joint_logits, self._calibration)
        of_row: list[list[ImageVerdict]] = [[] for _ in range(self._prompts)]
        for row, verdict in zip(found.image_rows.tolist(), images, strict=False):
            of_row[row].append(verdict)
        return tuple(GuardVerdict(tuple(of_row[row]), joint[row] if joint else None) for row in range(self._prompts))

    def read_embeddings(self) -> None:
        """Classify the planned images by the projector's output alone: the language model does not run.

        The model's own forward pass puts its inputs together, and is left where the language model would begin. The
        session must be entered.
        """
        reading = self._reading
        assert reading is not None
        self._ends_at_language_model = True
        try:
            self._observer.base(**self.inputs, use_cache=False)
        except _LanguageModelReached as reached:
            logits = reading.read_embedded(reached.embedded)
            self.vectors = reading.mean_vectors(reached.embedded)
            self._finish(logits)
        else:
            raise GuardError(
                f"{self._observer.family.model_type}: its language model was not reached, so the guard saw no image"
            )
        finally:
            self._ends_at_language_model = False

    def before_forward(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        """Find the images of a whole prompt that was not planned."""
        if self._is_planned:
            return None
        base = self._observer.base
        if args:
            names = inspect.signature(base.forward).parameters
            args, kwargs = (), dict(zip(names, args, strict=False)) | kwargs
        ids = kwargs.get("input_ids")
        self._reading, self._injects = None, False
        if ids is None or ids.shape[1] == 1 or goes_on(kwargs.get("past_key_values")):
            return args, kwargs
        if self._observer.needs_lengths:
            kwargs = encode_first(base, kwargs)
        self._start({**kwargs, "input_ids": ids})
        self._injects = True
        return args, kwargs

    def before_language_model(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        """Put the learned meta token where it stands in the prompt."""
        if self._ends_at_language_model:
            raise _LanguageModelReached(kwargs["inputs_embeds"])
        if self._reading is None or not self._observer.embeds_meta_token:
            return None
        embedded: Tensor | None = kwargs.get("inputs_embeds")
        if embedded is None:
            raise GuardError(
                f"{self._observer.family.model_type} models cannot have a meta token: their language model embeds "
                "prompts itself"
            )
        return args, {**kwargs, "inputs_embeds": self._reading.meta_tokens(embedded)}

    def after_language_model(self, kwargs: Mapping[str, Any], hidden: Tensor) -> None:
        """Read what a pass shows of the prompts, its last hidden states being (rows, columns, width)."""
        if self._reading is None or self.logits is not None:
            return
        found = self._reading.read(kwargs, hidden)
        if found is not None:
            self._finish(found)

    def after_forward(self, output: Any) -> Any:
        """The model's output with the guard's logits among its fields; None leaves it as it is."""
        if not self._injects or self.logits is None or not isinstance(output, dict):
            return None
        return _with_logits(output, self.logits)

    def _start(self, inputs: Mapping[str, Any]) -> None:
        layout = self._observer.layout(inputs)
        self.logits, self._prompts = None, len(layout.ends)
        self._reading = Reading(self._observer.guard, self._observer.config, layout)

    def _finish(self, logits: GuardLogits) -> None:
        self.logits = logits
        if self._is_planned and not self._observer.embeds_meta_token:
            self._observer.unwatch(self)
            self._reading = None


class _LanguageModelReached(Exception):
    """The forward pass has come to the language model."""

    def __init__(self, embedded: Tensor) -> None:
        self.embedded = embedded


@torch.compiler.disable  # type: ignore[untyped-decorator]
def _with_logits(output: Any, found: GuardLogits) -> Any:
    from transformers.utils import ModelOutput

    if isinstance(output, ModelOutput):
        output = _with_fields(type(output))(**vars(output))  # type: ignore[arg-type]  # classes are hashable
    if found.image_logits is not None:
        output["image_logits"] = found.image_logits
        output["image_rows"] = found.image_rows.to(found.image_logits.device)
    if found.joint_logits is not None:
        output["joint_logits"] = found.joint_logits
    return output


@functools.cache
def _with_fields(kind: Any) -> Any:
    """The kind of output with fields for the guard's: DDP takes outputs apart and builds them anew by field."""
    names = (field.name for field in dataclasses.fields(GuardLogits))
    return dataclasses.make_dataclass(kind.__name__, [(name, Any, None) for name in names], bases=(kind,))
