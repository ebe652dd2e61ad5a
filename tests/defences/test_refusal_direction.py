"""`refusal-direction`: removing it, adding it, and which one is chosen."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

import tiny_models
from defences.directions import ANY, OPTIONS, fitted, plain, samples, tiny
from holisafe.defences import fit, parse, read_fitted, wrap
from holisafe.defences._directions import Classes, whole_requests
from holisafe.defences._refusal_choice import (
    Candidate,
    Limits,
    as_answered,
    choose,
    end_in_common,
    first_distribution,
    refusal_score,
)
from holisafe.defences._steering import Ablate, Add, unit
from holisafe.defences.conformance import DefenceConformance
from holisafe.errors import DefenceError
from holisafe.models import Engine, Intervention, LoadedModel, Place, Request, Stream
from models.engine.pictures import PROMPTS

NO_LIMITS = Limits(1e9, -1e9)


def random_direction(seed: int = 0, size: int = 32) -> torch.Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed))


class TestAddingConforms(DefenceConformance):
    model = tiny("llava")

    @property
    def defence(self) -> Any:  # fitted when a test runs, not when this file is read
        return f"refusal-direction:{fitted('refusal-direction')}"


class TestAblatingConforms(DefenceConformance):
    model = tiny("qwen2_5_vl")

    @property
    def defence(self) -> Any:
        return f"refusal-direction:{fitted('refusal-direction', 'qwen2_5_vl')},mode=ablate"


def test_removing_it_twice_is_removing_it_once() -> None:
    ablate, states = Ablate.of(random_direction()), torch.randn(7, 32)
    once = ablate.on_hidden(Place(0), 0, states)
    assert torch.allclose(ablate.on_hidden(Place(0), 0, once), once, atol=1e-6)
    assert not torch.allclose(once, states, atol=1e-2)


@pytest.mark.parametrize("family", tiny_models.FAMILIES)
def test_nothing_is_left_along_it_wherever_layers_read_and_write(family: str) -> None:
    ablate = Ablate.of(random_direction())
    left: dict[tuple[Place, bool], float] = {}

    class Measure(Intervention):
        def on_hidden(self, place: Place, step: int, states: torch.Tensor) -> torch.Tensor:
            found = float((states @ ablate.direction).abs().max())
            left[place, step > 0] = max(found, left.get((place, step > 0), 0.0))
            return states

    model = tiny(family)
    with Engine(model.model, model.processor) as engine:
        engine.submit(Request(PROMPTS[0], OPTIONS, (ablate, Measure()))).result()
    assert {place for place, _ in left} == {Place(layer, stream) for layer in range(2) for stream in Stream}
    assert len(left) == 12 and max(left.values()) < 1e-5


def orthogonalised(model: LoadedModel, direction: torch.Tensor) -> LoadedModel:
    """The model with the direction taken out of everything that writes to the residual stream."""
    changed = copy.deepcopy(model.model)
    along = unit(direction)
    decoder = changed.get_decoder()
    inner = changed.model
    family = changed.config.model_type
    writers = [part for layer in decoder.layers for part in (layer.self_attn.o_proj, layer.mlp.down_proj)]
    writers.append(
        {
            "llava": lambda: inner.multi_modal_projector.linear_2,
            "llava_onevision": lambda: inner.multi_modal_projector.linear_2,
            "qwen2_5_vl": lambda: inner.visual.merger.mlp[2],
            "smolvlm": lambda: inner.connector.modality_projection.proj,
        }[family]()
    )
    with torch.no_grad():
        rows = decoder.embed_tokens.weight  # (vocabulary, hidden)
        rows -= (rows @ along)[:, None] * along
        if family == "llava_onevision":
            inner.image_newline -= (inner.image_newline @ along) * along
        for part in writers:
            assert isinstance(part, nn.Linear)
            part.weight -= along[:, None] * (along @ part.weight)  # (hidden, features)
            if part.bias is not None:
                part.bias -= (part.bias @ along) * along
    return LoadedModel(changed, model.processor, "orthogonalised")


@pytest.mark.parametrize("family", ["llava", "llava_onevision", "qwen2_5_vl", "smolvlm"])
def test_hooks_equal_orthogonalised_weights(family: str) -> None:
    """Gemma 3 normalises what its layers add, so no weights do the same there."""
    model, direction = tiny(family), random_direction(3)
    with Engine(model.model, model.processor) as engine:
        hooked = first_distribution(engine, PROMPTS, Ablate.of(direction))
        before = first_distribution(engine, PROMPTS)
        requests = [Request(each, OPTIONS, (Ablate.of(direction),)) for each in PROMPTS]
        answers = [each.result().tokens for each in [engine.submit(request) for request in requests]]
    other = orthogonalised(model, direction)
    with Engine(other.model, other.processor) as engine:
        weights = first_distribution(engine, PROMPTS)
    assert (hooked - weights).abs().max() < 1e-4 < (before - weights).abs().max()
    assert answers == [each.tokens for each in plain(other, PROMPTS)]


@pytest.mark.parametrize("family", tiny_models.FAMILIES)
def test_strength_0_is_the_identity(family: str) -> None:
    with wrap(tiny(family), f"refusal-direction:{fitted('refusal-direction', family)},strength=0") as defended:
        assert [each.answer for each in defended.answer(PROMPTS, OPTIONS)] == plain(tiny(family), PROMPTS)


def test_it_is_added_at_its_layer_at_every_token_of_every_step() -> None:
    defence = parse(f"refusal-direction:{fitted('refusal-direction')},strength=2")
    defence.check(tiny("llava"))
    add: Any = defence.steering()  # type: ignore[attr-defined]
    parts = read_fitted(fitted("refusal-direction"), "refusal-direction")[1]
    layer, states = int(parts["layer"]), torch.randn(3, 32)
    for step in (0, 1, 9):
        assert torch.equal(add.on_hidden(Place(layer), step, states), states + 2 * parts["direction"])
        assert add.on_hidden(Place(1 - layer), step, states) is states
        assert add.on_hidden(Place(layer, Stream.MLP), step, states) is states


def test_what_protects_is_the_default_and_removing_is_called_a_diagnosis() -> None:
    defence = parse("refusal-direction:somewhere")
    assert defence.settings.mode == "add"
    assert "diagnosis, never a protection" in defence.about


@pytest.fixture(scope="module")
def classes() -> Classes:
    with pytest.warns(UserWarning, match="fewer than the 160"):
        return whole_requests(samples())


def candidates() -> list[Candidate]:
    return [Candidate(at % 2, -1 - at // 2, 4 * random_direction(at)) for at in range(6)]


def told(*_: object) -> None:
    """Progress that nobody reads."""


def test_the_one_whose_removal_leaves_least_refusal_is_chosen_among_those_that_pass(classes: Classes) -> None:
    model, tokens = tiny("llava"), [tiny("llava").processor.tokenizer("I")["input_ids"][-1]]
    figures = []
    with Engine(model.model, model.processor) as engine:
        plainly = first_distribution(engine, classes.harmless_validation)
        for each in candidates():
            ablate = Ablate.of(each.direction)
            changed = first_distribution(engine, classes.harmless_validation, ablate)
            added = first_distribution(engine, classes.harmless_validation, Add(each.layer, each.direction))
            removed = first_distribution(engine, classes.harmful_validation, ablate)
            kl = float((plainly.exp() * (plainly - changed)).sum(1).mean())
            figures.append((kl, refusal_score(added, tokens), refusal_score(removed, tokens)))
        limits = Limits(sorted(kl for kl, _, _ in figures)[4], sorted(induced for _, induced, _ in figures)[1])
        passing = [
            at for at, (kl, induced, _) in enumerate(figures) if kl <= limits.max_kl and induced >= limits.min_induced
        ]
        assert 2 <= len(passing) < len(figures)
        best = min(passing, key=lambda at: figures[at][2])
        chosen = choose(engine, candidates(), 2, classes, limits, ["I"], told)
    expected = candidates()[best]
    assert (chosen.candidate.layer, chosen.candidate.position) == (expected.layer, expected.position)
    assert (chosen.kl, chosen.induced, chosen.bypassed) == pytest.approx(figures[best])


def before_the_head(model: Any, inputs: dict[str, Any]) -> torch.Tensor:
    """What the head reads at the last token, (hidden,)."""
    seen: list[torch.Tensor] = []
    hook = model.lm_head.register_forward_pre_hook(lambda _, read: seen.append(read[0][0, -1].clone()))
    model(**inputs)
    hook.remove()
    return seen[0]


@pytest.fixture(scope="module")
def refusing(classes: Classes) -> LoadedModel:
    """A tiny model whose head begins answers to harmful requests, and only these, with I."""
    model = tiny("llava")
    changed = copy.deepcopy(model.model)
    with Engine(changed, model.processor) as engine:
        harmless, harmful = (
            torch.stack([engine.look(each, before_the_head).result() for each in prompts]).mean(0)
            for prompts in (classes.harmless, classes.harmful)
        )
    middle, apart = (harmless + harmful) / 2, harmful - harmless
    across = apart - (apart @ middle) / (middle @ middle) * middle
    with torch.no_grad():
        token = model.processor.tokenizer("I", add_special_tokens=False)["input_ids"][0]
        changed.lm_head.weight[token] = 60 * across / (across @ across)
    return LoadedModel(changed, model.processor, "refusing")


def test_only_what_the_model_itself_refuses_or_answers_is_learned_from(classes: Classes, refusing: LoadedModel) -> None:
    mixed = Classes(
        [*classes.harmless, classes.harmful[0]],
        [classes.harmless[0], *classes.harmful],
        classes.harmless_validation,
        classes.harmful_validation,
    )
    with Engine(refusing.model, refusing.processor) as engine:
        assert as_answered(engine, mixed, ["I"], told) == classes


def test_removing_the_direction_of_a_model_that_refuses_takes_its_refusal_away(
    classes: Classes, refusing: LoadedModel, tmp_path: Any
) -> None:
    with pytest.warns(UserWarning):
        fit("refusal-direction", refusing, samples(), tmp_path / "it", settings={"max_kl": 10, "min_induced": -1e9})
    parts = read_fitted(tmp_path / "it", "refusal-direction")[1]
    tokens = [refusing.processor.tokenizer("I", add_special_tokens=False)["input_ids"][0]]
    with Engine(refusing.model, refusing.processor) as engine:
        before = refusal_score(first_distribution(engine, classes.harmful), tokens)
        removed = Ablate.of(parts["direction"])
        after = refusal_score(first_distribution(engine, classes.harmful, removed), tokens)
    assert before > 0 and after < before - 5


def test_a_model_that_refuses_nothing_has_no_such_direction(tmp_path: Any) -> None:
    with pytest.warns(UserWarning), pytest.raises(DefenceError, match=r"refuses none of 6 harmful requests"):
        fit("refusal-direction", tiny("llava"), samples(), tmp_path)


def test_the_last_fifth_of_the_layers_is_left_out(classes: Classes) -> None:
    model = tiny("llava")
    late = [each for each in candidates() if each.layer == 1]
    with Engine(model.model, model.processor) as engine, pytest.raises(DefenceError, match="none of 0 directions"):
        choose(engine, late, 1, classes, NO_LIMITS, ["I"], told)


def test_where_none_passes_the_figures_are_named(tmp_path: Any) -> None:
    strict = {**ANY, "min_induced": 1e6}
    with pytest.warns(UserWarning), pytest.raises(DefenceError, match=r"lowest KL .* highest induced log-odds"):
        fit("refusal-direction", tiny("llava"), samples(), tmp_path, settings=strict)


def test_a_refusal_without_a_first_token_is_named(tmp_path: Any) -> None:
    with pytest.warns(UserWarning), pytest.raises(DefenceError, match="refusals: expected texts separated by"):
        fit("refusal-direction", tiny("llava"), samples(), tmp_path, settings={**ANY, "refusals": "I|"})


def test_only_tokens_that_all_prompts_end_with_are_tried() -> None:
    assert end_in_common([(1, 2, 3), (4, 2, 3), (2, 3)]) == 2
    assert end_in_common([(1, 2), (1, 3)]) == 0
    parts = read_fitted(fitted("refusal-direction"), "refusal-direction")[1]
    assert -5 <= int(parts["position"]) <= -1


def test_the_score_is_the_mean_of_log_odds() -> None:
    shares = torch.tensor([[0.7, 0.2, 0.1], [0.2, 0.2, 0.6]], dtype=torch.float64)
    odds = torch.tensor([0.8 / 0.2, 0.8 / 0.2], dtype=torch.float64)
    assert refusal_score(shares.log(), [0, 2]) == pytest.approx(float(odds.log().mean()), abs=1e-6)
