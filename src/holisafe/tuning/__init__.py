"""How a model is made safer: batches of answers to learn, balanced data, the loss, its settings and a trainer.

What needs torch is imported when it is first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holisafe._lazy import lazy
from holisafe.tuning._bounds import Bounds, Stop
from holisafe.tuning._config import Precision, TuneConfig
from holisafe.tuning._mix import mix
from holisafe.tuning._progress import OnStage, Progress
from holisafe.tuning._recipes import Recipe, read_recipe, recipe_names
from holisafe.tuning._slice import calibration_slice
from holisafe.tuning._targets import check_samples
from holisafe.tuning._trackers import trackers
from holisafe.tuning.methods import METHODS, Method, MethodConfig, method_names

if TYPE_CHECKING:
    from holisafe.tuning._collate import Collator
    from holisafe.tuning._estimate import Estimate, GpuNeeds, Speed, estimate
    from holisafe.tuning._evaluate import Evaluation, SliceEvaluation
    from holisafe.tuning._guard_training import GuardTraining, TrainedGuard, train_guard_on_images
    from holisafe.tuning._launch import GPUS_PER_MACHINE, accumulation_on, launch_config, write_launch_config
    from holisafe.tuning._loss import Loss, LossTerm
    from holisafe.tuning._merge import merge_tuned
    from holisafe.tuning._output_training import TrainedOutput, train_output_head
    from holisafe.tuning._parts import configure_trainable_parts
    from holisafe.tuning._plan import Plan, plan, plan_recipe
    from holisafe.tuning._processes import fsdp_options
    from holisafe.tuning._trainer import GuardedTrainer
    from holisafe.tuning._tune import Tuned, tune
    from holisafe.tuning.methods.star_dss.scoring import Scored, score_answers

__all__ = [
    "GPUS_PER_MACHINE",
    "METHODS",
    "Bounds",
    "Collator",
    "Estimate",
    "Evaluation",
    "GpuNeeds",
    "GuardTraining",
    "GuardedTrainer",
    "Loss",
    "LossTerm",
    "Method",
    "MethodConfig",
    "OnStage",
    "Plan",
    "Precision",
    "Progress",
    "Recipe",
    "Scored",
    "SliceEvaluation",
    "Speed",
    "Stop",
    "TrainedGuard",
    "TrainedOutput",
    "TuneConfig",
    "Tuned",
    "accumulation_on",
    "calibration_slice",
    "check_samples",
    "configure_trainable_parts",
    "estimate",
    "fsdp_options",
    "launch_config",
    "merge_tuned",
    "method_names",
    "mix",
    "plan",
    "plan_recipe",
    "read_recipe",
    "recipe_names",
    "score_answers",
    "trackers",
    "train_guard_on_images",
    "train_output_head",
    "tune",
    "write_launch_config",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "Collator": "holisafe.tuning._collate",
        "Estimate": "holisafe.tuning._estimate",
        "Evaluation": "holisafe.tuning._evaluate",
        "GpuNeeds": "holisafe.tuning._estimate",
        "Speed": "holisafe.tuning._estimate",
        "estimate": "holisafe.tuning._estimate",
        "GPUS_PER_MACHINE": "holisafe.tuning._launch",
        "accumulation_on": "holisafe.tuning._launch",
        "fsdp_options": "holisafe.tuning._processes",
        "launch_config": "holisafe.tuning._launch",
        "write_launch_config": "holisafe.tuning._launch",
        "GuardTraining": "holisafe.tuning._guard_training",
        "Loss": "holisafe.tuning._loss",
        "GuardedTrainer": "holisafe.tuning._trainer",
        "LossTerm": "holisafe.tuning._loss",
        "Plan": "holisafe.tuning._plan",
        "Scored": "holisafe.tuning.methods.star_dss.scoring",
        "SliceEvaluation": "holisafe.tuning._evaluate",
        "TrainedGuard": "holisafe.tuning._guard_training",
        "TrainedOutput": "holisafe.tuning._output_training",
        "Tuned": "holisafe.tuning._tune",
        "configure_trainable_parts": "holisafe.tuning._parts",
        "merge_tuned": "holisafe.tuning._merge",
        "plan": "holisafe.tuning._plan",
        "plan_recipe": "holisafe.tuning._plan",
        "score_answers": "holisafe.tuning.methods.star_dss.scoring",
        "train_guard_on_images": "holisafe.tuning._guard_training",
        "train_output_head": "holisafe.tuning._output_training",
        "tune": "holisafe.tuning._tune",
    },
)
