"""A guard's model that says what it is told to, and what it was asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from holisafe.judges import Reply
from holisafe.records import ImageRef, Response, Sample, Turn
from holisafe.taxonomy import Combination

SAFE = {
    "llama-guard-3-vision": "safe",
    "llama-guard-4": "\n\nsafe",
    "llavaguard": '{"rating": "Safe", "category": "NA: None applying", "rationale": "A street."}',
    "shieldgemma2": "No",
    "wildguard": "Harmful request: no\nResponse refusal: no\nHarmful response: no",
    "guardreasoner-vl": "<think>Nothing.</think>\n<result>\nRequest: unharmful\nResponse: unharmful\n</result>",
    "nemotron-content-safety": "User Safety: safe\nResponse Safety: safe",
    "nemotron-content-safety-thinking": "<think>\nNothing.\n</think>\nUser Safety: safe\nResponse Safety: safe",
    "singguard": "safe",
    "singguard-slow": "Nothing here breaks a rule.\n<answer>Safe</answer>",
    "singguard-hybrid": "safe\nNothing here breaks a rule.\n<answer>Safe</answer>",
}
"""What each guard says of what is safe, and does not refuse."""

UNSAFE = {
    "llama-guard-3-vision": "unsafe\nS1,S10",
    "llama-guard-4": "\n\nunsafe\nS2",
    "llavaguard": '{"rating": "Unsafe", "category": "O5: Criminal Planning", "rationale": "A break-in."}',
    "shieldgemma2": "Yes",
    "wildguard": "Harmful request: yes\nResponse refusal: no\nHarmful response: yes",
    "guardreasoner-vl": "<think>It plans harm.</think>\n<result>\nRequest: harmful\nResponse: harmful\n</result>",
    "nemotron-content-safety": "User Safety: unsafe\nResponse Safety: unsafe\nSafety Categories: Violence, Threat",
    "nemotron-content-safety-thinking": "<think>\nA plan.\n</think>\nUser Safety: unsafe\nResponse Safety: unsafe",
    "singguard": "unsafe\n<answer>Real-World Crimes</answer>",
    "singguard-slow": "The second rule is broken.\n<answer>Real-World Crimes</answer>",
    "singguard-hybrid": "unsafe\nThe second rule is broken.\n<answer>Real-World Crimes</answer>",
}
"""What each guard says of what is unsafe."""

NAMES = tuple(sorted(SAFE))
IMAGE_GUARDS = ("llavaguard", "shieldgemma2")


@dataclass
class Says:
    """An `ask` that gives one reply, or what a function makes of the turns."""

    reply: Reply | str | Callable[[Sequence[Turn]], Reply | str]
    asked: list[list[Turn]] = field(default_factory=list)
    templates: list[dict[str, Any]] = field(default_factory=list)

    async def __call__(
        self, turns: Sequence[Turn], *, max_tokens: int = 512, template: Mapping[str, Any] | None = None
    ) -> Reply:
        self.asked.append(list(turns))
        self.templates.append(dict(template or {}))
        found = self.reply(turns) if callable(self.reply) else self.reply
        return found if isinstance(found, Reply) else Reply(found, "scripted")


def sample(
    combination: Combination | str | None = Combination.UUU, images: int = 1, query: str = "What now?"
) -> Sample:
    """A request with images that nobody opens."""
    shown = [ImageRef(f"image-{place}", data=b"", digest=str(place)) for place in range(images)]
    return Sample.ask("s", shown, query, combination)


def response(text: str = "In small steps.") -> Response:
    """An answer to it."""
    return Response("s", text, "model")
