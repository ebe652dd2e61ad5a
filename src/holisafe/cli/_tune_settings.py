"""From the options of `holisafe tune` to its settings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from holisafe.tuning import TuneConfig


def overridden(
    config: TuneConfig | None, given: Mapping[str, Any], named: Mapping[str, list[str]], rates: list[str]
) -> TuneConfig:
    """The settings with those that were given; --num-train-epochs takes the place of a recipe's max_steps."""
    from dataclasses import replace

    from holisafe.tuning import TuneConfig

    config = config or TuneConfig()
    changes = {name: value for name, value in given.items() if value is not None}
    if "num_train_epochs" in changes and "max_steps" not in changes:
        changes["max_steps"] = None
    kept = {} if changes.get("method", config.method) != config.method else config.method_args
    args = named_values("--method-args", named["method_args"])
    changes["method_args"] = {**kept, **args}
    template = named_values("--chat-template-args", named["chat_template_args"])
    changes["chat_template_args"] = {**config.chat_template_args, **template}
    for text in rates:
        part, equals, value = text.rpartition("=")
        changes |= _rate_of_part(config, changes, part, value) if equals else _rate_of_all(config, value)
    return replace(config, **changes)


def named_values(option: str, texts: list[str]) -> dict[str, Any]:
    """NAME=VALUE each; a value is JSON where it can be read as such, else a text."""
    from holisafe.errors import TuningError

    found: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise TuningError(f"{option}: expected NAME=VALUE, found {text!r}")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found


def _rate_of_all(config: TuneConfig, value: str) -> dict[str, Any]:
    """One learning rate for all parts that the recipe does not freeze."""
    frozen = {part: rate for part, rate in config.learning_rates.items() if rate is None}
    return {"learning_rate": _number(value), "learning_rates": frozen}


def _rate_of_part(config: TuneConfig, changes: Mapping[str, Any], part: str, value: str) -> dict[str, Any]:
    rates = changes.get("learning_rates", config.learning_rates)
    return {"learning_rates": {**rates, part: None if value == "off" else _number(value)}}


def _number(value: str) -> float:
    from holisafe.errors import TuningError

    try:
        return float(value)
    except ValueError:
        raise TuningError(f"--learning-rate: expected a number such as 5e-5, or PART=off, found {value!r}") from None
