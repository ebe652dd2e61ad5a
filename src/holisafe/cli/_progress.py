"""Progress on standard error: one line that fits 80 columns, with count, rate and time left first."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterator
from time import monotonic as _now
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress

WINDOW = 64
"""Calls over which the rate is averaged: answers read back from an earlier run cost no time."""

SHORTEST = 0.5
"""Seconds from which a rate is shown: a batch's samples are done at the same moment."""


class ProgressLine:
    """A line that is rewritten on a terminal; elsewhere, one line per tenth.

    Args:
        bar: Where it is shown.
        unit: What is counted, in the singular.
    """

    def __init__(self, bar: Progress, unit: str) -> None:
        self._bar = bar
        self._unit = unit
        self._task = bar.add_task("", total=None)
        self._pace = _Pace()
        self._count = self._stage = self._note = ""
        self._told = 0

    @property
    def is_counting(self) -> bool:
        """Whether `advance` was called."""
        return bool(self._count)

    def stage(self, name: str, done: int = 0, total: int = 0) -> None:
        """Say what is being done, until the next `advance`; with how much of it where that is known."""
        self._stage = f"{name} {done:,}/{total:,}" if total else name
        self._show()

    def note(self, text: str) -> None:
        """Set what is shown last."""
        self._note = text
        self._show()

    def advance(self, done: int, total: int | None = None, *, quiet: bool = False) -> None:
        """Show how much is done, of how much where that is known.

        Args:
            done: What is done.
            total: What there is; None if unknown.
            quiet: Print no line where standard error is not a terminal.
        """
        many = f"{done:,}" if total is None else f"{done:,}/{total:,}"
        self._count = f"{self._unit} {many}{self._pace.shown(self._unit, done, total)}"
        self._stage = ""
        self._show()
        if quiet or self._bar.console.is_terminal or not total:
            return
        if done > self._told and (done == total or done - self._told >= total / 10):
            self._told = done
            self.tell(self._text())

    def tell(self, text: str) -> None:
        """Print a line that stays."""
        self._bar.console.print(text, soft_wrap=True, markup=False)

    def _show(self) -> None:
        self._bar.update(self._task, description=self._text())

    def _text(self) -> str:
        return ", ".join(each for each in (self._count, self._stage, self._note) if each)


@contextlib.contextmanager
def progress_line(first: str, unit: str, *, hidden: bool = False) -> Iterator[ProgressLine]:
    """Show a line of progress while the context lasts.

    Args:
        first: What is being done first, such as "loading the model".
        unit: What is counted, in the singular.
        hidden: Show nothing on a terminal.
    """
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn
    from rich.table import Column

    console = Console(stderr=True, highlight=False)
    text = TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis"))
    # standard output stays what it is: rich would send it to standard error
    with Progress(
        SpinnerColumn(),
        text,
        console=console,
        disable=hidden or not console.is_terminal,
        transient=True,
        redirect_stdout=False,
    ) as bar:
        line = ProgressLine(bar, unit)
        line.stage(first)
        yield line


class _Pace:
    """Rate and time left, from the newest calls."""

    def __init__(self) -> None:
        self._seen: deque[tuple[int, float]] = deque(maxlen=WINDOW)

    def shown(self, unit: str, done: int, total: int | None) -> str:
        """Such as ", 1.2 s/step, 3:05 left"; empty until there is a rate to speak of."""
        if self._seen and self._seen[0][0] == done:  # nothing done yet: what was before does not count
            self._seen.clear()
        self._seen.append((done, _now()))
        (first, began), (_, now) = self._seen[0], self._seen[-1]
        if done <= first or now - began < SHORTEST:
            return ""
        seconds = (now - began) / (done - first)
        rate = f"{seconds:.1f} s/{unit}" if seconds >= 1 else f"{1 / seconds:.1f} {unit}s/s"
        return f", {rate}" if total is None else f", {rate}, {_clock(round(seconds * (total - done)))} left"


def _clock(seconds: int) -> str:
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
