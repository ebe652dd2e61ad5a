"""holisafe: measure, guard and tune vision-language models against harm in image, text, or only the two together.

Importing the package loads neither torch nor Inspect; the rooms that need them load them when used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from holisafe.errors import HoliSafeError
from holisafe.records import ImageRef, ImageVerdict, Judgement, Outcome, RequestVerdict, Response, Run, Sample
from holisafe.taxonomy import UNSAFE_COMBINATIONS, Category, Combination, GuardLabel, Subcategory

if TYPE_CHECKING:
    from holisafe.guard import GuardConfig, attach_guard, detach_guard, guarded_generate

__version__ = "0.2.0"

__all__ = [
    "UNSAFE_COMBINATIONS",
    "Category",
    "Combination",
    "GuardConfig",
    "GuardLabel",
    "HoliSafeError",
    "ImageRef",
    "ImageVerdict",
    "Judgement",
    "Outcome",
    "RequestVerdict",
    "Response",
    "Run",
    "Sample",
    "Subcategory",
    "__version__",
    "attach_guard",
    "detach_guard",
    "guarded_generate",
]


def __getattr__(name: str) -> Any:
    """Import the guard when one of its names is first asked for."""
    if name not in {"GuardConfig", "attach_guard", "detach_guard", "guarded_generate"}:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from holisafe import guard

    return getattr(guard, name)
