"""Who decides: judges turn a response into a judgement. Each is found by name; third parties add their own."""

from holisafe.judges._fallback import with_fallback, with_fallbacks
from holisafe.judges._registry import Ask, Judge, PublishedProtocol, Reply, get, judge, names, with_model
from holisafe.judges._section import LastSection
from holisafe.judges.asked import AskedJudge
from holisafe.judges.judging import judge_all, judge_response, no_answer
from holisafe.judges.panels import Cascade, Panel, cascade, decided_shares, panel
from holisafe.judges.strings import (
    FinalAnswer,
    FirstWord,
    Option,
    PublishedStringMatch,
    Refusal,
    SaptStringMatch,
    VLGuardStringMatch,
)

__all__ = [
    "Ask",
    "AskedJudge",
    "Cascade",
    "FinalAnswer",
    "FirstWord",
    "Judge",
    "LastSection",
    "Option",
    "Panel",
    "PublishedProtocol",
    "PublishedStringMatch",
    "Refusal",
    "Reply",
    "SaptStringMatch",
    "VLGuardStringMatch",
    "cascade",
    "decided_shares",
    "get",
    "judge",
    "judge_all",
    "judge_response",
    "names",
    "no_answer",
    "panel",
    "with_fallback",
    "with_fallbacks",
    "with_model",
]
