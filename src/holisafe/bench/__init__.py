"""The run: data sets as Inspect tasks, a provider for local models, and runs that survive being killed.

`measure` measures a model, `run_suite` does so on several benchmarks, `measure_parts` several models on several data
sets, `plan_run` says what a run would ask and cost, `repeat_check` whether batch size, dtype and image reuse change
answers, `read_run` reads a run back, `read_epochs` those of a log, `score_run` judges the answers of a recorded run and
keeps the result, `rejudge` does so in memory, `validate_judge` measures a judge against labels by people,
`check_anchors` finds out whether a judge has drifted, `inspect_ask` lets a judge ask any model that Inspect reaches,
`ask_each` lets other rooms do so for many things at once. `Lines` is a file of records that survives being killed.
Inspect is imported on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holisafe._lazy import lazy

if TYPE_CHECKING:
    from holisafe.bench._anchors import check_anchors, note_anchors
    from holisafe.bench._ask import inspect_ask
    from holisafe.bench._folder import default_folder
    from holisafe.bench._journal import Lines
    from holisafe.bench._judging import judge_with_model, recorded_spending
    from holisafe.bench._parts import PartRow, RunPart, measure_parts, run_parts
    from holisafe.bench._plan import Plan, PlannedCalls, plan_calls, plan_judging, plan_run
    from holisafe.bench._read import read_epochs, read_run, rejudge
    from holisafe.bench._repeat_check import RepeatCheck, repeat_check
    from holisafe.bench._rescore import plan_score, score_run
    from holisafe.bench._retirement import Retirement, retirements
    from holisafe.bench._run import measure
    from holisafe.bench._shared_budget import SharedBudget, check_one_price
    from holisafe.bench._spending import (
        Prices,
        Spending,
        check_budget,
        money_text,
        recorded_calls,
        stopped_by_budget,
        totals_of,
    )
    from holisafe.bench._suite import SuiteRow, run_suite
    from holisafe.bench._task import build_task
    from holisafe.bench._utility import UtilityResult, read_utility
    from holisafe.bench._validation import plan_validation, validate_judge, validation_journal
    from holisafe.bench._vllm_server import VllmOptions
    from holisafe.bench._with_ask import ask_each

__all__ = [
    "Lines",
    "PartRow",
    "Plan",
    "PlannedCalls",
    "Prices",
    "RepeatCheck",
    "Retirement",
    "RunPart",
    "SharedBudget",
    "Spending",
    "SuiteRow",
    "UtilityResult",
    "VllmOptions",
    "ask_each",
    "build_task",
    "check_anchors",
    "check_budget",
    "check_one_price",
    "default_folder",
    "inspect_ask",
    "judge_with_model",
    "measure",
    "measure_parts",
    "money_text",
    "note_anchors",
    "plan_calls",
    "plan_judging",
    "plan_run",
    "plan_score",
    "plan_validation",
    "read_epochs",
    "read_run",
    "read_utility",
    "recorded_calls",
    "recorded_spending",
    "rejudge",
    "repeat_check",
    "retirements",
    "run_parts",
    "run_suite",
    "score_run",
    "stopped_by_budget",
    "totals_of",
    "validate_judge",
    "validation_journal",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "Lines": "holisafe.bench._journal",
        "PartRow": "holisafe.bench._parts",
        "Plan": "holisafe.bench._plan",
        "PlannedCalls": "holisafe.bench._plan",
        "Prices": "holisafe.bench._spending",
        "RepeatCheck": "holisafe.bench._repeat_check",
        "Retirement": "holisafe.bench._retirement",
        "RunPart": "holisafe.bench._parts",
        "SharedBudget": "holisafe.bench._shared_budget",
        "Spending": "holisafe.bench._spending",
        "SuiteRow": "holisafe.bench._suite",
        "ask_each": "holisafe.bench._with_ask",
        "build_task": "holisafe.bench._task",
        "check_anchors": "holisafe.bench._anchors",
        "check_budget": "holisafe.bench._spending",
        "check_one_price": "holisafe.bench._shared_budget",
        "default_folder": "holisafe.bench._folder",
        "inspect_ask": "holisafe.bench._ask",
        "judge_with_model": "holisafe.bench._judging",
        "VllmOptions": "holisafe.bench._vllm_server",
        "measure": "holisafe.bench._run",
        "measure_parts": "holisafe.bench._parts",
        "money_text": "holisafe.bench._spending",
        "note_anchors": "holisafe.bench._anchors",
        "plan_calls": "holisafe.bench._plan",
        "plan_judging": "holisafe.bench._plan",
        "plan_run": "holisafe.bench._plan",
        "plan_score": "holisafe.bench._rescore",
        "plan_validation": "holisafe.bench._validation",
        "read_epochs": "holisafe.bench._read",
        "read_run": "holisafe.bench._read",
        "recorded_calls": "holisafe.bench._spending",
        "recorded_spending": "holisafe.bench._judging",
        "rejudge": "holisafe.bench._read",
        "repeat_check": "holisafe.bench._repeat_check",
        "retirements": "holisafe.bench._retirement",
        "run_parts": "holisafe.bench._parts",
        "run_suite": "holisafe.bench._suite",
        "score_run": "holisafe.bench._rescore",
        "UtilityResult": "holisafe.bench._utility",
        "read_utility": "holisafe.bench._utility",
        "stopped_by_budget": "holisafe.bench._spending",
        "totals_of": "holisafe.bench._spending",
        "validate_judge": "holisafe.bench._validation",
        "validation_journal": "holisafe.bench._validation",
    },
)
