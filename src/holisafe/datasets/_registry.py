"""Short names of data sets: our own, and those other packages add under the entry-point group `holisafe.datasets`.

A data set is one decorated function from a split (None: all of it) to samples:

    @dataset("mine", splits=("test",), description="Forty questions about my kitchen")
    def load_mine(split: str | None) -> list[Sample]: ...

`holisafe.datasets.conformance` holds the tests that such a function has to pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points

from holisafe.records import Sample

Loader = Callable[[str | None], Sequence[Sample]]
"""Takes the name of a split, or None for all splits, and returns the samples in a fixed order."""

ENTRY_POINT_GROUP = "holisafe.datasets"


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


_DATASETS: dict[str, Dataset] = {}


def dataset(name: str, *, splits: Sequence[str] = (), description: str = "") -> Callable[[Loader], Loader]:
    """Register the decorated function as the data set `name`, for `load(name)` and `--data name`."""

    def register(load: Loader) -> Loader:
        _DATASETS[name] = Dataset(name, load, tuple(splits), description)
        return load

    return register


def registered_names() -> list[str]:
    """Every short name, sorted; no other package is imported."""
    return sorted(_DATASETS.keys() | {point.name for point in entry_points(group=ENTRY_POINT_GROUP)})


def find(name: str) -> Dataset | None:
    """The data set of that name, or None; an entry point does not replace a name that is here already."""
    if name in _DATASETS:
        return _DATASETS[name]
    points = [point for point in entry_points(group=ENTRY_POINT_GROUP) if point.name == name]
    return _from_entry_point(points[0]) if points else None


def _from_entry_point(point: EntryPoint) -> Dataset:
    """Import the package behind an entry point: a function, decorated or plain."""
    load: Loader = point.load()
    return _DATASETS.get(point.name) or Dataset(point.name, load)


@dataset(
    "open",
    splits=("train", "calibration", "test", "transfer"),
    description="HoliSafe-Open: drawn images, all five combinations, twins; shipped in this package",
)
def _open(split: str | None) -> Sequence[Sample]:
    from holisafe.datasets.open import load_open

    return load_open(split)
