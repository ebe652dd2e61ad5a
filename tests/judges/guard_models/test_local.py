"""Guards loaded on this machine: the real transformers classes, with random or taught weights."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from holisafe import judges
from holisafe.errors import GuardError, JudgeError
from holisafe.judges import judge_all
from holisafe.judges.guard_models import (
    GuardQuestion,
    LocalAsk,
    ModelGuard,
    SingGuard,
    check_guard_checkpoint,
    guard_model,
    local_guard,
)
from holisafe.judges.guard_models import _local as transport
from holisafe.records import ImageRef, Outcome, Response, Sample
from judges.guard_models.tiny_guards import OTHERS, TINY, save_guard, teach
from small_bench import draw_image

NEEDS_TORCHVISION = ("llama-guard-4",)
"""Guards whose own image processor needs torchvision, so that the saved one of the tiny model is put in its place."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A checkpoint of each guard."""
    place = tmp_path_factory.mktemp("guards")
    return {name: save_guard(make(), place / name) for name, make in TINY.items()}


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    path = tmp_path_factory.mktemp("images") / "a.png"
    draw_image(path, 7)
    return Sample.ask("s", [ImageRef("a", data=path.read_bytes())], "What is this?", "UUU")


@pytest.fixture(autouse=True)
def _processors(monkeypatch: pytest.MonkeyPatch) -> None:
    load = transport._processor

    def processor(where: str) -> Any:
        name = Path(where).name
        return TINY[name]().processor if name in NEEDS_TORCHVISION else load(where)

    monkeypatch.setattr(transport, "_processor", processor)


def ask_of(name: str, folder: Path) -> LocalAsk:
    return LocalAsk(guard_model(name), str(folder), "cpu")


def asked(ask: LocalAsk, question: GuardQuestion, max_tokens: int = 4) -> judges.Reply:
    return asyncio.run(ask(question.turns, max_tokens=max_tokens, template=question.template))


@pytest.mark.parametrize("name", TINY)
def test_a_checkpoint_is_loaded_by_its_own_class_and_answers(
    name: str, folders: dict[str, Path], sample: Sample
) -> None:
    ask = ask_of(name, folders[name])
    for response in (None, Response("s", "In small steps.", "model")):
        question = ask.guard.messages(sample, response)[0]
        reply = asked(ask, question)
        reading = ask.guard.read(reply, question)
        assert reading.unsafe is not None or reading.why
    model, _ = ask._load()
    assert type(model).__name__ == ask.guard.architectures[0]
    assert not model.training


@pytest.mark.parametrize("case", OTHERS)
def test_a_checkpoint_of_a_guards_other_class_answers_too(case: str, tmp_path: Path, sample: Sample) -> None:
    name, make = OTHERS[case]
    ask = ask_of(name, save_guard(make(), tmp_path / "other"))
    reply = asked(ask, ask.guard.messages(sample, None)[0])
    assert reply.usage["output"] >= 1
    assert type(ask._load()[0]).__name__ == ask.guard.architectures[1]


def test_a_checkpoint_of_another_class_is_refused_before_its_weights_are_read(folders: dict[str, Path]) -> None:
    with pytest.raises(GuardError, match=r"MistralForCausalLM.*MllamaForConditionalGeneration"):
        check_guard_checkpoint(guard_model("llama-guard-3-vision"), str(folders["wildguard"]))


@pytest.mark.parametrize("kind", ["no folder", "no config", "damaged"])
def test_what_is_no_checkpoint_is_refused(kind: str, tmp_path: Path) -> None:
    folder = tmp_path / "guard"
    if kind != "no folder":
        folder.mkdir()
    if kind == "damaged":
        (folder / "config.json").write_text("{")
    with pytest.raises(GuardError, match="guard"):
        check_guard_checkpoint(guard_model("wildguard"), str(folder))


def test_weights_that_are_missing_end_a_run_and_not_a_verdict(folders: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes((folders["wildguard"] / "config.json").read_bytes())
    guard = local_guard("wildguard", tmp_path, device="cpu")
    with pytest.raises(GuardError, match="could not be loaded"):
        asyncio.run(guard.classify(Sample.ask("s", (), "What?", "SUU")))


def test_shieldgemmas_first_score_is_that_of_yes(folders: dict[str, Path], sample: Sample) -> None:
    """Index 0 of its scores is Yes: the image violates the policy."""
    ask = ask_of("shieldgemma2", folders["shieldgemma2"])
    question = ask.guard.messages(sample, None)[0]
    reply = asked(ask, question)
    model, processor = ask._load()
    inputs = processor(
        images=[transport.open_image(sample.images[0])],
        custom_policies={"p": question.turns[-1].text},
        policies=["p"],
        return_tensors="pt",
    )
    with torch.inference_mode():
        logits = model.model(**inputs).logits[0, -1]
    yes, no = (processor.tokenizer.convert_tokens_to_ids(letter) for letter in "YN")
    share = torch.softmax(logits[[yes, no]].double(), -1)[0].item()
    assert reply.probabilities["Yes"] == pytest.approx(share, abs=1e-5)
    assert ask.guard.read(reply, question).unsafe is (share > 0.5)


@pytest.mark.parametrize(("toward", "unsafe"), [("Y", True), ("N", False)])
def test_an_image_that_shieldgemma_says_yes_of_is_unsafe(
    toward: str, unsafe: bool, folders: dict[str, Path], sample: Sample
) -> None:
    ask = ask_of("shieldgemma2", folders["shieldgemma2"])
    model, processor = ask._load()
    head = model.model.lm_head.weight
    yes, no = (processor.tokenizer.convert_tokens_to_ids(letter) for letter in "YN")
    question = ask.guard.messages(sample, None)[0]
    first = ask.guard.read(asked(ask, question), question)
    if first.unsafe is not unsafe:
        with torch.no_grad():
            head[[yes, no]] = head[[no, yes]].clone()
    reading = ask.guard.read(asked(ask, question), question)
    assert reading.unsafe is unsafe
    assert reading.probability is not None and (reading.probability > 0.5) is unsafe


@pytest.mark.parametrize(("says", "outcome"), [("unsafe\nS1", Outcome.HARMFUL), ("safe", Outcome.HARMLESS)])
def test_llama_guard_says_what_it_was_taught(
    says: str, outcome: Outcome, folders: dict[str, Path], sample: Sample
) -> None:
    ask = ask_of("llama-guard-3-vision", folders["llama-guard-3-vision"])
    response = Response("s", "In small steps.", "model")
    (question,) = ask.guard.messages(sample, response)
    model, processor = ask._load()
    inputs = dict(ask._inputs(processor, question.turns, {}))
    tokens = processor.tokenizer.encode(says, add_special_tokens=False)
    teach(model, inputs, torch.tensor([*tokens, processor.tokenizer.eos_token_id]))
    (judgement,) = judge_all(ModelGuard(ask.guard, ask, "taught"), [sample], [response])
    assert judgement.outcome is outcome
    share = judgement.scores["unsafe"]
    assert share > 0.5 if says.startswith("unsafe") else share < 0.5


def test_llama_guards_template_asks_for_the_agent_where_there_is_a_response(
    folders: dict[str, Path], sample: Sample
) -> None:
    ask = ask_of("llama-guard-3-vision", folders["llama-guard-3-vision"])
    _, processor = ask._load()
    for response, role in ((None, "User"), (Response("s", "Like so.", "model"), "Agent")):
        (question,) = ask.guard.messages(sample, response)
        ids = ask._inputs(processor, question.turns, {})["input_ids"][0]
        assert f"ONLY THE LAST {role} message" in processor.tokenizer.decode(ids)


def test_wildguard_says_what_it_was_taught_without_a_template(folders: dict[str, Path]) -> None:
    ask = ask_of("wildguard", folders["wildguard"])
    sample = Sample.ask("s", (), "How?", "SUU")
    response = Response("s", "I won't.", "model")
    (question,) = ask.guard.messages(sample, response)
    model, tokens = ask._load()
    inputs = dict(ask._inputs(tokens, question.turns, {}))
    assert tokens.decode(inputs["input_ids"][0], skip_special_tokens=True) == question.turns[0].text
    says = "Harmful request: yes\nResponse refusal: yes\nHarmful response: no"
    answer = [*tokens.encode(says, add_special_tokens=False), tokens.eos_token_id]
    teach(model, inputs, torch.tensor(answer))
    ask.guard = type("Longer", (), {**vars(type(ask.guard)), "max_tokens": len(answer)})()
    (judgement,) = judge_all(ModelGuard(ask.guard, ask, "taught"), [sample], [response])
    assert judgement.outcome is Outcome.REFUSED


@pytest.mark.parametrize("name", ["shieldgemma2", "llama-guard-3-vision", "guardreasoner-vl"])
def test_pixels_are_given_in_the_dtype_of_the_weights(name: str, folders: dict[str, Path], sample: Sample) -> None:
    ask = LocalAsk(guard_model(name), str(folders[name]), "cpu", "bfloat16")
    assert asked(ask, ask.guard.messages(sample, None)[0]).text is not None
    assert ask._load()[0].dtype is torch.bfloat16


def test_arguments_of_the_template_reach_it(folders: dict[str, Path], sample: Sample) -> None:
    guard = SingGuard("singguard-slow", "slow", "1. No maps.")
    ask = LocalAsk(guard, str(folders["singguard"]), "cpu")
    (question,) = guard.messages(sample, None)
    _, processor = ask._load()
    ids = ask._inputs(processor, question.turns, dict(question.template))["input_ids"][0]
    assert "slow1. No maps." in processor.tokenizer.decode(ids)


def test_an_image_that_cannot_be_read_is_an_error_of_one_sample(folders: dict[str, Path]) -> None:
    broken = Sample.ask("s", [ImageRef("a", data=b"no image")], "What?", "UUU")
    ask = ask_of("llavaguard", folders["llavaguard"])
    with pytest.raises(JudgeError, match="llavaguard"):
        asked(ask, ask.guard.messages(broken, None)[0])


def test_another_checkpoint_under_the_same_name_is_another_guard(folders: dict[str, Path], tmp_path: Path) -> None:
    one = local_guard("wildguard", folders["wildguard"])
    other = TINY["wildguard"]()
    with torch.no_grad():
        other.model.lm_head.weight[0, 0] += 1
    changed = local_guard("wildguard", save_guard(other, tmp_path / "wildguard"))
    assert one.id.name == changed.id.name == "wildguard:wildguard"
    assert one.id != changed.id
    assert one.id == local_guard("wildguard", folders["wildguard"]).id


def test_a_judge_by_name_and_folder_needs_no_model(folders: dict[str, Path], sample: Sample) -> None:
    judge = judges.get(f"shieldgemma2:{folders['shieldgemma2']}")
    (judgement,) = judge_all(judge, [sample], [Response("s", "Yes.", "model")])
    assert judgement.outcome in (Outcome.HARMFUL, Outcome.HARMLESS)
    assert judgement.details["reading"]["probability"] is not None


def test_every_class_that_a_guard_names_is_one_of_transformers() -> None:
    for name in TINY:
        for architecture in guard_model(name).architectures:
            assert issubclass(getattr(transformers, architecture), transformers.PreTrainedModel)


def test_the_saved_checkpoints_say_their_class(folders: dict[str, Path]) -> None:
    for name, folder in folders.items():
        (saved,) = json.loads((folder / "config.json").read_text())["architectures"]
        assert saved == guard_model(name).architectures[0]
