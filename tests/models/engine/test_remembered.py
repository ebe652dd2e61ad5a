"""What was found right for a checkpoint is not tried out again, and nothing else is taken for it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import tiny_models
from holisafe.models import Engine
from holisafe.models.engine.remembered import remembered
from holisafe.models.engine.reuse import Reuse, Way

FOUND = Reuse(Way.FEATURES, "the scores differ")


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A cache folder of its own."""
    monkeypatch.setenv("HOLISAFE_CACHE", str(tmp_path))
    return tmp_path / "reuse"


def asked_again(identity: str | None, model: object, reuse: bool = True) -> bool:
    """Whether something is tried out; whatever is known must be what was found."""
    calls: list[int] = []

    def find() -> Reuse:
        calls.append(1)
        return FOUND

    assert remembered(identity, model, reuse, find) == FOUND
    return bool(calls)


def test_it_is_tried_out_once_for_one_model_dtype_and_wish(cache: Path) -> None:
    model = tiny_models.llava().model
    assert [asked_again("one", model) for _ in range(2)] == [True, False]
    assert asked_again("two", model) and asked_again("one", model, reuse=False)
    assert asked_again("one", tiny_models.llava().model.to(torch.bfloat16))
    assert [asked_again(None, model) for _ in range(2)] == [True, True]
    assert len(list(cache.iterdir())) == 4


@pytest.mark.parametrize("content", ["", "{", "[]", '{"way": "faster", "reason": "", "batched": true}'])
def test_what_cannot_be_read_is_found_anew(content: str, cache: Path) -> None:
    model = tiny_models.llava().model
    asked_again("one", model)
    (file,) = cache.iterdir()
    file.write_text(content)
    assert [asked_again("one", model) for _ in range(2)] == [True, False]


def test_an_engine_answers_in_the_way_that_is_kept(cache: Path) -> None:
    tiny = tiny_models.FAMILIES["llava"](tiny_models.IMAGE_FIRST)
    with Engine(tiny.model, tiny.processor, identity="one") as engine:
        assert engine.reuse == Reuse(Way.PREFIX)
    (file,) = cache.iterdir()
    file.write_text('{"way": "plain", "reason": "kept", "batched": true}')
    with Engine(tiny.model, tiny.processor, identity="one") as engine:
        assert engine.reuse == Reuse(Way.PLAIN, "kept")
