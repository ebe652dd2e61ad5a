"""Training data that a method of a study needs made first: preference pairs, requests about several images, scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holisafe import datasets
from holisafe.datasets.export import export_parquet
from holisafe.errors import RunError

if TYPE_CHECKING:
    from holisafe.records import Sample

MADE = ("pairs", "several-images", "scores")
"""What `learns_from` may name."""

SPLIT = "train"


@dataclass(frozen=True, slots=True)
class Learned:
    """What a model is tuned on.

    Attributes:
        data: Data as `tune` takes them.
        split: Their split.
        method_args: Further settings of the method.
    """

    data: str
    split: str
    method_args: dict[str, Any]


def made(
    kind: str, scorer: str, data: str, split: str, folder: Path, samples: int, progress: Callable[[int, int], None]
) -> Learned:
    """Make the data of one kind in `folder`, unless they are there.

    Args:
        kind: One of `MADE`.
        scorer: The model whose guard scores, with the tokens of the one that will be tuned.
        data: Data set that they are made of.
        split: Its split.
        folder: Where they are written.
        samples: How many samples "scores" are of; the others are made of all twins.
        progress: Called with the samples that are done, and all.

    Raises:
        RunError: They cannot be made of these data.
        DataError: The data cannot be read.
    """
    if not (folder / f"{SPLIT}.parquet").exists():
        export_parquet(_samples(kind, data, split, samples), folder, SPLIT)
    if kind != "scores":
        return Learned(str(folder), SPLIT, {})
    from holisafe.tuning import score_answers

    scores = folder / "scores.jsonl"
    score_answers(scorer, folder, scores, split=SPLIT, progress=progress)
    return Learned(str(folder), SPLIT, {"scores": str(scores)})


def _samples(kind: str, data: str, split: str, count: int) -> Sequence[Sample]:
    loaded = datasets.load(data, split)
    if kind == "scores":
        return datasets.stratified(loaded, min(count, len(loaded)), 0)
    if not any(sample.twin for sample in loaded):
        raise RunError(f"{data} ({split}) has no twins, of which {kind} are made")
    if kind == "pairs":
        from holisafe.datasets.open import preference_pairs

        return preference_pairs(loaded)
    from holisafe.datasets.open import open_images, several_images

    if data not in datasets.OPEN_NAMES:
        raise RunError(f"{kind} are made of HoliSafe-Open alone (open), not of {data}")
    version = int(data.partition("@")[2] or datasets.OPEN_VERSION)
    return several_images(loaded, {row["key"]: row["shows"] for row in open_images(split, version=version)})
