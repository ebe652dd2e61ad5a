"""The plug-in: a guard that gives any vision-language model an interpretable image verdict with its answer.

`attach_guard` adds it, `guarded_generate` answers with it, `session` gives verdicts for any forward pass, `save_guard`
and `load_guard` save and load it. torch is imported
when something that needs it is first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holisafe._lazy import lazy
from holisafe.guard._config import GuardConfig, GuardSite

if TYPE_CHECKING:
    from holisafe.guard._released import import_released_guard
    from holisafe.guard._verdict import answer_checks
    from holisafe.guard.attach import (
        add_output_head,
        attach_guard,
        calibration_of,
        detach_guard,
        guard_of,
        set_calibration,
        train_guard,
    )
    from holisafe.guard.calibration import Calibration
    from holisafe.guard.checkpoint import load_guard, push_guard, save_guard
    from holisafe.guard.classify import classify_images
    from holisafe.guard.findings import GuardFindings, guard_findings, what_if
    from holisafe.guard.generate import GuardedAnswers, guarded_generate
    from holisafe.guard.inputs import add_meta_tokens, prepare_inputs
    from holisafe.guard.output import AnswerStates, answer_states, judges_answers, places_of
    from holisafe.guard.policy import DecideBy, Decision, Policy, apply, decide, refusal_of_answer
    from holisafe.guard.rates import GuardRates, guard_rates
    from holisafe.guard.request import prompt_state, request_verdict
    from holisafe.guard.sessions import GuardLogits, GuardSession, disable, session
    from holisafe.guard.thresholds import ThresholdRow, threshold_rows

__all__ = [
    "AnswerStates",
    "Calibration",
    "DecideBy",
    "Decision",
    "GuardConfig",
    "GuardFindings",
    "GuardLogits",
    "GuardRates",
    "GuardSession",
    "GuardSite",
    "GuardedAnswers",
    "Policy",
    "ThresholdRow",
    "add_meta_tokens",
    "add_output_head",
    "answer_checks",
    "answer_states",
    "apply",
    "attach_guard",
    "calibration_of",
    "classify_images",
    "decide",
    "detach_guard",
    "disable",
    "guard_findings",
    "guard_of",
    "guard_rates",
    "guarded_generate",
    "import_released_guard",
    "judges_answers",
    "load_guard",
    "places_of",
    "prepare_inputs",
    "prompt_state",
    "push_guard",
    "refusal_of_answer",
    "request_verdict",
    "save_guard",
    "session",
    "set_calibration",
    "threshold_rows",
    "train_guard",
    "what_if",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "add_output_head": "holisafe.guard.attach",
        "attach_guard": "holisafe.guard.attach",
        "detach_guard": "holisafe.guard.attach",
        "guard_of": "holisafe.guard.attach",
        "calibration_of": "holisafe.guard.attach",
        "set_calibration": "holisafe.guard.attach",
        "train_guard": "holisafe.guard.attach",
        "Calibration": "holisafe.guard.calibration",
        "classify_images": "holisafe.guard.classify",
        "GuardFindings": "holisafe.guard.findings",
        "guard_findings": "holisafe.guard.findings",
        "what_if": "holisafe.guard.findings",
        "DecideBy": "holisafe.guard.policy",
        "Decision": "holisafe.guard.policy",
        "Policy": "holisafe.guard.policy",
        "apply": "holisafe.guard.policy",
        "decide": "holisafe.guard.policy",
        "refusal_of_answer": "holisafe.guard.policy",
        "AnswerStates": "holisafe.guard.output",
        "answer_checks": "holisafe.guard._verdict",
        "answer_states": "holisafe.guard.output",
        "judges_answers": "holisafe.guard.output",
        "places_of": "holisafe.guard.output",
        "GuardedAnswers": "holisafe.guard.generate",
        "add_meta_tokens": "holisafe.guard.inputs",
        "prepare_inputs": "holisafe.guard.inputs",
        "GuardRates": "holisafe.guard.rates",
        "guard_rates": "holisafe.guard.rates",
        "prompt_state": "holisafe.guard.request",
        "request_verdict": "holisafe.guard.request",
        "ThresholdRow": "holisafe.guard.thresholds",
        "threshold_rows": "holisafe.guard.thresholds",
        "GuardLogits": "holisafe.guard.sessions",
        "GuardSession": "holisafe.guard.sessions",
        "disable": "holisafe.guard.sessions",
        "session": "holisafe.guard.sessions",
        "guarded_generate": "holisafe.guard.generate",
        "load_guard": "holisafe.guard.checkpoint",
        "push_guard": "holisafe.guard.checkpoint",
        "save_guard": "holisafe.guard.checkpoint",
        "import_released_guard": "holisafe.guard._released",
    },
)
