"""Judges by name: those of this package, and those that other packages add.

Another package adds a judge by an entry point of the group `holisafe.judges`: its name is the judge's name, its
object a class or function that returns the judge when called without arguments.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from typing import Protocol, TypeVar

from holisafe.errors import JudgeError, UnknownNameError
from holisafe.records import Response, Sample, Verdict

GROUP = "holisafe.judges"


class Judge(Protocol):
    """Decides what became of one response.

    `holisafe.judges.conformance` checks what a judge must keep to; run it on your own.
    """

    @property
    def name(self) -> str:
        """The name it is found by."""
        ...

    @property
    def version(self) -> str:
        """Changes whenever the same response could get another verdict; recorded with every run."""
        ...

    def judge(self, sample: Sample, response: Response) -> Verdict:
        """The verdict on one response; outcome `error` when the response holds an error instead of an answer."""
        ...


Factory = TypeVar("Factory", bound=Callable[[], Judge])

_FACTORIES: dict[str, Callable[[], Judge]] = {}


def judge(name: str) -> Callable[[Factory], Factory]:
    """Register a class or function that returns a judge when called without arguments."""

    def register(factory: Factory) -> Factory:
        if name in _FACTORIES:
            raise ValueError(f"a judge named {name!r} is registered already")
        _FACTORIES[name] = factory
        return factory

    return register


def names() -> tuple[str, ...]:
    """Names of all judges, sorted."""
    return tuple(sorted({*_FACTORIES, *(point.name for point in entry_points(group=GROUP))}))


def get(name: str) -> Judge:
    """The judge of that name.

    Raises:
        UnknownNameError: No judge has it; the closest names are offered.
        JudgeError: The package that adds it cannot be imported.
    """
    if name in _FACTORIES:
        return _FACTORIES[name]()
    for point in entry_points(group=GROUP, name=name):
        return _load(point)()
    raise UnknownNameError("judge", name, names())


def _load(point: EntryPoint) -> Callable[[], Judge]:
    try:
        factory: Callable[[], Judge] = point.load()
    except Exception as error:  # another package's import can fail in any way
        raise JudgeError(
            f"judge {point.name!r} ({point.value}) cannot be imported: {type(error).__name__}: {error}; "
            "mend or remove the package that adds it"
        ) from error
    return factory
