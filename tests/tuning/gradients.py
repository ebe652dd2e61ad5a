"""The gradient of one optimizer step, however it is split: accelerate launch gradients.py FOLDER METHOD BATCH STEPS.

Each process of a launch leaves the gradient that its optimizer would apply in FOLDER/gradient-PROCESS.safetensors.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import TrainerCallback

sys.path.insert(0, str(Path(__file__).parents[1]))

from guard.prompts import guard, tiny
from holisafe.records import Sample
from holisafe.tuning import GuardedTrainer
from holisafe.tuning._mix import group_by_length
from tuning.answers import KNOWS_THOUGHTS, in_chunks, thoughtful
from tuning.data import ANSWERED, SETTINGS, in_pairs, picture, sample

STEP = 4
"""Samples of the optimizer step."""


def extreme() -> list[Sample]:
    """Three short refusals, one of an unlabelled image, and one long answer about two images."""
    long = {**ANSWERED, "reference": "It is plain, and " * 20 + "blue.", "images": (picture("blue"), picture("green"))}
    return [
        sample("no", reference="No."),
        sample("long", query="and these?", **{**long, "image_labels": ANSWERED["image_labels"] * 2}),
        sample("unlabelled", image_labels=(), reference="No.", query="why?"),
        sample("never", reference="Never.", images=(picture("yellow"),)),
    ]


def with_general() -> list[Sample]:
    """Safety data, and general data without labels, combination and, in one case, images."""
    made = extreme()
    general = sample("general", combination=None, category=None, image_labels=(), reference="A picture. " * 9)
    text_only = replace(general.with_images(()), id="text").with_query("what is two and two?")
    return [made[0], general, made[3], text_only]


class Keep(TrainerCallback):  # type: ignore[misc]
    """Keeps the gradients of the first step, before they are clipped away or applied."""

    def __init__(self) -> None:
        self.gradients: dict[str, Tensor] = {}

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        self.gradients = {
            name.removeprefix("module."): weight.grad.clone()
            for name, weight in model.named_parameters()
            if weight.grad is not None
        }


def gradient(
    folder: Path, method: str, samples: list[Sample], batch_size: int, accumulation: int, *, grouped: bool = False
) -> dict[str, Tensor]:
    """The gradient that the optimizer applies after one step over the samples."""
    name, _, with_guard = method.partition("/")
    config = replace(
        SETTINGS,
        method=name,
        method_args=ARGS.get(name, {}),
        batch_size=batch_size,
        gradient_accumulation_steps=accumulation,
        max_grad_norm=1e9,
    )
    made = tiny("llava")
    if name == "safekey":
        made.processor.chat_template += KNOWS_THOUGHTS
    if with_guard or config.method_part.has_guard:
        guard(made, meta_token=method == "meta-token")
    samples = DRESSED.get(name, list)(samples)
    if grouped:
        samples = group_by_length(samples, batch_size, len(samples) // batch_size)
    run = GuardedTrainer(
        made.model, made.processor, replace(config, lora_dropout=0.0), samples, folder, use_cpu=True, logging_steps=1
    )
    for module in run.model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    kept = Keep()
    run.add_callback(kept)
    run.tune()
    return kept.gradients


def difference(one: dict[str, Tensor], other: dict[str, Tensor]) -> tuple[float, float]:
    """Norm of the difference over the norm of the first, and the cosine."""
    names = sorted(one.keys() | other.keys())
    a, b = (torch.cat([_flat(each, name, one, other) for name in names]) for each in (one, other))
    return float((a - b).norm() / a.norm()), float(torch.nn.functional.cosine_similarity(a, b, dim=0))


def _flat(of: dict[str, Tensor], name: str, *both: dict[str, Tensor]) -> Tensor:
    """A gradient as a vector; zeros where there is none."""
    shape = next(each[name] for each in both if name in each)
    return of.get(name, torch.zeros_like(shape)).flatten().double()


ARGS = {"safekey": {"auxiliary_start": 0.0}}
"""Settings of a method, such that its first step has all terms."""

DRESSED = {"dpo": in_pairs, "star-dss": in_chunks, "safekey": thoughtful}
"""What gives samples what a method learns from beside their answers."""

SAMPLES = {"extreme": extreme, "general": with_general}

if __name__ == "__main__":
    where, cases = Path(sys.argv[1]), sys.argv[2:]
    for case in cases:
        method, kind, batch, steps = case.split(",")
        found = gradient(where / case, method, SAMPLES[kind](), int(batch), int(steps))
        index = PartialState().process_index
        save_file(found, where / case / f"gradient-{index}.safetensors")
    PartialState().destroy_process_group()
