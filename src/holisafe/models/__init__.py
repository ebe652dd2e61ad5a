"""What answers: loading any transformers vision-language model, and asking it many questions quickly.

`load` gives a model and its processor; an `Engine` asks them in batches, whole or streamed, and reuses what samples
share. Neither torch nor transformers is imported before one of them is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holisafe._lazy import lazy
from holisafe.models.loading import LoadedModel, load
from holisafe.models.registry import MODELS, RegisteredModel, model, registered_models
from holisafe.models.spec import ModelSpec

if TYPE_CHECKING:
    from holisafe.models.engine import (
        Answer,
        Branch,
        End,
        Engine,
        Event,
        FinishEvent,
        FinishReason,
        GenerationOptions,
        Insert,
        Intervention,
        OutputEvent,
        OutputGuard,
        OutputMode,
        Place,
        PolicyIntervention,
        Request,
        Stream,
        TokenEvent,
        VerdictEvent,
        hidden_states,
    )
    from holisafe.models.prompts import Prompt

_OF_ENGINE = (
    "Answer",
    "Branch",
    "End",
    "Engine",
    "Event",
    "FinishEvent",
    "FinishReason",
    "GenerationOptions",
    "Insert",
    "Intervention",
    "OutputEvent",
    "OutputGuard",
    "OutputMode",
    "Place",
    "PolicyIntervention",
    "Request",
    "Stream",
    "TokenEvent",
    "VerdictEvent",
    "hidden_states",
)

__all__ = [
    "MODELS",
    "Answer",
    "Branch",
    "End",
    "Engine",
    "Event",
    "FinishEvent",
    "FinishReason",
    "GenerationOptions",
    "Insert",
    "Intervention",
    "LoadedModel",
    "ModelSpec",
    "OutputEvent",
    "OutputGuard",
    "OutputMode",
    "Place",
    "PolicyIntervention",
    "Prompt",
    "RegisteredModel",
    "Request",
    "Stream",
    "TokenEvent",
    "VerdictEvent",
    "hidden_states",
    "load",
    "model",
    "registered_models",
]

__getattr__, __dir__ = lazy(
    __name__,
    {"Prompt": "holisafe.models.prompts", **dict.fromkeys(_OF_ENGINE, "holisafe.models.engine")},
)
