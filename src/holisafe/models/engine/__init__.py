"""How a model answers: batches, prefill, decoding, and what may change an answer while it is generated."""

from holisafe.models.engine.branch import Branch
from holisafe.models.engine.engine import Engine
from holisafe.models.engine.inside import hidden_states
from holisafe.models.engine.interventions import (
    Action,
    End,
    Insert,
    Intervention,
    Place,
    PolicyIntervention,
    Stream,
)
from holisafe.models.engine.options import GenerationOptions
from holisafe.models.engine.output import OutputGuard, OutputMode
from holisafe.models.engine.request import (
    Answer,
    Event,
    FinishEvent,
    FinishReason,
    OutputEvent,
    Request,
    TokenEvent,
    VerdictEvent,
)

__all__ = [
    "Action",
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
]
