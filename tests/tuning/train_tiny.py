"""Tunes a tiny LLaVA for eight steps and kills itself without warning: python train_tiny.py FOLDER kill STEP."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

sys.path.insert(0, str(Path(__file__).parents[1]))

from guard.prompts import guard, tiny
from holisafe.records import Sample
from holisafe.tuning import GuardedTrainer, TuneConfig
from tuning.data import ANSWERED, SETTINGS, picture, sample


def samples(count: int = 32) -> list[Sample]:
    """Refused and answered samples of two colours, by turns."""
    return [
        sample(f"{i}", **({"images": (picture("blue"),), **ANSWERED} if i % 2 else {}), query=f"what is {i}?")
        for i in range(count)
    ]


def trainer(folder: Path, config: TuneConfig = SETTINGS, **options: Any) -> GuardedTrainer:
    """A trainer of a tiny guarded LLaVA, always the same."""
    made = tiny("llava")
    guard(made)
    given = {"samples": samples(), "save_steps": 2, "logging_steps": 1, "use_cpu": True, **options}
    return GuardedTrainer(made.model, made.processor, config, folder=folder, **given)


class KillAt(TrainerCallback):  # type: ignore[misc]
    """Ends the process after a step as a lost machine would."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == self.step:
            os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    run = trainer(Path(sys.argv[1]))
    run.add_callback(KillAt(int(sys.argv[3])))
    run.tune()
