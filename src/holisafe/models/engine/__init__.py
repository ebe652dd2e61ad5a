"""How a model answers: batches, prefill, decoding, and what may change an answer while it is generated."""

from holisafe.models.engine.engine import Engine
from holisafe.models.engine.interventions import Action, End, Insert, Intervention, PolicyIntervention
from holisafe.models.engine.options import GenerationOptions
from holisafe.models.engine.request import (
    Answer,
    Event,
    FinishEvent,
    FinishReason,
    Request,
    TokenEvent,
    VerdictEvent,
)

__all__ = [
    "Action",
    "Answer",
    "End",
    "Engine",
    "Event",
    "FinishEvent",
    "FinishReason",
    "GenerationOptions",
    "Insert",
    "Intervention",
    "PolicyIntervention",
    "Request",
    "TokenEvent",
    "VerdictEvent",
]
