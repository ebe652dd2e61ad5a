"""Fit a defence that learns something of a model, and keep it in a folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from holisafe._checks import check_type
from holisafe.defences._contract import DEFENCES, FittedDefence, Progress
from holisafe.defences._fitted import base_identity, save_fitted
from holisafe.errors import DefenceError
from holisafe.models import Engine, LoadedModel
from holisafe.records import Sample


@dataclass(frozen=True, slots=True)
class Fitted:
    """What was fitted.

    Attributes:
        folder: Where it is.
        samples: On how many samples.
        parts: Name and shape of each part.
        numbers: The parts that are one number, by name.
    """

    folder: Path
    samples: int
    parts: dict[str, tuple[int, ...]]
    numbers: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        parts = {name: list(shape) for name, shape in self.parts.items()}
        return {"out": str(self.folder), "samples": self.samples, "parts": parts, "numbers": self.numbers}


def _silent(*_: object) -> None:
    """Say nothing of the progress."""


def fit(
    name: str,
    loaded: LoadedModel,
    samples: Sequence[Sample],
    out: str | Path,
    *,
    settings: dict[str, Any] | None = None,
    data: dict[str, Any] | None = None,
    progress: Progress = _silent,
    **engine_options: Any,
) -> Fitted:
    """Fit a defence on samples of a train split.

    Args:
        name: The defence.
        loaded: The model.
        samples: With what is expected of each.
        out: Folder for what it learns.
        settings: The defence's settings.
        data: What the samples are, as JSON values, for the folder's record.
        progress: Called with what is being done, how much of it is done, and how much there is.
        engine_options: Options of the engine that answers meanwhile.

    Raises:
        UnknownNameError: There is no such defence.
        DefenceError: It learns nothing, cannot work on this model, or the samples do not suffice.
    """
    check_type(loaded, LoadedModel, "loaded")
    kind = fitted_kind(name)
    config = kind.config.from_mapping(settings or {})
    with Engine(loaded.model, loaded.processor, **engine_options) as engine:
        parts = kind.fit(engine, samples, config, progress)
    kept = {key: value for key, value in config.to_json().items() if key != kind.positional}
    save_fitted(Path(out), name, kept, parts, base_identity(loaded), data or {})
    numbers = {key: float(value) for key, value in parts.items() if value.ndim == 0}
    return Fitted(Path(out), len(samples), {key: tuple(value.shape) for key, value in parts.items()}, numbers)


def fitted_kind(name: str) -> type[FittedDefence]:
    """The class of a defence that learns something of a model first.

    Raises:
        UnknownNameError: There is no such defence.
        DefenceError: It learns nothing.
    """
    kind = DEFENCES.get(name)
    if not issubclass(kind, FittedDefence):
        raise DefenceError(f"{name} learns nothing; use it as it is: --defence {name}")
    return kind
