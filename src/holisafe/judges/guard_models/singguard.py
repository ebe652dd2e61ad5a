"""SingGuard: a conversation and a policy in, safe or unsafe and the rule that is broken out; fast, slow or hybrid."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from holisafe.judges._registry import Reply
from holisafe.judges.guard_models._contract import EVERY_COMBINATION, GuardQuestion, Sees, Subject
from holisafe.judges.guard_models._read import after_thought, bounded, conversation, one_line, response_text, unreadable
from holisafe.records import GuardReading, Response, Role, Sample, Turn

Thinking = Literal["fast", "slow", "hybrid"]

_FAST = re.compile(r"(safe|unsafe)(?:\s*<answer>([^<>]{1,500})</answer>)?", re.IGNORECASE)
_LEADING = re.compile(r"(safe|unsafe)[ \t]*\n", re.IGNORECASE)
_ANSWER = re.compile(r"<answer>([^<>]{1,500})</answer>", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class SingGuard:
    """Ant's guard, which judges by the rules that it is given when it is asked.

    `fast` says safe or unsafe on its first line at once; `slow` reasons, and its `<answer>` decides; `hybrid` says so
    on its first line and reasons then, and its `<answer>` decides.

    Can express: all five combinations, of requests and of responses. Cannot: refusals.

    Source: `inclusionAI/SingGuard-2b`, `-4b`, `-8b` (Qwen3-VL) and `Sing-Guard-0.8b` (Qwen3.5) (arXiv 2606.22873,
    Apache-2.0). The chat template takes `thinking_type` and `policy`.

    Attributes:
        name: "singguard", "singguard-slow" or "singguard-hybrid".
        thinking: How it reasons.
        policy: Rules in plain language, one a line; the model's own categories where empty.
    """

    name: str = "singguard"
    thinking: Thinking = "fast"
    policy: str = ""

    architectures = ("Qwen3VLForConditionalGeneration", "Qwen3_5ForConditionalGeneration")
    expresses = EVERY_COMBINATION
    sees = frozenset(Sees)
    is_plain = False
    verdict_words = ()

    @property
    def max_tokens(self) -> int:
        """Room for its reasoning where it reasons."""
        return 64 if self.thinking == "fast" else 2048

    def messages(self, sample: Sample, response: Response | None) -> tuple[GuardQuestion, ...]:
        """The conversation itself; the rules go to the chat template."""
        turns = conversation(sample)
        answer = response_text(response)
        template = {"thinking_type": self.thinking, **({"policy": self.policy} if self.policy else {})}
        if answer is None:
            return (GuardQuestion(turns, Subject.REQUEST, template=template),)
        return (GuardQuestion((*turns, Turn(Role.ASSISTANT, answer)), Subject.RESPONSE, template=template),)

    def read(self, reply: Reply, question: GuardQuestion) -> GuardReading:
        """Where it is fast, its one word, and an `<answer>` that must not differ; else the `<answer>` at its end."""
        text = bounded(reply.text)
        if text is None:
            return unreadable(f"a reply of {len(reply.text):,} characters")
        return _fast(text) if self.thinking == "fast" else self._reasoned(text)

    def _reasoned(self, text: str) -> GuardReading:
        said = after_thought(text)
        if said is None:
            return unreadable(f"a thought that never ends: {one_line(text)}")
        if self.thinking == "hybrid" and _LEADING.match(text) is None:
            return unreadable(f"neither safe nor unsafe on the first line: {one_line(text)}")
        answers = list(_ANSWER.finditer(said))
        if len(answers) != 1 or answers[0].end() != len(said):
            return unreadable(f"not one answer at the end of its reasoning: {one_line(said)}")
        return _verdict(answers[0][1])


def _fast(text: str) -> GuardReading:
    found = _FAST.fullmatch(text)
    if found is None:
        return unreadable(f"neither safe nor unsafe alone: {one_line(text)}")
    unsafe = found[1].lower() == "unsafe"
    by_answer = GuardReading(unsafe) if found[2] is None else _verdict(found[2])
    if by_answer.unsafe is not unsafe:
        return unreadable(f"its first line and its answer differ: {one_line(text)}")
    return by_answer


def _verdict(rule: str) -> GuardReading:
    """What an answer says: Safe, or the rule that is broken."""
    rule = rule.strip()
    if not rule:
        return unreadable("an empty answer")
    return GuardReading(False) if rule.lower() == "safe" else GuardReading(True, categories=(rule,))
