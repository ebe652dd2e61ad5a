"""Benchmarks by name: those of this package, and those that other packages add.

Another package adds an object of type `Benchmark` by an entry point of the group `holisafe.benchmarks`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from holisafe._registry import Registry
from holisafe.benchmarks._benchmark import Benchmark
from holisafe.datasets import BENCHMARK_TAG
from holisafe.errors import DataError, RegistryError
from holisafe.records import Sample

_BENCHMARKS: Registry[Benchmark] = Registry(
    "benchmark", "holisafe.benchmarks", expected="a Benchmark", accepts=lambda part: isinstance(part, Benchmark)
)


def benchmark(made: Benchmark) -> Benchmark:
    """Register a benchmark under its name.

    Raises:
        RegistryError: The name is taken.
    """
    return _BENCHMARKS.add(made.name, made)


def names() -> list[str]:
    """Names of all benchmarks, sorted; no other package is imported."""
    return _BENCHMARKS.names()


def get(name: str) -> Benchmark:
    """The benchmark of that name.

    Raises:
        UnknownNameError: There is none.
        RegistryError: The package that adds it cannot be imported, or adds something else.
    """
    found = _BENCHMARKS.get(name)
    if not isinstance(found, Benchmark):
        raise RegistryError(f"benchmark {name!r} is added as {type(found).__name__}; expected a Benchmark")
    return found


@dataclass(frozen=True, slots=True)
class Asked:
    """A benchmark as a command names it.

    Attributes:
        benchmark: Which.
        path: Its data; None where they come with this package.
    """

    benchmark: Benchmark
    path: Path | None


def parse(data: str | Path) -> Asked | None:
    """The benchmark that `--data` names, as `NAME:PATH`, or as `NAME` where it needs no data; None if it names none.

    Raises:
        DataError: It needs data, and the name stands alone where no file or folder has it.
    """
    if not isinstance(data, str):
        return None
    name, colon, place = data.partition(":")
    if name not in _BENCHMARKS:
        return None
    if colon:
        return Asked(get(name), Path(place).expanduser()) if place else None
    found = get(name)
    if not found.needs_data:
        return Asked(found, None)
    if Path(data).exists():
        return None
    raise DataError(f"{name} needs its data: use --data {name}:PATH. {found.how_to_get}")


def of_samples(samples: Sequence[Sample]) -> Benchmark | None:
    """The benchmark that all samples are of, by their tag; None where there is none, or it is not known here."""
    named = {sample.tags.get(BENCHMARK_TAG) for sample in samples}
    name = named.pop() if len(named) == 1 else None
    return get(name) if name is not None and name in _BENCHMARKS else None
