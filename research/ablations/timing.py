"""How long a step, an answer and the rest of a run take, from a few of each."""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from holisafe.guard import GuardConfig, attach_guard
from research.ablations.arms import Arm
from research.ablations.runs import Material, Settings, answer, draw, load_base, make_trainer


def measure(
    settings: Settings, material: Material, arm: Arm, steps: int = 3, answers: int = 50
) -> dict[str, dict[str, float]]:
    """Seconds of a step, of an answer and of what a run takes besides, from a few of each, by both clocks.

    Processor time is what an idle core would take, with one thread; it does not count what others do.
    """
    loaded = load_base(settings)
    config = replace(settings.config(arm, 0), max_steps=steps)
    attach_guard(loaded.model, config.method_part.guard(GuardConfig(**arm.guard)), processor=loaded.processor)
    drawn = draw(settings, material, arm, 0)[: steps * settings.batch]
    times = _Times()
    with tempfile.TemporaryDirectory() as folder:
        trainer = make_trainer(loaded, config, drawn, Path(folder))
        trainer.add_callback(times)
        trainer.tune()
    tuned = replace(loaded, model=trainer.model.merge_and_unload().eval().to(getattr(torch, settings.precision)))
    few = material.slice[:: max(1, len(material.slice) // answers)][:answers]
    started = _now()
    answer(tuned, few, settings)
    answered = _since(started)
    started = _now()
    load_base(settings)
    beside = _since(started)
    return {
        clock: {
            "step": sum(each[place] for each in times.seconds[1:]) / (len(times.seconds) - 1),
            "answer": answered[place] / len(few),
            "beside": beside[place],
        }
        for place, clock in enumerate(("wall", "processor"))
    }


def _now() -> tuple[float, float]:
    return time.monotonic(), time.process_time()


def _since(started: tuple[float, float]) -> tuple[float, float]:
    now = _now()
    return now[0] - started[0], now[1] - started[1]


class _Times(TrainerCallback):  # type: ignore[misc]
    """Knows how long each step took, from the end of the one before: what reads the batch is counted too."""

    def __init__(self) -> None:
        self.seconds: list[tuple[float, float]] = []

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self.started = _now()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.seconds.append(_since(self.started))
        self.started = _now()
