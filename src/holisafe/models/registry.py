"""Short names of models: our own, and those that other packages add under the entry-point group `holisafe.models`."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from holisafe._assets import asset_folder
from holisafe.errors import MissingDependencyError

Builder = Callable[..., tuple[Any, Any]]
"""Takes the options of `holisafe.models.load` that were given, and returns a model and its processor."""

ENTRY_POINT_GROUP = "holisafe.models"
_BUILDERS: dict[str, Builder] = {}
_GUARDS: dict[str, Path] = {}


def model(name: str, *, guard: Path | None = None) -> Callable[[Builder], Builder]:
    """Register the decorated builder as the model `name`, for `load(name)` and `holisafe bench name`.

    Args:
        name: The short name.
        guard: Folder of the guard that comes with the model, for `load(name, guard="own")`; None where none does.
    """

    def register(builder: Builder) -> Builder:
        _BUILDERS[name] = builder
        if guard is not None:
            _GUARDS[name] = guard
        return builder

    return register


def registered_models() -> dict[str, Builder]:
    """Every short name with its builder; a name that an entry point adds does not replace one that is here already."""
    added = {point.name: _from_entry_point(point.load) for point in entry_points(group=ENTRY_POINT_GROUP)}
    return added | _BUILDERS


def registered_guard(name: str) -> Path | None:
    """Folder of the guard that comes with a registered model; None where none does.

    That of a model which an entry point adds is known once the model has been built.
    """
    return _GUARDS.get(name)


def _from_entry_point(load_builder: Callable[[], Builder]) -> Builder:
    """A builder that imports its package only when the model is asked for."""
    return lambda **options: load_builder()(**options)


def _shipped_guard(asset: str) -> Path:
    """Folder of a guard in holisafe-assets; without that distribution one that is not there, which `load` reports."""
    try:
        return asset_folder(asset) / "guard"
    except MissingDependencyError:
        return Path(asset) / "guard"


@model("pocket", guard=_shipped_guard("pocket"))
def _pocket(**options: Any) -> tuple[Any, Any]:
    """The embedded model: a small LLaVA that needs no download."""
    from holisafe.models.pocket import load_pocket

    built, processor = load_pocket(**options)
    return built, processor


@model("pocket-safe", guard=_shipped_guard("pocket_safe"))
def _pocket_safe(**options: Any) -> tuple[Any, Any]:
    """The embedded model after safety tuning."""
    from holisafe.models.pocket import load_safe_pocket

    built, processor = load_safe_pocket(**options)
    return built, processor
