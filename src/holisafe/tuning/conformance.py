"""The tests that every tuning method has to pass.

Run them on your own:

    from holisafe.tuning.conformance import MethodConformance

    class TestMine(MethodConformance):
        name = "mine"

        def fresh(self):
            return model, processor  # small, without a guard, the same at each call

pytest finds the inherited tests by their names and gives them its `tmp_path`.
"""

from __future__ import annotations

import io
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from PIL import Image, ImageDraw
from torch import Tensor, nn

from holisafe.guard import GuardConfig, attach_guard
from holisafe.guard.attach import find_observer
from holisafe.records import ImageRef, Sample
from holisafe.taxonomy import GuardLabel
from holisafe.tuning._checkpoint import last_checkpoint, learned_weights
from holisafe.tuning._config import Precision, TuneConfig
from holisafe.tuning._loss import Loss
from holisafe.tuning._parts import add_training_modules, configure_trainable_parts
from holisafe.tuning._result import fill_from
from holisafe.tuning._trainer import GuardedTrainer

TOLERANCE = 1e-5
"""How far a gradient may be from that of the whole batch, as a share of its norm."""


class MethodConformance:
    """Tests of the method that is registered as `name`."""

    name: ClassVar[str]
    method_args: ClassVar[dict[str, Any]] = {}
    guard: ClassVar[GuardConfig | None] = None
    """Parts of the guard, for methods that do with and without; None for what the method does by default."""

    def fresh(self) -> tuple[Any, Any]:
        """A small model without a guard and its processor, the same at each call."""
        raise NotImplementedError

    def samples(self) -> list[Sample]:
        """Four samples: answers of different lengths, one without labels, one without images."""
        return drawn_samples()

    def test_its_settings_are_read_back_as_they_were_written(self) -> None:
        """JSON and back."""
        config = self._config()
        assert TuneConfig.from_json(config.to_json()) == config

    def test_targets_are_counted_before_the_model_runs(self) -> None:
        """`counts` gives the counts of the terms of `loss`, under their names."""
        model, processor, config = self._ready()
        add_training_modules(model, config)
        batch = self._collate(model, processor, config)(self.samples())
        loss = _loss(model, batch, config)
        assert config.method_part.counts(batch) == {term.name: term.count for term in loss.terms}

    def test_micro_batches_give_the_gradient_of_the_whole_batch(self) -> None:
        """Batches of 1 and 2 add up to the gradient of all samples at once."""
        whole = self._gradient(len(self.samples()))
        for size in (1, 2):
            found = self._gradient(size)
            difference = float((found - whole).norm() / whole.norm())
            assert difference < TOLERANCE, f"batches of {size}: the gradient differs by {difference:.2g} of its norm"

    def test_what_it_learned_is_in_its_checkpoint(self, tmp_path: Path) -> None:
        """A fresh model that is filled from the last checkpoint has the weights of the trained one."""
        trainer = self._trainer(tmp_path)
        trainer.tune()
        checkpoint = last_checkpoint(tmp_path)
        assert checkpoint is not None
        model, _, config = self._ready()
        filled = learned_weights(fill_from(configure_trainable_parts(model, config), checkpoint))
        assert _same(filled, learned_weights(trainer.model))

    def test_it_resumes_to_the_weights_of_an_uninterrupted_run(self, tmp_path: Path) -> None:
        """From the checkpoint after the first of two steps."""
        whole = self._trainer(tmp_path / "whole")
        whole.tune()
        shutil.copytree(tmp_path / "whole", tmp_path / "resumed")
        newest = last_checkpoint(tmp_path / "resumed")
        assert newest is not None
        shutil.rmtree(newest)
        resumed = self._trainer(tmp_path / "resumed")
        resumed.tune()
        assert _same(learned_weights(resumed.model), learned_weights(whole.model))

    def _config(self) -> TuneConfig:
        return TuneConfig(
            method=self.name,
            method_args=self.method_args,
            precision=Precision.FLOAT32,
            lora_r=2,
            batch_size=2,
            gradient_accumulation_steps=2,
            learning_rate=1e-3,
        )

    def _ready(self) -> tuple[Any, Any, TuneConfig]:
        """A model with the method's guard, in evaluation mode."""
        config = self._config()
        model, processor = self.fresh()
        guard = config.method_part.guard(self.guard)
        if guard is not None:
            torch.manual_seed(0)
            attach_guard(model, guard, processor=processor)
        config.method_part.check_guard(guard)
        return model.eval(), processor, config

    def _collate(self, model: Any, processor: Any, config: TuneConfig) -> Any:
        observer = find_observer(model)
        return config.method_part.collator(processor, None if observer is None else observer.config)

    def _gradient(self, size: int) -> Tensor:
        """The gradient of all weights (weights,), from batches of a size."""
        model, processor, config = self._ready()
        add_training_modules(model, config)
        method, collate, samples = config.method_part, self._collate(model, processor, config), self.samples()
        batches = [collate(samples[start : start + size]) for start in range(0, len(samples), size)]
        found = [method.counts(batch) for batch in batches]
        counts = {name: sum(each[name] for each in found) for name in found[0]}
        for batch in batches:
            total: Any = _loss(model, batch, config).total(counts)
            total.backward()
        return torch.cat(
            [
                (torch.zeros_like(weight) if weight.grad is None else weight.grad).flatten().double()
                for weight in model.parameters()
            ]
        )

    def _trainer(self, folder: Path) -> GuardedTrainer:
        """A trainer of two steps, with a checkpoint after each; no dropout."""
        model, processor, config = self._ready()
        samples = [replace(each, id=f"{turn}-{each.id}") for turn in (0, 1) for each in self.samples()]
        trainer = GuardedTrainer(model, processor, config, samples, folder, save_steps=1, logging_steps=1, use_cpu=True)
        for module in trainer.model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        return trainer


def _loss(model: Any, batch: dict[str, Any], config: TuneConfig) -> Loss:
    """The loss of a batch of a model that has not learned yet."""
    method = config.method_part
    with torch.no_grad():
        reference = method.reference(model, batch, config.method_config)
    return method.loss(model, {**batch, **reference}, config.method_config)


def drawn_samples() -> list[Sample]:
    """Four samples about drawn pictures, uneven in every way that a batch can be."""
    red, blue = _drawn("red"), _drawn("blue")
    safe = (GuardLabel.SAFE,)
    long = "It is a plain picture with a border, and " * 5 + "nothing else."
    return [
        Sample.ask("short", (red,), "What is this?", "SSU", "violence", reference="No.", image_labels=safe),
        Sample.ask("long", (blue,), "Describe it.", "SSS", reference=long, image_labels=safe),
        Sample.ask("unlabelled", (red,), "And this?", "SSU", "hate", reference="I would rather not."),
        Sample.ask("text", (), "What is two and two?", expected="answer", reference="Four."),
    ]


def _drawn(colour: str) -> ImageRef:
    image = Image.new("RGB", (48, 48), "white")
    ImageDraw.Draw(image).rectangle((8, 8, 40, 40), fill=colour, outline="black")
    encoded = io.BytesIO()
    image.save(encoded, "PNG")
    return ImageRef(f"conformance-{colour}", data=encoded.getvalue())


def _same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
