"""Data and weights of the distribution `holisafe-assets`, which the core package works without."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from holisafe.errors import MissingDependencyError


def asset_folder(name: str) -> Path:
    """Where an asset lies: "open_1" or "open_2" (HoliSafe-Open), "pocket" or "pocket_safe" (weights).

    Raises:
        MissingDependencyError: holisafe-assets is not installed; the message has the command that brings it.
    """
    spec = find_spec("holisafe_assets")
    if spec is None or not spec.submodule_search_locations:
        raise MissingDependencyError(
            f"{name.replace('_', '-')} ships in holisafe-assets, which is not installed; run: pip install "
            "'holisafe[demo]'"
        )
    return Path(spec.submodule_search_locations[0]) / name
