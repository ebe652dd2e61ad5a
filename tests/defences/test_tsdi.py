"""TSDI: the bias is what a model prefers whatever is asked, and nothing else changes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

import tiny_models
from defences.test_contract import OPTIONS, loaded, plain
from holisafe.defences import fit, wrap
from holisafe.defences.conformance import DefenceConformance
from holisafe.defences.tsdi import BIAS, Debiased, Tsdi, TsdiConfig, mean_difference
from holisafe.errors import DefenceError
from holisafe.models import Engine, LoadedModel, load
from holisafe.records import Role, Sample, Turn
from models.engine.pictures import PROMPTS

WORDS = [f"word{place}" for place in range(20)]
SAMPLES = [Sample(id=str(place), turns=(Turn(Role.USER, " ".join(WORDS)),)) for place in range(2)]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.save(tiny_models.llava(), tmp_path_factory.mktemp("base"))


def fitted(base: Path, out: Path, **settings: Any) -> tuple[LoadedModel, str]:
    model = load(str(base), device="cpu")
    fit("tsdi", model, SAMPLES, out, settings={"reference": str(base), "prompts": 3, "positions": 3, **settings})
    return model, f"tsdi:{out}"


@contextmanager
def planted(model: Any, offset: torch.Tensor) -> Iterator[None]:
    """A model that prefers tokens by position, whatever it reads: offset is (positions, vocabulary)."""
    step = 0
    steps = {"tokens": 0}

    def count(_: Any, arguments: Any, named: dict[str, Any]) -> None:
        steps["tokens"] = named["input_ids"].shape[1]

    def by_place(_: Any, arguments: Any, output: torch.Tensor) -> torch.Tensor:
        nonlocal step
        step = 0 if steps["tokens"] > 1 else step + 1
        return output + offset[step] if step < len(offset) else output

    handles = [model.register_forward_pre_hook(count, with_kwargs=True)]
    handles.append(model.get_output_embeddings().register_forward_hook(by_place))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def test_a_model_that_is_its_own_reference_is_not_changed(base: Path, tmp_path: Path) -> None:
    model, name = fitted(base, tmp_path / "fitted")
    with wrap(model, name) as defended:
        assert float(defended.defences[0].parts[BIAS].abs().max()) == 0
        assert [each.answer for each in defended.answer(PROMPTS, OPTIONS)] == plain(model, PROMPTS)


def test_a_planted_offset_without_context_is_undone() -> None:
    model, reference = loaded(), loaded()
    vocabulary = model.model.get_output_embeddings().out_features
    offset = torch.randn(3, vocabulary, generator=torch.Generator().manual_seed(1)) * 4
    config = TsdiConfig(reference="-", prompts=3, positions=3)
    with Engine(*reference) as other, planted(model.model, offset), Engine(*model) as engine:
        bias = mean_difference(engine, other, WORDS, config)
    centred = (bias - offset) - (bias - offset).mean(-1, keepdim=True)
    assert float(centred.abs().max()) < 1e-5
    logits = torch.randn(vocabulary, generator=torch.Generator().manual_seed(2))
    exact = Debiased(offset - offset.logsumexp(-1, keepdim=True))
    for step in range(3):
        undone = exact.on_logits(step, logits + offset[step]).softmax(-1)
        assert float((undone - logits.softmax(-1)).abs().max()) < 1e-6
    expected = plain(reference, PROMPTS)
    defence = Tsdi(config)
    defence.parts = {BIAS: bias}
    with planted(model.model, offset), Engine(*model, batch_size=1) as engine:
        changed = [engine.submit(next_request(defence, prompt)).result() for prompt in PROMPTS]
        assert [each.tokens for each in changed] == [each.tokens for each in expected]
        assert engine.answer(PROMPTS, OPTIONS) != expected


def next_request(defence: Tsdi, prompt: Any) -> Any:
    from holisafe.models import Request

    return next(defence.answer(Request(prompt, OPTIONS)))


def test_positions_after_the_first_are_the_same_object() -> None:
    logits = torch.randn(7)
    assert Debiased(torch.zeros(2, 7)).on_logits(2, logits) is logits


def test_it_conforms(base: Path, tmp_path: Path) -> None:
    model, name = fitted(base, tmp_path / "fitted")
    suite = DefenceConformance()
    suite.defence, suite.model = name, model
    for test in (each for each in dir(suite) if each.startswith("test_")):
        getattr(suite, test)()


def test_what_was_fitted_on_another_model_is_refused(base: Path, tmp_path: Path) -> None:
    _, name = fitted(base, tmp_path / "fitted")
    with pytest.raises(DefenceError, match="another model"):
        wrap(loaded("qwen2_5_vl"), name)


def test_damaged_and_missing_folders_are_named(base: Path, tmp_path: Path) -> None:
    model, name = fitted(base, tmp_path / "fitted")
    with pytest.raises(DefenceError, match="defence fit tsdi"):
        wrap(model, "tsdi")
    with pytest.raises(DefenceError, match="absent"):
        wrap(model, f"tsdi:{tmp_path / 'absent'}")
    parts = tmp_path / "fitted" / "parts.safetensors"
    parts.write_bytes(parts.read_bytes()[:-1] + b"x")
    with pytest.raises(DefenceError, match="damaged"):
        wrap(model, name)


@pytest.mark.parametrize(
    ("settings", "message"), [({"reference": ""}, "name the model before"), ({"positions": 0}, "positions")]
)
def test_what_cannot_be_fitted_is_refused(base: Path, tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(DefenceError, match=message):
        fitted(base, tmp_path / "fitted", **settings)
    assert not (tmp_path / "fitted").exists()


def test_a_defence_that_learns_nothing_says_so(base: Path, tmp_path: Path) -> None:
    with pytest.raises(DefenceError, match="learns nothing"):
        fit("ecso", load(str(base), device="cpu"), SAMPLES, tmp_path / "fitted")
