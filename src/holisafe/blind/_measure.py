"""Blind baselines on a data set, on their own or beside a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from holisafe._checks import check_type
from holisafe.blind._baselines import BlindResult, at_refusal_rate, beside
from holisafe.blind._features import PIXELS, ImageFeatures, model_features, pixel_features
from holisafe.blind._scores import BlindScores, blind_scores
from holisafe.datasets import find, load, registered_names, split_names
from holisafe.errors import DataError, MissingDependencyError
from holisafe.records import Run, Sample

AUTO = "auto"
NONE = "none"
DEFAULT_MODEL = "pocket"
REPORT_BYTES = 48 * 2**20
"""Encoded images up to which a report reads them all."""

_TRAIN, _TEST = "train", "test"


@dataclass(frozen=True, slots=True)
class BlindReport:
    """What `holisafe blind` prints.

    Attributes:
        data: The data set.
        split: Its split; None for all of it.
        samples: Number of samples scored.
        training: What the classifiers were trained on.
        notes: What was left out, and why.
        results: One per judge of the run; without a run, one.
    """

    data: str
    split: str | None
    samples: int
    training: str
    notes: tuple[str, ...]
    results: tuple[BlindResult, ...]

    def to_json(self) -> dict[str, Any]:
        """The documented object of `--json` (docs/json.md)."""
        return {
            "data": self.data,
            "split": self.split,
            "samples": self.samples,
            "training": self.training,
            "notes": list(self.notes),
            "results": [result.to_json() for result in self.results],
        }


def blind_baselines(
    data: str | Path,
    split: str | None = None,
    *,
    rr: float = 0.05,
    run: Run | None = None,
    features: str = AUTO,
) -> BlindReport:
    """How well a classifier refuses that sees only the question, or only the image.

    Trained on the train split where the data have one and another is asked for, else cross-validated by image, on all
    of the data where a run was asked some of them.

    Args:
        data: Name of a data set, a path, or a Hub id.
        split: Its split; if not given, the run's, else "test" where there is a train split too, else all of it.
        rr: Refusal rate that the baselines are set to, in [0, 1]; without a run.
        run: Judged answers of a model to these data; the baselines are set to its refusal rate under each judge.
        features: How images are seen: "pixels", a model (its visual tokens), "none", or "auto": Pocket where it is
            installed, else pixels.

    Raises:
        DataError: The run was not asked these data, or holds no judgements; no sample is to be answered; or a
            classifier cannot be trained.
        UnknownNameError: There is no such data set or split.
        MissingDependencyError: scikit-learn, or what `features` needs, is not installed.
    """
    check_type(rr, (int, float), "rr")
    if run is not None and not run.judgements:
        raise DataError(f"run {run.name!r} holds no judgements; judge it first")
    names = split_names(data)
    if split is None and run is not None:
        asked = run_data(run)[1]
        split = asked if asked in names else None
    if split is None and {_TRAIN, _TEST} <= set(names):
        split = _TEST
    there = load(data, split)
    samples = there if run is None else _asked(run, there, data)
    train = load(data, _TRAIN) if _TRAIN in names and split not in (None, _TRAIN) else []
    seen, notes = _features(features)
    scores = blind_scores(samples if train else there, train, features=seen).of([sample.id for sample in samples])
    if run is None:
        results = [at_refusal_rate(scores, rr)]
    else:
        results = [beside(scores, judgements) for judgements in run.judgements.values()]
    return BlindReport(str(data), split, len(samples), scores.training, (*notes, *scores.notes), tuple(results))


def scores_of_run(run: Run) -> BlindScores:
    """Scores of a run's samples, for a report.

    A run may come from a stranger: of what it names, only registered data sets are loaded, and no image is read that is
    not the one it recorded. Images are seen as pixels, up to 48 MiB of them.

    Raises:
        HoliSafeError: There are none, e.g. because all samples are to be refused.
    """
    samples, train = run.samples, list[Sample]()
    name, split = run_data(run)
    if name in registered_names() and _TRAIN in find(name).splits and split not in (None, _TRAIN):
        there = {sample.id: sample for sample in load(name, split)}
        if all(sample.id in there and _is_same(sample, there[sample.id]) for sample in samples):
            samples = tuple(there[sample.id] for sample in samples)
            train = load(name, _TRAIN)
    known = all(ref.data is not None or ref.digest for sample in samples for ref in sample.images)
    return blind_scores(samples, train, features=pixel_features(REPORT_BYTES) if known else None)


def run_data(run: Run) -> tuple[str, str | None]:
    """Name and split of the data that a run says it was asked; empty and None where it does not say."""
    data = run.provenance.get("data")
    found = data if isinstance(data, Mapping) else {}
    split = found.get("split")
    return str(found.get("name") or ""), split if isinstance(split, str) else None


def _asked(run: Run, there: Sequence[Sample], data: str | Path) -> list[Sample]:
    """The data's samples that the run was asked, in its order."""
    by_id = {sample.id: sample for sample in there}
    others = [each.id for each in run.samples if each.id not in by_id or not _is_same(each, by_id[each.id])]
    if others:
        raise DataError(
            f"{len(others)} of the run's {len(run.samples)} samples are not in {data} (first: {others[0]!r}); name the "
            "data and the split that it was asked"
        )
    return [by_id[sample.id] for sample in run.samples]


def _is_same(sample: Sample, other: Sample) -> bool:
    """Whether texts and expectations are equal, and the images where both are identified."""
    images = zip(sample.images, other.images, strict=False)
    return (
        [turn.text for turn in sample.turns] == [turn.text for turn in other.turns]
        and sample.expected is other.expected
        and sample.combination is other.combination
        and len(sample.images) == len(other.images)
        and all(not one.digest or not two.digest or one.digest == two.digest for one, two in images)
    )


def _features(name: str) -> tuple[ImageFeatures | None, list[str]]:
    """The features of that name, and what to say about them."""
    match name:
        case "none":
            return None, []
        case "pixels":
            return pixel_features(), []
        case "auto":
            try:
                return model_features(DEFAULT_MODEL), []
            except MissingDependencyError as error:
                return pixel_features(), [f"images are seen as {PIXELS}, because {DEFAULT_MODEL} is missing: {error}"]
        case _:
            return model_features(name), []
