"""Models made safer without training: merging weights, task arithmetic, flipping weights that react to unsafe input.

`edit` applies a method to a checkpoint and writes a new one with exactly the same tensor names. A method is a subclass
of `EditingMethod` in `EDITING_METHODS`; other packages add theirs under the entry-point group
`holisafe.editing_methods`, and test them with `holisafe.editing.conformance`. torch is imported on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holisafe._lazy import lazy
from holisafe.editing._method import EDITING_METHODS, Change, EditingConfig, EditingMethod
from holisafe.editing.methods import method_names

if TYPE_CHECKING:
    from holisafe.editing._checkpoint import Checkpoint
    from holisafe.editing._edit import Edited, check_new, edit
    from holisafe.editing._language import LanguageTensors, language_tensors
    from holisafe.editing._safeground import measure_safeground
    from holisafe.editing._sources import Sources

__all__ = [
    "EDITING_METHODS",
    "Change",
    "Checkpoint",
    "Edited",
    "EditingConfig",
    "EditingMethod",
    "LanguageTensors",
    "Sources",
    "check_new",
    "edit",
    "language_tensors",
    "measure_safeground",
    "method_names",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "Checkpoint": "holisafe.editing._checkpoint",
        "Edited": "holisafe.editing._edit",
        "LanguageTensors": "holisafe.editing._language",
        "Sources": "holisafe.editing._sources",
        "check_new": "holisafe.editing._edit",
        "edit": "holisafe.editing._edit",
        "language_tensors": "holisafe.editing._language",
        "measure_safeground": "holisafe.editing._safeground",
    },
)
