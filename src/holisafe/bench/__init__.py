"""The run: data sets as Inspect tasks, a provider for local models, and runs that survive being killed.

`measure` measures a model, `plan_run` says what that would ask and cost, `read_run` reads a run back, `rejudge` judges
recorded answers again, `inspect_ask` lets a judge ask any model that Inspect reaches. Inspect is imported on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holisafe._lazy import lazy

if TYPE_CHECKING:
    from holisafe.bench._ask import inspect_ask
    from holisafe.bench._folder import default_folder
    from holisafe.bench._judging import judge_with_model, recorded_spending
    from holisafe.bench._plan import Plan, PlannedCalls, plan_judging, plan_run
    from holisafe.bench._read import read_run, rejudge
    from holisafe.bench._retirement import Retirement, retirements
    from holisafe.bench._run import measure
    from holisafe.bench._spending import Prices, money_text
    from holisafe.bench._task import build_task

__all__ = [
    "Plan",
    "PlannedCalls",
    "Prices",
    "Retirement",
    "build_task",
    "default_folder",
    "inspect_ask",
    "judge_with_model",
    "measure",
    "money_text",
    "plan_judging",
    "plan_run",
    "read_run",
    "recorded_spending",
    "rejudge",
    "retirements",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "Plan": "holisafe.bench._plan",
        "PlannedCalls": "holisafe.bench._plan",
        "Prices": "holisafe.bench._spending",
        "Retirement": "holisafe.bench._retirement",
        "build_task": "holisafe.bench._task",
        "default_folder": "holisafe.bench._folder",
        "inspect_ask": "holisafe.bench._ask",
        "judge_with_model": "holisafe.bench._judging",
        "measure": "holisafe.bench._run",
        "money_text": "holisafe.bench._spending",
        "plan_judging": "holisafe.bench._plan",
        "plan_run": "holisafe.bench._plan",
        "read_run": "holisafe.bench._read",
        "recorded_spending": "holisafe.bench._judging",
        "rejudge": "holisafe.bench._read",
        "retirements": "holisafe.bench._retirement",
    },
)
