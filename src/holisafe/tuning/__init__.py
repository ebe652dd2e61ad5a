"""How a model is made safer: batches of answers to learn, balanced data, the loss, its settings and a trainer.

What needs torch is imported when it is first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from holisafe.tuning._bounds import Bounds, Stop
from holisafe.tuning._config import TuneConfig
from holisafe.tuning._mix import mix
from holisafe.tuning._recipes import Recipe, read_recipe, recipe_names
from holisafe.tuning._slice import calibration_slice
from holisafe.tuning._targets import check_samples
from holisafe.tuning._trackers import trackers

if TYPE_CHECKING:
    from holisafe.tuning._collate import Collator
    from holisafe.tuning._evaluate import Evaluation, SliceEvaluation
    from holisafe.tuning._loss import GuardedLoss, LossParts
    from holisafe.tuning._merge import merge_tuned
    from holisafe.tuning._parts import adapt
    from holisafe.tuning._ready import ModelOptions
    from holisafe.tuning._trainer import GuardedTrainer
    from holisafe.tuning._tune import Plan, Tuned, plan, tune

__all__ = [
    "Bounds",
    "Collator",
    "Evaluation",
    "GuardedLoss",
    "GuardedTrainer",
    "LossParts",
    "ModelOptions",
    "Plan",
    "Recipe",
    "SliceEvaluation",
    "Stop",
    "TuneConfig",
    "Tuned",
    "adapt",
    "calibration_slice",
    "check_samples",
    "merge_tuned",
    "mix",
    "plan",
    "read_recipe",
    "recipe_names",
    "trackers",
    "tune",
]

_LATE = {
    "Collator": "_collate",
    "Evaluation": "_evaluate",
    "GuardedLoss": "_loss",
    "GuardedTrainer": "_trainer",
    "LossParts": "_loss",
    "ModelOptions": "_ready",
    "Plan": "_tune",
    "SliceEvaluation": "_evaluate",
    "Tuned": "_tune",
    "adapt": "_parts",
    "merge_tuned": "_merge",
    "plan": "_tune",
    "tune": "_tune",
}


def __getattr__(name: str) -> Any:
    """Import what needs torch when it is first asked for."""
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"holisafe.tuning.{_LATE[name]}"), name)
