"""Ask a model many questions: prompts go in from any thread, batches are formed as they come.

Images are decoded and prompts tokenised ahead in threads, while the model answers the batch before. A batch is the
prompt that waits longest, those that share its images, and then those closest to it in length.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from transformers import GenerationConfig

from holisafe.errors import HoliSafeError, ModelError
from holisafe.families.features import forward_inputs
from holisafe.models._generate import (
    Answer,
    FeatureCache,
    decode,
    feature_inputs,
    greedy,
    plain_inputs,
    prefix_inputs,
    shared_prefix,
)
from holisafe.models._reuse import Way, try_out
from holisafe.models._watch import Watch
from holisafe.models.prompts import Prepared, Prompt, prepare


@dataclass(eq=False)
class _Request:
    max_tokens: int
    prepared: Future[Prepared]
    answer: Future[Answer] = field(default_factory=Future)

    @property
    def tensors(self) -> Prepared:
        return self.prepared.result()


class Answerer:
    """A model at work; close it, or use it as a context manager.

    Where the model has a guard, every answer carries its verdicts, from the prefill that the answer needs.

    Args:
        model: A transformers image-text-to-text model in evaluation mode, on its device; with or without a guard.
        processor: Its processor.
        batch_size: Most prompts answered at once.
        reuse: Whether to compute what prompts with the same image share once, where that is right for the model.
        threads: Threads that decode images and tokenise ahead.
        feature_cache: Bytes of visual features to keep.
        prefix_worth: Tokens that a batch must save by shared prefixes to be worth reading in two steps.
        window: Seconds without a new prompt after which a batch that is not full starts.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        *,
        batch_size: int = 16,
        reuse: bool = True,
        threads: int = 2,
        feature_cache: int = 2**29,
        prefix_worth: int = 256,
        window: float = 0.05,
    ) -> None:
        if batch_size < 1:
            raise ModelError(f"batch_size is {batch_size}; expected at least 1")
        self.model = model
        self.processor = copy.deepcopy(processor)
        self.family = forward_inputs(model)
        self.reuse = try_out(model, self.processor, self.family, reuse=reuse)
        self.batch_size = batch_size if self.reuse.batched else 1
        self.prefixes = 0
        self._features = FeatureCache(feature_cache)
        self._prefix_worth = prefix_worth
        self._window = window
        self._local = threading.local()
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="holisafe-prepare")
        self._pending: list[_Request] = []
        self._changed = threading.Condition()
        self._closed = False
        self._worker = threading.Thread(target=self._work, name="holisafe-answer", daemon=True)
        self._worker.start()

    def __enter__(self) -> Answerer:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    @property
    def pool(self) -> int:
        """How many prompts to have waiting, so that full batches of like length and shared images can be formed."""
        return 4 * self.batch_size

    @property
    def images_encoded(self) -> int:
        """How often the vision encoder ran where features are reused."""
        return self._features.computed

    def submit(self, prompt: Prompt, max_tokens: int = 512) -> Future[Answer]:
        """Put a prompt in the queue; the future holds its answer, or the error that kept it from having one."""
        return self._enqueue([prompt], max_tokens)[0].answer

    def answer(self, prompts: Sequence[Prompt], max_tokens: int = 512) -> list[Answer]:
        """Answer all of `prompts`, in order.

        Raises:
            ImageError: An image could not be let in.
            ModelError: The model failed on a prompt.
        """
        return [request.answer.result() for request in self._enqueue(prompts, max_tokens)]

    def close(self) -> None:
        """Stop; prompts still waiting get an error."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._worker.join()
        self._threads.shutdown(cancel_futures=True)

    def _enqueue(self, prompts: Sequence[Prompt], max_tokens: int) -> list[_Request]:
        with self._changed:
            if self._closed:
                raise ModelError("the model was closed; load it again")
            new = [_Request(max_tokens, self._threads.submit(self._prepare, prompt)) for prompt in prompts]
            self._pending += new
            self._changed.notify_all()
        return new

    def _prepare(self, prompt: Prompt) -> Prepared:
        """Prepare with a processor of this thread's own: tokenizers are not safe to share."""
        if not hasattr(self._local, "processor"):
            self._local.processor = copy.deepcopy(self.processor)
        return prepare(self._local.processor, prompt, keep_conversation=self.reuse.way is Way.PLAIN)

    def _work(self) -> None:
        while batch := self._next_batch():
            self._answer_batch(batch)

    def _next_batch(self) -> list[_Request]:
        """Wait for prompts, and take those that go best together; empty when closed."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._pending or self._closed)
                waiting = 0
                while not self._closed and waiting < len(self._pending) < self.pool:
                    waiting = len(self._pending)
                    self._changed.wait(self._window)
                if self._closed:
                    for request in self._pending:
                        if request.answer.set_running_or_notify_cancel():
                            request.answer.set_exception(ModelError("the model was closed before it answered"))
                    self._pending.clear()
                    return []
                near = self._pending[: self.pool]
            good = [request for request in near if not self._failed(request)]
            batch = _choose(good, self.batch_size)
            with self._changed:
                chosen = set(map(id, batch)) | {id(request) for request in near if request not in good}
                self._pending = [request for request in self._pending if id(request) not in chosen]
            wanted = [request for request in batch if request.answer.set_running_or_notify_cancel()]
            if wanted:
                return wanted

    def _failed(self, request: _Request) -> bool:
        """Wait until the prompt is prepared; where that failed, the request has its error."""
        error = request.prepared.exception()
        if error is not None and request.answer.set_running_or_notify_cancel():
            request.answer.set_exception(error)
        return error is not None

    def _answer_batch(self, batch: list[_Request]) -> None:
        """Answer a batch; where it fails, its halves, so that one prompt fails alone."""
        try:
            answers = self._generate([request.tensors for request in batch], batch[0].max_tokens)
        except Exception as error:
            if isinstance(error, torch.OutOfMemoryError):
                torch.cuda.empty_cache()
            if len(batch) == 1:
                batch[0].answer.set_exception(_said(error))
                return
            half = len(batch) // 2
            self._answer_batch(batch[:half])
            self._answer_batch(batch[half:])
            return
        for request, answer in zip(batch, answers, strict=True):
            request.answer.set_result(answer)

    def _generate(self, prompts: list[Prepared], max_tokens: int) -> list[Answer]:
        config = greedy(self.model, self.processor.tokenizer, max_tokens)
        with Watch(self.model, judges=bool(prompts[0].shown)) as watch:  # of a batch, all show images or none does
            inputs = self._inputs(prompts, config, watch)
            answers = decode(self.model, self.processor, prompts, inputs, config)
            verdicts = watch.verdicts(len(prompts))
        return [replace(answer, verdict=found) for answer, found in zip(answers, verdicts, strict=True)]

    def _inputs(self, prompts: list[Prepared], config: GenerationConfig, watch: Watch) -> dict[str, Any]:
        """What `generate` is given, by the way that was found right."""
        model, family = self.model, self.family
        if self.reuse.way is Way.PLAIN:
            return watch.start(plain_inputs(model, self.processor, prompts))
        if self.reuse.way is Way.PREFIX:
            groups = _grouped(watch.marked(family, self._features, prompts))
            saved = sum((len(group) - 1) * shared_prefix(group, family) for group in groups)
            if saved >= max(self._prefix_worth, 1):
                inputs = prefix_inputs(model, family, self._features, groups, config, watch)
                if inputs is not None:
                    self.prefixes += len(groups)
                    return inputs
        return watch.start(feature_inputs(model, family, self._features, prompts, config.pad_token_id))


def _choose(waiting: Sequence[_Request], size: int) -> list[_Request]:
    """The oldest prompt, those that share its images, then groups in order of how near they are in length."""
    if not waiting:
        return []
    oldest = waiting[0]
    groups: dict[tuple[str, ...], list[_Request]] = {}
    for request in waiting:
        if request.max_tokens == oldest.max_tokens and bool(request.tensors.shown) == bool(oldest.tensors.shown):
            groups.setdefault(request.tensors.shown, []).append(request)
    length = len(oldest.tensors.ids)

    def distance(group: list[_Request]) -> int:
        return 0 if oldest in group else 1 + max(abs(len(request.tensors.ids) - length) for request in group)

    chosen = [request for group in sorted(groups.values(), key=distance) for request in group]
    return chosen[:size]


def _grouped(prompts: Sequence[Prepared]) -> list[list[Prepared]]:
    """Neighbours that show the same images; `_choose` puts them side by side."""
    groups: list[list[Prepared]] = []
    for prompt in prompts:
        if groups and groups[-1][0].shown == prompt.shown:
            groups[-1].append(prompt)
        else:
            groups.append([prompt])
    return groups


def _said(error: Exception) -> HoliSafeError:
    if isinstance(error, HoliSafeError):
        return error
    wrapped = ModelError(f"the model failed on this prompt: {type(error).__name__}: {str(error).strip()[:300]}")
    wrapped.__cause__ = error
    return wrapped
