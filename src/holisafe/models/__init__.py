"""What answers: loading any transformers vision-language model, and asking it many questions quickly.

`load` gives a model and its processor; `Answerer` asks them in batches and reuses what samples share; `calibrate_on`
makes the scores of its guard probabilities.
Neither torch nor transformers is imported before one of them is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holisafe._lazy import lazy
from holisafe.models.loading import LoadedModel, load
from holisafe.models.registry import model, registered_models

if TYPE_CHECKING:
    from holisafe.models._answerer import Answerer
    from holisafe.models._generate import Answer
    from holisafe.models.prompts import Prompt, Turn

__all__ = [
    "Answer",
    "Answerer",
    "LoadedModel",
    "Prompt",
    "Turn",
    "load",
    "model",
    "registered_models",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "Answerer": "holisafe.models._answerer",
        "Answer": "holisafe.models._generate",
        "Prompt": "holisafe.models.prompts",
        "Turn": "holisafe.models.prompts",
    },
)
