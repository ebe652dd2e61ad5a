"""Who decides: judges turn a response into a verdict. Each is found by name; third parties add their own."""

from holisafe.judges._registry import Judge, get, judge, names
from holisafe.judges._verdict import verdict_of
from holisafe.judges.strings import PublishedStringMatch, Refusal

__all__ = ["Judge", "PublishedStringMatch", "Refusal", "get", "judge", "names", "verdict_of"]
