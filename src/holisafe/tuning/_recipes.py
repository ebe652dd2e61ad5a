"""Recipes as files: the settings of a run and the guard that learns in it, shipped, or your own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from holisafe.errors import GuardError, TuningError
from holisafe.guard import GuardConfig
from holisafe.tuning._config import TuneConfig


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a run is made of, but for its data.

    Attributes:
        config: The settings. `batch_size` and `gradient_accumulation_steps` are those of one process: on several,
            divide the latter by their number to keep the samples of a step.
        guard: The guard to attach; None where the method has none, or where its own defaults are meant.
        about: What the recipe is for.
        model: Name of the model that it was written for; empty for any.
        source: Where each value comes from, by "settings.NAME" or "guard.NAME": "published", "inferred" or "ours".
    """

    config: TuneConfig
    guard: GuardConfig | None = None
    about: str = ""
    model: str = ""
    source: Mapping[str, str] = field(default_factory=dict)


def recipe_names() -> list[str]:
    """Names of the shipped recipes."""
    return sorted(shipped_recipes())


def shipped_recipes() -> dict[str, Traversable]:
    """The files of the shipped recipes: one for each model, by its name, and those of methods, by the method's."""
    found = {each.name.removesuffix(".json"): each for each in _SHIPPED.iterdir() if each.name.endswith(".json")}
    of_methods = {each.name.replace("_", "-"): each / METHOD_RECIPE for each in _METHODS.iterdir() if each.is_dir()}
    return found | {name: file for name, file in of_methods.items() if file.is_file()}


def read_recipe(name_or_file: str | Path) -> Recipe:
    """Read a shipped recipe by its name, or one of your own.

    A file is a JSON object with the fields of `Recipe`, "settings" in place of "config"; all may be missing. Settings
    and guard hold fields of `TuneConfig` and `GuardConfig`; those that are missing have their defaults.

    Args:
        name_or_file: One of `recipe_names()`, or the path of a JSON file.

    Raises:
        TuningError: There is no such recipe, it is no JSON, a field is unknown or its value is of another kind or out
            of its range, or the guard does not fit the method.
    """
    name = str(name_or_file)
    shipped = shipped_recipes()
    if name in shipped:
        return _recipe(_parsed(shipped[name].read_bytes(), f"recipe {name}"), f"recipe {name}")
    path = Path(name_or_file).expanduser()
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        raise TuningError(
            f"unknown recipe {name!r}; expected one of {', '.join(sorted(shipped))}, or the path of a JSON file"
        ) from None
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        raise TuningError(f"recipe {name!r} cannot be read: {error}") from None
    return _recipe(_parsed(text, str(path)), str(path))


def _parsed(text: bytes, source: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise TuningError(f"{source}: expected JSON, found a file that is none: {error}") from None


def _recipe(values: Any, source: str) -> Recipe:
    if not isinstance(values, dict):
        raise TuningError(f"{source}: expected a JSON object, found {_shown(values)}")
    if unknown := sorted(values.keys() - set(_FIELDS)):
        raise TuningError(f"{source}: unknown field {', '.join(unknown)}; expected some of {', '.join(_FIELDS)}")
    for name in ("about", "model"):
        if not isinstance(values.get(name, ""), str):
            raise TuningError(f"{source}: {name}: expected a text, found {_shown(values[name])}")
    recipe = Recipe(
        config=TuneConfig.from_json(values.get("settings", {}), f"{source}: settings"),
        guard=_guard(values.get("guard"), f"{source}: guard"),
        about=values.get("about", ""),
        model=values.get("model", ""),
        source=_source(values.get("source", {}), f"{source}: source"),
    )
    _check_guard(recipe, source)
    return recipe


def _guard(values: Any, source: str) -> GuardConfig | None:
    if values is None:
        return None
    if not isinstance(values, dict):
        raise TuningError(f"{source}: expected a JSON object or null, found {_shown(values)}")
    try:
        return GuardConfig.from_json(values, source)
    except GuardError as error:
        raise TuningError(str(error)) from None


def _source(values: Any, source: str) -> dict[str, str]:
    if not (isinstance(values, dict) and all(isinstance(text, str) for text in values.values())):
        raise TuningError(f"{source}: expected a JSON object of texts, found {_shown(values)}")
    return values


def _check_guard(recipe: Recipe, source: str) -> None:
    """Hold the guard against the method.

    Raises:
        TuningError: One has a guard, or a meta token, that the other lacks.
    """
    if recipe.guard is None:
        return
    try:
        recipe.config.method_part.check_guard(recipe.guard)
    except TuningError as error:
        raise TuningError(f"{source}: guard: {error}") from None


def _shown(value: Any) -> str:
    return json.dumps(value)[:80]


_FIELDS = ("about", "model", "source", "settings", "guard")
METHOD_RECIPE = "recipe.json"
"""The recipe in a method's folder."""

_SHIPPED = files("holisafe.tuning") / "recipes"
_METHODS = files("holisafe.tuning") / "methods"
