"""Guard models by name: each a judge and a guard. "NAME" asks the judges' model, "NAME:SOURCE" a checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from holisafe._registry import Registry
from holisafe.errors import GuardError
from holisafe.judges._registry import judge as register_judge
from holisafe.judges.guard_models._contract import GuardModel
from holisafe.judges.guard_models._guard import ModelGuard
from holisafe.judges.guard_models._local import LocalAsk, check_guard_checkpoint, identity
from holisafe.judges.guard_models.any_guardrail import NAME as ANY_GUARDRAIL
from holisafe.judges.guard_models.any_guardrail import AnyGuardrailGuard
from holisafe.judges.guard_models.guardreasoner_vl import GuardReasonerVL
from holisafe.judges.guard_models.llama_guard import LLAMA_GUARD_3_VISION, LLAMA_GUARD_4
from holisafe.judges.guard_models.llavaguard import LlavaGuard
from holisafe.judges.guard_models.nemotron import NemotronContentSafety
from holisafe.judges.guard_models.shieldgemma2 import ShieldGemma2
from holisafe.judges.guard_models.singguard import SingGuard
from holisafe.judges.guard_models.wildguard import WildGuard

GUARD_MODELS: Registry[Callable[..., GuardModel]] = Registry(
    "guard model",
    "holisafe.guard_models",
    expected="a class or function that returns a guard model",
    accepts=callable,
)
"""Guard models by name; other packages add theirs by an entry point of the group `holisafe.guard_models`."""


TELL_REFUSALS = frozenset({"wildguard"})
"""Guard models that tell whether a response refuses; another package's says so by an attribute `tells_refusals`."""


def is_guard_model(name: str) -> bool:
    """Whether NAME or NAME:SOURCE names a guard model."""
    head = name.partition(":")[0]
    return head == ANY_GUARDRAIL or head in GUARD_MODELS


def guard_model(name: str, **parameters: Any) -> GuardModel:
    """The guard model of that name.

    Args:
        name: Its name, such as "llama-guard-4".
        parameters: What it takes, such as `policy` of SingGuard and LlavaGuard.

    Raises:
        UnknownNameError: There is none; the closest names are offered.
        RegistryError: The package that adds it cannot be imported.
        GuardError: It does not take these parameters.
    """
    make = GUARD_MODELS.get(name)
    try:
        return make(**parameters)
    except TypeError as error:
        raise GuardError(f"guard model {name!r} does not take these parameters: {error}") from error


def local_guard(
    name: str, source: str | Path, *, device: str | None = None, dtype: str | None = None, **parameters: Any
) -> ModelGuard:
    """A guard model whose checkpoint is loaded on this machine, through its own transformers class.

    Args:
        name: Its name.
        source: Folder of the checkpoint, or its Hub id.
        device: Where to put it; the first GPU, else the CPU, when None.
        dtype: "auto" (as saved), "float32", "bfloat16" or "float16".
        parameters: What it takes.

    Raises:
        UnknownNameError: There is no such guard model.
        GuardError: It does not take these parameters.
    """
    model = guard_model(name, **parameters)
    return ModelGuard(
        model, LocalAsk(model, str(source), device, dtype), identity(str(source)), f"{name}:{Path(source).name}"
    )


def named_guard(name: str, source: str = "", **parameters: Any) -> ModelGuard:
    """What `NAME` and `NAME:SOURCE` mean: reached through the caller's `ask`, or a checkpoint on this machine."""
    if source:
        return local_guard(name, source, **parameters)
    return ModelGuard(guard_model(name, **parameters))


def _add(name: str, make: Callable[..., GuardModel]) -> None:
    GUARD_MODELS.add(name, make)

    def named(source: str = "", **parameters: Any) -> ModelGuard:
        if source:  # before anything is asked, not at the first answer
            check_guard_checkpoint(guard_model(name, **parameters), source)
        return named_guard(name, source, **parameters)

    register_judge(name)(named)


register_judge(ANY_GUARDRAIL)(AnyGuardrailGuard)
_add("llama-guard-3-vision", lambda: LLAMA_GUARD_3_VISION)
_add("llama-guard-4", lambda: LLAMA_GUARD_4)
_add("llavaguard", LlavaGuard)
_add("shieldgemma2", ShieldGemma2)
_add("wildguard", WildGuard)
_add("guardreasoner-vl", GuardReasonerVL)
_add("nemotron-content-safety", NemotronContentSafety)
_add("nemotron-content-safety-thinking", lambda: NemotronContentSafety("nemotron-content-safety-thinking", True))
_add("singguard", lambda policy="": SingGuard(policy=policy))
_add("singguard-slow", lambda policy="": SingGuard("singguard-slow", "slow", policy))
_add("singguard-hybrid", lambda policy="": SingGuard("singguard-hybrid", "hybrid", policy))
