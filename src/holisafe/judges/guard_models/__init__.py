"""Guard models, one file each: what each is asked, how its reply is read, and which combinations it can express.

Each is a judge by its name (`--judge llama-guard-4`), and a guard of requests (`holisafe bench --guard`).
"""

from holisafe.judges.guard_models._contract import (
    EVERY_COMBINATION,
    IMAGE_ALONE,
    TEXT_ALONE,
    CannotExpress,
    GuardModel,
    GuardQuestion,
    Sees,
    Subject,
)
from holisafe.judges.guard_models._guard import Guard, ModelGuard
from holisafe.judges.guard_models._local import LocalAsk, check_guard_checkpoint, load_guard_checkpoint
from holisafe.judges.guard_models._named import (
    GUARD_MODELS,
    TELL_REFUSALS,
    guard_model,
    is_guard_model,
    local_guard,
    named_guard,
)
from holisafe.judges.guard_models.any_guardrail import NAME as ANY_GUARDRAIL
from holisafe.judges.guard_models.any_guardrail import AnyGuardrailGuard
from holisafe.judges.guard_models.guardreasoner_vl import GuardReasonerVL
from holisafe.judges.guard_models.llama_guard import LlamaGuard
from holisafe.judges.guard_models.llavaguard import LlavaGuard
from holisafe.judges.guard_models.nemotron import NemotronContentSafety
from holisafe.judges.guard_models.shieldgemma2 import ShieldGemma2
from holisafe.judges.guard_models.singguard import SingGuard
from holisafe.judges.guard_models.wildguard import WildGuard

__all__ = [
    "ANY_GUARDRAIL",
    "EVERY_COMBINATION",
    "GUARD_MODELS",
    "IMAGE_ALONE",
    "TELL_REFUSALS",
    "TEXT_ALONE",
    "AnyGuardrailGuard",
    "CannotExpress",
    "Guard",
    "GuardModel",
    "GuardQuestion",
    "GuardReasonerVL",
    "LlamaGuard",
    "LlavaGuard",
    "LocalAsk",
    "ModelGuard",
    "NemotronContentSafety",
    "Sees",
    "ShieldGemma2",
    "SingGuard",
    "Subject",
    "WildGuard",
    "check_guard_checkpoint",
    "guard_model",
    "is_guard_model",
    "load_guard_checkpoint",
    "local_guard",
    "named_guard",
]
