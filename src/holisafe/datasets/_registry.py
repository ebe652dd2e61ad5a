"""Short names of data sets: our own, and those other packages add under the entry-point group `holisafe.datasets`.

A data set is one decorated function from a split (None: all of it) to samples:

    @dataset("mine", splits=("test",), description="Forty questions about my kitchen")
    def load_mine(split: str | None) -> list[Sample]: ...

`holisafe.datasets.conformance` holds the tests that such a function has to pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from holisafe._registry import Registry
from holisafe.datasets._open_versions import SPLITS, VERSION
from holisafe.records import Sample

Loader = Callable[[str | None], Sequence[Sample]]
"""Takes the name of a split, or None for all splits, and returns the samples in a fixed order."""

_L = TypeVar("_L", bound=Loader)


@dataclass(frozen=True, slots=True)
class Dataset:
    """A data set that can be asked for by name.

    Attributes:
        name: Its short name.
        load: Gives the samples of a split.
        splits: Names of its splits; empty where it has none.
        description: One line for `holisafe data list`.
    """

    name: str
    load: Loader
    splits: tuple[str, ...] = ()
    description: str = ""


_DATASETS: Registry[Dataset | Loader] = Registry(
    "data set",
    "holisafe.datasets",
    expected="a function from a split to samples",
    accepts=lambda part: isinstance(part, Dataset) or callable(part),
)
_HINT = (
    "Or give a file or folder with records, a Hub id (owner/name), or a benchmark as NAME:PATH "
    "(`holisafe benchmarks` lists the names)."
)


def dataset(name: str, *, splits: Sequence[str] = (), description: str = "") -> Callable[[_L], _L]:
    """Register the decorated function as the data set `name`, for `load(name)` and `--data name`.

    Raises:
        RegistryError: The name is taken.
    """

    def register(load: _L) -> _L:
        _DATASETS.add(name, Dataset(name, load, tuple(splits), description))
        return load

    return register


def registered_names() -> list[str]:
    """Every short name, sorted; no other package is imported."""
    return _DATASETS.names()


def find(name: str) -> Dataset:
    """The data set of that name; an entry point does not replace a name that is registered here.

    Raises:
        UnknownNameError: There is none; the closest names are offered.
        RegistryError: The package that adds it cannot be imported, or adds something that is no function.
    """
    found = _DATASETS.get(name, hint=_HINT)
    return found if isinstance(found, Dataset) else Dataset(name, found)  # an entry point may name a plain function


def is_registered(name: str) -> bool:
    """Whether a data set has that name; no other package is imported."""
    return name in _DATASETS


def _add_open(name: str, version: int, description: str) -> None:
    def load(split: str | None) -> Sequence[Sample]:
        from holisafe.datasets.open import load_open

        return load_open(split, version=version)

    dataset(name, splits=SPLITS[version], description=description)(load)


_add_open("open", VERSION, "HoliSafe-Open: drawn images, all five combinations, twins; shipped in holisafe-assets")
_add_open("open@1", 1, "HoliSafe-Open, version 1")
_add_open("open@2", 2, "HoliSafe-Open, version 2: the same requests beside harmless and unsafe pictures, photographs")
