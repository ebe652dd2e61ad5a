"""A judge of the last section of an answer that was asked to think aloud under headings first."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace

from holisafe.judges._registry import Ask, Judge, get, judge, with_model
from holisafe.records import JudgeId, Judgement, Response, Sample

HEADINGS = ("Query answer", "Response to instruction")
"""Headings of the section that is judged; the last that occurs counts."""

_HEADING = re.compile("|".join(rf"{re.escape(each)}\W{{0,4}}:" for each in HEADINGS), re.IGNORECASE)


class LastSection:
    """Another judge, shown only what follows the last heading of `HEADINGS`; all of it where there is none."""

    def __init__(self, inner: Judge) -> None:
        self.inner = inner
        listed = hashlib.sha256("\n".join(HEADINGS).encode()).hexdigest()[:8]
        self.id: JudgeId = replace(
            inner.id, name=f"last-section:{inner.id.name}", version=f"{inner.id.version} section 1+{listed}"
        )

    @property
    def needs_model(self) -> bool:
        """Whether the other judge asks a model."""
        return bool(getattr(self.inner, "needs_model", False))

    def with_model(self, model: str) -> Judge:
        """The same with the model in its identity."""
        return LastSection(with_model(self.inner, model))

    async def judge(self, sample: Sample, response: Response, ask: Ask | None = None) -> Judgement:
        """The other judge's judgement on the section."""
        section = _HEADING.split(response.text)[-1].strip()
        shown = replace(response, text=section or response.text)
        return replace(await self.inner.judge(sample, shown, ask), judge=self.id)


@judge("last-section")
def last_section(name: str = "refusal") -> Judge:
    """`last-section:NAME`: judge NAME on the last section of an answer."""
    return LastSection(get(name))
