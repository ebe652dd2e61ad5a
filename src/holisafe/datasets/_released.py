"""Formats in which authors release their data sets, by name: `load("mssbench:PATH")`, `--data mssbench:PATH`.

A format is one decorated function from a path (file, folder or zip) and a split to what was read:

    @released("mine", title="MyBench", files=("mine.json",), fields=({"question", "hint"},))
    def load_mine(path: Path, split: str | None) -> Loaded: ...

Other packages add theirs under the entry-point group `holisafe.releases`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from holisafe._registry import Registry
from holisafe.datasets._loaded import Loaded
from holisafe.errors import RegistryError

ReleaseLoader = Callable[[Path, str | None], Loaded]
"""Takes the file, folder or zip and the name of a split (None: all of them)."""

_L = TypeVar("_L", bound=ReleaseLoader)


@dataclass(frozen=True, slots=True)
class Released:
    """A format that is known by name.

    Attributes:
        name: Its name in `NAME:PATH`.
        title: The data set's name.
        load: Reads it; raises DataError where there are no records to be had.
        splits: Names of its splits; empty where it has none.
        description: One line for lists.
        files: Names of files, relative to the release's folder, any of which tells it.
        fields: Sets of fields, any of which tells a record of it.
    """

    name: str
    title: str
    load: ReleaseLoader
    splits: tuple[str, ...] = ()
    description: str = ""
    files: tuple[str, ...] = ()
    fields: tuple[frozenset[str], ...] = ()

    def has_record(self, record: Mapping[str, Any]) -> bool:
        """Whether a record has the fields that tell the format."""
        return any(fields <= record.keys() for fields in self.fields)


_RELEASED: Registry[Released] = Registry(
    "released format",
    "holisafe.releases",
    expected="a format as @released makes it",
    accepts=lambda part: isinstance(part, Released),
)


def released(
    name: str,
    *,
    title: str,
    splits: Sequence[str] = (),
    description: str = "",
    files: Sequence[str] = (),
    fields: Sequence[Iterable[str]] = (),
) -> Callable[[_L], _L]:
    """Register the decorated function as the format `name`; the parameters are the attributes of `Released`.

    Raises:
        RegistryError: The name is taken.
    """

    def register(load: _L) -> _L:
        known = tuple(frozenset(each) for each in fields)
        _RELEASED.add(name, Released(name, title, load, tuple(splits), description, tuple(files), known))
        return load

    return register


def release_names() -> list[str]:
    """Names of all formats, sorted; no other package is imported."""
    return _RELEASED.names()


def find_release(name: str) -> Released:
    """The format of that name.

    Raises:
        UnknownNameError: There is none.
        RegistryError: The package that adds it cannot be imported, or adds something else.
    """
    found = _RELEASED.get(name)
    if not isinstance(found, Released):
        raise RegistryError(f"released format {name!r} is a {type(found).__name__}; register it with @released")
    return found


def split_spec(data: str | Path) -> tuple[str, str] | None:
    """The format's name and the place of `NAME:PATH`; None where `data` is something else."""
    name, colon, place = data.partition(":") if isinstance(data, str) else ("", "", "")
    return (name, place) if colon and place and name in _RELEASED else None


def own_releases() -> list[Released]:
    """The formats registered in this process, in the order of their names."""
    return [_RELEASED.get(name) for name in sorted(_RELEASED.own())]
