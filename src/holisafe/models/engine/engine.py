"""Ask a model many questions: requests go in from any thread, batches are formed as they come.

Images are decoded and prompts tokenised ahead in threads, while the model answers the batch before. A batch is the
prompt that waits longest, those that share its images, and then those closest to it in length.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from transformers import GenerationConfig, PreTrainedModel, ProcessorMixin

from holisafe._checks import check_type
from holisafe.errors import GuardError, HoliSafeError, ModelError
from holisafe.families.features import forward_inputs
from holisafe.guard import calibration_of, judges_answers
from holisafe.guard.head import NO_OUTPUT_HEAD
from holisafe.models._watch import Watch
from holisafe.models.engine.batching import BatchLimits, choose_batch, group_by_images
from holisafe.models.engine.branch import Branch
from holisafe.models.engine.calls import Call
from holisafe.models.engine.decode import Row, decode
from holisafe.models.engine.failures import OutOfMemoryError, drop_tensors, explained, free_memory
from holisafe.models.engine.interventions import changes_embeddings, changes_hidden
from holisafe.models.engine.options import GenerationOptions, generation_config
from holisafe.models.engine.output import AnswerWatch, OutputGuard
from holisafe.models.engine.prefill import FeatureCache, feature_inputs, plain_inputs, prefix_inputs, shared_prefix
from holisafe.models.engine.remembered import remembered
from holisafe.models.engine.request import Answer, Event, Request
from holisafe.models.engine.reuse import Way, try_out
from holisafe.models.engine.streaming import EventStream, Listener
from holisafe.models.prompts import Prepared, Prompt, context_length, prepare

T = TypeVar("T")


class Engine:
    """A model at work; close it, or use it as a context manager.

    Where the model has a guard, every answer carries its verdict, from the prefill that the answer needs.

    Args:
        model: A transformers image-text-to-text model in evaluation mode, on its device; with or without a guard.
        processor: Its processor.
        batch_size: Maximum number of prompts answered at once.
        batch_tokens: Maximum number of tokens of a batch, padding and new tokens included; a longer prompt is answered
            alone. Halved when memory runs out.
        reuse: Whether to compute what prompts with the same image share once, where that is right for the model.
        threads: Threads that decode images and tokenise ahead.
        feature_cache: Bytes of visual features to keep.
        prefix_worth: Tokens that a batch must save by shared prefixes to be worth reading in two steps.
        window: Seconds without a new prompt after which a batch that is not full starts.
        autocast: Entered around each batch, in the engine's thread, e.g. for mixed precision.
        chat_template_args: Further arguments of the chat template, such as `{"enable_thinking": False}`.
        identity: What tells the model's files from all others. Where it is given, which way of answering is right for
            the model is tried out once and kept in the cache folder.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        *,
        batch_size: int = 16,
        batch_tokens: int = 2**16,
        reuse: bool = True,
        threads: int = 2,
        feature_cache: int = 2**29,
        prefix_worth: int = 256,
        window: float = 0.05,
        autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
        chat_template_args: Mapping[str, Any] | None = None,
        identity: str | None = None,
    ) -> None:
        check_type(model, PreTrainedModel, "model")
        check_type(processor, ProcessorMixin, "processor")
        for name, value in (("batch_size", batch_size), ("batch_tokens", batch_tokens)):
            check_type(value, int, name)
            if value < 1:
                raise ModelError(f"{name} is {value}; expected at least 1")
        self.model = model
        self.processor = copy.deepcopy(processor)
        self.family = forward_inputs(model)
        self._template_args = dict(chat_template_args or {})
        self.reuse = remembered(
            identity, model, reuse, lambda: try_out(model, self.processor, self.family, reuse=reuse)
        )
        self.limits = BatchLimits(batch_size if self.reuse.batched else 1, batch_tokens)
        self.prefixes = 0
        self._context = context_length(model)
        self._features = FeatureCache(feature_cache)
        self._prefix_worth = prefix_worth
        self._window = window
        self._autocast = autocast
        self._local = threading.local()
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="holisafe-prepare")
        self._pending: list[_Pending] = []
        self._calls: list[Call] = []
        self._changed = threading.Condition()
        self._closed = False
        self._worker = threading.Thread(target=self._work, name="holisafe-answer", daemon=True)
        self._worker.start()

    def __enter__(self) -> Engine:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    @property
    def batch_size(self) -> int:
        """Maximum number of prompts answered at once; 1 for a model whose scores padding changes."""
        return self.limits.prompts

    @property
    def pool(self) -> int:
        """How many prompts to have waiting, so that full batches of like length and shared images can be formed."""
        return 4 * self.batch_size

    @property
    def images_encoded(self) -> int:
        """How often the vision encoder ran where features are reused."""
        return self._features.computed

    def submit(self, request: Request) -> Future[Answer]:
        """Put a request in the queue; the future holds its answer, or the error that kept it from having one."""
        check_type(request, Request, "request")
        return self._enqueue([_Pending(request)])[0].answer

    def answer(
        self,
        prompts: Sequence[Prompt],
        options: GenerationOptions = GenerationOptions(),
        *,
        output: OutputGuard | None = None,
    ) -> list[Answer]:
        """Answer all of `prompts`, in order.

        Args:
            prompts: The prompts.
            options: Settings of all answers.
            output: Has the guard judge the answers while they are generated.

        Raises:
            ImageError: An image could not be let in.
            ModelError: A prompt does not fit the model's context, or the model failed on it.
            GuardError: Answers are to be judged, and the model's guard has no output head.
        """
        pending = self._enqueue([_Pending(Request(prompt, options, output=output)) for prompt in prompts])
        return [each.answer.result() for each in pending]

    def stream(self, request: Request) -> Iterator[Event]:
        """Answer a request as it is generated: a verdict, tokens, and the whole answer.

        The text of all `TokenEvent`s joined is the answer's text. Requests of other threads share the batch. Closing
        the iterator ends the answer. With `request.output` there is an `OutputEvent` after each check; where that may
        end the answer, text is told only once it has been judged.

        Raises:
            ImageError: An image could not be let in.
            ModelError: The prompt does not fit the model's context, or the model failed on it.
        """
        check_type(request, Request, "request")
        listener = Listener()
        pending = self._enqueue([_Pending(request, listener)])[0]
        pending.answer.add_done_callback(lambda done: _tell_failure(done, listener))
        return EventStream(listener, pending.answer.cancel)

    def listen(self, request: Request, deliver: Callable[[Event | BaseException], object]) -> Callable[[], None]:
        """Answer a request as `stream` does, each event handed to a function: for servers with an event loop.

        Args:
            request: What is asked.
            deliver: Called in a thread of the engine's with each event, the last of them a `FinishEvent` or the error
                that ended the answer. It must return at once and raise nothing.

        Returns:
            What ends the answer, as closing the iterator of `stream` does; it may be called at any time.
        """
        check_type(request, Request, "request")
        listener = Listener(deliver)
        pending = self._enqueue([_Pending(request, listener)])[0]
        pending.answer.add_done_callback(lambda done: _tell_failure(done, listener))

        def end() -> None:
            listener.leave()
            pending.answer.cancel()

        return end

    def look(self, prompt: Prompt, read: Callable[[Any, dict[str, Any]], T]) -> Future[T]:
        """Run the model on a prompt oneself, between two batches; no guard and no intervention sees it.

        Args:
            prompt: The prompt.
            read: Called in the engine's thread, without gradients, with the model and the inputs of its forward pass;
                gives the result.
        """
        check_type(prompt, Prompt, "prompt")
        return self._call(Call(prompt, lambda inputs, _: read(self.model, inputs)))

    def fork(self, prompt: Prompt, options: GenerationOptions) -> Future[Branch]:
        """A second reading of an answer, for an intervention to take logits from; close it.

        Args:
            prompt: What it reads instead of the answer's own prompt.
            options: Those of the answer: how long it may become.
        """
        check_type(prompt, Prompt, "prompt")

        def branch(inputs: dict[str, Any], prepared: Prepared) -> Branch:
            room = self._room_after(prepared, options.max_new_tokens)
            config = generation_config(self.model, self.processor.tokenizer, room)
            return Branch(self.model, inputs, config, self._autocast)

        return self._call(Call(prompt, branch))

    def _call(self, call: Call) -> Future[Any]:
        with self._changed:
            if self._closed:
                raise ModelError("the model was closed; load it again")
            call.prepared = self._threads.submit(self._prepare, call.prompt)
            self._calls.append(call)
            self._changed.notify_all()
        return call.result

    def _call_inputs(self, prepared: Prepared) -> dict[str, Any]:
        config = generation_config(self.model, self.processor.tokenizer, 1)
        with Watch(self.model, judges=False) as watch:
            return self._inputs([prepared], config, watch, shares_prefix=False)

    def close(self) -> None:
        """Stop; prompts still waiting get an error."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._worker.join()
        self._threads.shutdown(cancel_futures=True)

    def _enqueue(self, new: list[_Pending]) -> list[_Pending]:
        if any(each.request.output is not None for each in new) and not judges_answers(self.model):
            raise GuardError(NO_OUTPUT_HEAD)
        with self._changed:
            if self._closed:
                raise ModelError("the model was closed; load it again")
            for pending in new:
                pending.prepared = self._threads.submit(self._prepare, pending.request.prompt)
            self._pending += new
            self._changed.notify_all()
        return new

    def _prepare(self, prompt: Prompt) -> Prepared:
        """Prepare with a processor of this thread's own: tokenizers are not safe to share."""
        if "processor" not in self._local.__dict__:
            self._local.processor = copy.deepcopy(self.processor)
        is_plain = self.reuse.way is Way.PLAIN
        return prepare(
            self._local.processor,
            prompt,
            context=self._context,
            keep_prompt=is_plain,
            chat_template_args=self._template_args,
        )

    def _work(self) -> None:
        while batch := self._next_batch():
            self._answer_batch(batch)

    def _next_batch(self) -> list[_Pending]:
        """Wait for prompts, and take those that go best together; empty when closed."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._pending or self._calls or self._closed)
                calls, self._calls = self._calls, []
            for call in calls:
                with self._autocast():
                    call.run(self.model, self._call_inputs, is_closed=self._closed)
            if calls and not self._closed:
                continue
            with self._changed:
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
            good = [request for request in near if not _failed(request)]
            batch = choose_batch(good, self.limits)
            with self._changed:
                chosen = set(map(id, batch)) | {id(request) for request in near if request not in good}
                self._pending = [request for request in self._pending if id(request) not in chosen]
            wanted = [request for request in batch if request.answer.set_running_or_notify_cancel()]
            if wanted:
                return wanted

    def _answer_batch(self, batch: list[_Pending]) -> None:
        """Answer a batch; where it fails, its halves, so that one prompt fails alone."""
        parts = [batch]
        while parts:
            part = parts.pop()
            error = self._attempt(part)  # nothing of a failed attempt is alive here
            if error is None:
                continue
            if isinstance(error, OutOfMemoryError):
                free_memory()
                if len(part) > 1:
                    self._use_less_memory(part)
            if len(part) == 1:
                part[0].answer.set_exception(ModelError(str(error)) if type(error) is OutOfMemoryError else error)
            else:
                half = len(part) // 2
                parts += [part[half:], part[:half]]

    def _attempt(self, batch: list[_Pending]) -> HoliSafeError | None:
        """Answer a batch whole; the error if that failed, which holds no tensors."""
        try:
            answers = self._generate(batch)
        except Exception as error:
            drop_tensors(error)
            return explained(error)
        for request, answer in zip(batch, answers, strict=True):
            request.answer.set_result(answer)
        return None

    def _use_less_memory(self, batch: Sequence[_Pending]) -> None:
        """Form batches of at most half the tokens of one that did not fit into memory."""
        longest = max(len(request.tensors.ids) for request in batch)
        tokens = len(batch) * (longest + batch[0].new_tokens)
        self.limits = replace(self.limits, tokens=max(1, min(self.limits.tokens, tokens // 2)))

    def _generate(self, batch: Sequence[_Pending]) -> list[Answer]:
        prompts = [request.tensors for request in batch]
        rows = [
            Row(each.request, each.tensors, self._room(each), each.listener, self._answer_watch(each.request))
            for each in batch
        ]
        config = generation_config(self.model, self.processor.tokenizer, max(row.steps for row in rows))
        shares_prefix = bool(prompts[0].shown) and not batch[0].stays_apart  # of a batch, all show images or none does
        with self._autocast(), Watch(self.model) as watch:
            inputs = self._inputs(prompts, config, watch, shares_prefix)
            return decode(self.model, self.processor.tokenizer, rows, inputs, config, watch)

    def _answer_watch(self, request: Request) -> AnswerWatch | None:
        if request.output is None:
            return None
        return AnswerWatch(request.output, calibration_of(self.model).output_threshold)

    def _room(self, request: _Pending) -> int:
        """How many new tokens a prompt has room for in the model's context; at least one, as `prepare` checked."""
        return self._room_after(request.tensors, request.new_tokens)

    def _room_after(self, prompt: Prepared, new_tokens: int) -> int:
        return new_tokens if self._context is None else min(new_tokens, self._context - len(prompt.ids))

    def _inputs(
        self, prompts: list[Prepared], config: GenerationConfig, watch: Watch, shares_prefix: bool
    ) -> dict[str, Any]:
        """What `generate` is given, by the way that was found right."""
        model, family = self.model, self.family
        if self.reuse.way is Way.PLAIN:
            return watch.start(plain_inputs(model, self.processor, prompts))
        if self.reuse.way is Way.PREFIX and shares_prefix:
            groups = group_by_images(watch.marked(family, self._features, prompts))
            saved = sum((len(group) - 1) * shared_prefix(group, family) for group in groups)
            if saved >= max(self._prefix_worth, 1):
                inputs = prefix_inputs(model, family, self._features, groups, config, watch)
                if inputs is not None:
                    self.prefixes += len(groups)
                    return inputs
        return watch.start(feature_inputs(model, family, self._features, prompts, config.pad_token_id))


@dataclass(eq=False)
class _Pending:
    """A request in the queue."""

    request: Request
    listener: Listener | None = None
    prepared: Future[Prepared] = field(default_factory=Future)
    answer: Future[Answer] = field(default_factory=Future)

    @property
    def tensors(self) -> Prepared:
        return self.prepared.result()

    @property
    def new_tokens(self) -> int:
        return self.request.options.max_new_tokens

    @property
    def stays_apart(self) -> bool:
        return changes_embeddings(self.request.interventions) or changes_hidden(self.request.interventions)


def _failed(request: _Pending) -> bool:
    """Wait until the prompt is prepared; where that failed, the request has its error."""
    error = request.prepared.exception()
    if error is not None and request.answer.set_running_or_notify_cancel():
        request.answer.set_exception(explained(error))
    return error is not None


def _tell_failure(done: Future[Answer], listener: Listener) -> None:
    if done.cancelled():
        listener.fail(ModelError("the request was cancelled"))
    elif (error := done.exception()) is not None:
        listener.fail(error)
