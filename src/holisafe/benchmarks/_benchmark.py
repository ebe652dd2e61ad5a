"""A benchmark: data, prompts, the judge that scores it, its own figures, and what was published with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from holisafe.benchmarks._published import Published
from holisafe.benchmarks._scored import Scored
from holisafe.datasets import BENCHMARK_TAG, SETTING_TAG, Loaded, read_release
from holisafe.errors import DataError, UnknownNameError
from holisafe.metrics import Figure
from holisafe.records import Judgement, Response, Sample


@dataclass(frozen=True, slots=True)
class FigureKind:
    """What one of a benchmark's figures is.

    Attributes:
        name: Its name in JSON and code.
        label: Short name to show.
        lower_is_better: Whether less is better.
        description: What it means, in one line.
        in_suite: Whether the table over several benchmarks shows it.
    """

    name: str
    label: str
    lower_is_better: bool = False
    description: str = ""
    in_suite: bool = False


@dataclass(frozen=True, slots=True)
class BenchmarkFigure:
    """One of a benchmark's figures of one run.

    Attributes:
        name: Its name in JSON and code.
        figure: Value in [0, 1], 95 % interval that allows for clusters, n; None where the data hold no samples for it,
            or the judge cannot tell it.
        lower_is_better: Whether less is better.
        label: Short name to show.
    """

    name: str
    figure: Figure | None
    lower_is_better: bool
    label: str

    def to_json(self) -> dict[str, Any]:
        """JSON values: `{name, label, lower_is_better, figure}`, figure null or `{value, low, high, n}`."""
        return {
            "name": self.name,
            "label": self.label,
            "lower_is_better": self.lower_is_better,
            "figure": None if self.figure is None else self.figure.to_json(),
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> BenchmarkFigure:
        """Read what `to_json` wrote.

        Raises:
            DataError: It is not such an object.
        """
        try:
            found = data["figure"]
            figure = None if found is None else Figure(*(found[key] for key in ("value", "low", "high", "n")))
            return BenchmarkFigure(str(data["name"]), figure, bool(data["lower_is_better"]), str(data["label"]))
        except (KeyError, TypeError) as error:
            raise DataError(f"not a benchmark's figure: {error!r}; score the run again") from error


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One benchmark.

    Attributes:
        name: Its name: of `--data NAME:PATH`, and of its folder below `--root`.
        title: The authors' name of it.
        paper: Where it is described.
        size: How much it asks.
        licence: Licence of the data; "none found" where the authors name none.
        how_to_get: Where the data are, and what to do with them.
        settings: Variants of the prompt; the first is the default.
        read: Gives the samples of a path (None where none is needed) for a setting, with what is wrong with the rest.
        judge: Name of the judge of this package that scores it by default; it needs no model.
        judges_by_setting: Judges of settings whose answers have another form.
        protocol: What the original used, whether it exists still, and what the default judge changes.
        kinds: Its figures.
        compute: The figures by name, of scored samples; those that are missing are None.
        identities: Name of a constant answerer (`ANSWERERS`) → name of a figure → its exact value under the default
            judge, whatever the data.
        published: What others reported.
        tells: What it can tell.
        cannot_tell: What it cannot tell.
        needs_data: Whether the data have to be downloaded; else they come with this package.
        suites: Suites that it belongs to.
    """

    name: str
    title: str
    paper: str
    size: str
    licence: str
    how_to_get: str
    settings: tuple[str, ...]
    read: Callable[[Path | None, str], Loaded]
    judge: str
    protocol: str
    kinds: tuple[FigureKind, ...]
    compute: Callable[[Scored], Mapping[str, Figure | None]]
    identities: Mapping[str, Mapping[str, float]] = field(hash=False)
    published: tuple[Published, ...]
    tells: str
    cannot_tell: str
    judges_by_setting: Mapping[str, str] = field(default_factory=dict, hash=False)
    needs_data: bool = True
    suites: tuple[str, ...] = ("safety",)

    def samples(self, path: str | Path | None = None, setting: str | None = None) -> Loaded:
        """The samples with their prompts, tagged with benchmark and setting, and what is wrong with the rest.

        Args:
            path: The file, folder or zip; None where the data come with this package.
            setting: Variant of the prompt; the default if not given.

        Raises:
            UnknownNameError: There is no such setting.
            DataError: The data are needed and not named, or cannot be read.
        """
        chosen = self.settings[0] if setting is None else setting
        if chosen not in self.settings:
            raise UnknownNameError(f"setting of {self.name}", chosen, self.settings)
        if path is None and self.needs_data:
            raise DataError(f"{self.name} needs its data: use --data {self.name}:PATH. {self.how_to_get}")
        place = None if path is None else Path(path).expanduser()
        read = partial(self.read, place, chosen)
        loaded = read() if place is None else read_release(self.name, place, read)
        tags = {BENCHMARK_TAG: self.name, SETTING_TAG: chosen}
        samples = tuple(replace(each, tags={**each.tags, **tags}) for each in loaded.samples)
        return replace(loaded, samples=samples)

    def judge_for(self, setting: str | None) -> str:
        """Name of the judge that scores a setting by default."""
        return self.judges_by_setting.get(setting or self.settings[0], self.judge)

    def figures(
        self, samples: Sequence[Sample], responses: Sequence[Response], judgements: Sequence[Judgement]
    ) -> tuple[BenchmarkFigure, ...]:
        """Its figures, in their order. A failure, or an answer without a verdict, counts in n and is no success.

        Args:
            samples: What was asked.
            responses: One per sample, in the same order.
            judgements: One per sample, in the same order, all of one judge.

        Raises:
            DataError: They do not belong together.
        """
        found = self.compute(Scored.of(samples, responses, judgements))
        return tuple(
            BenchmarkFigure(kind.name, found.get(kind.name), kind.lower_is_better, kind.label) for kind in self.kinds
        )
