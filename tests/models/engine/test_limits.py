"""What a batch may hold, and what happens when memory, context or pictures are too much."""

from __future__ import annotations

import gc
import io
import weakref
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import tiny_models
from holisafe.errors import ImageError, ModelError
from holisafe.models import Engine, FinishReason, GenerationOptions, Prompt, Request
from holisafe.models.engine.batching import BatchLimits, choose_batch
from holisafe.models.engine.failures import drop_tensors
from holisafe.records import ImageRef
from models.engine.pictures import PROMPTS, WIDE, drawn

OPTIONS = GenerationOptions(max_new_tokens=6)


@dataclass(eq=False)
class Asked:
    """A waiting prompt of some length."""

    length: int
    shown: tuple[str, ...] = ("a",)
    pixels: int = 100
    new_tokens: int = 32
    stays_apart: bool = False
    tensors: Any = field(init=False)

    def __post_init__(self) -> None:
        self.tensors = SimpleNamespace(ids=range(self.length), shown=self.shown, pixels=self.pixels)


@given(st.lists(st.tuples(st.integers(1, 5000), st.integers(0, 3)), min_size=1, max_size=40))
def test_a_batch_stays_within_its_limits_and_takes_the_oldest(prompts: list[tuple[int, int]]) -> None:
    waiting = [Asked(length, (str(image),)) for length, image in prompts]
    limits = BatchLimits(16, 20_000)
    batch = choose_batch(waiting, limits)
    lengths = [each.length for each in batch]
    assert batch[0] is waiting[0] and len(batch) <= 16
    width = len(batch) * max(lengths)
    assert len(batch) == 1 or width + 32 * len(batch) <= 20_000
    assert width - sum(lengths) <= max(0.25 * width, 1024)
    groups = [each.shown for each in batch]
    assert [g for at, g in enumerate(groups) if at == 0 or groups[at - 1] != g] == list(dict.fromkeys(groups))


@pytest.mark.parametrize("place", [0, 7, 15])
def test_a_prompt_far_longer_than_the_others_goes_alone(place: int) -> None:
    waiting = [Asked(40 + at, (str(at),)) for at in range(15)]
    waiting.insert(place, Asked(1500, ("long",)))
    sizes = []
    while waiting:
        batch = choose_batch(waiting, BatchLimits())
        sizes.append(sorted(each.length for each in batch))
        waiting = [each for each in waiting if each not in batch]
    assert sorted(map(len, sizes)) == [1, 15] and [1500] in sizes


def test_pictures_of_a_batch_are_limited_in_sum() -> None:
    waiting = [Asked(40, (str(at),), pixels=40_000_000) for at in range(6)]
    assert len(choose_batch(waiting, BatchLimits())) == 2


class TooMany:
    """A language model that runs out of memory above some tokens in a batch, and whether its tensors are freed."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.kept: list[weakref.ref[torch.Tensor]] = []
        self.attempts: list[int] = []
        self.alive = 0

    def __call__(self, _: object, __: object, inputs: dict[str, Any]) -> None:
        gc.collect()
        self.alive = max(self.alive, sum(each() is not None for each in self.kept))
        rows, columns = inputs["inputs_embeds"].shape[:2]
        if columns > 1:
            self.attempts.append(rows)
        if rows > self.most:
            held = torch.zeros(1000)  # as a layer's activations would be
            self.kept.append(weakref.ref(held))
            raise torch.OutOfMemoryError("CUDA out of memory")


def test_after_running_out_of_memory_nothing_of_the_attempt_is_kept() -> None:
    tiny = tiny_models.llava()
    prompts = [Prompt.ask(f"Which one is it, {at}?", WIDE) for at in range(8)]
    with Engine(tiny.model, tiny.processor, reuse=False) as engine:
        expected = engine.answer(prompts, OPTIONS)
    limit = TooMany(3)
    handle = tiny.model.get_decoder().register_forward_pre_hook(limit, with_kwargs=True)
    with Engine(tiny.model, tiny.processor, reuse=False, window=0.2) as engine:
        assert engine.answer(prompts, OPTIONS) == expected
        assert limit.kept and limit.alive == 0
        before = len(limit.attempts)
        assert engine.answer(prompts, OPTIONS) == expected
        assert max(limit.attempts[before:]) <= 3  # it has learned how much fits
    handle.remove()


def test_a_prompt_that_alone_takes_too_much_memory_fails_alone() -> None:
    tiny = tiny_models.llava()
    with Engine(tiny.model, tiny.processor) as engine:
        handle = tiny.model.get_decoder().register_forward_pre_hook(TooMany(0), with_kwargs=True)
        with pytest.raises(ModelError, match="out of memory on this prompt alone"):
            engine.answer(PROMPTS[:1], OPTIONS)
        handle.remove()
        assert engine.answer(PROMPTS[:1], OPTIONS)[0].tokens


def test_a_prompt_beyond_the_context_is_an_error_with_both_numbers() -> None:
    tiny = tiny_models.llava()
    with Engine(tiny.model, tiny.processor) as engine:
        long = engine.submit(Request(Prompt.ask("x" * 6000, WIDE), OPTIONS))
        assert engine.answer(PROMPTS[:1], OPTIONS)
        with pytest.raises(ModelError, match=r"the prompt has 60\d\d tokens and the model's context 4096"):
            long.result()


def test_an_answer_ends_where_the_context_does() -> None:
    tiny = tiny_models.llava()
    tiny.model.config.text_config.max_position_embeddings = 48
    with Engine(tiny.model, tiny.processor) as engine:
        short, near = engine.answer([Prompt.ask("Hm", WIDE), Prompt.ask("Hm, what?", WIDE)],
                                    GenerationOptions(max_new_tokens=10))  # fmt: skip
    assert len(short.tokens) == 10
    assert len(near.tokens) == 48 - near.input_tokens < 10 and near.finish_reason is FinishReason.LENGTH


def test_a_text_that_cannot_fit_is_refused_before_it_is_tokenised(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = tiny_models.llava()
    with Engine(tiny.model, tiny.processor) as engine:
        engine.answer(PROMPTS[:1], OPTIONS)

        def fail(*_: object, **__: object) -> None:
            raise AssertionError("tokenised")

        monkeypatch.setattr(type(tiny.processor), "apply_chat_template", fail)
        with pytest.raises(ModelError, match="180000 characters, more than fit into the model's context of 4096"):
            engine.answer([Prompt.ask("harm " * 36_000, WIDE)], OPTIONS)


def test_pictures_of_one_prompt_are_limited_in_sum_before_any_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = tiny_models.llava()
    encoded = io.BytesIO()
    Image.new("L", (7000, 7000)).save(encoded, "PNG")
    large = ImageRef("large", data=encoded.getvalue())
    with Engine(tiny.model, tiny.processor) as engine:
        monkeypatch.setattr("holisafe.models.prompts.open_image", lambda image: pytest.fail("decoded"))
        with pytest.raises(ImageError, match=r"3 images of the prompt have 147000000 pixels in sum"):
            engine.answer([Prompt.ask("These?", large, large, large)], OPTIONS)


@pytest.mark.parametrize("template", [tiny_models.IMAGE_FIRST, tiny_models.IMAGE_LAST])
def test_two_images_of_one_key_are_two_images(template: str) -> None:
    tiny = tiny_models.llava(template)
    one, other = drawn("same", 40, 40, seed=1), drawn("same", 40, 40, seed=2)
    named = [drawn("one", 40, 40, seed=1), drawn("other", 40, 40, seed=2)]
    with Engine(tiny.model, tiny.processor, prefix_worth=0) as engine:
        found = engine.answer([Prompt.ask("What?", one), Prompt.ask("What?", other)], OPTIONS)
        again = engine.answer([Prompt.ask("What?", other), Prompt.ask("What?", one)], OPTIONS)
        assert engine.images_encoded == 2
    with Engine(tiny.model, tiny.processor, reuse=False) as engine:
        assert found == engine.answer([Prompt.ask("What?", image) for image in named], OPTIONS) == again[::-1]
    assert found[0] != found[1]


def test_a_changed_file_of_the_same_name_is_another_image(tmp_path: Any) -> None:
    tiny = tiny_models.llava()
    path = tmp_path / "picture.png"
    ref = ImageRef("picture", path=path, root=tmp_path, digest="0" * 64)
    found = []
    with Engine(tiny.model, tiny.processor) as engine:
        for seed in (1, 2):
            path.write_bytes(drawn("", 40, 40, seed=seed).data or b"")
            found += engine.answer([Prompt.ask("What?", ref)], OPTIONS)
    assert found[0] != found[1]


def test_the_error_of_a_failed_attempt_holds_no_tensors() -> None:
    held: list[weakref.ref[torch.Tensor]] = []

    def fail() -> None:
        tensor = torch.zeros(3)
        held.append(weakref.ref(tensor))
        raise RuntimeError("no")

    try:
        fail()
    except RuntimeError as error:
        drop_tensors(error)
        kept = error
    gc.collect()
    assert held[0]() is None and str(kept) == "no"
