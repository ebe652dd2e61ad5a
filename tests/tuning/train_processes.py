"""Tunes a tiny LLaVA on several processes, several times: accelerate launch train_processes.py FOLDER RUN…

Each run has its own folder in FOLDER, in which each process also leaves the ids of the samples that it was given.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from torch import nn
from torch.distributed.tensor import DTensor
from transformers import TrainerCallback

sys.path.insert(0, str(Path(__file__).parents[1]))

from guard.prompts import guard, tiny
from holisafe.errors import TuningError
from holisafe.guard import guard_of
from holisafe.records import Behaviour, Sample
from holisafe.taxonomy import Combination, GuardLabel
from holisafe.tuning import GuardedTrainer, SliceEvaluation, TuneConfig
from holisafe.tuning._shards import whole
from tuning.data import SETTINGS, held_out, picture, sample, with_rates

ALIKE = replace(SETTINGS, lora_dropout=0.0)
"""Steps of four samples: two forward passes of one process, or one of each of two."""


def uneven(count: int = 24) -> list[Sample]:
    """Samples whose batches hold other numbers of images, of labelled images and of tokens to learn."""
    safe = {"combination": Combination.SSS, "image_labels": (GuardLabel.SAFE,) * 2, "reference": "It is plain."}
    two = (picture("blue"), picture("green"))
    made = [sample(f"{i}", query=f"what is {i}?", reference="No. " * (1 + i % 5)) for i in range(count)]
    for i, each in enumerate(made):
        if i % 3 == 0:
            made[i] = replace(each.with_images(two), expected=Behaviour.ANSWER, **safe)
        elif i % 4 < 2:
            made[i] = replace(each, image_labels=())
    return made


class Seen:
    """A collator that notes the ids of its batches."""

    def __init__(self, collate: Any) -> None:
        self.collate = collate
        self.ids: list[list[str]] = []

    def __call__(self, samples: Sequence[Sample]) -> Any:
        self.ids.append([each.id for each in samples])
        return self.collate(samples)


class Gradient(TrainerCallback):  # type: ignore[misc]
    """Notes the guard's gradient in the first step, before the optimizer uses it."""

    def __init__(self) -> None:
        self.of_guard: list[float] = []

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, *, model: Any, **_: Any) -> None:
        if not self.of_guard:
            found = [each.grad for name, each in model.named_parameters() if ".guard." in f".{name}"]
            self.of_guard = torch.cat([whole(each).flatten() for each in found if each is not None]).tolist()


def train(
    folder: Path,
    config: TuneConfig = ALIKE,
    *,
    samples: Sequence[Sample] | None = None,
    kind: type[GuardedTrainer] = GuardedTrainer,
    is_evaluated: bool = False,
    **options: Any,
) -> GuardedTrainer:
    """Tune without any dropout, so that processes draw nothing by chance."""
    made = tiny("llava")
    guard(made, meta_token=config.method == "meta-token")
    for weight in guard_of(made.model).parameters():
        weight.data += float(os.environ.get("RANK", "0"))  # what another process begins with must not matter
    given = uneven() if samples is None else samples
    options = {"save_steps": 2, "logging_steps": 1, "use_cpu": True, **options}
    run = kind(made.model, made.processor, config, given, folder, **options)
    for module in run.model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    if is_evaluated:
        run.add_callback(SliceEvaluation(run, held_out(), eval_steps=3, max_new_tokens=12, batch_size=1))
    run.data_collator = seen = Seen(run.data_collator)
    noted = Gradient()
    run.add_callback(noted)
    run.tune()
    here, all_ = held(run)
    left = {"ids": seen.ids, "numbers_held": here, "numbers": all_, "guard_gradient": noted.of_guard}
    (folder / f"process-{run.args.process_index}.json").write_text(json.dumps(left))
    return run


def held(run: GuardedTrainer) -> tuple[int, int]:
    """How many numbers of the weights are in this process, and how many there are."""
    weights = list(run.model.parameters())
    here = [each.to_local() if isinstance(each, DTensor) else each for each in weights]
    return sum(each.numel() for each in here), sum(each.numel() for each in weights)


HALF = replace(ALIKE, gradient_accumulation_steps=1)
FULL: dict[str, Any] = {"config": HALF, "fsdp": True}
SHARDED: dict[str, Any] = {"config": HALF, "fsdp": True, "fsdp_config": {"state_dict_type": "SHARDED_STATE_DICT"}}
RUNS: dict[str, dict[str, Any]] = {
    "ddp": {"config": HALF},
    "ddp-checkpointing": {"config": replace(HALF, gradient_checkpointing=True)},
    "ddp-23": {"config": HALF, "samples": uneven(23)},
    "ddp-again": {"config": HALF},
    "ddp-evaluated": {"config": HALF, "is_evaluated": True},
    "fsdp": SHARDED,
    "fsdp-again": SHARDED,
    "fsdp-full": FULL,
    "fsdp-bfloat16": {**SHARDED, "config": replace(HALF, precision="bfloat16", gradient_checkpointing=True)},
    "fsdp-wrapped": {**SHARDED, "fsdp_config": {"activation_checkpointing": True}},
    "fsdp-offload": {**SHARDED, "fsdp_config": {"cpu_offload": True}},
    "fsdp-no-adapter": {**SHARDED, "config": with_rates(HALF, language=None)},
    "fsdp-meta-token": {**SHARDED, "config": replace(HALF, method="meta-token")},
    "fsdp-first-loads": {**FULL, "fsdp_config": {"cpu_ram_efficient_loading": True}},
    "fsdp-1": {**FULL, "fsdp_config": {"version": 1, "sync_module_states": False}},
    "fsdp-of-one": SHARDED,
    "ddp-of-fsdp": {"config": HALF},
}
"""Runs of two processes; "of-one" resumes what one process began, "ddp-of-fsdp" what FSDP did."""

BEGUN = {"ddp-again": "ddp", "fsdp-again": "fsdp", "fsdp-of-one": "one", "ddp-of-fsdp": "fsdp"}
"""Runs that resume from the middle of another."""


def main(where: Path, names: Sequence[str]) -> None:
    """Run by run; some go on from the middle of another."""
    for name in names:
        os.environ.pop("ACCELERATE_USE_FSDP", None)  # accelerate leaves it there
        folder = where / name
        if name in BEGUN:
            if PartialState().is_main_process:
                shutil.copytree(where / BEGUN[name], folder)
                shutil.rmtree(folder / "checkpoint-6")
            PartialState().wait_for_everyone()
        try:
            train(folder, **RUNS[name])
        except TuningError as error:
            folder.mkdir(exist_ok=True)
            (folder / f"error-{PartialState().process_index}.txt").write_text(str(error))
    PartialState().destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
