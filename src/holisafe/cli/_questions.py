"""The questions that recorded answers belong to: a data set's, or a benchmark's with its prompts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holisafe.datasets import Loaded
    from holisafe.records import Sample


def asked_questions(data: str, split: str | None, setting: str | None) -> Loaded:
    """What `--data`, `--split` and `--setting` name; of a data set, only what is good.

    Raises:
        DataError: The data cannot be read, or there is a setting and they are no benchmark's.
        UnknownNameError: There is no such data set, split or setting.
    """
    from holisafe import benchmarks, datasets
    from holisafe.errors import DataError

    asked = benchmarks.parse(data)
    if asked is None and setting is not None:
        raise DataError(f"setting {setting!r}: {data} is no benchmark with settings; leave it out")
    if asked is None:
        return datasets.Loaded(tuple(datasets.load(data, split)))
    if split is not None:
        raise DataError(f"{data}: a benchmark is scored whole; leave the split {split!r} out")
    return asked.benchmark.samples(asked.path, setting)


def default_judges(samples: Sequence[Sample] | None) -> list[str]:
    """The judge of the benchmark that samples are of, else the published string match."""
    from holisafe.benchmarks import of_samples
    from holisafe.datasets import SETTING_TAG

    made = of_samples(samples or ())
    return ["holisafe"] if made is None or not samples else [made.judge_for(samples[0].tags.get(SETTING_TAG))]
