"""A guard's output head learns from labelled answers, is calibrated on others, and is saved with the guard."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

import tiny_models
from holisafe.calibration import calibrate
from holisafe.calibration.answers import calibrate_output, labelled_answers, read_states, worst_logits
from holisafe.cli import app
from holisafe.defences import wrap
from holisafe.errors import DataError, DefenceError, GuardError, TuningError
from holisafe.guard import (
    GuardConfig,
    add_output_head,
    attach_guard,
    calibration_of,
    guard_of,
    load_guard,
    set_calibration,
)
from holisafe.guard.checkpoint import read_guard
from holisafe.images import identify
from holisafe.metrics import auroc
from holisafe.models import Engine, FinishReason, GenerationOptions, LoadedModel, OutputGuard, Prompt
from holisafe.records import JudgeId, Judgement, Outcome, Response, Run
from holisafe.records.folder import write_run
from holisafe.taxonomy import Combination
from holisafe.tuning import GuardTraining, train_output_head
from tuning.data import picture, sample
from tuning.tiny_run import write_model

TRAINING = GuardTraining(num_train_epochs=15, held_out=0.4, flag_rate=0.2)
COUNT = 40


def a_run(count: int = COUNT) -> Run:
    """Half of the requests are to be refused, and the model goes along with them in words of their own."""
    samples, responses, judgements = [], [], []
    for at in range(count):
        unsafe = at % 2 == 1
        made = sample(
            f"s{at}",
            images=(picture(f"#{at:02x}8090"),),
            combination=Combination.SUU if unsafe else Combination.SSS,
            query=f"question {at}",
            reference=f"No, I will not. {at}" if unsafe else f"It is a picture, {at}.",
        )
        samples.append(replace(made, cluster=f"c{at}").with_images(tuple(map(identify, made.images))))
        text = f"zzzz{at}zzzzzzzz{at}zzzz" if unsafe else f"A fine thing, {at}."
        responses.append(Response(f"s{at}", text, "tiny"))
        judgements.append(Judgement(f"s{at}", JudgeId("holisafe"), Outcome.ANSWERED))
    return Run("tiny", tuple(samples), tuple(responses), {"holisafe": tuple(judgements)}, {})


def guarded() -> tiny_models.Tiny:
    tiny = tiny_models.llava()
    torch.manual_seed(0)
    attach_guard(tiny.model, GuardConfig())
    tiny.model.eval()
    return tiny


def outcomes(found: Outcome, combination: Combination, reference: str = "") -> list[bool]:
    """Labels that one answer gives beside two that are known."""
    known = a_run(2)
    one = sample("one", combination=combination, reference=reference)
    run = Run(
        "run", (*known.samples, one), (*known.responses, Response("one", "said", "tiny")),
        {"j": (*(replace(each, judge=JudgeId("j")) for each in known.judgements["holisafe"]),
               Judgement("one", JudgeId("j"), found))}, {},
    )  # fmt: skip
    return [each.harmful for each in labelled_answers([run]) if each.sample.id == "one"]


@pytest.mark.parametrize(
    ("found", "combination", "labels"),
    [
        (Outcome.ANSWERED, Combination.UUU, [True]),
        (Outcome.ANSWERED, Combination.SSS, [False]),
        (Outcome.HARMFUL, Combination.SSS, [True]),
        (Outcome.REFUSED, Combination.UUU, [False]),
        (Outcome.UNHELPFUL, Combination.UUU, []),
        (Outcome.UNHELPFUL, Combination.SSS, [False]),
        (Outcome.ERROR, Combination.UUU, []),
    ],
)
def test_an_outcome_labels_an_answer(found: Outcome, combination: Combination, labels: list[bool]) -> None:
    assert outcomes(found, combination) == labels
    assert outcomes(found, combination, "a reference") == [*labels, False]


def test_runs_without_harmful_answers_are_refused() -> None:
    run = a_run()
    safe = Run("safe", run.samples[:1], run.responses[:1], {"holisafe": run.judgements["holisafe"][:1]}, {})
    with pytest.raises(DataError, match="none of 2 answers is harmful"):
        labelled_answers([safe])
    with pytest.raises(DataError, match="no judgements of vlguard"):
        labelled_answers([run], "vlguard")


def test_the_head_tells_answers_apart_and_the_others_stay(tmp_path: Path) -> None:
    tiny = guarded()
    before = {name: weight.clone() for name, weight in guard_of(tiny.model).state_dict().items()}
    made = train_output_head(tiny.model, tiny.processor, labelled_answers([a_run()]), tmp_path / "guard", TRAINING)
    assert made.report is not None and made.report.output is not None
    assert made.report.output.auroc is not None and made.report.output.auroc.value > 0.95
    assert sum(made.learned) + sum(made.held_out) == COUNT // 2 * 4 and not made.left_out
    after = guard_of(tiny.model).state_dict()
    assert all(torch.equal(after[name], weight) for name, weight in before.items())
    other = tiny_models.llava()
    load_guard(other.model, tmp_path / "guard")
    assert calibration_of(other.model) == calibration_of(tiny.model)
    fresh = labelled_answers([a_run(10)])
    read = read_states(other.model, other.processor, fresh)
    margins = worst_logits(other.model, read) @ torch.tensor([-1.0, 1.0])
    ranked = auroc(margins.tolist(), [each.harmful for each in read.answers])
    assert ranked is not None and ranked > 0.9
    assert "checked every 16 tokens" in (tmp_path / "guard" / "README.md").read_text()
    with pytest.raises(GuardError, match="made for"):
        load_guard(tiny_models.FAMILIES["qwen2_5_vl"]().model, tmp_path / "guard")


def test_a_model_without_a_guard_gets_one_with_this_head_alone(tmp_path: Path) -> None:
    tiny = tiny_models.llava()
    train_output_head(tiny.model, tiny.processor, labelled_answers([a_run()]), tmp_path / "guard", TRAINING)
    config = read_guard(tmp_path / "guard").config
    assert (config.image_head, config.joint_head, config.output_head) == (False, False, True)
    with Engine(tiny.model, tiny.processor) as engine:
        answer = engine.answer([Prompt.ask("Hm")], GenerationOptions(max_new_tokens=4), output=OutputGuard())[0]
    assert answer.output is not None and not answer.verdict.images and answer.verdict.request is None
    with pytest.raises(TuningError, match="is there already"):
        train_output_head(tiny.model, tiny.processor, labelled_answers([a_run()]), tmp_path / "guard", TRAINING)


def test_other_calibrations_leave_the_output_heads_alone(tmp_path: Path) -> None:
    tiny = guarded()
    add_output_head(tiny.model)
    answers = labelled_answers([a_run()])
    read = read_states(tiny.model, tiny.processor, answers, every=2)
    calibration, report = calibrate_output(tiny.model, read, threshold=0.25, every=2)
    assert (calibration.output_threshold, calibration.output_every, calibration.output_records) == (
        0.25,
        2,
        len(answers),
    )
    assert report.image is None and report.output is not None and "Output head" in report.to_markdown()
    set_calibration(tiny.model, calibration)
    samples = [replace(each, image_labels=("safe",)) for each in a_run().samples]
    fitted, _ = calibrate(tiny.model, tiny.processor, samples, flag_rate=0.2)
    assert (fitted.output_threshold, fitted.output_every) == (0.25, 2) and fitted.is_fitted


def test_the_defence_stops_what_the_guard_flags() -> None:
    tiny = guarded()
    with pytest.raises(DefenceError, match="no guard with an output head"):
        wrap(LoadedModel(tiny.model, tiny.processor, "tiny"), "output-guard")
    add_output_head(tiny.model)
    prompts = [Prompt.ask("What is it?"), Prompt.ask("And why?")]
    options = GenerationOptions(max_new_tokens=6)
    for threshold, stops in ((0.0, True), (1.0, False)):
        set_calibration(tiny.model, replace(calibration_of(tiny.model), output_threshold=threshold))
        with wrap(LoadedModel(tiny.model, tiny.processor, "tiny"), "output-guard:every=4") as defended:
            got = [each.answer for each in defended.answer(prompts, options)]
        assert all((each.finish_reason is FinishReason.BLOCKED) is stops for each in got)
        assert all(each.text.startswith("I'm sorry") is stops for each in got)


def test_the_commands_train_and_calibrate(tmp_path: Path) -> None:
    run = a_run()
    shown = {image.digest: image.data for each in run.samples for image in each.images if image.data is not None}
    folder = write_run(run, tmp_path / "run", shown)
    model = write_model(tmp_path / "model")
    runner = CliRunner()

    def holisafe(*words: Any) -> Any:
        done = runner.invoke(app, [*map(str, words), "--json"])
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    trained = holisafe(
        "guard", "train-output", model, "--answers", folder, "--guard", "none", "--out", tmp_path / "guard",
        "--held-out", 0.4, "--flag-rate", 0.2,
    )  # fmt: skip
    assert trained["learned"]["harmful"] > 0 and (tmp_path / "guard" / "output.md").exists()
    again = holisafe(
        "calibrate", model, "--guard", tmp_path / "guard", "--answers", folder, "--output-threshold", 0.75,
        "--out", tmp_path / "other",
    )  # fmt: skip
    assert again["calibration"]["output_threshold"] == 0.75 and again["image"] is None
    assert read_guard(tmp_path / "other").calibration.output_threshold == 0.75
    refused = runner.invoke(app, ["calibrate", str(model), "--answers", str(folder), "--limit", "3"])
    assert isinstance(refused.exception, DataError) or "output head alone" in refused.output
