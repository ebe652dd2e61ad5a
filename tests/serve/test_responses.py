"""The Responses API, by the official client."""

from __future__ import annotations

from typing import Any

import pytest

from serve.site import BLOCK, NAME, SAFE, UNSAFE, Site, data_url, shown


def items(image: bytes) -> list[dict[str, Any]]:
    parts = [{"type": "input_image", "image_url": data_url(image)}, {"type": "input_text", "text": "What is it?"}]
    return [{"role": "user", "content": parts}]


def test_a_response_is_the_answer_of_a_chat(site: Site) -> None:
    chat = site.chat(messages=shown(SAFE), max_tokens=6).json()
    response = site.client().responses.create(model=NAME, input=items(SAFE), max_output_tokens=6)  # type: ignore[arg-type]
    assert response.output_text == chat["choices"][0]["message"]["content"]
    assert response.status == "incomplete" and response.incomplete_details.reason == "max_output_tokens"
    assert response.usage.input_tokens == chat["usage"]["prompt_tokens"]
    assert response.moderation.input.flagged is False


def test_instructions_are_the_system_message(site: Site) -> None:
    messages = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Hello"}]
    chat = site.chat(messages=messages, max_tokens=4).json()
    response = site.client().responses.create(model=NAME, instructions="Be short.", input="Hello", max_output_tokens=4)
    assert response.output_text == chat["choices"][0]["message"]["content"]


def test_the_events_of_a_stream_make_up_the_response(site: Site) -> None:
    with site.client().responses.stream(model=NAME, input=items(SAFE), max_output_tokens=6) as stream:  # type: ignore[arg-type]
        events = list(stream)
    final = events[-1].response
    kinds = [event.type for event in events]
    assert kinds[:2] == ["response.created", "response.in_progress"] and kinds[-1] == "response.incomplete"
    assert [event.sequence_number for event in events] == list(range(len(events)))
    said = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert said == final.output_text != ""


@pytest.mark.parametrize("stream", [False, True])
def test_block_refuses_a_flagged_image(site: Site, stream: bool) -> None:
    asked = {"model": NAME, "input": items(UNSAFE), "moderation": BLOCK}
    if stream:
        with site.client().responses.stream(**asked) as events:  # type: ignore[arg-type]
            response = list(events)[-1].response
    else:
        response = site.client().responses.create(**asked)  # type: ignore[arg-type]
    part = response.output[0].content[0]
    assert part.type == "refusal" and part.refusal.startswith("I'm sorry")
    assert response.incomplete_details.reason == "content_filter"


@pytest.mark.parametrize(
    "field",
    [
        {"previous_response_id": "resp_1"},
        {"tools": [{"type": "web_search"}]},
        {"text": {"format": {"type": "json_schema"}}},
        {"background": True},
    ],
)
def test_what_is_not_served_is_refused_by_name(site: Site, field: dict[str, Any]) -> None:
    reply = site.post("/v1/responses", {"model": NAME, "input": "Hello", **field})
    assert reply.status_code == 400
    assert reply.json()["error"]["param"].split(".")[0] == next(iter(field))
