"""Safe Pocket's third stage: questions with the things they are asked about as branches."""

from __future__ import annotations

import json
import random
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from research.holisafe_open.more import more_material
from research.pocket.facts import Batch, Trees, score, told_of, train, visual_tokens, with_adapter
from torch import Tensor

from holisafe.checkpoints.adapter import ADAPTER_FILE
from holisafe.checkpoints.tuned import ADAPTER
from holisafe.datasets import load as load_data
from holisafe.images import content_hash, open_image
from holisafe.models import load
from holisafe.models.pocket._load import safe_weights

pytestmark = pytest.mark.slow

FRAMES = ("dog_eat", "bath")


@pytest.fixture(scope="module")
def pocket() -> Any:
    return load("pocket", device="cpu", dtype="float32", attention="eager")


@pytest.fixture(scope="module")
def image() -> Any:
    return load_data("open@1", "calibration")[0]


@pytest.fixture(scope="module")
def trees(pocket: Any, image: Any) -> Trees:
    """Two frames with a few things each, after one picture."""
    material = more_material({})
    frames = {
        name: replace(frame, safe=dict(list(frame.safe.items())[:2]), unsafe=dict(list(frame.unsafe.items())[:3]))
        for name, frame in material.frames.items()
        if name in FRAMES
    }
    pictures = visual_tokens(pocket.model, pocket.processor, [image])
    return Trees(pocket.processor.tokenizer, replace(material, frames=frames), pictures)


def test_a_branch_is_judged_as_its_answer_would_be_continued(pocket: Any, image: Any, trees: Trees) -> None:
    """By the model's own forward pass over the chat, picture and all, of each branch alone."""
    asked = [(name, trees.questions[name][0]) for name in FRAMES]
    batch = trees.batch(asked, random.Random(0))
    with torch.inference_mode():
        found = trees.judge(pocket.model, batch)
    rng = random.Random(0)
    expected = []
    for name, question in asked:
        content = [{"type": "image"}, {"type": "text", "text": question}]
        chat = pocket.processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
        for kind in trees.facts[name]:
            branch = pocket.processor.tokenizer.decode(trees._branch(kind, rng))
            assert branch.endswith(", so")
            inputs = pocket.processor(text=chat + branch, images=open_image(image.images[0]), return_tensors="pt")
            with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
                logs = pocket.model(**inputs).logits[0, -1].float().log_softmax(-1)
            expected.append([logs[words].logsumexp(-1).item() for words in trees._words])
    torch.testing.assert_close(found, torch.tensor(expected), atol=0.15, rtol=0.02)


def test_what_an_answer_goes_on_with_tells_yes_from_no(pocket: Any, trees: Trees) -> None:
    no, yes = ([pocket.processor.tokenizer.decode(word).strip() for word in words] for words in trees._words)
    assert set(no) == {"I", "no"} and set(yes) == {"that", "yes"}


def test_facts_are_right_where_the_frame_says_so(trees: Trees) -> None:
    batch = trees.batch([("dog_eat", trees.questions["dog_eat"][0])], random.Random(0))
    assert batch.is_right.tolist() == [kind in ("carrot", "cucumber") for kind in trees.facts["dog_eat"]]
    assert len(batch.ends) == len(batch.weights) == len(trees.facts["dog_eat"]) == 5


def test_frames_come_equally_often_and_each_order_has_its_seed(trees: Trees) -> None:
    order = trees.order(6, 4, seed=0)
    assert [len(batch) for batch in order] == [4] * 6
    assert Counter(name for batch in order for name, _ in batch) == dict.fromkeys(FRAMES, 12)
    assert order == trees.order(6, 4, seed=0) != trees.order(6, 4, seed=1)
    asked = [question for batch in order for name, question in batch if name == FRAMES[0]]
    assert len(set(asked)) == len(asked)


def test_a_fact_counts_as_much_as_it_weighs() -> None:
    empty = torch.zeros(0)
    batch = Batch(empty, empty, empty, empty, empty, torch.tensor([1, 0]), torch.tensor([3.0, 1.0]))
    said = torch.tensor([[0.2, 0.8], [0.4, 0.6]]).log()
    loss, right = score(said, batch).tolist()
    assert right == pytest.approx(0.75)
    assert loss == pytest.approx(-(3 * torch.tensor(0.8).log() + torch.tensor(0.4).log()).item() / 4)


def test_an_adapter_goes_on_as_it_was_left(pocket: Any, trees: Trees, tmp_path: Path) -> None:
    def fresh() -> Any:
        return load("pocket", device="cpu", dtype="float32", attention="eager").model

    batch = trees.batch([("bath", trees.questions["bath"][0])], random.Random(0))
    first = with_adapter(fresh(), 2)
    with torch.no_grad():
        for name, weight in first.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.05)
        said = trees.judge(first, batch)
        assert not torch.allclose(said, trees.judge(pocket.model, batch), atol=0.1)
        first.save_pretrained(tmp_path)
        again = with_adapter(fresh(), 6, tmp_path)
        torch.testing.assert_close(trees.judge(again, batch), said)
    learning = {name: each.shape for name, each in first.named_parameters() if each.requires_grad}
    assert {name: each.shape for name, each in again.named_parameters() if each.requires_grad} == learning


class Cut(Exception):
    """The power went."""


class Failing(Trees):
    """Trees that fail at one step."""

    left = 3

    def judge(self, model: Any, batch: Batch) -> Tensor:
        if not (left := self.left):
            raise Cut
        self.left = left - 1
        return super().judge(model, batch)


def test_training_learns_and_goes_on_to_the_same_weights(pocket: Any, trees: Trees, tmp_path: Path) -> None:
    def learned(cut: bool) -> tuple[dict[str, Tensor], list[dict[str, float]]]:
        torch.manual_seed(0)
        model = with_adapter(load("pocket", device="cpu", dtype="float32", attention="eager").model, 2)
        options: Any = {"steps": 6, "batch": 2, "rate": 2e-3, "seed": 0, "every": 2}
        path = tmp_path / f"{cut}.pt"
        if cut:
            failing = Failing.__new__(Failing)
            failing.__dict__.update(trees.__dict__)
            with pytest.raises(Cut):
                train(model, failing, path, **options)
        history = train(model, trees, path, **options)
        with pytest.raises(SystemExit, match="was made with"):
            train(model, trees, path, **(options | {"steps": 8}))
        return {name: each.detach() for name, each in model.named_parameters() if each.requires_grad}, history

    (whole, history), (resumed, again) = learned(False), learned(True)
    assert history[-1]["loss"] < history[0]["loss"]
    assert again == history
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_what_an_adapter_began_as_is_told_with_how_that_came_about(tmp_path: Path) -> None:
    alone = told_of(safe_weights() / ADAPTER)
    kept = json.loads((safe_weights() / "recipe.json").read_text("utf-8"))
    assert alone == {ADAPTER_FILE: alone[ADAPTER_FILE], "facts": kept["facts"], "tuned": kept["tuned"]}
    copied = tmp_path / ADAPTER
    shutil.copytree(safe_weights() / ADAPTER, copied)
    assert told_of(copied) == {ADAPTER_FILE: content_hash((copied / ADAPTER_FILE).read_bytes())}
    assert told_of(copied)[ADAPTER_FILE] == alone[ADAPTER_FILE]
