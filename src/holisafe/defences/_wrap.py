"""A model with defences: requests go in, each is led through its defence's steps, answers and their cost come out."""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Self

from holisafe._checks import check_type
from holisafe.defences._contract import Defence, Fork, Look, Steps
from holisafe.defences._names import parse_all
from holisafe.errors import DefenceError
from holisafe.models import Answer, Branch, Engine, GenerationOptions, LoadedModel, Prompt, Request
from holisafe.records import AnswerCost

STACKED = (
    "defences that are stacked refused 97 to 100 % of harmless requests in a published comparison (arXiv 2606.10904); "
    "measure refusals of harmless requests before you use {names} together"
)


@dataclass(frozen=True, slots=True)
class DefendedAnswer:
    """An answer and its cost."""

    answer: Answer
    cost: AnswerCost


class Defended:
    """A model that answers with defences; close it, or use it as a context manager.

    Args:
        engine: The model at work; closed with it.
        defences: Outermost first: what one asks the model, the next answers.

    Raises:
        DefenceError: There is none, or one cannot work on this model.
    """

    def __init__(self, engine: Engine, defences: Sequence[Defence]) -> None:
        check_type(engine, Engine, "engine")
        if not defences:
            raise DefenceError("no defence is named; give at least one")
        self.engine = engine
        self.defences = tuple(defences)
        for each in self.defences:
            each.check(LoadedModel(engine.model, engine.processor, "the engine's"))
        if len(self.defences) > 1:
            warnings.warn(STACKED.format(names=" and ".join(each.name for each in defences)), stacklevel=3)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the engine."""
        self.engine.close()

    def identity(self) -> list[dict[str, Any]]:
        """What answers depend on besides the model, as JSON values."""
        return [each.identity() for each in self.defences]

    def submit(self, request: Request) -> Future[DefendedAnswer]:
        """Put a request in the queue; the future holds its answer and cost, or the error that kept it from one."""
        check_type(request, Request, "request")
        way = _Way(self.engine, _nested(self.defences, request))
        way.go_on(None)
        return way.done

    def answer(
        self, prompts: Sequence[Prompt], options: GenerationOptions = GenerationOptions()
    ) -> list[DefendedAnswer]:
        """Answer all of `prompts`, in order; their steps share batches.

        Raises:
            ImageError, ModelError, DefenceError: One could not be answered.
        """
        return [each.result() for each in [self.submit(Request(prompt, options)) for prompt in prompts]]


def wrap(model: LoadedModel | Engine, *defences: str | Defence, **engine_options: Any) -> Defended:
    """A model that answers with defences.

        with wrap(load("pocket"), "ecso") as defended:
            defended.answer([Prompt.ask("What is this?", image)])

    Args:
        model: What `holisafe.models.load` gives, or an `Engine`.
        defences: Names as `--defence` takes them, or defences; outermost first.
        engine_options: Options of the engine that is made for a model.

    Raises:
        UnknownNameError: There is no such defence.
        DefenceError: One cannot work on this model, or a setting is wrong.
    """
    found = parse_all(defences)
    if isinstance(model, Engine):
        return Defended(model, found)
    check_type(model, LoadedModel, "model")
    for each in found:
        each.check(model)
    return Defended(Engine(model.model, model.processor, **engine_options), found)


def _nested(defences: Sequence[Defence], request: Request) -> Steps:
    """The steps of the outermost defence, each of its requests answered by the next."""
    steps = defences[0].answer(request)
    if len(defences) == 1:
        return (yield from steps)
    given: Any = None
    while True:
        try:
            step = steps.send(given)
        except StopIteration as end:
            answer: Answer = end.value
            return answer
        given = (yield from _nested(defences[1:], step)) if isinstance(step, Request) else (yield step)


class _Way:
    """One request on its way through its defences' steps."""

    def __init__(self, engine: Engine, steps: Steps) -> None:
        self.done: Future[DefendedAnswer] = Future()
        self._engine = engine
        self._steps = steps
        self._branches: list[Branch] = []
        self._generations = 0
        self._passes = 0
        self._start = time.perf_counter()

    def go_on(self, given: Any) -> None:
        """Hand the defence the result of its last step, and start the next."""
        try:
            waiting = self._started(self._steps.send(given))
        except StopIteration as end:
            self._finish(end.value)
        except BaseException as error:
            self._fail(error)
        else:
            waiting.add_done_callback(self._arrived)

    def _started(self, step: Any) -> Future[Any]:
        match step:
            case Request():
                return self._engine.submit(step)
            case Look():
                return self._engine.look(step.prompt, step.read)
            case Fork():
                return self._engine.fork(step.prompt, step.options)
            case _:
                raise DefenceError(f"a defence's step is a Request, a Look or a Fork, not {type(step).__name__}")

    def _arrived(self, waiting: Future[Any]) -> None:
        error = waiting.exception()
        if error is not None:
            self._steps.close()
            self._fail(error)
            return
        result = waiting.result()
        match result:
            case Answer():
                self._generations += 1
                self._passes += max(len(result.tokens), 1)
            case Branch():
                self._branches.append(result)
            case _:
                self._passes += 1
        if self.done.cancelled():
            self._steps.close()
            self._close()
        else:
            self.go_on(result)

    def _finish(self, answer: Answer) -> None:
        self._close()
        passes = self._passes + sum(branch.passes for branch in self._branches)
        cost = AnswerCost(self._generations, passes, time.perf_counter() - self._start)
        if self.done.set_running_or_notify_cancel():
            self.done.set_result(DefendedAnswer(answer, cost))

    def _fail(self, error: BaseException) -> None:
        self._close()
        if self.done.set_running_or_notify_cancel():
            self.done.set_exception(error)

    def _close(self) -> None:
        for branch in self._branches:
            branch.close()
