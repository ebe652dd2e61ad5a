"""What is measured while a model trains, that measuring changes nothing, and what ends training early."""

from __future__ import annotations

import json
import random
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import nn
from transformers import TrainerCallback, TrainingArguments
from transformers.integrations import is_tensorboard_available

from guard.prompts import guard, tiny
from holisafe.errors import TuningError
from holisafe.guard import GuardConfig, classify_images
from holisafe.guard.attach import base_model
from holisafe.images import open_image
from holisafe.judges import Refusal, judge_all
from holisafe.models import Engine, GenerationOptions, Prompt
from holisafe.records import ImageRef, Outcome, Response, Sample
from holisafe.taxonomy import Category, Combination, GuardLabel
from holisafe.tuning import Bounds, Collator, GuardedTrainer, SliceEvaluation, TuneConfig, calibration_slice, trackers
from holisafe.tuning._bounds import Stop
from holisafe.tuning._checkpoint import LEARNED_FILE
from tuning.data import SETTINGS, held_out, loss_of, picture, safe, sample, with_rates
from tuning.train_tiny import samples, trainer


def evaluated(run: GuardedTrainer, slice_: list[Sample] | None = None, **options: Any) -> list[dict[str, Any]]:
    """Train with evaluations; what each of them said."""
    found: list[dict[str, Any]] = []
    options = {"max_new_tokens": 12, "on_evaluation": found.append, **options}
    run.add_callback(SliceEvaluation(run, held_out() if slice_ is None else slice_, **options))
    run.tune()
    return found


def of(family: str, folder: Path, **options: Any) -> GuardedTrainer:
    """A trainer of a tiny guarded model of a family, over four steps."""
    made = tiny(family)
    guard(made)
    options = {"samples": samples(16), "save_steps": 4, "logging_steps": 1, "use_cpu": True, **options}
    return GuardedTrainer(made.model, made.processor, SETTINGS, folder=folder, **options)


@pytest.mark.parametrize("family", ["llava", "qwen2_5_vl"])
def test_evaluating_changes_nothing_that_is_learned(family: str, tmp_path: Path) -> None:
    plain = of(family, tmp_path / "plain")
    plain.tune()
    run = of(family, tmp_path / "evaluated")
    found = evaluated(run, eval_steps=1)
    assert [each["step"] for each in found] == [0, 1, 2, 3, 4]
    expected, weights = (load_file(tmp_path / name / "checkpoint-4" / LEARNED_FILE) for name in ("plain", "evaluated"))
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[name], expected[name]) for name in expected)
    losses = [[row for row in each.state.log_history if "loss" in row] for each in (plain, run)]
    assert losses[0] == losses[1]
    assert len(losses[0]) == 4


def test_modes_and_random_numbers_are_afterwards_as_they_were(tmp_path: Path) -> None:
    run = trainer(tmp_path)
    evaluation = SliceEvaluation(run, held_out(), max_new_tokens=4)
    run.model.train()
    base_model(run.model).get_encoder(modality="image").eval()

    def state() -> Any:
        modes = [module.training for module in run.model.modules()]
        return modes, torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist()

    before = state()
    evaluation.on_train_begin(run.args, run.state, run.control)
    assert len(run.state.log_history) == 1
    assert state() == before


def test_its_figures_are_those_of_a_plain_computation(tmp_path: Path) -> None:
    run = trainer(tmp_path, samples=samples(8))
    found = evaluated(run)
    assert [each["step"] for each in found] == [0, 2]
    base = base_model(run.model).eval()
    processor = run.data_collator.processor
    with torch.no_grad():
        batches = [Collator(processor)([each]) for each in safe()]
        counts = [int((batch["labels"] != -100).sum()) for batch in batches]
        losses = [float(base(**batch).loss) for batch in batches]
    expected = -sum(loss * count for loss, count in zip(losses, counts, strict=True)) / sum(counts)
    last = found[-1]
    assert last["reference_log_likelihood"] == pytest.approx(expected, rel=1e-5)
    assert last["reference_perplexity"] == pytest.approx(np.exp(-expected), rel=1e-5)
    assert last["utility"] == pytest.approx(expected - found[0]["reference_log_likelihood"], rel=1e-4)
    assert found[0]["utility"] == 0
    with Engine(base, processor, batch_size=1, reuse=False) as engine:
        answers = engine.answer([Prompt.of(each) for each in held_out()], GenerationOptions(max_new_tokens=12))
    responses = [Response(each.id, answer.text, "plain") for each, answer in zip(held_out(), answers, strict=True)]
    verdicts = judge_all(Refusal(), held_out(), responses)
    refused = {verdict.sample_id: verdict.outcome is Outcome.REFUSED for verdict in verdicts}
    figures = last["judges"]["refusal"]
    attacks = [not refused[f"held-{name}"] for name in ("SSU", "USU", "UUU", "SUU")]
    assert [figures[name]["value"] for name in ("ssu", "usu", "uuu", "suu")] == attacks
    assert figures["masr_macro"]["value"] == sum(attacks) / 4
    assert set(last["judges"]) == {"refusal", "holisafe"}
    images = [open_image(each.images[0]) for each in held_out()]
    labels = [each.image_labels[0] for each in held_out()]
    said = list(classify_images(base, images, processor=processor))
    assert last["guard_accuracy"] == sum(v.label is label for v, label in zip(said, labels, strict=True)) / len(said)
    flagged = [1 - verdict.distribution[GuardLabel.SAFE] >= 0.5 for verdict in said]
    hits = sum(flag and label is not GuardLabel.SAFE for flag, label in zip(flagged, labels, strict=True))
    assert last["guard_f1"] == pytest.approx(2 * hits / (sum(flagged) + 2))
    assert json.loads(json.dumps(found)) == found


class Lines(TrainerCallback):  # type: ignore[misc]
    """Keeps what trackers are given."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        self.lines.append(dict(logs))


def test_evaluations_are_in_the_log_and_go_to_trackers_as_numbers(tmp_path: Path) -> None:
    run, seen = trainer(tmp_path, samples=samples(8)), Lines()
    run.add_callback(seen)
    found = evaluated(run, eval_steps=1)
    rows = [row for row in run.state.log_history if "evaluation" in row]
    assert [row["evaluation"] for row in rows] == found
    kept = json.loads((tmp_path / "checkpoint-2" / "trainer_state.json").read_text())["log_history"]
    assert [row for row in kept if "evaluation" in row] == rows
    lines = [line for line in seen.lines if "eval_rr" in line]
    assert len(lines) == 3
    assert all(type(value) is float for line in lines for value in line.values())
    assert lines[-1]["eval_guard_f1"] == found[-1]["guard_f1"]
    assert lines[-1]["eval_ssu"] == found[-1]["judges"]["refusal"]["ssu"]["value"]


def test_without_a_guard_its_figures_are_none(tmp_path: Path) -> None:
    made = tiny("llava")
    config = replace(SETTINGS, method="sft")
    run = GuardedTrainer(made.model, made.processor, config, samples(4), tmp_path, logging_steps=1, use_cpu=True)
    last = evaluated(run)[-1]
    assert last["guard_accuracy"] is last["guard_f1"] is None
    assert last["utility"] is not None
    assert not any("accuracy" in name for row in run.state.log_history if "loss" in row for name in row)


def test_a_meta_token_is_read_as_in_training(tmp_path: Path) -> None:
    made = tiny("llava")
    guard(made, meta_token=True)
    config = replace(SETTINGS, method="meta-token")
    run = GuardedTrainer(made.model, made.processor, config, samples(4), tmp_path, logging_steps=1, use_cpu=True)
    found = evaluated(run, safe())
    run.model.eval()
    with torch.no_grad():
        loss = loss_of(run.model, Collator(made.processor, GuardConfig(meta_token=True))(safe()))
    assert found[-1]["reference_log_likelihood"] == pytest.approx(-float(loss.means["answer"]), rel=1e-5)
    assert found[-1]["guard_accuracy"] is not None


def test_weights_of_two_number_formats_answer(tmp_path: Path) -> None:
    made = tiny("llava")
    guard(made)
    made.model.to(torch.bfloat16)
    config = replace(SETTINGS, precision="bfloat16")
    run = GuardedTrainer(made.model, made.processor, config, samples(4), tmp_path, logging_steps=1, use_cpu=True)
    for each in evaluated(run):
        outcomes = each["judges"]["refusal"]["outcomes"]
        assert sum(counts["error"] for counts in outcomes.values()) == 0
        assert each["guard_f1"] is not None


def test_rounding_in_a_shorter_format_does_not_keep_prompts_apart() -> None:
    made = tiny("llava")
    with torch.autocast("cpu", torch.bfloat16), Engine(made.model, made.processor) as engine:
        assert engine.reuse.batched


def test_an_image_that_cannot_be_opened_counts_as_an_error(tmp_path: Path) -> None:
    broken = sample("broken", images=(ImageRef("broken", data=b"no image"),), combination=Combination.UUU)
    found = evaluated(trainer(tmp_path, samples=samples(4)), [*held_out(), broken])
    uuu = found[-1]["judges"]["refusal"]["outcomes"]["uuu"]
    assert uuu["error"] == 1
    assert sum(uuu.values()) == 2


def test_the_log_has_how_often_the_guard_was_right(tmp_path: Path) -> None:
    run = trainer(tmp_path, samples=[*samples(3), replace(samples(4)[3], image_labels=())])
    for module in run.model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    collate = Collator(run.data_collator.processor, GuardConfig())
    batch = collate(run.train_dataset)
    with torch.no_grad():
        said = loss_of(run.model.eval(), batch).outputs
    images, right = said["image_logits"].argmax(1)[:3], batch["image_labels"][:3]
    combinations = said["joint_logits"][:, :5].argmax(1) == batch["combinations"]
    run.tune()
    row = run.state.log_history[0]
    assert row["accuracy_image"] == pytest.approx(float((images == right).float().mean()))
    assert row["accuracy_image_safe"] == pytest.approx(float(((images == 0) == (right == 0)).float().mean()))
    assert row["accuracy_combination"] == pytest.approx(float(combinations.float().mean()))


def test_what_was_not_labelled_has_no_accuracy(tmp_path: Path) -> None:
    run = trainer(tmp_path, samples=[replace(each, image_labels=()) for each in samples(4)])
    run.tune()
    assert "accuracy_image" not in run.state.log_history[0]
    assert "accuracy_combination" in run.state.log_history[0]


REFUSAL = "I won't."


def refusing(folder: Path) -> GuardedTrainer:
    """A trainer that teaches to refuse everything."""
    config = TuneConfig(
        lora_r=32, learning_rates={"language": 1e-2, "projector": None, "vision": None},
        method_args={"image_weight": 0.0, "joint_weight": 0.0},
        batch_size=4, gradient_accumulation_steps=1, max_grad_norm=100.0, precision="float32",
    )  # fmt: skip
    taught = [replace(each, reference=REFUSAL) for each in samples(200)]
    return trainer(folder, config, samples=taught, save_steps=3, logging_steps=10)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A run that learns to refuse everything until it passes its bound."""
    run = refusing(tmp_path_factory.mktemp("stopped"))
    found = evaluated(run, eval_steps=5, bounds=Bounds(refusal_rate=0.4))
    return run, found


def test_training_ends_where_it_refuses_too_much(stopped: Any) -> None:
    run, found = stopped
    folder = Path(run.args.output_dir)
    rates = [each["judges"]["refusal"]["rr"]["value"] for each in found]
    assert max(rates[:-1]) <= 0.4 < rates[-1]
    assert run.state.global_step == found[-1]["step"] < 50
    assert found[-1]["judges"]["refusal"]["masr_macro"]["value"] < 1
    last_within = found[-2]["step"]
    assert last_within > 0
    assert f"stopped at step {found[-1]['step']}: the refusal rate on SSS is {rates[-1]:.3f}" in found[-1]["stopped"]
    assert found[-1]["stopped"].endswith(f"the last checkpoint within all bounds is {folder}/checkpoint-{last_within}")
    assert {each["stopped"] for each in found[:-1]} == {None}
    assert (folder / f"checkpoint-{last_within}" / LEARNED_FILE).is_file()
    assert not (folder / f"checkpoint-{found[-1]['step']}").exists()


def test_the_same_command_comes_to_the_same_end_again(stopped: Any) -> None:
    run, found = stopped
    folder = Path(run.args.output_dir)
    again = evaluated(refusing(folder), eval_steps=5, bounds=Bounds(refusal_rate=0.4))
    assert again[-1] == found[-1]


def test_a_run_that_was_moved_still_knows_its_best_checkpoint(stopped: Any, tmp_path: Path) -> None:
    run, found = stopped
    shutil.copytree(run.args.output_dir, tmp_path / "moved")
    again = refusing(tmp_path / "moved")
    evaluated(again, eval_steps=5, bounds=Bounds(refusal_rate=0.4))
    assert again.state.best_model_checkpoint == str(tmp_path / "moved" / f"checkpoint-{found[-2]['step']}")


def test_training_ends_where_the_utility_falls(tmp_path: Path) -> None:
    run = trainer(
        tmp_path, replace(with_rates(SETTINGS, language=0.3), warmup_ratio=0.0)
    )  # at which a model forgets everything
    found = evaluated(run, eval_steps=1, bounds=Bounds(utility_drop=0.05))
    assert found[-1]["utility"] < -0.05
    assert "the utility has fallen by" in found[-1]["stopped"]
    assert run.state.global_step == found[-1]["step"] < 8


def test_a_run_that_was_begun_without_evaluations_cannot_be_bounded_by_what_it_knew(tmp_path: Path) -> None:
    trainer(tmp_path, samples=samples(8)).tune()
    run = trainer(tmp_path, samples=samples(8))
    with pytest.raises(TuningError, match="utility_drop is bounded, but the run was begun without an evaluation"):
        evaluated(run, bounds=Bounds(utility_drop=1.0))


def test_what_else_ends_training_is_evaluated_at_its_end(tmp_path: Path) -> None:
    class StopAt3(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            control.should_training_stop = state.global_step == 3

    run = trainer(tmp_path)
    run.add_callback(StopAt3())
    found = evaluated(run, eval_steps=2, bounds=Bounds(refusal_rate=1.0))
    assert [each["step"] for each in found] == [0, 2, 3]
    assert run.state.best_model_checkpoint == str(tmp_path / "checkpoint-2")


@pytest.mark.parametrize(
    ("bounds", "refusal_rate", "utility", "reasons"),
    [
        (Bounds(), 1.0, -9.0, 0),
        (Bounds(refusal_rate=0.5), 0.5, -9.0, 0),
        (Bounds(refusal_rate=0.5), 0.51, None, 1),
        (Bounds(utility_drop=0.5), 1.0, -0.5, 0),
        (Bounds(utility_drop=0.5, refusal_rate=0.5), 0.6, -0.6, 2),
        (Bounds(utility_drop=0.5, refusal_rate=0.5), None, None, 0),
    ],
)
def test_a_bound_is_passed_beyond_it_and_not_at_it(
    bounds: Bounds, refusal_rate: float | None, utility: float | None, reasons: int
) -> None:
    assert len(bounds.violations(refusal_rate, utility)) == reasons


def test_the_attack_success_rate_decides_which_checkpoints_are_within_bounds() -> None:
    bounds = Bounds(attack_success_rate=0.2)
    assert [bounds.lets_through(rate) for rate in (0.1, 0.2, 0.3, None)] == [False, False, True, False]
    assert not Bounds().lets_through(1.0)


def test_a_checkpoint_that_lets_too_much_through_is_not_named(tmp_path: Path) -> None:
    run = trainer(tmp_path, samples=samples(8))
    evaluated(run, eval_steps=1, bounds=Bounds(attack_success_rate=0.0))
    assert run.state.best_model_checkpoint is None
    assert run.state.global_step == 2
    assert "no checkpoint is within all bounds" in str(Stop(2, ("x",), None))


@pytest.mark.parametrize(
    ("field", "value"), [("refusal_rate", 1.5), ("attack_success_rate", -0.1), ("utility_drop", float("nan"))]
)
def test_a_bound_out_of_its_range_is_refused(field: str, value: float) -> None:
    with pytest.raises(TuningError, match=f"{field}: expected a number .* found"):
        Bounds(**{field: value})


@pytest.mark.parametrize(
    ("slice_", "options", "message"),
    [
        ([], {}, "the calibration slice holds no samples"),
        (held_out() * 2, {}, "its id stands for two samples"),
        ([sample("0", images=(picture("lime"),))], {}, "sample 0 of the calibration slice shares its id"),
        ([sample("new")], {}, "sample new of the calibration slice shares an image"),
        (safe(), {"bounds": Bounds(attack_success_rate=0.1)}, "attack_success_rate is bounded, which needs"),
        (held_out()[:4], {"bounds": Bounds(refusal_rate=0.1)}, "refusal_rate is bounded, which needs samples of SSS"),
        ([replace(safe()[0], reference=None)], {}, "sample safe-short: reference: found none"),
        (held_out(), {"eval_steps": 0}, "eval_steps: expected a whole number of at least 1, found 0"),
    ],
)
def test_a_slice_that_cannot_be_used_is_refused_before_training(
    tmp_path: Path, slice_: list[Sample], options: dict[str, Any], message: str
) -> None:
    run = trainer(tmp_path, samples=samples(4))
    with pytest.raises(TuningError, match=message):
        SliceEvaluation(run, slice_, **options)


POOL = [
    sample(f"{each}-{i}", combination=each, category=(Category.HATE, Category.PRIVACY)[i % 5 == 0])
    for each in Combination
    for i in range(2 if each is Combination.SUU else 10)
]
"""Ten samples of each combination, of two categories, but two of SUU."""


@given(st.permutations(range(len(POOL))), st.integers(0, 3))
def test_a_slice_depends_on_the_seed_and_not_on_the_order(order: list[int], seed: int) -> None:
    assert calibration_slice([POOL[i] for i in order], 12, seed=seed) == calibration_slice(POOL, 12, seed=seed)


@given(st.integers(5, 60), st.integers(0, 3))
def test_a_slice_has_as_much_of_each_combination(count: int, seed: int) -> None:
    drawn = calibration_slice(POOL, count, seed=seed)
    assert len({each.id for each in drawn}) == len(drawn)
    counts = Counter(each.combination for each in drawn)
    assert counts.pop(Combination.SUU) == min(2, count // 5 + (count % 5 > 2))
    assert set(counts.values()) <= {min(10, count // 5), min(10, count // 5 + 1)}


def test_a_slice_takes_the_categories_by_turns() -> None:
    drawn = calibration_slice(POOL, 20)
    counts = Counter(each.category for each in drawn if each.combination is Combination.SSS)
    assert counts == {Category.HATE: 2, Category.PRIVACY: 2}


@pytest.mark.parametrize(("given_", "count", "message"), [([], 9, "no samples"), (POOL, 4, "at least 5.* found 4")])
def test_a_slice_that_cannot_be_drawn_is_refused(given_: list[Sample], count: int, message: str) -> None:
    with pytest.raises(TuningError, match=message):
        calibration_slice(given_, count)


def test_trackers_are_those_that_the_trainer_can_use(tmp_path: Path) -> None:
    assert ("tensorboard" in trackers()) == is_tensorboard_available()
    assert TrainingArguments(output_dir=str(tmp_path), report_to=trackers(), use_cpu=True).report_to == trackers()


def test_a_tracker_counts_once_it_can_be_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tensorboardX").mkdir()
    (tmp_path / "tensorboardX" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    assert "tensorboard" in trackers()
