"""A guard's verdicts in words: what decides a flag (probability of unsafe and threshold) is always said beside it."""

from __future__ import annotations

from holisafe.records import ImageVerdict, RequestVerdict
from holisafe.taxonomy import Combination, GuardLabel


def image_verdict_words(verdict: ImageVerdict) -> str:
    """E.g. "flagged, P(unsafe) 23.3 % ≥ threshold 20.0 %: weapon related violence"."""
    if GuardLabel.SAFE not in verdict.distribution:
        given = f"{_spaced(verdict.label.value)} {percent(verdict.probability)}"
        return f"{given} (never flagged: the guard has no label “safe”)"
    harms = {label: share for label, share in verdict.distribution.items() if label is not GuardLabel.SAFE}
    found = max(harms, key=lambda label: harms[label]) if verdict.flagged and harms else verdict.label
    return _decided(verdict, _spaced(found.value))


def request_verdict_words(verdict: RequestVerdict) -> str:
    """E.g. "not flagged, P(unsafe) 12.0 % < threshold 50.0 %: SSS"."""
    if Combination.SSS not in verdict.distribution:
        return f"{verdict.combination.value} {percent(verdict.probability)} (never flagged: the guard has no “SSS”)"
    harms = {kind: share for kind, share in verdict.distribution.items() if not kind.is_safe}
    found = max(harms, key=lambda kind: harms[kind]) if verdict.flagged and harms else verdict.combination
    return _decided(verdict, found.value)


def percent(share: float) -> str:
    """A share in [0, 1] in percent; below 0.1 % and above 99.9 % as such, for thresholds near the ends."""
    if 0 < share < 0.001:
        return "< 0.1 %"
    return "> 99.9 %" if 0.999 < share < 1 else f"{100 * share:.1f} %"


def _decided(verdict: ImageVerdict | RequestVerdict, found: str) -> str:
    flag, sign = ("flagged", "≥") if verdict.flagged else ("not flagged", "<")
    return f"{flag}, P(unsafe) {percent(verdict.unsafe)} {sign} threshold {percent(verdict.threshold)}: {found}"


def _spaced(name: str) -> str:
    return name.replace("_", " ")
