"""Who decides: judges turn a response into a judgement. Each is found by name; third parties add their own."""

from holisafe.judges import guard_models
from holisafe.judges._about import About, about, measured_error
from holisafe.judges._derived import (
    MAPPINGS,
    Booleans,
    Derived,
    MISOutcome,
    MSSBenchOutcome,
    VLSBenchOutcome,
    derive,
)
from holisafe.judges._fallback import with_fallback, with_fallbacks
from holisafe.judges._registry import Ask, Judge, PublishedProtocol, Reply, get, judge, names, with_model
from holisafe.judges._requests import Request, asks_model, requests_of, requests_of_guard
from holisafe.judges._section import LastSection
from holisafe.judges.asked import AskedJudge
from holisafe.judges.judging import judge_all, judge_response, judged_unasked, no_answer
from holisafe.judges.panels import Cascade, MeanPanel, Panel, cascade, decided_shares, panel
from holisafe.judges.strings import (
    FinalAnswer,
    FirstWord,
    Learned,
    Option,
    PublishedStringMatch,
    Refusal,
    SaptStringMatch,
    VLGuardStringMatch,
)

__all__ = [
    "MAPPINGS",
    "About",
    "Ask",
    "AskedJudge",
    "Booleans",
    "Cascade",
    "Derived",
    "FinalAnswer",
    "FirstWord",
    "Judge",
    "LastSection",
    "Learned",
    "MISOutcome",
    "MSSBenchOutcome",
    "MeanPanel",
    "Option",
    "Panel",
    "PublishedProtocol",
    "PublishedStringMatch",
    "Refusal",
    "Reply",
    "Request",
    "SaptStringMatch",
    "VLGuardStringMatch",
    "VLSBenchOutcome",
    "about",
    "asks_model",
    "cascade",
    "decided_shares",
    "derive",
    "get",
    "guard_models",
    "judge",
    "judge_all",
    "judge_response",
    "judged_unasked",
    "measured_error",
    "names",
    "no_answer",
    "panel",
    "requests_of",
    "requests_of_guard",
    "with_fallback",
    "with_fallbacks",
    "with_model",
]
