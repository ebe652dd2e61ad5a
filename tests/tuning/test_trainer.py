"""Training as a whole: it learns, it says how, it survives being killed, and it stops when the loss is lost."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from transformers import TrainerCallback
from transformers.modeling_layers import GradientCheckpointingLayer

from guard.prompts import guard, tiny
from holisafe.errors import TuningError
from holisafe.guard import GuardConfig, guard_of
from holisafe.guard.attach import base_model
from holisafe.tuning import Collator, GuardedTrainer
from holisafe.tuning._checkpoint import LEARNED_FILE, last_checkpoint
from tuning import train_tiny
from tuning.data import SETTINGS, loss_of, sample, with_rates
from tuning.train_tiny import samples, trainer


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A trainer that has gone through its eight steps."""
    run = trainer(tmp_path_factory.mktemp("unbroken"))
    run.tune()
    return run


def weights(folder: Path, step: int = 8) -> dict[str, torch.Tensor]:
    return dict(load_file(folder / f"checkpoint-{step}" / LEARNED_FILE))


def test_a_killed_run_goes_on_to_the_same_weights(unbroken: Any, tmp_path: Path) -> None:
    killed = subprocess.run(
        [sys.executable, train_tiny.__file__, str(tmp_path), "kill", "5"],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())},  # the same sums need the same threads
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-4"
    run = trainer(tmp_path)
    run.tune()
    expected = weights(Path(unbroken.args.output_dir))
    found = weights(tmp_path)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    steps = [(row["step"], row["loss"]) for row in unbroken.state.log_history if "loss" in row]
    assert [(row["step"], row["loss"]) for row in run.state.log_history if "loss" in row] == steps


def test_a_checkpoint_that_was_not_written_to_its_end_is_passed_over(unbroken: Any, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(unbroken.args.output_dir, folder)
    state = folder / "checkpoint-8" / "trainer_state.json"
    state.write_text(state.read_text()[:100])
    assert last_checkpoint(folder) == folder / "checkpoint-6"
    trainer(folder).tune()
    expected = weights(Path(unbroken.args.output_dir))
    assert all(torch.equal(tensor, expected[name]) for name, tensor in weights(folder).items())


def test_every_part_has_learned_and_nothing_else_has(unbroken: Any, tmp_path: Path) -> None:
    before = dict(base_model(trainer(tmp_path).model).named_parameters())
    for name, after in base_model(unbroken.model).named_parameters():
        # LLaVA reads the last layer but one of its vision encoder
        if after.requires_grad and after.grad is not None:
            assert not torch.equal(before[name], after), name
        elif not after.requires_grad:
            assert torch.equal(before[name], after), name
    learned = {name for name in weights(Path(unbroken.args.output_dir)) if "lora_B" in name or "guard" in name}
    assert learned


def test_the_log_has_the_parts_of_the_loss(unbroken: Any) -> None:
    rows = [row for row in unbroken.state.log_history if "loss" in row]
    assert len(rows) == 8
    for row in rows:
        parts = [row[f"loss_{name}"] for name in ("answer", "image", "combination", "category")]
        assert row["loss"] == pytest.approx(sum(parts), rel=1e-4)
    assert rows[-1]["loss_image"] < rows[0]["loss_image"]


def test_the_first_loss_is_that_of_the_steps_samples_in_one_batch(tmp_path: Path) -> None:
    config = replace(SETTINGS, lora_dropout=0.0)
    run = trainer(tmp_path, config, samples=samples(4))
    for module in guard_of(run.model).modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    collate, model = Collator(run.data_collator.processor, GuardConfig()), run.model
    with torch.no_grad():
        together = float(loss_of(model, collate(samples(4))).total())
    run.tune()
    assert run.state.log_history[0]["loss"] == pytest.approx(together, rel=1e-5)


def test_each_part_has_its_own_rate(tmp_path: Path) -> None:
    run = trainer(tmp_path, samples=samples(4))
    rates = {group["part"]: group["lr"] for group in run.create_optimizer().param_groups}
    assert rates == {"language": 3e-3, "projector": 1e-3, "vision": 1e-3, "guard": 1e-2}


def test_parts_that_rest_stay_in_evaluation_mode(tmp_path: Path) -> None:
    config = with_rates(SETTINGS, vision=None)
    run = trainer(tmp_path, config, samples=samples(4))
    run.tune()
    base = base_model(run.model)
    assert not base.get_encoder(modality="image").training
    assert guard_of(base).training


def test_a_run_that_goes_on_saves_and_logs_as_often_as_it_is_asked_now(tmp_path: Path) -> None:
    class StopAt4(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            control.should_training_stop = state.global_step == 4

    begun = trainer(tmp_path, save_steps=4, logging_steps=4)
    begun.add_callback(StopAt4())
    begun.tune()
    run = trainer(tmp_path, save_steps=3, logging_steps=1)
    run.tune()
    assert [row["step"] for row in run.state.log_history if "loss" in row] == [4, 5, 6, 7, 8]
    assert {path.name for path in tmp_path.glob("checkpoint-*")} == {"checkpoint-6", "checkpoint-8"}


def test_checkpointing_reaches_layers_that_rest_before_a_projector_that_learns(tmp_path: Path) -> None:
    config = replace(with_rates(SETTINGS, language=None, vision=None), gradient_checkpointing=True)
    run = trainer(tmp_path, config, samples=samples(2))
    layer = next(each for each in base_model(run.model).modules() if isinstance(each, GradientCheckpointingLayer)
                 and any(name.startswith("mlp.") for name, _ in each.named_modules())
                 and hasattr(each, "self_attn") and hasattr(each, "post_attention_layernorm"))  # fmt: skip
    passes: list[bool] = []
    layer.mlp.register_forward_pre_hook(lambda module, _: passes.append(module.training))
    run.tune()
    assert passes == [False, False]  # once forward, once more on the way back


@pytest.mark.parametrize("method", ["vgm", "meta-token"])
def test_the_vision_encoder_runs_in_the_precision_that_is_asked_for(tmp_path: Path, method: str) -> None:
    made = tiny("qwen2_5_vl")
    guard(made, meta_token=method == "meta-token")
    config = replace(SETTINGS, precision="bfloat16", method=method)
    run = GuardedTrainer(
        made.model, made.processor, config, samples(2), tmp_path, use_cpu=True, save_steps=1, logging_steps=1
    )
    formats = set()
    inside = next(each for each in made.model.get_encoder(modality="image").modules() if isinstance(each, nn.Linear))
    inside.register_forward_hook(lambda _module, _args, output: formats.add(output.dtype))
    run.tune()
    assert formats == {torch.bfloat16}


class Spoil(TrainerCallback):  # type: ignore[misc]
    """Loses a weight at the beginning, or at the end, of a step."""

    def __init__(self, model: Any, step: int, *, at_end: bool) -> None:
        self.weight = next(guard_of(model).parameters())
        self.step, self.at_end = step, at_end

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if not self.at_end and state.global_step + 1 == self.step:
            self.weight.data.fill_(torch.nan)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.at_end and state.global_step == self.step:
            self.weight.data.fill_(torch.nan)


def test_a_lost_loss_stops_the_run_and_keeps_the_last_checkpoint(tmp_path: Path) -> None:
    run = trainer(tmp_path, save_steps=1)
    run.add_callback(Spoil(run.model, 4, at_end=False))
    with pytest.raises(TuningError, match=r"step 4: the loss is not finite \(answer .*, image nan.*/checkpoint-3;"):
        run.tune()
    assert all(bool(torch.isfinite(tensor).all()) for tensor in weights(tmp_path, 3).values())


def test_lost_weights_are_not_saved(tmp_path: Path) -> None:
    run = trainer(tmp_path, save_steps=1)
    run.add_callback(Spoil(run.model, 2, at_end=True))
    with pytest.raises(TuningError, match=r"step 2: weights of .*guard.* are not finite; .*/checkpoint-1;"):
        run.tune()
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-1"


def test_before_the_first_checkpoint_it_says_that_there_is_none(tmp_path: Path) -> None:
    run = trainer(tmp_path)
    run.add_callback(Spoil(run.model, 1, at_end=False))
    with pytest.raises(TuningError, match=r"step 1: .* there is no checkpoint yet"):
        run.tune()


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({"seed": 1, "method_args": {"image_weight": 0.5}}, {}, "with other method_args, seed; use another folder"),
        ({}, {"samples": samples(32)[::-1]}, "with other samples"),
    ],
)
def test_a_folder_of_another_run_is_refused(
    unbroken: Any, changes: dict[str, Any], options: dict[str, Any], message: str
) -> None:
    folder = Path(unbroken.args.output_dir)
    before = (folder / "recipe.json").read_text()
    with pytest.raises(TuningError, match=message):
        trainer(folder, replace(SETTINGS, **changes), **options)
    assert (folder / "recipe.json").read_text() == before


def test_a_recipe_that_cannot_be_read_is_named(unbroken: Any, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(unbroken.args.output_dir, folder)
    (folder / "recipe.json").write_text('{"settings": {}}')
    with pytest.raises(TuningError, match=r"recipe.json: cannot be read .*sample_ids_sha256"):
        trainer(folder)


def test_the_recipe_is_written_down(unbroken: Any) -> None:
    kept = json.loads((Path(unbroken.args.output_dir) / "recipe.json").read_text())
    assert {**kept["settings"], "gradient_accumulation_steps": kept["batches_per_step"]} == SETTINGS.to_json()
    assert kept["samples"] == 32


def test_without_samples_nothing_starts(tmp_path: Path) -> None:
    with pytest.raises(TuningError, match="there are no samples"):
        trainer(tmp_path, samples=[])


@pytest.mark.parametrize("changes", [{"precision": "bfloat16"}, {"gradient_checkpointing": True}])
def test_bfloat16_and_checkpointing_give_nearly_the_same_loss(
    unbroken: Any, tmp_path: Path, changes: dict[str, Any]
) -> None:
    run = trainer(tmp_path, replace(SETTINGS, **changes), samples=samples(8))
    run.tune()
    expected = unbroken.state.log_history[0]["loss"]
    assert run.state.log_history[0]["loss"] == pytest.approx(expected, rel=0.05)


def test_a_sample_that_is_too_long_is_named(tmp_path: Path) -> None:
    long = sample("long", reference="no " * 400)
    with pytest.raises(TuningError, match=r"sample long: .* expected at most 300"):
        trainer(tmp_path, replace(SETTINGS, max_length=300), samples=[long]).tune()
