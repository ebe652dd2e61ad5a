"""Several processes: which one this is, whether FSDP is asked for, and what it looks like when one has ended."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from holisafe.errors import TuningError


def process() -> tuple[int, int]:
    """Which of how many processes this is, as launchers tell it."""
    return int(os.environ.get("RANK", "0")), process_count()


def process_count() -> int:
    """Processes that `torchrun` or `accelerate launch` started; 1 without them."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def wants_shards(fsdp: Any) -> bool:
    """Whether FSDP was asked for, by this `TrainingArguments` option or by `accelerate launch`.

    Raises:
        TuningError: It was, and there is one process.
    """
    is_wanted = bool(fsdp) or os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"
    if is_wanted and process_count() == 1:
        raise TuningError(
            "FSDP was asked for, but there is one process; start several with torchrun or accelerate launch, or leave "
            "FSDP out"
        )
    return is_wanted


def fsdp_options(fsdp: bool, config: Mapping[str, Any] | None) -> dict[str, Any]:
    """`TrainingArguments` for FSDP; none where it was not asked for.

    Raises:
        TuningError: There are settings of FSDP without it, one is unknown or of another kind, or they are for version
            1.
    """
    if not fsdp:
        if config:
            raise TuningError("fsdp_config: FSDP was not asked for; use --fsdp (fsdp=True), or leave its settings out")
        return {}
    given = {str(key).removeprefix("fsdp_"): value for key, value in (config or {}).items()}
    if unknown := sorted(given.keys() - set(_FSDP_SETTINGS)):
        raise TuningError(f"fsdp_config: unknown {', '.join(unknown)}; expected some of {', '.join(_FSDP_SETTINGS)}")
    if str(given.get("version", 2)) != "2":
        raise TuningError(f"fsdp_config: version: expected 2, found {given['version']}")
    if (kind := given.get("state_dict_type", _SHARDED)) not in (_SHARDED, "FULL_STATE_DICT"):
        raise TuningError(f"fsdp_config: state_dict_type: expected {_SHARDED} or FULL_STATE_DICT, found {kind}")
    for name, value in given.items():
        is_right, expected = _KINDS.get(name, (lambda _: True, ""))
        if not is_right(value):
            raise TuningError(f"fsdp_config: {name}: expected {expected}, found {value!r:.60}")
    return {"fsdp": True, "fsdp_config": {"state_dict_type": _SHARDED, **given}}


def lost_process(error: RuntimeError) -> str | None:
    """What a collective operation says where another process has ended; None where the error is another."""
    from torch.distributed import DistError

    text = (str(error).strip().splitlines() or [""])[0]
    if isinstance(error, DistError) or any(sign in text for sign in _LOST):
        return text[:200] or type(error).__name__
    return None


_LOST = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "Timed out waiting", "Socket closed")
"""What gloo says, which raises plain errors."""

_SHARDED = "SHARDED_STATE_DICT"
_POLICIES = ("TRANSFORMER_BASED_WRAP", "SIZE_BASED_WRAP", "NO_WRAP")


def _is_names(value: Any) -> bool:
    each = value if isinstance(value, list) else [value]
    return bool(each) and all(isinstance(name, str) for name in each)


_KINDS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    **dict.fromkeys(
        ("reshard_after_forward", "cpu_offload", "activation_checkpointing"),
        (lambda value: isinstance(value, bool), "true or false"),
    ),
    "min_num_params": (lambda value: type(value) is int and value >= 0, "a whole number"),
    "auto_wrap_policy": (lambda value: value in _POLICIES, f"one of {', '.join(_POLICIES)}"),
    "transformer_layer_cls_to_wrap": (_is_names, "a name or a list of names"),
}
"""What settings of FSDP have to be; accelerate fails late, and not in words, on others."""

_FSDP_SETTINGS = (
    "version", "reshard_after_forward", "cpu_offload", "state_dict_type", "auto_wrap_policy", "min_num_params",
    "transformer_layer_cls_to_wrap",
)  # fmt: skip
"""Settings of FSDP2 that `TrainingArguments.fsdp_config` knows and a run of `tune` can have."""
