"""`shiftdc`: what it asks, where it acts, and that nothing of the picture is left along the direction."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import tiny_models
from defences.directions import OPTIONS, fitted, plain, samples, tiny
from holisafe.defences import Look, parse, read_fitted, wrap
from holisafe.defences._captions import in_words
from holisafe.defences._directions import last_states, texts_alone
from holisafe.defences.conformance import DefenceConformance
from holisafe.defences.shiftdc import ShiftDc
from holisafe.models import Answer, Engine, FinishReason, Intervention, LoadedModel, Place, Prompt, Request, Stream
from models.engine.pictures import PROMPTS

NO_PICTURE = Prompt.ask("What is a guard?")


def ready(family: str, settings: str = "") -> ShiftDc:
    defence = parse(f"shiftdc:{fitted('shiftdc', family)}{settings}")
    assert isinstance(defence, ShiftDc)
    defence.check(tiny(family))
    return defence


class Last(Intervention):
    """Keeps what layers read at the last token of the prompt."""

    def __init__(self) -> None:
        self.states: dict[int, torch.Tensor] = {}

    def on_hidden(self, place: Place, step: int, states: torch.Tensor) -> torch.Tensor:
        if step == 0 and place.stream is Stream.INPUT:
            self.states[place.layer] = states[-1].clone()
        return states


def looked(model: LoadedModel, prompt: Prompt) -> torch.Tensor:
    with Engine(model.model, model.processor) as engine:
        return engine.look(prompt, last_states).result()


def submitted(model: LoadedModel, *interventions: Intervention) -> Answer:
    with Engine(model.model, model.processor) as engine:
        return engine.submit(Request(PROMPTS[0], OPTIONS, interventions)).result()


class TestShiftDcConforms(DefenceConformance):
    model = tiny("smolvlm")

    @property
    def defence(self) -> Any:  # fitted when a test runs, not when this file is read
        return f"shiftdc:{fitted('shiftdc', 'smolvlm')},caption_tokens=6"


@pytest.mark.parametrize("family", tiny_models.FAMILIES)
def test_alpha_0_is_the_identity(family: str) -> None:
    with wrap(tiny(family), f"shiftdc:{fitted('shiftdc', family)},alpha=0,caption_tokens=4") as defended:
        answers = defended.answer(PROMPTS, OPTIONS)
    assert [each.answer for each in answers] == plain(tiny(family), PROMPTS)
    assert {each.cost.generations for each in answers} == {2}


@pytest.mark.parametrize("family", tiny_models.FAMILIES)
def test_after_correction_the_component_along_the_direction_is_the_captions(family: str) -> None:
    defence, seen = ready(family), Last()
    caption = looked(tiny(family), in_words(PROMPTS[0], "a red thing"))
    shift = defence.shift_to(caption)
    submitted(tiny(family), shift, seen)
    along = shift.direction
    assert shift.layers
    for layer in shift.layers:
        assert abs(float((seen.states[layer] - caption[layer]) @ along[layer])) < 1e-5
    before = Last()
    submitted(tiny(family), before)
    assert max(abs(float((before.states[layer] - caption[layer]) @ along[layer])) for layer in shift.layers) > 1e-3


@pytest.mark.parametrize("family", tiny_models.FAMILIES)
def test_a_caption_that_reads_like_the_picture_is_the_identity(family: str) -> None:
    same = looked(tiny(family), PROMPTS[0])
    shift = ready(family, ",alpha=3").shift_to(same)
    assert submitted(tiny(family), shift) == plain(tiny(family), PROMPTS[:1])[0]


def test_half_of_the_shift_is_left_at_alpha_one_half() -> None:
    caption = torch.randn(2, 32)
    shift = ready("llava", ",alpha=0.5").shift_to(caption)
    state, along = torch.randn(32), shift.direction[1]
    changed = shift.change(1, state)
    assert float((changed - caption[1]) @ along) == pytest.approx(float((state - caption[1]) @ along) / 2, abs=1e-5)
    across = torch.eye(32) - along[:, None] * along
    assert torch.allclose(across @ changed, across @ state, atol=1e-5)


def test_a_request_without_a_picture_is_untouched() -> None:
    request = Request(NO_PICTURE, OPTIONS)
    assert next(ready("llava").answer(request)) is request


def test_it_asks_for_a_caption_reads_it_without_the_picture_and_answers() -> None:
    steps = ready("llava", ",caption_tokens=7").answer(Request(PROMPTS[0], OPTIONS))
    asked = next(steps)
    assert asked.prompt.images == PROMPTS[0].images and asked.options.max_new_tokens == 7
    assert PROMPTS[0].turns[0].text in asked.prompt.turns[0].text
    look = steps.send(Answer("a red thing", (1,), FinishReason.STOP, 3))
    assert isinstance(look, Look) and not look.prompt.images
    assert "a red thing" in look.prompt.turns[0].text and PROMPTS[0].turns[0].text in look.prompt.turns[0].text
    last = steps.send(torch.zeros(2, 32))
    assert (last.prompt, last.options, len(last.interventions)) == (PROMPTS[0], OPTIONS, 1)


def test_it_acts_once_on_the_last_token_of_the_second_half_of_the_layers() -> None:
    shift = ready("llava").shift_to(torch.randn(2, 32))
    states = torch.randn(5, 32)
    assert shift.layers == {1}
    assert torch.equal(shift.on_hidden(Place(1), 0, states)[:-1], states[:-1])
    assert not torch.equal(shift.on_hidden(Place(1), 0, states)[-1], states[-1])
    for place, step in ((Place(1), 1), (Place(0), 0), (Place(1, Stream.MLP), 0), (Place(1, Stream.ATTENTION), 0)):
        assert shift.on_hidden(place, step, states) is states


def test_the_published_layers_are_10_to_31_of_32() -> None:
    defence = parse("shiftdc:somewhere,start=0.31")
    assert isinstance(defence, ShiftDc)
    defence.parts = {"direction": torch.randn(32, 8)}
    assert defence.shift_to(torch.zeros(32, 8)).layers == set(range(10, 32))


@pytest.mark.parametrize("family", ["llava", "gemma3"])
def test_the_direction_is_the_mean_of_harmless_minus_that_of_harmful_texts(family: str) -> None:
    with pytest.warns(UserWarning, match="fewer than the 160"):
        classes = texts_alone(samples())
    means = [
        torch.stack([looked(tiny(family), prompt) for prompt in prompts]).mean(0)
        for prompts in (classes.harmless, classes.harmful)
    ]
    parts = read_fitted(fitted("shiftdc", family), "shiftdc")[1]
    assert torch.allclose(parts["direction"], means[0] - means[1], atol=1e-5)
    assert not any(prompt.images for prompt in (*classes.harmless, *classes.harmful))
