"""What answers: loading any transformers vision-language model, and asking it many questions quickly.

`load` gives a model and its processor; `Answerer` asks them in batches and reuses what samples share; `calibrate_on`
makes the scores of its guard probabilities.
Neither torch nor transformers is imported before one of them is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from holisafe.models._load import LoadedModel, load
from holisafe.models._registry import model, registered_models

if TYPE_CHECKING:
    from holisafe.models._answerer import Answerer
    from holisafe.models._calibrate import calibrate_on
    from holisafe.models._generate import Answer
    from holisafe.models._prompt import Prompt, Turn

__all__ = [
    "Answer",
    "Answerer",
    "LoadedModel",
    "Prompt",
    "Turn",
    "calibrate_on",
    "load",
    "model",
    "registered_models",
]

_LATE = {
    "Answerer": "_answerer",
    "Answer": "_generate",
    "Prompt": "_prompt",
    "Turn": "_prompt",
    "calibrate_on": "_calibrate",
}


def __getattr__(name: str) -> Any:
    """Import what needs torch when it is first asked for."""
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"holisafe.models.{_LATE[name]}"), name)
