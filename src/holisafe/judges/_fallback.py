"""A judge with one named stand-in for where it gives no verdict; every judgement says who gave it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from holisafe.errors import JudgeError
from holisafe.judges._registry import Ask, Judge, PublishedProtocol, with_model
from holisafe.records import NOT_SCORED, JudgeId, Judgement, Outcome, Response, Sample

GIVEN_BY = "given_by"
"""Key of a judgement's details: the judge whose verdict it is."""

_STANDS_IN = (Outcome.REFUSED_TO_JUDGE, Outcome.UNPARSABLE)


@dataclass(frozen=True, slots=True)
class _WithFallback:
    """The first judge, and the second where the first refused to judge or could not be read."""

    first: Judge
    second: Judge
    id: JudgeId

    @property
    def needs_model(self) -> bool:
        return True

    def with_model(self, model: str) -> Judge:
        return with_fallback(with_model(self.first, model), self.second)

    async def judge(self, sample: Sample, response: Response, ask: Ask | None = None) -> Judgement:
        said = await self.first.judge(sample, response, ask)
        if said.outcome not in _STANDS_IN:
            return self._by(said, said)
        other = await self.second.judge(sample, response, ask)
        judgement = self._by(said if other.outcome in NOT_SCORED else other, said)
        return replace(judgement, votes=(said, other))

    def _by(self, decided: Judgement, asked: Judgement) -> Judgement:
        details = {**decided.details, GIVEN_BY: decided.judge.name}
        return replace(decided, judge=self.id, details=details, usage=asked.usage)


class _ProtocolWithFallback(_WithFallback, PublishedProtocol):
    """The same for a published protocol, which counts every text."""

    __slots__ = ()


def with_fallback(judge: Judge, fallback: Judge) -> Judge:
    """A judge that asks a model, with another for where the model refuses to judge or its reply cannot be read.

    An error stays an error: what could not be reached is asked again by the next call. The judgement's details name
    the judge that gave it (`given_by`), and its votes hold both.

    Args:
        judge: The judge.
        fallback: The other, which asks no model.

    Raises:
        JudgeError: The first asks no model, or the second does.
    """
    if not getattr(judge, "needs_model", False):
        raise JudgeError(f"judge {judge.id.name!r} asks no model, so that it needs no fallback")
    if getattr(fallback, "needs_model", False):
        raise JudgeError(f"the fallback {fallback.id.name!r} asks a model itself; name one that asks none")
    kind = _ProtocolWithFallback if isinstance(judge, PublishedProtocol) else _WithFallback
    version = f"{judge.id.version}; {fallback.id.version}"
    return kind(
        judge, fallback, replace(judge.id, name=f"{judge.id.name}(fallback={fallback.id.name!r})", version=version)
    )


def with_fallbacks(judges: Sequence[Judge], fallback: Judge) -> list[Judge]:
    """The judges, of which those that ask a model have the fallback.

    Raises:
        JudgeError: None of them asks a model, or the fallback does.
    """
    if not any(getattr(judge, "needs_model", False) for judge in judges):
        raise JudgeError("a fallback is for judges that ask a model, and none of them does; leave it out")
    return [with_fallback(judge, fallback) if getattr(judge, "needs_model", False) else judge for judge in judges]
