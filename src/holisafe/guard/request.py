"""The verdict on a request from a hidden state that another engine has computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from holisafe.errors import GuardError
from holisafe.guard._spans import last_columns
from holisafe.guard._verdict import joint_verdicts
from holisafe.guard.attach import base_model, guard_of, language_model_of, observer_of
from holisafe.guard.observer import Observer
from holisafe.records import RequestVerdict


@torch.no_grad()
def request_verdict(model: Any, state: Sequence[float]) -> RequestVerdict:
    """What the joint head says of a prompt, from the hidden state of its last position.

    Args:
        model: A model with a guard that has a joint head.
        state: (width,), as `prompt_state` gives it: after the language model's last norm, not normalised to length 1.

    Raises:
        GuardError: The guard has no joint head, or the state is of another width or not finite.
    """
    observer = _joint_observer(model)
    if len(state) != observer.site.width:
        raise GuardError(f"the state has {len(state)} numbers, and the guard reads {observer.site.width}")
    _, logits = guard_of(model)(None, torch.tensor([state], dtype=torch.float32))
    assert logits is not None
    return joint_verdicts(logits, observer.calibration)[0]


@torch.no_grad()
def prompt_state(model: Any, inputs: Mapping[str, Any]) -> Tensor:
    """The hidden state (width,) of a prompt's last position that the joint head reads, float32 on the CPU.

    Args:
        model: A model with a guard that has a joint head.
        inputs: A processor's output for one prompt.

    Raises:
        GuardError: The guard has no joint head.
    """
    observer, found = _joint_observer(model), []
    base = base_model(model)

    def keep(_module: Any, _inputs: Any, output: Any) -> None:
        found.append(output.last_hidden_state)  # (1, tokens, width)

    hook = language_model_of(base, observer.family).register_forward_hook(keep)
    try:
        base(**{key: _placed(value, base) for key, value in inputs.items()}, use_cache=False)
    finally:
        hook.remove()
    (hidden,) = found
    end = last_columns(inputs.get("attention_mask"), hidden.shape[1], 1)[0]
    state: Tensor = hidden[0, end].float().cpu()
    return state


def _joint_observer(model: Any) -> Observer:
    observer = observer_of(model)
    if not observer.config.joint_head:
        raise GuardError("the guard has no joint head, so it has no verdict on requests; use one with joint_head=True")
    if observer.config.meta_token:
        raise GuardError(
            "the guard's meta token changes what the language model reads, so states of another engine are not its own"
        )
    return observer


def _placed(value: Any, base: Any) -> Any:
    if not isinstance(value, Tensor):
        return value
    return value.to(base.device, base.dtype if value.is_floating_point() else None)
