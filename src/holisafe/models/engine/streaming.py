"""The events of one answer on their way to whoever listens."""

from __future__ import annotations

import queue
from collections.abc import Iterator

from holisafe.models.engine.request import Answer, Event, FinishEvent, TokenEvent, VerdictEvent
from holisafe.records import GuardVerdict


class Listener:
    """Takes an answer's events in the engine's thread, and gives them in that of the listener.

    Nothing is told twice, though the engine may start an answer again after a failure.

    Attributes:
        is_open: Whether somebody still listens; the engine ends answers that nobody waits for.
    """

    def __init__(self) -> None:
        self.is_open = True
        self._events: queue.SimpleQueue[Event | BaseException] = queue.SimpleQueue()
        self._text = ""
        self._has_verdict = False

    def verdict(self, verdict: GuardVerdict) -> None:
        """The prompt has been read."""
        if not self._has_verdict:
            self._has_verdict = True
            self._events.put(VerdictEvent(verdict))

    def text(self, text: str) -> None:
        """The answer begins with this text."""
        if len(text) > len(self._text) and text.startswith(self._text):
            self._events.put(TokenEvent(text[len(self._text) :]))
            self._text = text

    def finish(self, answer: Answer) -> None:
        """The answer is whole."""
        self._events.put(FinishEvent(answer))

    def fail(self, error: BaseException) -> None:
        """There is no answer."""
        self._events.put(error)

    def events(self) -> Iterator[Event]:
        """The events as they come, the last of them a `FinishEvent`; closing the iterator ends the answer.

        Raises:
            HoliSafeError: The prompt could not be answered.
        """
        try:
            while True:
                event = self._events.get()
                if isinstance(event, BaseException):
                    raise event
                yield event
                if isinstance(event, FinishEvent):
                    return
        finally:
            self.is_open = False
