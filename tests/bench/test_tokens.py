"""Tokens of a request before it is sent: the providers' rules on sizes that they, or their users, have published."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from holisafe.bench._tokens import image_rule, input_tokens, text_tokens
from holisafe.records import ImageRef, Role, Turn


def tokens(model: str, width: int, height: int) -> int:
    rule = image_rule(model)
    assert rule is not None
    return rule.count(width, height)


@pytest.mark.parametrize(
    ("model", "width", "height", "expected"),
    [
        # OpenAI's guide: 1024 x 1024 has 4 tiles, 2048 x 4096 six
        ("openai/gpt-4o", 1024, 1024, 765),
        ("openai/gpt-4o-2024-11-20", 2048, 4096, 1105),
        ("openai/gpt-4.1-2025-04-14", 128, 64, 255),
        ("openai/azure/gpt-4o-mini", 128, 64, 2833 + 5667),
        ("openai/o3-2025-04-16", 128, 64, 225),
        ("openai/gpt-5", 512, 512, 210),
        ("openai/gpt-4.1-mini", 1024, 1024, 1659),
        ("openai/gpt-4.1-mini", 4000, 3000, 2489),
        ("anthropic/claude-sonnet-4-5-20250929", 1000, 1000, 1334),
        ("anthropic/claude-3-5-sonnet-latest", 4000, 3000, 1600),
        ("anthropic/bedrock/anthropic.claude-opus-4-7", 4000, 3000, 4784),
        # Google's example: 960 x 540 is 3 x 2 crops of 360
        ("google/gemini-2.5-flash", 960, 540, 6 * 258),
        ("google/gemini-2.0-flash", 384, 384, 258),
    ],
)
def test_images_are_counted_by_the_rule_of_the_models_provider(
    model: str, width: int, height: int, expected: int
) -> None:
    assert tokens(model, width, height) == expected


@pytest.mark.parametrize(
    "model", ["openai/gpt-5-mini", "openai/gpt-5.5", "google/gemini-3.8-flash", "vllm/gpt-4o", "holisafe/pocket", ""]
)
def test_no_rule_is_guessed(model: str) -> None:
    assert image_rule(model) is None


def test_text_counts_by_its_bytes() -> None:
    assert [text_tokens(text) for text in ("", "abcd", "abcde", "\u0645\u06cc", "\ud800")] == [0, 1, 2, 1, 1]


def test_images_without_a_rule_are_unknown_and_those_that_cannot_be_read_cost_nothing() -> None:
    data = io.BytesIO()
    Image.new("RGB", (40, 40)).save(data, "PNG")
    turns = [Turn(Role.USER, "abcd", (ImageRef("good", data=data.getvalue()), ImageRef("bad", data=b"\x89PNG")))]
    assert input_tokens(turns, None).images is None
    found = input_tokens(turns, image_rule("openai/gpt-4o"))
    assert (found.text, found.images) == (1, 255)
    assert input_tokens([Turn(Role.USER, "abcd")], None).images == 0
