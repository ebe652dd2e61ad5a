"""How an answer is generated: greedy or sampled, how long, and where it stops."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from transformers import GenerationConfig

from holisafe.errors import ModelError


@dataclass(frozen=True, slots=True)
class GenerationOptions:
    """Settings of one answer; greedy unless a temperature is given.

    Attributes:
        max_new_tokens: Maximum number of new tokens; fewer where the model's context ends before.
        temperature: 0 for greedy decoding; sampling divides logits by it.
        top_p: Sample from the most probable tokens that hold this probability together, in (0, 1].
        top_k: Sample from this many most probable tokens; 0 for all.
        seed: Of sampling: the same seed gives the same answer, whatever else is in the batch; None for a new one.
        stop: The answer ends before the first of these texts.

    Raises:
        ModelError: A value is out of its range.
    """

    max_new_tokens: int = 512
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int | None = None
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check every value."""
        checks = (
            ("max_new_tokens", _is_integer(self.max_new_tokens, 1), "an integer of at least 1"),
            ("temperature", _is_finite(self.temperature) and self.temperature >= 0, "a number of at least 0"),
            ("top_p", _is_finite(self.top_p) and 0 < self.top_p <= 1, "a number in (0, 1]"),
            ("top_k", _is_integer(self.top_k, 0), "an integer of at least 0"),
            ("seed", self.seed is None or _is_integer(self.seed, 0), "an integer of at least 0, or none"),
            ("stop", isinstance(self.stop, tuple) and all(isinstance(s, str) and s for s in self.stop),
             "a tuple of texts that are not empty"),
        )  # fmt: skip
        for name, is_right, expected in checks:
            if not is_right:
                raise ModelError(f"{name}: found {getattr(self, name)!r}, expected {expected}")

    @property
    def is_greedy(self) -> bool:
        """Whether the most probable token is taken at each step."""
        return self.temperature == 0


class _OwnConfig(GenerationConfig):  # type: ignore[misc]
    """A generation config that `generate` does not complete with the checkpoint's own settings."""

    def update(self, defaults_only: bool = False, **values: Any) -> Any:
        """Take transformers' defaults, and nothing of the checkpoint's config."""
        if values.pop("allow_custom_entries", False):  # what transformers asks for only to copy the checkpoint's
            return {}
        return super().update(defaults_only=defaults_only, **values)


def generation_config(model: Any, tokenizer: Any, max_new_tokens: int) -> GenerationConfig:
    """Greedy decoding with the checkpoint's special tokens; nothing else of its generation config is used.

    Of the checkpoint: its end, padding and beginning tokens, and the tokens that it never outputs.

    Raises:
        ModelError: Its generation config holds no valid token ids.
    """
    own = model.generation_config
    ends = _ids(own.eos_token_id, "eos_token_id") or _ids(tokenizer.eos_token_id, "eos_token_id")
    pads = _ids(own.pad_token_id, "pad_token_id") or _ids(tokenizer.pad_token_id, "pad_token_id") or ends
    begins = _ids(own.bos_token_id, "bos_token_id")
    starts = _ids(own.decoder_start_token_id, "decoder_start_token_id")
    return _OwnConfig(
        max_new_tokens=max_new_tokens,
        do_sample=False,
        num_beams=1,
        num_return_sequences=1,
        use_cache=True,
        return_dict_in_generate=False,
        eos_token_id=ends or None,
        pad_token_id=pads[0] if pads else None,
        bos_token_id=begins[0] if begins else None,
        decoder_start_token_id=starts[0] if starts else None,
        suppress_tokens=_ids(own.suppress_tokens, "suppress_tokens") or None,
        begin_suppress_tokens=_ids(own.begin_suppress_tokens, "begin_suppress_tokens") or None,
    )


def _ids(value: Any, name: str) -> list[int]:
    """Token ids of a generation config, which names none, one or a list."""
    if value is None:
        return []
    found = list(value) if isinstance(value, list | tuple) else [value]
    if not all(_is_integer(each, 0) for each in found):
        raise ModelError(f"the checkpoint's generation_config.json: {name}: found {value!r}, expected token ids")
    return found


def _is_integer(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
