"""Which experiment trackers a run can report to."""

from __future__ import annotations

from importlib.util import find_spec

_PACKAGES = {"tensorboard": ("tensorboard", "tensorboardX"), "trackio": ("trackio",)}


def trackers() -> list[str]:
    """The trackers that are installed, by the names that `report_to` of `TrainingArguments` takes; none is imported."""
    return [name for name, packages in _PACKAGES.items() if any(find_spec(package) for package in packages)]
