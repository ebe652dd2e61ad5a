"""How many answers of a local model change with what should not matter: batch size, dtype, image reuse."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from holisafe._files import write_atomically
from holisafe.bench._names import LOCAL, inspect_name
from holisafe.bench._run import Progress, measure
from holisafe.errors import RunError
from holisafe.metrics import Figure, cluster_name, share_figure
from holisafe.records import Run

REPEAT_FILE = "repeat-check.json"

VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "alone": {"batch_size": 1, "dtype": "float32", "image_reuse": False},
    "batch-8": {"batch_size": 8, "dtype": "float32", "image_reuse": False},
    "bfloat16": {"batch_size": 1, "dtype": "bfloat16", "image_reuse": False},
    "image-reuse": {"batch_size": 8, "dtype": "float32", "image_reuse": True},
}
"""Folder → how its run differs. Reuse needs batches, so that it is compared with `batch-8`."""

PAIRS = (
    ("batch_size", "alone", "batch-8", "batch size 1 and 8"),
    ("dtype", "alone", "bfloat16", "float32 and bfloat16"),
    ("image_reuse", "batch-8", "image-reuse", "image reuse off and on"),
)
"""What differs, and the two runs that differ in nothing else."""


@dataclass(frozen=True, slots=True)
class Flips:
    """Samples on which two runs differ.

    Attributes:
        ids: Their ids.
        share: Their share of all samples, with a 95 % interval over clusters of samples that share an image.
    """

    ids: tuple[str, ...]
    share: Figure

    @property
    def count(self) -> int:
        """How many."""
        return len(self.ids)

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {"count": self.count, "share": self.share.to_json(), "ids": list(self.ids)}


@dataclass(frozen=True, slots=True)
class RepeatComparison:
    """Two runs that differ in one setting.

    Attributes:
        differs: The setting: "batch_size", "dtype" or "image_reuse".
        words: Its two values, in words.
        texts: Samples whose answers are not the same text.
        outcomes: Judge → samples whose outcome is another.
    """

    differs: str
    words: str
    texts: Flips
    outcomes: Mapping[str, Flips]

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "differs": self.differs,
            "between": self.words,
            "texts": self.texts.to_json(),
            "outcomes": {judge: flips.to_json() for judge, flips in self.outcomes.items()},
        }


@dataclass(frozen=True, slots=True)
class RepeatCheck:
    """What `repeat_check` has found.

    Attributes:
        model: The model.
        data: The data set.
        samples: Number of samples.
        comparisons: One per setting.
    """

    model: str
    data: str
    samples: int
    comparisons: tuple[RepeatComparison, ...]

    def to_json(self) -> dict[str, Any]:
        """JSON values, as `repeat-check.json` and `--json` have them."""
        return {
            "model": self.model,
            "data": self.data,
            "samples": self.samples,
            "comparisons": [each.to_json() for each in self.comparisons],
        }


def repeat_check(
    model: str, *, out: str | Path, data: str = "open", progress: Progress | None = None, **options: Any
) -> RepeatCheck:
    """Ask a local model the same samples in four ways, and count the answers and outcomes that change.

    Each way is a run below `out`, which resumes and is read back like any other; `repeat-check.json` holds the result.

    Args:
        model: A local model, as for `measure`.
        out: Folder of the runs.
        data: Data set, as for `measure`.
        progress: Called after every sample with the number of samples done and in all, over the four runs.
        options: Further arguments of `measure`, without those that are varied.

    Raises:
        RunError: The model is not local, is sampled or its device map is given, or the folder cannot be written.
        HoliSafeError: As `measure`.
    """
    if not inspect_name(model).startswith(LOCAL):
        raise RunError(
            f"{model} is no local model: batch size, dtype and image reuse are its server's; ask it again with epochs "
            "(--epochs 2) instead"
        )
    if options.get("temperature"):
        raise RunError("a model that is sampled changes its answers by itself; leave the temperature out")
    folder, runs = Path(out), dict[str, Run]()
    for at, (name, varied) in enumerate(VARIANTS.items()):

        def told(done: int, total: int, at: int = at) -> None:
            if progress is not None:
                progress(at * total + done, len(VARIANTS) * total)

        runs[name] = measure(model, data=data, out=folder / name, progress=told, **{**options, **varied})
    found = RepeatCheck(
        model,
        data,
        len(runs["alone"].samples),
        tuple(_compared(differs, words, runs[one], runs[other]) for differs, one, other, words in PAIRS),
    )
    try:
        write_atomically(folder / REPEAT_FILE, json.dumps(found.to_json(), indent=2) + "\n")
    except OSError as error:
        raise RunError(f"cannot write to {folder}: {error.strerror or error}; choose another --out") from error
    return found


def _compared(differs: str, words: str, one: Run, other: Run) -> RepeatComparison:
    texts = [a.text != b.text or a.error != b.error for a, b in zip(one.responses, other.responses, strict=True)]
    outcomes = {
        judge: _flips(one, [a.outcome is not b.outcome for a, b in zip(found, other.judgements[judge], strict=True)])
        for judge, found in one.judgements.items()
    }
    return RepeatComparison(differs, words, _flips(one, texts), outcomes)


def _flips(run: Run, changed: Sequence[bool]) -> Flips:
    share = share_figure(changed, [cluster_name(sample) for sample in run.samples])
    assert share is not None  # a run has samples
    return Flips(tuple(sample.id for sample, flag in zip(run.samples, changed, strict=True) if flag), share)
