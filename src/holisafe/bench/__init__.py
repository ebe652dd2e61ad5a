"""The run: data sets as Inspect tasks, a provider for local models, and runs that survive being killed.

`measure` measures a model, `run_suite` does so on several benchmarks, `plan_run` says what a run would ask and cost,
`read_run` reads a run back, `score_run` judges the answers of a recorded run and keeps the result, `rejudge` does so in
memory, `validate_judge` measures a judge against labels by people, `check_anchors` finds out whether a judge has
drifted, `inspect_ask` lets a judge ask any model that Inspect reaches. Inspect is imported on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holisafe._lazy import lazy

if TYPE_CHECKING:
    from holisafe.bench._anchors import check_anchors, note_anchors
    from holisafe.bench._ask import inspect_ask
    from holisafe.bench._folder import default_folder
    from holisafe.bench._judging import judge_with_model, recorded_spending
    from holisafe.bench._plan import Plan, PlannedCalls, plan_judging, plan_run
    from holisafe.bench._read import read_run, rejudge
    from holisafe.bench._rescore import plan_score, score_run
    from holisafe.bench._retirement import Retirement, retirements
    from holisafe.bench._run import measure
    from holisafe.bench._spending import Prices, money_text
    from holisafe.bench._suite import SuiteRow, run_suite
    from holisafe.bench._task import build_task
    from holisafe.bench._validation import plan_validation, validate_judge, validation_journal

__all__ = [
    "Plan",
    "PlannedCalls",
    "Prices",
    "Retirement",
    "SuiteRow",
    "build_task",
    "check_anchors",
    "default_folder",
    "inspect_ask",
    "judge_with_model",
    "measure",
    "money_text",
    "note_anchors",
    "plan_judging",
    "plan_run",
    "plan_score",
    "plan_validation",
    "read_run",
    "recorded_spending",
    "rejudge",
    "retirements",
    "run_suite",
    "score_run",
    "validate_judge",
    "validation_journal",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "Plan": "holisafe.bench._plan",
        "PlannedCalls": "holisafe.bench._plan",
        "Prices": "holisafe.bench._spending",
        "Retirement": "holisafe.bench._retirement",
        "SuiteRow": "holisafe.bench._suite",
        "build_task": "holisafe.bench._task",
        "check_anchors": "holisafe.bench._anchors",
        "default_folder": "holisafe.bench._folder",
        "inspect_ask": "holisafe.bench._ask",
        "judge_with_model": "holisafe.bench._judging",
        "measure": "holisafe.bench._run",
        "money_text": "holisafe.bench._spending",
        "note_anchors": "holisafe.bench._anchors",
        "plan_judging": "holisafe.bench._plan",
        "plan_run": "holisafe.bench._plan",
        "plan_score": "holisafe.bench._rescore",
        "plan_validation": "holisafe.bench._validation",
        "read_run": "holisafe.bench._read",
        "recorded_spending": "holisafe.bench._judging",
        "rejudge": "holisafe.bench._read",
        "retirements": "holisafe.bench._retirement",
        "run_suite": "holisafe.bench._suite",
        "score_run": "holisafe.bench._rescore",
        "validate_judge": "holisafe.bench._validation",
        "validation_journal": "holisafe.bench._validation",
    },
)
