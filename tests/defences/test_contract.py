"""How defences are named, wrapped, nested and counted; those that only change what is asked."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import tiny_models
from holisafe.defences import DEFENCES, Defence, Steps, defence_names, parse, wrap
from holisafe.defences.conformance import DefenceConformance, _prompts
from holisafe.defences.ecso import Ecso
from holisafe.defences.prompt import around
from holisafe.errors import DefenceError, ModelError, UnknownNameError
from holisafe.guard import GuardConfig, attach_guard
from holisafe.models import (
    Answer,
    Branch,
    Engine,
    FinishReason,
    GenerationOptions,
    Intervention,
    LoadedModel,
    Place,
    Prompt,
    Request,
    hidden_states,
)
from holisafe.models.engine.interventions import Stream
from models.engine.pictures import PROMPTS

OPTIONS = GenerationOptions(max_new_tokens=10)
PICTURE = PROMPTS[0].images[0]


def loaded(family: str = "llava") -> LoadedModel:
    tiny = tiny_models.FAMILIES[family]()
    return LoadedModel(tiny.model, tiny.processor, "tiny")


@pytest.fixture
def model() -> LoadedModel:
    return loaded()


def plain(model: LoadedModel, prompts: list[Prompt], **options: Any) -> list[Answer]:
    with Engine(model.model, model.processor, **options) as engine:
        return engine.answer(prompts, OPTIONS)


class TestPromptConforms(DefenceConformance):
    defence = "prompt"
    model = loaded()


class TestAdaShieldConforms(DefenceConformance):
    defence = "adashield-s"
    model = loaded("qwen2_5_vl")


class TestEcsoConforms(DefenceConformance):
    defence = "ecso:caption_tokens=6"
    model = loaded()


class TestAgentsConform(DefenceConformance):
    defence = "agents:chat,tokens=6"
    model = loaded("smolvlm")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("ecso:verdict_tokens=0", "verdict_tokens"),
        ("ecso:verdict_tokens=many", "verdict_tokens: expected a whole number"),
        ("ecso:speed=3", "unknown field speed"),
        ("ecso:3", "expected KEY=VALUE"),
        ("guard:explode", "policy"),
        ("coca:alpha=1,alpha=2", "alpha is given twice"),
        ("prompt:before=3", "before: expected a text"),
    ],
)
def test_wrong_settings_are_named(given: str, message: str) -> None:
    with pytest.raises(DefenceError, match=message):
        parse(given)


def test_names_that_are_near_are_offered() -> None:
    with pytest.raises(UnknownNameError, match="ecso"):
        parse("ecsoo")


def test_a_text_may_hold_commas() -> None:
    assert parse("prompt:before=Be kind, please,after=Thanks, all").settings.before == "Be kind, please"


def test_prompt_defences_are_functions_of_the_conversation(model: LoadedModel) -> None:
    for name, texts in (("prompt:before=B,after=A", ("B", "A")), ("adashield-s:shield=S", ("", "S"))):
        changed = [around(prompt, *texts) for prompt in PROMPTS]
        expected = "\n".join(filter(None, (texts[0], PROMPTS[0].turns[0].text, texts[1])))
        assert changed[0].turns[0].text == expected
        with wrap(model, name) as defended:
            assert [each.answer for each in defended.answer(PROMPTS, OPTIONS)] == plain(model, changed)


def test_empty_reminders_are_the_identity(model: LoadedModel) -> None:
    with wrap(model, "prompt:before=,after=") as defended:
        assert [each.answer for each in defended.answer(PROMPTS, OPTIONS)] == plain(model, PROMPTS)


class Scripted:
    """Leads a defence through its steps with answers of our own, and keeps what it asked."""

    def __init__(self, defence: Defence, *texts: str) -> None:
        self.asked: list[Request] = []
        steps = defence.answer(Request(Prompt.ask("What is this?", PICTURE), OPTIONS))
        given: Answer | None = None
        for text in texts:
            self.asked.append(steps.send(given))
            given = Answer(text, (1,), FinishReason.STOP, 3)
        with pytest.raises(StopIteration) as end:
            steps.send(given)
        self.answer: Answer = end.value.value


@pytest.mark.parametrize("told", ["no", "No.", "yes, it is", "", "I cannot say yes"])
def test_ecso_keeps_an_answer_that_is_not_called_harmful_in_two_generations(told: str) -> None:
    way = Scripted(parse("ecso"), "A cat.", told)
    assert way.answer.text == "A cat." and len(way.asked) == 2


@pytest.mark.parametrize("told", ["yes", "Yes.", " YES \n"])
def test_ecso_answers_a_harmful_one_again_in_four_without_the_image(told: str) -> None:
    way = Scripted(parse("ecso"), "A" * 3000, told, "a sunny street", "No.")
    assert way.answer.text == "No." and len(way.asked) == 4
    assert [bool(each.prompt.images) for each in way.asked] == [True, True, True, False]
    assert "a sunny street" in way.asked[3].prompt.turns[0].text
    assert "A" * 1927 in way.asked[1].prompt.turns[0].text and "A" * 1928 not in way.asked[1].prompt.turns[0].text


@pytest.mark.parametrize("kind", ["chat", "embodied"])
@pytest.mark.parametrize(
    ("said", "told"),
    [("safe", ""), ("Safe.", ""), ("UNSAFE: a fire", "Decline"), ("unclear", "with care"), ("", "with care"),
     ("perhaps safe", "with care")],
)  # fmt: skip
def test_agents_answer_in_exactly_three_generations_by_the_second_ones_verdict(kind: str, said: str, told: str) -> None:
    way = Scripted(parse(f"agents:{kind}"), "cooking at home", said, "Here you are.")
    assert way.answer.text == "Here you are." and len(way.asked) == 3
    assert all(each.prompt.images for each in way.asked)
    last = way.asked[2].prompt.turns[0].text
    assert (told in last and "cooking at home" in last) if told else last == "What is this?"
    assert "cooking at home" in way.asked[1].prompt.turns[0].text


def test_ecso_on_a_real_model_shows_the_tower_nothing_in_its_last_answer(
    model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    tower = model.model.model.vision_tower
    handle = tower.register_forward_hook(lambda *_: seen.append(1))
    monkeypatch.setattr("holisafe.defences.ecso.UNSAFE", _Anything())
    try:
        with wrap(model, "ecso:caption_tokens=4", reuse=False) as defended:
            seen.clear()
            (answered,) = defended.answer([Prompt.ask("What is this?", PICTURE)], OPTIONS)
    finally:
        handle.remove()
    assert answered.cost.generations == 4 and len(seen) == 3


class _Anything:
    def __contains__(self, _: object) -> bool:
        return True


def test_ecso_leaves_a_harmless_answer_as_it_is(model: LoadedModel) -> None:
    with wrap(model, Ecso()) as defended:
        got = defended.answer(PROMPTS, OPTIONS)
    assert [each.answer for each in got] == plain(model, PROMPTS)
    with_images = [bool(prompt.images) for prompt in PROMPTS]
    assert [each.cost.generations for each in got] == [2 if shown else 1 for shown in with_images]


def test_the_guard_is_asked_for_where_there_is_none(model: LoadedModel) -> None:
    with pytest.raises(DefenceError, match="no guard"):
        wrap(model, "guard:refuse")


def test_the_guards_policy_refuses_before_the_first_token() -> None:
    tiny = tiny_models.llava()
    attach_guard(tiny.model, GuardConfig())
    with wrap(LoadedModel(tiny.model, tiny.processor, "tiny"), "guard:refuse") as defended:
        answers = defended.answer(PROMPTS, OPTIONS)
    for each in answers:
        flagged = each.answer.verdict.flagged
        assert (each.answer.finish_reason is FinishReason.INTERVENTION) == flagged


def test_stacked_defences_nest_and_are_warned_of(model: LoadedModel) -> None:
    with pytest.warns(UserWarning, match="97 to 100 %"):
        defended = wrap(model, "prompt:before=B,after=", "adashield-s:shield=S")
    with defended:
        got = [each.answer for each in defended.answer(PROMPTS, OPTIONS)]
    assert got == plain(model, [around(around(prompt, "B", ""), "", "S") for prompt in PROMPTS])


def test_a_defence_that_fails_fails_its_request_alone(model: LoadedModel) -> None:
    class Falls(Defence):
        name, about, cost = "falls", "-", "-"

        def answer(self, request: Request) -> Steps:
            answer = yield request
            if "colours" in request.prompt.turns[0].text:
                raise DefenceError("no colours here")
            return answer

    with wrap(model, Falls()) as defended:
        futures = [defended.submit(Request(prompt, OPTIONS)) for prompt in _prompts()]
        assert [type(each.exception()) for each in futures] == [type(None), DefenceError, type(None), type(None)]


def test_a_request_that_is_cancelled_asks_no_further_and_is_no_error(
    model: LoadedModel, caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[int] = []

    class Twice(Defence):
        name, about, cost = "twice", "-", "-"

        def answer(self, request: Request) -> Steps:
            for turn in range(2):
                asked.append(turn)
                yield request
            return (yield request)

    with wrap(model, Twice()) as defended:
        way = defended.submit(Request(PROMPTS[0], OPTIONS))
        assert way.cancel()
        defended.engine.answer(PROMPTS[:1], OPTIONS)
    assert asked == [0]
    assert not caplog.records


def test_a_defence_that_yields_something_else_is_told(model: LoadedModel) -> None:
    class Odd(Defence):
        name, about, cost = "odd", "-", "-"

        def answer(self, request: Request) -> Steps:
            return (yield "text")

    with wrap(model, Odd()) as defended, pytest.raises(DefenceError, match="not str"):
        defended.answer(PROMPTS[:1], OPTIONS)


def test_only_classes_of_defences_are_registered() -> None:
    assert {"prompt", "adashield-s", "ecso", "guard"} <= set(defence_names())
    with pytest.raises(Exception, match="expected a class"):
        DEFENCES.add("wrong", Ecso())  # type: ignore[arg-type]


@pytest.mark.parametrize("family", tiny_models.FAMILIES)
def test_states_that_are_given_back_unchanged_change_nothing(family: str) -> None:
    class Same(Intervention):
        def on_hidden(self, place: Place, step: int, states: torch.Tensor) -> torch.Tensor:
            return states.clone()

    model = loaded(family)
    with Engine(model.model, model.processor) as engine:
        got = [engine.submit(Request(prompt, OPTIONS, (Same(),))).result() for prompt in PROMPTS]
    assert got == plain(model, PROMPTS)


@pytest.mark.parametrize("family", tiny_models.FAMILIES)
def test_every_place_is_seen_without_padding_at_every_step(family: str) -> None:
    seen: dict[tuple[Place, int], int] = {}

    class Note(Intervention):
        def on_hidden(self, place: Place, step: int, states: torch.Tensor) -> torch.Tensor:
            seen[place, step] = len(states)
            return states

    model = loaded(family)
    with Engine(model.model, model.processor) as engine:
        answers = [engine.submit(Request(PROMPTS[0], OPTIONS, (Note(),))), engine.submit(Request(PROMPTS[2], OPTIONS))]
        answer = answers[0].result()
        answers[1].result()
    layers = len(model.model.get_decoder().layers)
    assert {place for place, _ in seen} == {Place(layer, stream) for layer in range(layers) for stream in Stream}
    assert {length for (_, step), length in seen.items() if step == 0} == {answer.input_tokens}
    assert {length for (_, step), length in seen.items() if step > 0} == {1}


def test_states_of_one_row_change_that_row_alone(model: LoadedModel) -> None:
    class Push(Intervention):
        def on_hidden(self, place: Place, step: int, states: torch.Tensor) -> torch.Tensor:
            return -3 * states if place == Place(1) else states

    expected = plain(model, PROMPTS)
    with Engine(model.model, model.processor) as engine:
        futures = [engine.submit(Request(p, OPTIONS, (Push(),) if i == 1 else ())) for i, p in enumerate(PROMPTS)]
        got = [each.result() for each in futures]
        alone = engine.submit(Request(PROMPTS[1], OPTIONS, (Push(),))).result()
    assert got[1] == alone and got[1].tokens != expected[1].tokens
    assert [*got[:1], *got[2:]] == [*expected[:1], *expected[2:]]


def test_a_wrong_shape_is_named(model: LoadedModel) -> None:
    class Short(Intervention):
        def on_hidden(self, place: Place, step: int, states: torch.Tensor) -> torch.Tensor:
            return states[:1]

    with Engine(model.model, model.processor) as engine, pytest.raises(ModelError, match="on_hidden gave the shape"):
        engine.submit(Request(PROMPTS[0], OPTIONS, (Short(),))).result()


@pytest.mark.parametrize("family", tiny_models.FAMILIES)
def test_a_branch_of_the_same_prompt_reads_the_same_logits(family: str) -> None:
    differences: list[float] = []

    class Compare(Intervention):
        def __init__(self, branch: Branch) -> None:
            self.branch = branch
            self.token: int | None = None

        def on_logits(self, step: int, logits: torch.Tensor) -> torch.Tensor:
            other = self.branch.logits(self.token)
            differences.append(float((logits - other).abs().max()))
            return logits

        def on_token(self, step: int, token: int) -> None:
            self.token = token

    model = loaded(family)
    with Engine(model.model, model.processor) as engine:
        branch = engine.fork(PROMPTS[0], OPTIONS).result()
        got = engine.submit(Request(PROMPTS[0], OPTIONS, (Compare(branch),))).result()
        branch.close()
    assert got == plain(model, PROMPTS[:1])[0]
    assert len(differences) >= len(got.tokens) and max(differences) < 1e-4
    assert branch.passes == len(differences)


@pytest.mark.parametrize("family", tiny_models.FAMILIES)
def test_a_look_reads_every_layer_of_the_prompt(family: str) -> None:
    model = loaded(family)
    with Engine(model.model, model.processor) as engine:
        states = engine.look(PROMPTS[0], hidden_states).result()
        answer = engine.answer(PROMPTS[:1], OPTIONS)[0]
    assert states.shape[:2] == (len(model.model.get_decoder().layers) + 1, answer.input_tokens)
    assert states.isfinite().all()


def test_an_engine_that_is_closed_looks_no_more(model: LoadedModel) -> None:
    engine = Engine(model.model, model.processor)
    engine.close()
    with pytest.raises(ModelError, match="closed"):
        engine.look(PROMPTS[0], hidden_states)
