"""Judges that read the response alone: exact, instant, the same on every machine."""

from holisafe.judges.strings._learned import Learned
from holisafe.judges.strings._options import Option
from holisafe.judges.strings._published import PublishedStringMatch, SaptStringMatch, VLGuardStringMatch
from holisafe.judges.strings._refusal import Refusal
from holisafe.judges.strings._words import FinalAnswer, FirstWord

__all__ = [
    "FinalAnswer",
    "FirstWord",
    "Learned",
    "Option",
    "PublishedStringMatch",
    "Refusal",
    "SaptStringMatch",
    "VLGuardStringMatch",
]
