"""Moderations: OpenAI's thirteen names and ours, for texts and images."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from holisafe.crosswalks import OPENAI_MODERATION
from holisafe.guard import DecideBy
from holisafe.models import Engine
from holisafe.records import GuardVerdict, ImageVerdict, RequestVerdict
from holisafe.serve import ChatMessage, EngineBackend
from holisafe.serve.errors import guard_unavailable
from holisafe.serve.moderation import names_of_category, result
from holisafe.taxonomy import Category, Combination, GuardLabel
from serve.site import NAME, SAFE, UNSAFE, Site, data_url, guarded, running, wait_until


def image(label: GuardLabel, probability: float = 0.9, threshold: float = 0.5) -> ImageVerdict:
    rest = (1 - probability) / (len(GuardLabel) - 1)
    return ImageVerdict(
        label, probability, {each: probability if each is label else rest for each in GuardLabel}, threshold
    )


def request(category: Category, unsafe: float) -> RequestVerdict:
    combinations = dict.fromkeys(Combination, unsafe / 4) | {Combination.SSS: 1 - unsafe}
    categories = {each: 0.7 if each is category else 0.05 for each in Category}
    return RequestVerdict(Combination.SSU, unsafe / 4, combinations, categories, 0.5)


class HalfBroken(EngineBackend):
    """Judges one text never, and another one endlessly."""

    ended = False

    async def judge(self, messages: Sequence[ChatMessage]) -> GuardVerdict:
        if messages[0].text == "never":
            raise guard_unavailable()
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            self.ended = True
            raise
        raise AssertionError


def test_once_one_input_cannot_be_judged_the_others_are_given_up() -> None:
    tiny = guarded()
    with Engine(tiny.model, tiny.processor) as engine, running(HalfBroken(engine, NAME)) as site:
        parts = [[{"type": "image_url", "image_url": {"url": data_url(SAFE)}}, {"type": "text", "text": "long"}]]
        never = [[{"type": "image_url", "image_url": {"url": data_url(SAFE)}}, {"type": "text", "text": "never"}]]
        assert site.post("/v1/moderations", {"input": parts + never}).status_code == 503
        wait_until(lambda: site.backend.ended)
        assert site.count("unjudged_total") == 1


def test_every_one_of_the_thirteen_names_and_of_the_twenty_labels_is_there() -> None:
    found = result(GuardVerdict((image(GuardLabel.SAFE),)), DecideBy.REQUEST)
    names = {*OPENAI_MODERATION.codes, *(f"holisafe/{label}" for label in GuardLabel)}
    assert len(names) == 33
    for key in ("categories", "category_scores", "category_applied_input_types"):
        assert set(found[key]) == names
    assert not any(found["categories"].values())
    assert found["category_scores"]["holisafe/safe"] == pytest.approx(0.9)


def test_a_flagged_image_counts_for_the_nearest_name_alone() -> None:
    found = result(GuardVerdict((image(GuardLabel.WEAPON_RELATED_VIOLENCE),)), DecideBy.IMAGE)
    assert {name for name, is_so in found["categories"].items() if is_so} == {
        "violence",
        "holisafe/weapon_related_violence",
    }
    assert found["category_scores"]["violence/graphic"] == 0
    assert found["category_applied_input_types"]["violence"] == ["image"]


def test_scores_of_labels_under_one_name_add_up_and_stay_probabilities() -> None:
    found = result(GuardVerdict((image(GuardLabel.GENDER, 0.5),)), DecideBy.IMAGE)
    hate = ("gender", "race", "religion", "disability_discrimination")
    expected = sum(found["category_scores"][f"holisafe/{label}"] for label in hate)
    assert found["category_scores"]["hate"] == pytest.approx(expected)
    assert all(0 <= score <= 1 for score in found["category_scores"].values())


def test_of_several_images_the_worst_counts() -> None:
    verdict = GuardVerdict((image(GuardLabel.SAFE), image(GuardLabel.SUICIDE)))
    found = result(verdict, DecideBy.IMAGE)
    assert found["flagged"] and found["categories"]["self-harm"]
    assert found["category_scores"]["holisafe/suicide"] == pytest.approx(0.9)


def test_a_flagged_request_counts_as_text() -> None:
    found = result(GuardVerdict((), request(Category.HATE, 0.8)), DecideBy.REQUEST)
    assert found["flagged"] and found["categories"]["hate"]
    assert found["category_scores"]["hate"] == pytest.approx(0.8 * 0.7)
    assert found["category_applied_input_types"]["hate"] == ["text"]


def test_a_category_without_an_equivalent_flags_without_a_name() -> None:
    found = result(GuardVerdict((), request(Category.PRIVACY, 0.8)), DecideBy.REQUEST)
    assert found["flagged"] and not any(found["categories"].values())


def test_each_category_is_the_name_that_most_of_its_subcategories_are_nearest_to() -> None:
    assert {category: names_of_category(category) for category in Category} == {
        Category.HATE: ("hate",),
        Category.VIOLENCE: ("violence",),
        Category.ILLEGAL_ACTIVITY: ("illicit",),
        Category.SPECIALIZED_ADVICE: (),
        Category.SELF_HARM: ("self-harm",),
        Category.PRIVACY: (),
        Category.SEXUAL_CONTENT: ("sexual",),
    }


def test_texts_are_judged_one_by_one(site: Site) -> None:
    found = site.client().moderations.create(input=["Hello there", "What is this?"])
    assert len(found.results) == 2
    assert found.results[0].category_scores.hate != found.results[1].category_scores.hate
    assert found.results[0].category_applied_input_types.hate == ["text"]


def test_the_parts_of_one_input_are_one_result(site: Site) -> None:
    parts = [{"type": "image_url", "image_url": {"url": data_url(image)}} for image in (SAFE, UNSAFE)]
    found = site.client().moderations.create(input=[*parts, {"type": "text", "text": "What is it?"}])  # type: ignore[list-item]
    assert [each["flagged"] for each in found.results[0].image_safety] == [False, True]
    assert found.results[0].flagged is True


def test_several_inputs_of_images_are_several_results(site: Site) -> None:
    inputs = [[{"type": "image_url", "image_url": {"url": data_url(image)}}] for image in (SAFE, UNSAFE)]
    found = site.post("/v1/moderations", {"input": inputs}).json()["results"]
    assert [each["flagged"] for each in found] == [False, True]
    assert all(each["request_safety"] is None for each in found)  # without a question there is nothing to judge


def test_another_guard_cannot_be_named(site: Site) -> None:
    reply = site.post("/v1/moderations", {"model": "omni-moderation-latest", "input": "Hello"})
    assert reply.status_code == 404 and reply.json()["error"]["code"] == "model_not_found"


@pytest.mark.parametrize(("picture", "action"), [(SAFE, "NONE"), (UNSAFE, "BLOCKED")])
def test_litellm_is_told_whether_to_block(site: Site, picture: bytes, action: str) -> None:
    body = {
        "input_type": "request",
        "texts": ["What is it?"],
        "images": [data_url(picture)],
        "structured_messages": [{"role": "user", "content": "What is it?"}],
        "request_data": {"user_api_key_alias": "a"},
        "litellm_call_id": "1",
        "additional_provider_specific_params": {},
    }
    answer = site.post("/beta/litellm_basic_guardrail_api", body).json()
    assert answer["action"] == action
    assert ("blocked_reason" in answer) == (action == "BLOCKED")


def test_what_a_model_answered_passes_a_gateway(site: Site) -> None:
    body = {"input_type": "response", "texts": ["An answer."], "images": [data_url(UNSAFE)]}
    assert site.post("/beta/litellm_basic_guardrail_api", body).json() == {"action": "NONE"}
