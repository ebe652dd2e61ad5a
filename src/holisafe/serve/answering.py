"""From a checked request to an answer: the verdict, what the policy makes of it, and the events that follow."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Awaitable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from holisafe.guard import Decision
from holisafe.records import AnswerVerdict, GuardVerdict, ImageRef
from holisafe.serve.backend import (
    Ask,
    Backend,
    ChatMessage,
    Delta,
    Event,
    Finished,
    Judged,
    OutputJudged,
    images_of,
)
from holisafe.serve.errors import ApiError, guard_unavailable, not_found
from holisafe.serve.metrics import Metrics
from holisafe.serve.moderation import (
    MODEL,
    decision,
    image_safety,
    moderation_error,
    request_safety,
    result,
    result_of_answer,
)
from holisafe.serve.remote import RemoteImages
from holisafe.serve.review import ReviewSample
from holisafe.serve.schema import ModerationWish
from holisafe.serve.settings import Mode, Settings
from holisafe.serve.tracing import guard_span

T = TypeVar("T")


@dataclass(frozen=True)
class Service:
    """What every route uses."""

    backend: Backend
    settings: Settings
    metrics: Metrics
    remote: RemoteImages
    review: ReviewSample | None = None

    async def model(self, named: str | None) -> str:
        """The model that a request means.

        Raises:
            ApiError: It is not served.
        """
        served = await self.backend.models()
        if named is None:
            return served[0]
        if named not in served:
            raise not_found(named)
        return named

    async def check_guard(self, named: str | None, field: str) -> None:
        """Refuse a name that is not the guard's, in a field of the request.

        Raises:
            ApiError: It is another.
        """
        if named is not None and named != MODEL and named not in await self.backend.models():
            raise ApiError(
                404,
                f"the guard {named[:80]!r} is not served here; its name is {MODEL!r}",
                param=field,
                code="model_not_found",
            )

    async def judge(self, messages: Sequence[ChatMessage], facts: dict[str, Any]) -> GuardVerdict:
        """A verdict without an answer, counted; `facts` is what the log says of the request."""
        began = time.perf_counter()
        with guard_span():
            verdict = await self.counted(self.backend.judge(messages))
        self.metrics.guard_seconds.observe(time.perf_counter() - began)
        found = decision(verdict, self.settings.decide_by)
        action = "observe" if found.flagged else "pass"
        self.metrics.judged(verdict, found, action)
        self.sample(facts, verdict, images_of(messages), action, Mode.SCORE)
        return verdict

    async def counted(self, verdict: Awaitable[T]) -> T:
        """What the guard says, counted where it cannot judge.

        Raises:
            ApiError: There is no verdict.
        """
        try:
            return await verdict
        except ApiError as error:
            if error.code == guard_unavailable().code:
                self.metrics.unjudged.inc()
            raise

    def sample(
        self, facts: dict[str, Any], verdict: GuardVerdict, images: Sequence[ImageRef], action: str, mode: Mode
    ) -> None:
        """Keep a verdict for review, if there is a sample and it is drawn."""
        if self.review is not None:
            self.review.offer(facts.get("request_id"), verdict, images, action, mode)


@dataclass(frozen=True)
class Wish:
    """What a client asks of the guard, and what it gets.

    Attributes:
        mode: What a flag leads to: the stricter of the client's wish and the server's policy.
        is_asked: Whether the client sent the field.
        output: The same of the answer; None for no verdict on it.
    """

    mode: Mode
    is_asked: bool = False
    output: Mode | None = None

    @classmethod
    async def of(cls, field: ModerationWish | None, service: Service) -> Wish:
        """Read it.

        Raises:
            ApiError: It names another guard, or asks for what there is not.
        """
        settings = service.settings
        if field is None:
            return cls(settings.policy, output=settings.output_policy)
        await service.check_guard(field.model, "moderation.model")
        policy = field.policy
        of_output = None if policy is None or policy.output is None else policy.output.mode
        if of_output is Mode.BLOCK and not service.backend.judges_output:
            raise ApiError(
                400,
                "answers are not judged by this server, so they cannot be blocked; leave the output policy out",
                param="moderation.policy.output",
                code="unsupported_value",
            )
        asked = Mode.SCORE if policy is None or policy.input is None else policy.input.mode
        return cls(_stricter(asked, settings.policy) or Mode.SCORE, True, _stricter(of_output, settings.output_policy))

    def applied(self, ask: Ask, service: Service) -> Ask:
        """The request with what is to be done with its answer."""
        ask = replace(ask, ahead=self.mode is Mode.SCORE)
        if self.output is None or not service.backend.judges_output:
            return ask
        return replace(ask, output=self.output.value, output_every=service.settings.output_every)


def _stricter(asked: Mode | None, own: Mode | None) -> Mode | None:
    return Mode.BLOCK if Mode.BLOCK in (asked, own) else asked or own


@dataclass
class Answering:
    """An answer after its verdict, before its first token.

    Attributes:
        verdict: What the guard said; None where it could not.
        refusal: What stands in place of the answer; None where there is one.
        input_tokens: Tokens read so far.
        output: What the guard has said of the answer so far; None where it has not judged it.
    """

    verdict: GuardVerdict | None
    refusal: str | None
    input_tokens: int
    wish: Wish
    service: Service
    _events: AsyncGenerator[Event]
    _began: float
    facts: dict[str, Any] = field(default_factory=dict)
    output: AnswerVerdict | None = None

    @classmethod
    async def begin(cls, service: Service, ask: Ask, model: str, wish: Wish, facts: dict[str, Any]) -> Answering:
        """Have the request judged.

        Args:
            service: What the routes use.
            ask: The request.
            model: The model that answers.
            wish: What is to come of a flag.
            facts: What the log says of the request; added to.

        Raises:
            ApiError: It cannot be answered.
        """
        began = time.perf_counter()
        events = service.backend.answer(wish.applied(ask, service), model)
        try:
            with guard_span():
                judged = await service.counted(anext(events))
            if not isinstance(judged, Judged):
                raise guard_unavailable()
            service.metrics.guard_seconds.observe(time.perf_counter() - began)
            refusal = _refusal(service, judged.verdict, wish, facts)
            if judged.verdict is not None:
                service.sample(facts, judged.verdict, ask.images, facts["action"], wish.mode)
        except BaseException:
            await events.aclose()
            raise
        if refusal is not None:
            await events.aclose()
        facts["images"] = len(ask.images)
        return cls(judged.verdict, refusal, judged.input_tokens, wish, service, events, began, facts)

    async def events(self) -> AsyncGenerator[Delta | Finished]:
        """The answer, or the refusal in its place; closing it ends the answer."""
        metrics = self.service.metrics
        try:
            if self.refusal is not None:
                yield Delta({"refusal": self.refusal})
                yield self._finish(Finished("content_filter", self.input_tokens, 0))
                return
            is_first = True
            async for event in self._events:
                if isinstance(event, Delta) and is_first:
                    is_first = False
                    metrics.first_token.observe(time.perf_counter() - self._began)
                if isinstance(event, Finished):
                    self._count_output()
                    yield self._finish(event)
                elif isinstance(event, OutputJudged):
                    self.output = event.verdict
                    if event.refusal is not None:
                        yield Delta({"refusal": event.refusal})
                elif isinstance(event, Delta):
                    yield event
        finally:
            await self.close()

    async def close(self) -> None:
        """End the answer."""
        await self._events.aclose()

    def moderation(self, results: Any) -> dict[str, Any]:
        """The field `moderation` of the answer.

        Args:
            results: Writes a result in the form of the route.
        """
        unavailable = moderation_error("guard_unavailable", "the guard could not judge the request")
        decide_by = self.service.settings.decide_by
        found = None if self.verdict is None else result(self.verdict, decide_by)
        return {"input": unavailable if found is None else results(found), "output": self._of_output(results)}

    def safety(self) -> dict[str, Any]:
        """The fields `image_safety` and `request_safety` of the answer."""
        verdict = self.verdict or GuardVerdict()
        return {"image_safety": image_safety(verdict), "request_safety": request_safety(verdict)}

    def answer_safety(self) -> dict[str, Any]:
        """The field `answer_safety` of the answer; nothing where it was not judged."""
        return {} if self.output is None else {"answer_safety": self.output.to_json()}

    @property
    def judges_output(self) -> bool:
        """Whether the answer is judged while it is generated."""
        return self.wish.output is not None and self.service.backend.judges_output and self.refusal is None

    def _of_output(self, results: Any) -> dict[str, Any] | None:
        if self.wish.output is not None and not self.service.backend.judges_output:
            return moderation_error("unsupported", "this server does not judge answers")
        return None if self.output is None else results(result_of_answer(self.output))

    def _count_output(self) -> None:
        if self.output is None:
            return
        blocks = self.wish.output is Mode.BLOCK
        action = ("block" if blocks else "observe") if self.output.flagged else "pass"
        self.service.metrics.judged_answer(self.output, action)
        self.facts.update(output_flagged=self.output.flagged, output_action=action)

    def _finish(self, event: Finished) -> Finished:
        metrics = self.service.metrics
        metrics.prompt_tokens.inc(event.input_tokens)
        metrics.generation_tokens.inc(event.output_tokens)
        metrics.success.labels(event.reason if event.reason in _REASONS else "other").inc()
        self.facts.update(
            finish_reason=event.reason[:40], prompt_tokens=event.input_tokens, completion_tokens=event.output_tokens
        )
        return event


_REASONS = ("stop", "length", "content_filter", "tool_calls")


def _refusal(service: Service, verdict: GuardVerdict | None, wish: Wish, facts: dict[str, Any]) -> str | None:
    """What stands in place of the answer, if anything; counts the verdict.

    Raises:
        ApiError: There is no verdict, and without one nothing is answered.
    """
    metrics, settings = service.metrics, service.settings
    blocks = wish.mode is Mode.BLOCK
    if verdict is None:
        metrics.unjudged.inc()
        facts["action"] = "unjudged"
        if blocks and not settings.fail_open:
            raise guard_unavailable()
        if blocks:
            metrics.fail_open.inc()
        return None
    found: Decision = decision(verdict, settings.decide_by)
    action = ("block" if blocks else "observe") if found.flagged else "pass"
    metrics.judged(verdict, found, action)
    facts.update(flagged=found.flagged, action=action, label=found.reason.value if found.reason else "safe")
    return found.text if found.flagged and blocks else None
