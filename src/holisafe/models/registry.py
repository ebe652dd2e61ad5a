"""Short names of models: our own, and those that other packages add under the entry-point group `holisafe.models`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from holisafe._assets import asset_folder
from holisafe._registry import Registry
from holisafe.errors import MissingDependencyError, ModelError
from holisafe.models.spec import ModelSpec

Builder = Callable[[ModelSpec], tuple[Any, Any]]
"""Takes how the model is wanted, and returns it with its processor."""


@dataclass(frozen=True, slots=True)
class RegisteredModel:
    """A model that is known by a short name.

    Attributes:
        build: Makes the model and its processor.
        guard: Gives the folder of the guard that comes with it; None where none does.
    """

    build: Builder
    guard: Callable[[], Path] | None = None


MODELS: Registry[RegisteredModel | Builder] = Registry(
    "model",
    "holisafe.models",
    expected="a function that takes a ModelSpec and returns a model and its processor, or a RegisteredModel",
    accepts=lambda part: isinstance(part, RegisteredModel) or callable(part),
)


def model(name: str, *, guard: Path | Callable[[], Path] | None = None) -> Callable[[Builder], Builder]:
    """Register the decorated builder as the model `name`, for `load(name)` and `holisafe bench name`.

    An entry point of the group `holisafe.models` names the decorated builder, or a `RegisteredModel`.

    Args:
        name: The short name.
        guard: Folder of the guard that comes with the model, for `load(name, guard="own")`, or what finds it; None
            where none does.

    Raises:
        RegistryError: The name is taken.
    """

    def register(builder: Builder) -> Builder:
        find = (lambda: guard) if isinstance(guard, Path) else guard
        MODELS.add(name, RegisteredModel(builder, find))
        return builder

    return register


def registered_models() -> list[str]:
    """Every short name, sorted; no package is imported."""
    return MODELS.names()


def registered_model(name: str) -> RegisteredModel | None:
    """The registered model of that name; None where there is none.

    Raises:
        RegistryError: The package that adds it cannot be imported, or adds something else.
    """
    if name not in MODELS:
        return None
    found = MODELS.get(name)
    return found if isinstance(found, RegisteredModel) else RegisteredModel(found)


def registered_guard(name: str) -> Path | None:
    """Folder of the guard that comes with a registered model; None where none does.

    Raises:
        MissingDependencyError: It is in a package that is not installed.
        RegistryError: The package that adds the model cannot be imported.
    """
    found = registered_model(name)
    return None if found is None or found.guard is None else found.guard()


def shipped_guards() -> list[Path]:
    """Folders of the guards of our own models, as far as they are installed; calibration leaves them as they are."""
    try:
        return [asset_folder(name) / "guard" for name in _ASSETS]
    except MissingDependencyError:
        return []


_ASSETS = ("pocket", "pocket_safe")


@model("pocket", guard=lambda: asset_folder("pocket") / "guard")
def _pocket(spec: ModelSpec) -> tuple[Any, Any]:
    """The embedded model: a small LLaVA that needs no download."""
    from holisafe.models.pocket import load_pocket

    _check_simple(spec)
    built, processor = load_pocket(device=spec.device, dtype=spec.dtype, attention=spec.attention)
    return built, processor


@model("pocket-safe", guard=lambda: asset_folder("pocket_safe") / "guard")
def _pocket_safe(spec: ModelSpec) -> tuple[Any, Any]:
    """The embedded model after safety tuning."""
    from holisafe.models.pocket import load_safe_pocket

    _check_simple(spec)
    built, processor = load_safe_pocket(device=spec.device, dtype=spec.dtype, attention=spec.attention)
    return built, processor


def _check_simple(spec: ModelSpec) -> None:
    for name, value in (("device_map", spec.device_map), ("quantization", spec.quantization)):
        if value is not None:
            raise ModelError(f"{spec.source} fits on any device; leave {name} {value!r} out")
