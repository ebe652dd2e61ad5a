"""The run: data sets as Inspect tasks, a provider for local models, and runs that survive being killed.

`measure` measures a model, `run_suite` measures on several benchmarks, `read_run` reads a run back, `rejudge` judges
recorded answers again, `inspect_ask` lets a judge ask any model that Inspect reaches. Inspect is imported on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holisafe._lazy import lazy

if TYPE_CHECKING:
    from holisafe.bench._ask import inspect_ask
    from holisafe.bench._folder import default_folder
    from holisafe.bench._judging import judge_with_model
    from holisafe.bench._read import read_run, rejudge
    from holisafe.bench._run import measure
    from holisafe.bench._suite import SuiteRow, run_suite
    from holisafe.bench._task import build_task

__all__ = [
    "SuiteRow",
    "build_task",
    "default_folder",
    "inspect_ask",
    "judge_with_model",
    "measure",
    "read_run",
    "rejudge",
    "run_suite",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "build_task": "holisafe.bench._task",
        "inspect_ask": "holisafe.bench._ask",
        "judge_with_model": "holisafe.bench._judging",
        "read_run": "holisafe.bench._read",
        "rejudge": "holisafe.bench._read",
        "default_folder": "holisafe.bench._folder",
        "measure": "holisafe.bench._run",
        "run_suite": "holisafe.bench._suite",
        "SuiteRow": "holisafe.bench._suite",
    },
)
