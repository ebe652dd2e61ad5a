"""The run: data sets as Inspect tasks, a provider for local models, and runs that survive being killed.

`run` measures, `read_run` reads back, `rejudge` judges recorded answers again. Inspect is imported on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from holisafe.bench._read import read_run, rejudge
    from holisafe.bench._run import run
    from holisafe.bench._task import build_task

__all__ = ["build_task", "read_run", "rejudge", "run"]

_LATE = {"build_task": "_task", "read_run": "_read", "rejudge": "_read", "run": "_run"}


def __getattr__(name: str) -> Any:
    """Import what needs Inspect when it is first asked for."""
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"holisafe.bench.{_LATE[name]}"), name)
