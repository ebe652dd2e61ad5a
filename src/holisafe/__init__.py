"""holisafe: measure, guard and tune vision-language models against harm in image, text, or only the two together.

Importing the package loads neither torch nor Inspect; the rooms that need them load them when used.
"""

from holisafe.errors import HoliSafeError
from holisafe.records import ImageRef, ImageVerdict, Outcome, Response, Run, Sample, Verdict
from holisafe.taxonomy import UNSAFE_COMBINATIONS, Category, Combination, GuardLabel, Subcategory

__version__ = "0.1.0"

__all__ = [
    "UNSAFE_COMBINATIONS",
    "Category",
    "Combination",
    "GuardLabel",
    "HoliSafeError",
    "ImageRef",
    "ImageVerdict",
    "Outcome",
    "Response",
    "Run",
    "Sample",
    "Subcategory",
    "Verdict",
    "__version__",
]
