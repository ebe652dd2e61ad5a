"""VLGuard's safety fine-tuning: both forms of its data, turns in random order, every answer learned."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from guard.prompts import tiny
from holisafe import datasets
from holisafe.errors import TuningError
from holisafe.models import ModelSpec
from holisafe.records import Behaviour, Role, Sample
from holisafe.taxonomy import Combination
from holisafe.tuning import TuneConfig
from holisafe.tuning._mix import draw_equally
from holisafe.tuning._ready import make_ready
from holisafe.tuning._samples import TrainingData, read_training
from tuning.data import learned, picture, sample

ENDING = (
    "{% for message in messages %}{{ message['role'] }}: {% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}{% endfor %}"
    "{% if message['role'] == 'assistant' %}<eos>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)
"""A template that ends every answer."""

CONFIG = TuneConfig(method="vlguard")


def records(count: int = 40) -> list[dict[str, Any]]:
    """As `train.json` has them: two requests about a safe image, one about an unsafe one."""
    turns = [
        {"safe_instruction": "What colour is it?", "response": "It is red."},
        {"unsafe_instruction": "Write something mean about it.", "response": "I will not."},
    ]
    unsafe = {"safe": False, "harmful_category": "privacy", "harmful_subcategory": "personal data"}
    return [
        *({"id": f"s{at}", "image": f"{at}.png", "safe": True, "instr-resp": turns} for at in range(count)),
        {"id": "u", "image": "u.png", **unsafe, "instr-resp": [{"instruction": "Read it.", "response": "I cannot."}]},
    ]


@pytest.fixture
def released(tmp_path: Path) -> Path:
    """The folder of a release."""
    (tmp_path / "train").mkdir()
    for number, record in enumerate(records()):
        data = picture("red", (32, 33 + number)).data
        assert data is not None
        (tmp_path / "train" / record["image"]).write_bytes(data)
    (tmp_path / "train.json").write_text(json.dumps(records()))
    return tmp_path


def prepared(data: str | Sequence[Sample], seed: int = 0) -> tuple[Sample, ...]:
    config = replace(CONFIG, method_args={"shuffle_seed": seed})
    return read_training(data, None, None, None, config).samples


@pytest.mark.parametrize("form", ["vlguard:{}", "{}"])
def test_the_released_form_becomes_conversations_about_one_image(released: Path, form: str) -> None:
    found = {each.id: each for each in prepared(form.format(released if ":" in form else released / "train.json"))}
    assert len(found) == 81
    assert len(found["u"].turns) == 1 and found["u"].expected is Behaviour.REFUSE
    for at in range(40):
        one, two = sorted((found[f"s{at}-safe"], found[f"s{at}-unsafe"]), key=lambda each: len(each.turns))
        assert [turn.role for turn in two.turns] == [Role.USER, Role.ASSISTANT, Role.USER]
        assert two.turns[:2] == (*one.turns, replace(two.turns[1], text=one.reference or ""))
        assert (two.turns[0].images, two.turns[2].images) == (one.images, ())
        assert {one.combination, two.combination} == {Combination.SSS, Combination.SUU}


def test_the_order_of_turns_is_of_the_seed_alone(released: Path) -> None:
    def firsts(samples: Sequence[Sample]) -> dict[str, str]:
        ids = (each.id.partition("-") for each in samples if len(each.turns) == 1 and "-" in each.id)
        return {name: kind for name, _, kind in ids}

    found = firsts(prepared(f"vlguard:{released}"))
    samples = datasets.load(f"vlguard:{released}", "train")
    assert found == firsts(prepared(samples[::-1]))
    assert found != firsts(prepared(samples, seed=1))
    assert min(Counter(found.values()).values()) >= 10  # of 40
    with_fewer = firsts(prepared(samples[20:]))
    assert with_fewer.items() <= found.items() and len(with_fewer) == 30


def test_a_conversation_is_learned_answer_by_answer(tmp_path: Path) -> None:
    data = picture().data
    assert data is not None
    (tmp_path / "a.png").write_bytes(data)
    turns = ["<image>\nWhat is it?", "A square.", "Say something mean about it.", "I will not.", "Why?", "It hurts."]
    said = [{"from": ("human", "gpt")[at % 2], "value": text} for at, text in enumerate(turns)]
    (tmp_path / "llava.json").write_text(json.dumps([{"id": "c", "image": "a.png", "conversations": said}]))
    found = prepared(str(tmp_path / "llava.json"))
    assert [(each.query, each.reference) for each in found] == [
        ("What is it?", "A square."),
        ("Say something mean about it.", "I will not."),
        ("Why?", "It hurts."),
    ]
    assert [len(each.images) for each in found] == [1, 1, 1]
    assert len({each.id for each in found}) == 3


def test_the_loss_over_rounds_is_that_of_the_conversation_in_one_pass() -> None:
    made = tiny("llava")
    made.processor.chat_template = ENDING
    one = sample("a-safe", combination=Combination.SSS, twin="a-unsafe", query="what?", reference="A square.")
    two = sample("a-unsafe", combination=Combination.SUU, twin="a-safe", query="be mean", reference="I will not.")
    rounds = sorted(prepared([one, two]), key=lambda each: len(each.turns))
    collate = CONFIG.method_part.collator(made.processor, None)
    batches = [collate([each]) for each in rounds]
    method, config = CONFIG.method_part, CONFIG.method_config
    with torch.no_grad():
        apart = [method.loss(made.model.eval(), batch, config).terms[0] for batch in batches]
        whole = dict(batches[1])
        first = batches[0]["labels"]
        whole["labels"] = torch.where(
            torch.nn.functional.pad(first, (0, whole["labels"].shape[1] - first.shape[1]), value=-100) != -100,
            whole["input_ids"],
            whole["labels"],
        )
        together = method.loss(made.model, whole, config).terms[0]
    assert learned(made.processor, whole, 0).count("<eos>") == 2
    assert together.count == sum(term.count for term in apart)
    assert float(together.sum) == pytest.approx(sum(float(term.sum) for term in apart), rel=1e-5)


def test_twins_about_other_images_stay_apart() -> None:
    one = sample("a", combination=Combination.SSS, twin="b", image_labels=())
    two = sample("b", combination=Combination.SSU, twin="a", images=(picture("blue"),))
    assert prepared([one, two]) == (one, two)


def test_a_sample_without_an_answer_is_refused() -> None:
    with pytest.raises(TuningError, match="sample a: reference: found none"):
        prepared([sample("a", reference=None)])


def test_mixed_needs_general_data_and_post_hoc_takes_none() -> None:
    two = (sample("a"), sample("b"))
    general = (sample("g", combination=None, category=None),)
    with pytest.raises(TuningError, match=r"general_share is 0\.5, but there are no general data"):
        draw_equally(two, 8, general_share=0.5)
    with pytest.raises(TuningError, match="there are general data, but general_share is 0"):
        make_ready(ModelSpec("there/is-no-such-model"), TrainingData(two, general), CONFIG, None, None)
    drawn = draw_equally(two, 8, general=general, general_share=0.25)
    assert Counter(each.id for each in drawn) == {"a": 3, "b": 3, "g": 2}
