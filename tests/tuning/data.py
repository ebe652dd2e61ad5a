"""Samples to tune on, and what a batch makes a model learn."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from PIL import Image

from holisafe.guard.attach import find_observer
from holisafe.records import ImageRef, Sample
from holisafe.taxonomy import Category, Combination, GuardLabel
from holisafe.tuning import Loss, TuneConfig


def picture(colour: str = "red", size: tuple[int, int] = (40, 40)) -> ImageRef:
    """A plain image."""
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, "PNG")
    return ImageRef(key=f"{colour}-{size[0]}x{size[1]}", data=file.getvalue())


def sample(name: str = "one", **changes: Any) -> Sample:
    """An unsafe image with a safe question, refused."""
    fields: dict[str, Any] = {
        "id": name,
        "images": (picture(),),
        "query": "what is it?",
        "combination": Combination.USU,
        "category": Category.VIOLENCE,
        "image_labels": (GuardLabel.TERRORISM,),
        "reference": "No, I will not.",
    }
    return Sample.ask(**{**fields, **changes})


def mixed() -> list[Sample]:
    """A refusal, and a longer helpful answer about two images of different shapes."""
    two = sample(
        "two",
        images=(picture("green", (64, 64)), picture("blue", (90, 40))),
        query="and these, compared with one another?",
        combination=Combination.SSS,
        category=Category.HATE,
        image_labels=(GuardLabel.SAFE, GuardLabel.GENDER),
        reference="Two plain pictures:\n- green\n- blue, “wide” – ümläut 🦁.",
    )
    return [sample("one"), two]


def held_out() -> list[Sample]:
    """A sample of each combination, and one more that is safe, of pictures that nothing else shows."""
    unsafe = [
        sample(f"held-{each}", images=(picture(colour),), query="what is it?", combination=each, image_labels=(label,))
        for each, colour, label in (
            (Combination.SSU, "lime", GuardLabel.SAFE),
            (Combination.USU, "yellow", GuardLabel.TERRORISM),
            (Combination.UUU, "purple", GuardLabel.GENDER),
            (Combination.SUU, "orange", GuardLabel.SAFE),
        )
    ]
    return [*unsafe, *safe()]


def safe() -> list[Sample]:
    """Two safe samples with references of different lengths."""
    fields = {"combination": Combination.SSS, "image_labels": (GuardLabel.SAFE,)}
    return [
        sample("safe-short", images=(picture("white"),), reference="It is white.", **fields),
        sample("safe-long", images=(picture("cyan", (90, 40)),), reference="Something cyan, and wide.", **fields),
    ]


def learned(processor: Any, batch: dict[str, Any], row: int) -> str:
    """What is learned of a row, control tokens included."""
    labels = batch["labels"][row]
    return str(processor.tokenizer.decode(labels[labels != -100]))


def in_pairs(samples: Sequence[Sample]) -> list[Sample]:
    """The samples with worse answers of different lengths."""
    return [replace(each, rejected="Sure, " * (at + 1) + "why not?") for at, each in enumerate(samples)]


SETTINGS = TuneConfig(
    lora_r=2,
    lora_dropout=0.2,
    learning_rates={"language": 3e-3, "projector": 1e-3, "vision": 1e-3, "guard": 1e-2},
    batch_size=2,
    gradient_accumulation_steps=2,
    warmup_ratio=0.25,
    weight_decay=0.01,
    precision="float32",
)

ANSWERED = {"combination": Combination.SSS, "image_labels": (GuardLabel.SAFE,), "reference": "It is plain."}
"""Fields of a sample that is answered."""


def with_rates(config: TuneConfig, **rates: float | None) -> TuneConfig:
    """The settings with other learning rates of some parts; None freezes one."""
    return replace(config, learning_rates={**config.learning_rates, **rates})


def loss_of(model: Any, batch: dict[str, Any], **args: float) -> Loss:
    """The loss of one batch, by the method that fits the model's guard."""
    observer = find_observer(model)
    method = "sft" if observer is None else "meta-token" if observer.config.meta_token else "vgm"
    config = TuneConfig(method=method, method_args=args)
    return config.method_part.loss(model, batch, config.method_config)
