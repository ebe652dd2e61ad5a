"""A judge that asks a model what a declaration says, and finds the outcome that follows from the reply."""

from __future__ import annotations

import hashlib
import inspect
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from holisafe.errors import JudgeError
from holisafe.judges._registry import Ask
from holisafe.judges.asked import _declaration, _reply, _request
from holisafe.judges.asked._declaration import EXPECTED, Declaration
from holisafe.judges.asked._reply import NoVerdict, read_reply
from holisafe.judges.asked._request import number_of, reply_schema, turns_of
from holisafe.records import JudgeId, Judgement, Outcome, Response, Sample, Turn

WITHOUT_SCHEMA = "without_schema"
"""Key of a judgement's details where the server refused the schema of the reply."""


class AskedJudge:
    """Asks a model by a declaration; `with_model` gives the same judge with the model in its identity.

    Args:
        name: Its name.
        declaration: What it asks, and what follows.
        model: The model that answers, with its date or revision; empty where it is not known yet.
    """

    needs_model = True

    def __init__(self, name: str, declaration: Declaration, model: str = "") -> None:
        self.declaration = declaration
        self.id = JudgeId(name, f"2+{_parser_digest()}", model, declaration.digest)

    def with_model(self, model: str) -> AskedJudge:
        """This judge, asking that model.

        Args:
            model: Its name, with its date or revision where the name has one.
        """
        return type(self)(self.id.name, self.declaration, model)

    def turns(self, sample: Sample, response: Response) -> list[Turn]:
        """What is sent to the model: its system message, if any, and one user turn with the images.

        Raises:
            JudgeError: The sample lacks what the judge must be told.
        """
        return turns_of(self.declaration, sample, response)

    async def judge(self, sample: Sample, response: Response, ask: Ask | None = None) -> Judgement:
        """The outcome that follows from the reply; `details` hold its fields, `scores` 1 or 0 for each yes-or-no one.

        Raises:
            JudgeError: There is no model, or it could not be reached.
        """
        if ask is None:
            raise JudgeError(f"judge {self.id.name!r} asks a model, and none is given; name one with --judge-model")
        schema = {"schema": reply_schema(self.declaration.fields)} if self.declaration.structured else {}
        reply = await ask(self.turns(sample, response), max_tokens=self.declaration.max_tokens, **schema)
        number = number_of(sample, response, self.declaration.digest)
        served: dict[str, Any] = {"served_model": reply.served} if reply.served else {}
        if reply.without_schema:
            served[WITHOUT_SCHEMA] = True
        try:
            found = read_reply(reply, self.declaration.fields, number)
        except NoVerdict as error:
            return self._judgement(sample, error.outcome, str(error), reply.usage, served)
        expected = "" if sample.expected is None else sample.expected.value
        outcome = self.declaration.outcome({**found, EXPECTED: expected})
        quotes = [found[name] for name, kind in self.declaration.fields.items() if kind == "quote" and found[name]]
        checked = {"quote_found": all(_holds(response.text, str(quote)) for quote in quotes)} if quotes else {}
        judgement = self._judgement(sample, outcome, _said(found), reply.usage, {**found, **checked, **served})
        return replace(
            judgement, scores={name: float(value) for name, value in found.items() if isinstance(value, bool)}
        )

    def _judgement(
        self, sample: Sample, outcome: Outcome, why: str, usage: Mapping[str, int], details: Mapping[str, Any]
    ) -> Judgement:
        return Judgement(sample.id, self.id, outcome, why, usage=usage, details=details)


def _said(found: Mapping[str, bool | str]) -> str:
    """The reply in one line: what is true, and the words."""
    true = [name for name, value in found.items() if value is True]
    words = [f"{name}: {value}" for name, value in found.items() if isinstance(value, str) and value]
    return "; ".join([", ".join(true) or "nothing of what was asked", *words])


def _holds(text: str, quote: str) -> bool:
    return _plain(quote) in _plain(text)


def _plain(text: str) -> str:
    return re.sub(r"\W+", " ", text).casefold().strip()


def _parser_digest() -> str:
    """A digest of the code that writes requests and reads replies."""
    code = "\n".join(inspect.getsource(module) for module in (_declaration, _request, _reply))
    return hashlib.sha256(code.encode()).hexdigest()[:12]
