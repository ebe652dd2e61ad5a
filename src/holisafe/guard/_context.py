"""Which guard sessions the running code is in: a `ContextVar`, so that every thread and asyncio task has its own."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from holisafe.guard._session import GuardSession
    from holisafe.guard.observer import Observer

Entry = tuple["Observer", "GuardSession | None"]
"""A guard, and the session that it works for; None where it is disabled."""

_ENTERED: ContextVar[tuple[Entry, ...]] = ContextVar("holisafe_guard_sessions", default=())


@torch.compiler.disable  # type: ignore[untyped-decorator]  # dynamo cannot trace ContextVar.get
def current(observer: Observer) -> GuardSession | None:
    """The innermost session of this guard in the current context; None without one."""
    for entered, session in reversed(_ENTERED.get()):
        if entered is observer:
            return session
    return None


def enter(entry: Entry) -> None:
    """Make an entry the innermost of the current context."""
    _ENTERED.set((*_ENTERED.get(), entry))


def leave(entry: Entry) -> None:
    """Remove an entry from the current context: the innermost of several, none where it is not in it."""
    entries = list(_ENTERED.get())
    for place in reversed(range(len(entries))):
        if entries[place] is entry:
            del entries[place]
            break
    _ENTERED.set(tuple(entries))
