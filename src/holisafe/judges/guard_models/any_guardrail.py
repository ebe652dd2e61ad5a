"""Text guards of the package any-guardrail, each by its own name there: `any-guardrail:poly_guard`."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from importlib.metadata import version
from typing import Any

from holisafe._lazy import missing
from holisafe.errors import GuardError, MissingDependencyError, UnknownNameError
from holisafe.judges._registry import Ask
from holisafe.judges.guard_models._contract import TEXT_ALONE
from holisafe.judges.guard_models._guard import judgement_of
from holisafe.judges.guard_models._read import last_text, one_line, response_text, unreadable
from holisafe.records import GuardModelVerdict, GuardReading, JudgeId, Judgement, Outcome, Response, Sample

NAME = "any-guardrail"

_OF_RESPONSE = ("harmful_response", "response_harm")
"""Categories by which guardrails that judge request and response at once say what they find of the response."""
_OF_REQUEST = ("harmful_request", "prompt_harm")
_REFUSAL = ("response_refusal", "refusal")
_NO_HARM = frozenset({*_OF_RESPONSE, *_OF_REQUEST, *_REFUSAL, "safe", "unsafe"})
"""Categories that are signals, and not kinds of harm."""


class AnyGuardrailGuard:
    """One guardrail of any-guardrail, created and run by that package: its models, its prompts, its parsers.

    It fails closed (`valid` false with `parse_failure`) where a reply cannot be parsed; here that is no verdict. Where
    `valid` is of request and response together, the response's own category decides about a response.

    Can express: of requests, harm in the text itself (SUU, UUU against SSS); of responses, harm, and refusal where the
    guardrail gives it. Cannot: USU and SSU requests: no open guardrail there takes an image. One that judges requests
    alone (prompt injection, say) judges no response.

    Source: `any-guardrail` (mozilla-ai, Apache-2.0); the licence of each model is its own. Install it with
    `pip install 'holisafe[guards]'`.

    Args:
        guardrail: Its name there, such as "wild_guard", "poly_guard", "qwen3_guard" or "granite_guardian".
        parameters: What its constructor takes, such as `model_id` or `policy`.

    Raises:
        MissingDependencyError: any-guardrail is not installed.
        UnknownNameError: It has no such guardrail.
    """

    expresses = TEXT_ALONE
    needs_model = False

    def __init__(self, guardrail: str, **parameters: Any) -> None:
        self._library = _library()
        try:
            self.guardrail = self._library.GuardrailName(guardrail)
        except ValueError:
            names = [name.value for name in self._library.GuardrailName]
            raise UnknownNameError("guardrail", guardrail, names) from None
        self._parameters = parameters
        self._lock = threading.Lock()
        self._made: Any = None
        model = str(parameters.get("model_id", ""))
        self.id = JudgeId(f"{NAME}:{guardrail}", f"1+{NAME} {version(NAME)}", model)

    async def classify(self, sample: Sample, ask: Ask | None = None) -> GuardModelVerdict:
        """The verdict on the text of one request.

        Raises:
            GuardError: The guardrail cannot be created.
        """
        output = await asyncio.to_thread(self._run, last_text(sample), None)
        return GuardModelVerdict(sample.id, self.id, request=_reading(output, is_response=False))

    async def judge(self, sample: Sample, response: Response, ask: Ask | None = None) -> Judgement:
        """The judgement on one answer; `not_expressed` from a guardrail of requests alone.

        Raises:
            GuardError: The guardrail cannot be created.
        """
        if self._library.GuardrailStage.OUTPUT not in self._library.AnyGuardrail.metadata(self.guardrail).stages:
            why = f"the guardrail {self.guardrail.value!r} judges requests alone"
            return Judgement(sample.id, self.id, Outcome.NOT_EXPRESSED, why)
        output = await asyncio.to_thread(self._run, last_text(sample), response_text(response))
        judgement = judgement_of(sample, self.id, _reading(output, is_response=True))
        model = None if output.usage is None else output.usage.model_id
        return judgement if model is None else replace(judgement, details={**judgement.details, "model": model})

    def _run(self, request: str, response: str | None) -> Any:
        with self._lock:
            made = self._create()
            run = self._library.AnyGuardrail.evaluate
            try:
                return run(self.guardrail, made, request, response)
            except self._library.EvaluateArgumentError:
                if response is None:
                    raise
                return run(self.guardrail, made, response)  # of one text alone: the response is that text

    def _create(self) -> Any:
        if self._made is None:
            try:
                self._made = self._library.AnyGuardrail.create(self.guardrail, **self._parameters)
            except Exception as error:
                raise GuardError(
                    f"the guardrail {self.guardrail.value!r} cannot be created ({type(error).__name__}: "
                    f"{one_line(str(error))}); see any-guardrail's documentation for what it needs"
                ) from error
        return self._made


def _reading(output: Any, *, is_response: bool) -> GuardReading:
    """A `GuardrailOutput` as a reading."""
    if (output.extra or {}).get("parse_failure"):
        return unreadable(f"the guardrail could not parse its model's reply: {one_line(output.explanation or '')}")
    signals = {category.name: category.triggered for category in output.categories}
    own = [signals[name] for name in (_OF_RESPONSE if is_response else _OF_REQUEST) if name in signals]
    if own and own[0] is None:
        return unreadable(f"no verdict on the {'response' if is_response else 'request'}")
    unsafe = bool(own[0]) if own else not output.valid
    refusal = next((signals[name] for name in _REFUSAL if name in signals), None) if is_response else None
    named = [category.name for category in output.categories if category.triggered and category.name not in _NO_HARM]
    has_score = output.score is not None and 0 <= output.score <= 1 and not own
    return GuardReading(unsafe, float(output.score) if has_score else None, tuple(named) if unsafe else (), refusal)


def _library() -> Any:
    try:
        import any_guardrail
    except ModuleNotFoundError as error:
        raise missing(error, f"a guard by the name {NAME}:NAME") or error from error
    except ImportError as error:
        raise MissingDependencyError(f"any-guardrail cannot be imported ({error}); install it again") from error
    return any_guardrail
