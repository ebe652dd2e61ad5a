"""Fit a defence that learns something of a model, and keep it in a folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from holisafe._checks import check_type
from holisafe.defences._contract import DEFENCES, FittedDefence
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
    """

    folder: Path
    samples: int
    parts: dict[str, tuple[int, ...]]


def fit(
    name: str,
    loaded: LoadedModel,
    samples: Sequence[Sample],
    out: str | Path,
    *,
    settings: dict[str, Any] | None = None,
    data: dict[str, Any] | None = None,
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
        engine_options: Options of the engine that answers meanwhile.

    Raises:
        UnknownNameError: There is no such defence.
        DefenceError: It learns nothing, cannot work on this model, or the samples do not suffice.
    """
    check_type(loaded, LoadedModel, "loaded")
    kind = DEFENCES.get(name)
    if not issubclass(kind, FittedDefence):
        raise DefenceError(f"{name} learns nothing; use it as it is: --defence {name}")
    config = kind.config.from_mapping(settings or {})
    with Engine(loaded.model, loaded.processor, **engine_options) as engine:
        parts = kind.fit(engine, samples, config)
    kept = {key: value for key, value in config.to_json().items() if key != kind.positional}
    save_fitted(Path(out), name, kept, parts, base_identity(loaded), data or {})
    return Fitted(Path(out), len(samples), {key: tuple(value.shape) for key, value in parts.items()})
