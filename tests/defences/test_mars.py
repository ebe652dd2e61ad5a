"""`mars`: the gate, the trust region, the first token, and what is learned."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import tiny_models
from defences.directions import OPTIONS, fitted, plain, samples, tiny
from holisafe.defences import parse, read_fitted, wrap
from holisafe.defences._directions import beside_colours, last_states, texts_alone
from holisafe.defences.conformance import DefenceConformance
from holisafe.defences.mars import Mars, Steer, _best_layer
from holisafe.errors import DefenceError
from holisafe.images import open_image
from holisafe.models import Engine, Place, Request, Stream
from models.engine.pictures import PROMPTS

SIZE = 8


def ready(family: str = "llava", settings: str = "") -> Mars:
    defence = parse(f"mars:{fitted('mars', family)}{settings}")
    assert isinstance(defence, Mars)
    defence.check(tiny(family))
    return defence


class TestMarsConforms(DefenceConformance):
    model = tiny("llava_onevision")

    @property
    def defence(self) -> Any:  # fitted when a test runs, not when this file is read
        return f"mars:{fitted('mars', 'llava_onevision')},strength=4"


@pytest.mark.parametrize("family", tiny_models.FAMILIES)
def test_strength_0_is_the_identity(family: str) -> None:
    with wrap(tiny(family), f"mars:{fitted('mars', family)},strength=0") as defended:
        assert [each.answer for each in defended.answer(PROMPTS, OPTIONS)] == plain(tiny(family), PROMPTS)


def test_it_acts_on_the_last_token_of_the_prompt_in_its_layer_and_never_after_the_first_token() -> None:
    steer = ready().steering(shows_pictures=True)
    (layer,) = steer.layers
    states = torch.randn(5, 32)
    states[-1] = steer.origin + 0.25 * steer.direction
    changed = steer.on_hidden(Place(layer), 0, states)
    assert torch.equal(changed[:-1], states[:-1]) and not torch.equal(changed[-1], states[-1])
    for place, step in ((Place(layer), 1), (Place(layer), 7), (Place(1 - layer), 0), (Place(layer, Stream.MLP), 0)):
        assert steer.on_hidden(place, step, states) is states


finite = st.floats(-10, 10, allow_nan=False, width=32)
vectors = st.lists(finite, min_size=SIZE, max_size=SIZE).map(torch.tensor)
directions = vectors.filter(lambda found: float(found.norm()) > 0.1)


@given(vectors, directions, vectors, st.floats(0, 20), st.floats(0.01, 5))
def test_the_trust_region_bounds_what_is_changed(
    state: torch.Tensor, direction: torch.Tensor, origin: torch.Tensor, strength: float, radius: float
) -> None:
    changed = Steer(frozenset({0}), direction, origin, strength, radius).change(0, state)
    length = float(direction.norm())
    before, after = (float((each - origin) @ direction) / length for each in (state, changed))
    moved = float((changed - state).norm())
    assert moved <= radius * length * (1 + 1e-4) + 1e-4
    assert abs(float(changed.norm() - state.norm())) <= radius * length * (1 + 1e-4) + 1e-4
    assert before - 1e-3 <= after <= max(before, radius * length) + 1e-3
    if before < -1e-3:
        assert torch.equal(changed, state)  # the gate is shut on the harmless side
    along = direction / length
    across = (changed - state) - ((changed - state) @ along) * along
    assert float(across.norm()) < 1e-3


def test_it_moves_as_far_as_its_strength_says_and_stops_at_the_border() -> None:
    direction = torch.tensor([0.0, 4.0])
    steer = Steer(frozenset({0}), direction, torch.tensor([1.0, 1.0]), 0.5, 1.0)
    assert torch.allclose(steer.change(0, torch.tensor([3.0, 3.0])), torch.tensor([3.0, 4.0]))
    assert torch.allclose(steer.change(0, torch.tensor([3.0, 4.5])), torch.tensor([3.0, 5.0]))  # the border is at 1 + 4
    assert torch.equal(steer.change(0, torch.tensor([3.0, 7.0])), torch.tensor([3.0, 7.0]))


def test_pictures_are_measured_from_the_neutral_origin_and_texts_from_their_own() -> None:
    defence = ready()
    parts = read_fitted(fitted("mars"), "mars")[1]
    assert torch.equal(defence.steering(shows_pictures=True).origin, parts["neutral"])
    assert torch.equal(defence.steering(shows_pictures=False).origin, parts["text"])
    assert not torch.allclose(parts["neutral"], parts["text"], atol=1e-2)
    for prompt, key in ((PROMPTS[0], "neutral"), (type(PROMPTS[0]).ask("Hm"), "text")):
        (steer,) = next(defence.answer(Request(prompt, OPTIONS))).interventions
        assert torch.equal(steer.origin, parts[key])


@pytest.mark.parametrize("family", ["llava", "qwen2_5_vl"])
def test_the_neutral_origin_is_the_mean_of_harmless_texts_beside_colours(family: str) -> None:
    with pytest.warns(UserWarning, match="fewer than the 160"):
        classes = texts_alone(samples())
    model = tiny(family)
    with Engine(model.model, model.processor) as engine:
        looked = [engine.look(each, last_states).result() for each in beside_colours(classes.harmless)]
    parts = read_fitted(fitted("mars", family), "mars")[1]
    assert torch.allclose(parts["neutral"], torch.stack(looked).mean(0)[int(parts["layer"])], atol=1e-5)


def test_neutral_pictures_are_of_one_random_colour_each() -> None:
    with pytest.warns(UserWarning):
        pictures = [open_image(each.images[0]) for each in beside_colours(texts_alone(samples()).harmless)]
    colours = [each.getcolors() for each in pictures]
    assert all(len(found) == 1 for found in colours)
    assert len({found[0][1] for found in colours}) == len(pictures)


def planted(layer: int, gap: float) -> tuple[tuple[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]:
    """States (texts, 10 layers, hidden) of two kinds that differ in one layer alone."""
    draw = torch.Generator().manual_seed(0)
    safe, unsafe = ((torch.randn(20, 10, SIZE, generator=draw), torch.randn(8, 10, SIZE, generator=draw)) for _ in "ab")
    for states in unsafe:
        states[:, layer, 0] += gap
    return safe, unsafe


def test_the_layer_that_tells_texts_apart_is_chosen() -> None:
    layer, separation = _best_layer(*planted(6, 20.0))
    assert layer == 6 and separation > 5


def test_a_layer_of_the_last_fifth_is_not_chosen() -> None:
    assert _best_layer(*planted(8, 20.0))[0] < 8


def test_kinds_that_are_alike_are_refused() -> None:
    safe, _ = planted(0, 0.0)
    with pytest.raises(DefenceError, match="no layer tells"):
        _best_layer(safe, safe)
