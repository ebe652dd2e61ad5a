"""The events of one answer on their way to whoever listens."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator

from holisafe.models.engine.request import Answer, Event, FinishEvent, OutputEvent, TokenEvent, VerdictEvent
from holisafe.records import AnswerVerdict, GuardVerdict


class Listener:
    """Takes an answer's events in the engine's thread, and gives them in that of the listener.

    Nothing is told twice, though the engine may start an answer again after a failure.

    Args:
        deliver: Takes each event, or the error, in the engine's thread; None to keep them for `next_event`.

    Attributes:
        is_open: Whether somebody still listens; the engine ends answers that nobody waits for.
    """

    def __init__(self, deliver: Callable[[Event | BaseException], object] | None = None) -> None:
        self.is_open = True
        self._events: queue.SimpleQueue[Event | BaseException] = queue.SimpleQueue()
        self._deliver = self._events.put if deliver is None else deliver
        self._text = ""
        self._has_verdict = False
        self._checks = 0

    @property
    def told(self) -> str:
        """The text that has been told."""
        return self._text

    def verdict(self, verdict: GuardVerdict, tokens: int) -> None:
        """The prompt, of so many tokens, has been read."""
        if not self._has_verdict:
            self._has_verdict = True
            self._deliver(VerdictEvent(verdict, tokens))

    def text(self, text: str) -> None:
        """The answer begins with this text."""
        if len(text) > len(self._text) and text.startswith(self._text):
            self._deliver(TokenEvent(text[len(self._text) :]))
            self._text = text

    def output(self, verdict: AnswerVerdict, *, blocked: bool) -> None:
        """The answer so far has been judged."""
        if len(verdict.checks) > self._checks:
            self._checks = len(verdict.checks)
            self._deliver(OutputEvent(verdict, blocked))

    def finish(self, answer: Answer) -> None:
        """The answer is whole."""
        self._deliver(FinishEvent(answer))

    def fail(self, error: BaseException) -> None:
        """There is no answer."""
        self._deliver(error)

    def next_event(self) -> Event:
        """Wait for the next event.

        Raises:
            HoliSafeError: The prompt could not be answered.
        """
        event = self._events.get()
        if isinstance(event, BaseException):
            raise event
        return event

    def leave(self) -> None:
        """Nobody listens any more."""
        self.is_open = False


class EventStream(Iterator[Event]):
    """The events of one answer as they come, the last of them a `FinishEvent`.

    Closing it, or dropping it, ends the answer, whether or not an event has been taken: one that waits in the queue is
    taken out of it, one that is being generated ends with its next token.

    Args:
        listener: Where the events come in.
        cancel: Takes the request out of the queue, where it still waits.
    """

    def __init__(self, listener: Listener, cancel: Callable[[], object]) -> None:
        self._listener = listener
        self._cancel = cancel
        self._is_over = False

    def __next__(self) -> Event:
        """The next event.

        Raises:
            HoliSafeError: The prompt could not be answered.
        """
        if self._is_over:
            raise StopIteration
        try:
            event = self._listener.next_event()
        except BaseException:
            self.close()
            raise
        if isinstance(event, FinishEvent):
            self._is_over = True
        return event

    def __enter__(self) -> EventStream:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def __del__(self) -> None:
        """Nobody can listen any more."""
        self.close()

    def close(self) -> None:
        """End the answer."""
        if not self._is_over:
            self._is_over = True
            self._listener.leave()
            self._cancel()
