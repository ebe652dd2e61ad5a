"""One registry for everything that other packages can add: data sets, models, judges, methods.

A registry knows parts by name: those registered here by a decorator, and those that installed packages add under an
entry-point group. Packages are imported only when one of their parts is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar

from holisafe._checks import check_type
from holisafe.errors import RegistryError, UnknownNameError

T = TypeVar("T")


class Registry(Generic[T]):
    """Parts of one kind by name.

    Args:
        kind: What its parts are, for messages: "judge", "data set".
        group: Entry-point group under which other packages add parts: the entry point's name is the part's.
        expected: What a part is, for messages: "a function from a split to samples".
        accepts: Whether an object is such a part.
    """

    def __init__(self, kind: str, group: str, *, expected: str, accepts: Callable[[object], bool]) -> None:
        self.kind = kind
        self.group = group
        self.expected = expected
        self.accepts = accepts
        self._parts: dict[str, T] = {}

    def add(self, name: str, part: T) -> T:
        """Register a part.

        Raises:
            RegistryError: The name is taken, or the part is of another type.
        """
        if name in self._parts:
            raise RegistryError(f"a {self.kind} named {name!r} is registered already; choose another name")
        self._check(name, part)
        self._parts[name] = part
        return part

    def names(self) -> list[str]:
        """Every name, sorted; no package is imported."""
        return sorted({*self._parts, *(point.name for point in entry_points(group=self.group))})

    def own(self) -> list[str]:
        """Names of the parts registered in this process; entry points that nobody asked for are not among them."""
        return sorted(self._parts)

    def __contains__(self, name: object) -> bool:
        """Whether a name is known; no package is imported."""
        return name in self._parts or any(point.name == name for point in entry_points(group=self.group))

    def __iter__(self) -> Iterator[str]:
        """The names, sorted."""
        return iter(self.names())

    def get(self, name: str, *, hint: str = "") -> T:
        """The part of that name; an entry point does not replace one that is registered here.

        Args:
            name: The name.
            hint: What else to try, for the message.

        Raises:
            UnknownNameError: There is none; the closest names are offered.
            RegistryError: The package that adds it cannot be imported or adds something else, or several packages
                add the same name.
        """
        check_type(name, str, f"name of a {self.kind}")
        if name in self._parts:
            return self._parts[name]
        points = list(entry_points(group=self.group, name=name))
        if not points:
            raise UnknownNameError(self.kind, name, self.names(), hint=hint)
        if len({point.value for point in points}) > 1:
            places = ", ".join(sorted(point.value for point in points))
            raise RegistryError(f"{self.kind} {name!r} is added by several packages ({places}); remove all but one")
        return self._load(points[0])

    def _load(self, point: EntryPoint) -> T:
        """Import a part: its package may register it by our decorator, or name the part itself."""
        try:
            part = point.load()
        except (Exception, SystemExit) as error:  # another package's import can fail in any way
            raise RegistryError(
                f"{self.kind} {point.name!r} ({point.value}) cannot be imported: {type(error).__name__}: {error}; "
                "mend or remove the package that adds it"
            ) from error
        found: T = self._parts.get(point.name, part)
        self._check(point.name, found, f" ({point.value})")
        return found

    def _check(self, name: str, part: object, place: str = "") -> None:
        if not self.accepts(part):
            raise RegistryError(
                f"{self.kind} {name!r}{place} is added as {type(part).__name__}; expected {self.expected}"
            )
