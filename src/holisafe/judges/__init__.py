"""Who decides: judges turn a response into a judgement. Each is found by name; third parties add their own."""

from holisafe.judges._registry import Ask, Judge, PublishedProtocol, Reply, get, judge, names
from holisafe.judges.judging import judge_all, judge_response, no_answer
from holisafe.judges.strings import PublishedStringMatch, Refusal, SaptStringMatch, VLGuardStringMatch

__all__ = [
    "Ask",
    "Judge",
    "PublishedProtocol",
    "PublishedStringMatch",
    "Refusal",
    "Reply",
    "SaptStringMatch",
    "VLGuardStringMatch",
    "get",
    "judge",
    "judge_all",
    "judge_response",
    "names",
    "no_answer",
]
