"""Every family that the guard is tried on, by transformers' name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from guard.families import gemma_like, glm_like, grids, llava_like, others, page_readers, qwen_like, tiled
from guard.families.case import Case
from holisafe.guard.conformance import GuardConformance

BUILDERS: dict[str, Callable[[], Case]] = {
    name: build
    for module in (llava_like, tiled, qwen_like, glm_like, gemma_like, others, page_readers, grids)
    for name, build in module.FAMILIES.items()
}


class _StackedStates(GuardConformance):
    """Families whose `hidden_states` hold several streams that only the end of the model brings together."""

    def last_hidden_states(self, model: Any, batch: dict[str, Any]) -> Tensor:
        states: Tensor = model.model(**batch).last_hidden_state
        return states


class _NestedStates(GuardConformance):
    """Families whose language model keeps its outputs to itself."""

    def last_hidden_states(self, model: Any, batch: dict[str, Any]) -> Tensor:
        states: Tensor = model(**batch, output_hidden_states=True).language_model_outputs.hidden_states[-1]
        return states


class _LooksAhead(GuardConformance):
    """Families whose images see each other."""

    sees_later_images = True


_BASES: dict[str, type[GuardConformance]] = {
    "gemma3n": _StackedStates,
    "blip-2": _NestedStates,
    "instructblip": _NestedStates,
    "paligemma": _LooksAhead,
    "molmo2": _LooksAhead,
}
_NOT_GUARDED = {"perception_lm"}


def _suite(name: str) -> type[GuardConformance]:
    def case(self: GuardConformance) -> Case:
        return BUILDERS[name]()

    return type(name, (_BASES.get(name, GuardConformance),), {"case": case})


SUITES: dict[str, type[GuardConformance]] = {name: _suite(name) for name in BUILDERS if name not in _NOT_GUARDED}
