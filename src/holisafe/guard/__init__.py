"""The plug-in: a guard that gives any vision-language model an interpretable image verdict with its answer.

`attach_guard` adds it, `guarded_generate` answers with it, `save_guard` and `load_guard` keep it. torch is imported
when something that needs it is first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from holisafe.guard._config import GuardConfig
from holisafe.guard._family import GuardFamily, register_family, registered_families

if TYPE_CHECKING:
    from holisafe.guard._attach import (
        attach_guard,
        calibration_of,
        detach_guard,
        guard_of,
        set_calibration,
        train_guard,
    )
    from holisafe.guard._calibration import Calibration, calibrate
    from holisafe.guard._calibration_report import CalibrationReport, plot_reliability
    from holisafe.guard._checkpoint import load_guard, push_guard, save_guard
    from holisafe.guard._classify import classify_images
    from holisafe.guard._findings import Decider, GuardFindings, guard_findings, what_if
    from holisafe.guard._generate import GuardedAnswers, PromptVerdicts, add_meta_tokens, guarded_generate
    from holisafe.guard._policy import Decision, Policy, apply, decide
    from holisafe.guard._released import import_released_guard

__all__ = [
    "Calibration",
    "CalibrationReport",
    "Decider",
    "Decision",
    "GuardConfig",
    "GuardFamily",
    "GuardFindings",
    "GuardedAnswers",
    "Policy",
    "PromptVerdicts",
    "add_meta_tokens",
    "apply",
    "attach_guard",
    "calibrate",
    "calibration_of",
    "classify_images",
    "decide",
    "detach_guard",
    "guard_findings",
    "guard_of",
    "guarded_generate",
    "import_released_guard",
    "load_guard",
    "plot_reliability",
    "push_guard",
    "register_family",
    "registered_families",
    "save_guard",
    "set_calibration",
    "train_guard",
    "what_if",
]

_LATE = {
    "attach_guard": "_attach",
    "detach_guard": "_attach",
    "guard_of": "_attach",
    "calibration_of": "_attach",
    "set_calibration": "_attach",
    "train_guard": "_attach",
    "Calibration": "_calibration",
    "calibrate": "_calibration",
    "CalibrationReport": "_calibration_report",
    "plot_reliability": "_calibration_report",
    "classify_images": "_classify",
    "Decider": "_findings",
    "GuardFindings": "_findings",
    "guard_findings": "_findings",
    "what_if": "_findings",
    "Decision": "_policy",
    "Policy": "_policy",
    "apply": "_policy",
    "decide": "_policy",
    "GuardedAnswers": "_generate",
    "PromptVerdicts": "_generate",
    "add_meta_tokens": "_generate",
    "guarded_generate": "_generate",
    "load_guard": "_checkpoint",
    "push_guard": "_checkpoint",
    "save_guard": "_checkpoint",
    "import_released_guard": "_released",
}


def __getattr__(name: str) -> Any:
    """Import what needs torch when it is first asked for."""
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"holisafe.guard.{_LATE[name]}"), name)
