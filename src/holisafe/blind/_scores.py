"""How much a blind classifier wants to refuse each sample, learned from samples of other images."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sklearn.model_selection import StratifiedGroupKFold

from holisafe._checks import check_each
from holisafe.blind._features import ImageFeatures
from holisafe.blind._sights import image_classifier, question_classifier, question_text
from holisafe.errors import DataError, ImageError
from holisafe.images import content_hash, open_image, read_bytes
from holisafe.metrics import cluster_name
from holisafe.records import Behaviour, ImageRef, Sample

QUESTION = "question alone"
IMAGE = "image alone"
FOLDS = 5

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class BlindScores:
    """The scores of each blind classifier.

    Attributes:
        samples: What was scored.
        by_sight: Name of a classifier ("question alone", "image alone (pocket)") → log-odds of a refusal, (samples,).
        training: What they were trained on, in one clause.
        notes: Which classifiers were left out, and why; other things to know.
    """

    samples: tuple[Sample, ...]
    by_sight: Mapping[str, Floats]
    training: str
    notes: tuple[str, ...] = ()

    def of(self, ids: Sequence[str]) -> BlindScores:
        """The scores of some of the samples, by id, in that order."""
        row = {sample.id: at for at, sample in enumerate(self.samples)}
        rows = [row[each] for each in ids]
        chosen = {name: scores[rows] for name, scores in self.by_sight.items()}
        return BlindScores(tuple(self.samples[at] for at in rows), chosen, self.training, self.notes)


def blind_scores(
    samples: Sequence[Sample], train: Sequence[Sample] = (), *, features: ImageFeatures | None = None
) -> BlindScores:
    """Score samples by their question alone, and by their images alone.

    Trained on `train`, less the samples that share an image or a cluster with `samples`. Without any left, trained on
    `samples` themselves, cross-validated (5 folds): samples that share an image or a cluster, and twins, are in one
    fold. The order of samples does not matter, and nothing is random.

    Args:
        samples: What to score. Those of which nothing is expected are scored, but not trained on.
        train: What to train on.
        features: Features of images; without, no classifier sees images. A sample without images has features 0.

    Raises:
        DataError: Ids occur twice, or a classifier cannot be trained: there is one class, or one image.
    """
    check_each(samples, Sample, "samples")
    check_each(train, Sample, "train")
    ids = [sample.id for sample in samples]
    if len(set(ids)) < len(ids):
        raise DataError("sample ids must be unique; number the records")
    other = apart_from(samples, train)
    left_out = sum(sample.expected is not None for sample in train) - len(other)
    task = _task(samples, other)
    notes = [f"{left_out} training samples left out: they share an image with samples to be scored"] if left_out else []
    found: dict[str, Floats] = {}
    try:
        found[QUESTION] = _score_all(task, question_text, _texts, question_classifier)
    except _NothingToSee as error:
        notes.append(f"{QUESTION} left out: {error}")
    if features is None:
        notes.append(f"{IMAGE} left out: no features of images were asked for")
        return BlindScores(tuple(samples), found, task.words, tuple(notes))
    name = f"{IMAGE} ({features.name})"
    try:
        seen = _Images(features)
        seen.read([*samples, *other])
        found[name] = _score_all(task, _image_key, seen.matrix, image_classifier)
    except _NothingToSee as error:
        notes.append(f"{name} left out: {error}")
    return BlindScores(tuple(samples), found, task.words, tuple(notes))


def apart_from(samples: Sequence[Sample], train: Sequence[Sample]) -> list[Sample]:
    """Those of `train` with an expected behaviour that share no image and no cluster with `samples`, by id."""
    taken = {name for sample in samples for name in _image_names(sample)}
    kept = [each for each in train if each.expected is not None and taken.isdisjoint(_image_names(each))]
    return sorted(kept, key=lambda sample: sample.id)


class _NothingToSee(Exception):
    """A classifier sees nothing on these data; the message says why."""


@dataclass(frozen=True, slots=True)
class _Task:
    """What is trained on what: for each part, rows of `samples` to train on and to score.

    Attributes:
        samples: Training samples and those to score, by id.
        parts: Pairs of rows: to train on, to score.
        places: Row of each sample to be scored, in the caller's order.
        words: What this is, in one clause.
    """

    samples: tuple[Sample, ...]
    parts: tuple[tuple[Rows, Rows], ...]
    places: Rows
    words: str


def _task(samples: Sequence[Sample], train: Sequence[Sample]) -> _Task:
    ordered = sorted(samples, key=lambda sample: sample.id)
    row = {sample.id: at for at, sample in enumerate(ordered)}
    places = np.array([row[sample.id] for sample in samples], dtype=np.int64)
    if train:
        score = np.arange(len(train), len(train) + len(ordered))
        words = f"trained on {len(train)} samples of other images"
        return _Task((*train, *ordered), ((np.arange(len(train)), score),), places + len(train), words)
    _, parts = cross_validation_parts(samples)
    return _Task(tuple(ordered), tuple(parts), places, f"{len(parts)}-fold cross-validation by image")


def cross_validation_parts(samples: Sequence[Sample]) -> tuple[list[Sample], list[tuple[Rows, Rows]]]:
    """Folds that share no image, no cluster and no pair of twins.

    Returns:
        The samples by id, and for each fold their rows to train on (of these, something is expected) and to score.

    Raises:
        DataError: There are fewer than two samples of a kind, or all are linked, so that there are no two folds.
    """
    ordered = sorted(samples, key=lambda sample: sample.id)
    usable = np.array([sample.expected is not None for sample in ordered], dtype=bool)
    refuse = _refuse(ordered)
    groups = _groups(ordered)
    counts = int((usable & ~refuse).sum()), int(refuse.sum())
    folds = min(FOLDS, len(set(groups.tolist())), *counts)
    if min(counts) < 2:
        raise DataError(
            f"blind baselines: {counts[0]} samples are to be answered and {counts[1]} to be refused; a classifier "
            "needs two of each to be cross-validated: give data with both kinds"
        )
    if folds < 2:
        raise DataError(
            "blind baselines: all samples share an image or a chain of twins, so that none can be held out; give data "
            "with more images, or with a train split"
        )
    split = StratifiedGroupKFold(n_splits=folds).split(ordered, refuse, groups)
    return ordered, [(rows[usable[rows]], held_out) for rows, held_out in split]


def _refuse(samples: Sequence[Sample]) -> npt.NDArray[np.bool_]:
    """Whether each sample is to be refused, (samples,); not those of which nothing is expected."""
    return np.array([sample.expected is Behaviour.REFUSE for sample in samples], dtype=bool)


def _groups(samples: Sequence[Sample]) -> Rows:
    """Index of each sample's group, (samples,): what shares an image, a cluster or a pair of twins, or is linked so."""
    names: dict[Hashable, int] = {}
    edges: list[tuple[int, int]] = []
    at = {sample.id: row for row, sample in enumerate(samples)}
    for row, sample in enumerate(samples):
        edges += [(row, len(samples) + names.setdefault(name, len(names))) for name in sorted(_image_names(sample))]
        if sample.twin in at:
            edges.append((row, at[sample.twin]))
    size = len(samples) + len(names)
    rows, columns = np.array(edges, dtype=np.int64).T
    graph = coo_array((np.ones(len(edges)), (rows, columns)), shape=(size, size))
    _, labels = connected_components(graph, directed=False)
    return np.asarray(labels[: len(samples)], dtype=np.int64)


def _image_names(sample: Sample) -> set[str]:
    return {cluster_name(sample), *(image.identity for image in sample.images)}


def _score_all(
    task: _Task,
    key: Callable[[Sample], Hashable],
    matrix: Callable[[Sequence[Any]], Any],
    classifier: Callable[[], Any],
) -> Floats:
    """Log-odds of a refusal, (samples to be scored,). What looks alike is scored once, so that ties are exact."""
    keys = [key(sample) for sample in task.samples]
    refuse = _refuse(task.samples)
    scores = np.zeros(len(keys))
    for train, score in task.parts:
        if len(set(refuse[train].tolist())) < 2:
            raise DataError(
                f"blind baselines: all {len(train)} training samples of a part are to be "
                f"{'refused' if refuse[train].any() else 'answered'}; give data with samples of both kinds on several "
                "images"
            )
        model = classifier().fit(matrix([keys[row] for row in train]), refuse[train])
        different = list(dict.fromkeys(keys[row] for row in score))
        found = dict(zip(different, model.decision_function(matrix(different)).tolist(), strict=True))
        scores[score] = [found[keys[row]] for row in score]
    return scores[task.places]


def _texts(texts: Sequence[str]) -> Sequence[str]:
    if not any(re.search(r"\w", text) for text in texts):
        raise _NothingToSee("no question holds a word")
    return texts


def _image_key(sample: Sample) -> tuple[str, ...]:
    return tuple(image.identity for image in sample.images)


class _Images:
    """Features of each image, computed once."""

    def __init__(self, features: ImageFeatures) -> None:
        self._features = features
        self._known: dict[str, npt.NDArray[np.float32]] = {}

    def read(self, samples: Sequence[Sample]) -> None:
        """Read the images of all samples.

        Raises:
            _NothingToSee: There are none, one cannot be read, or they are too large together.
        """
        images = {image.identity: image for sample in samples for image in sample.images}
        if not images:
            raise _NothingToSee("there are no images")
        left = self._features.max_bytes
        for identity, ref in images.items():
            data = _bytes_of(ref)
            if left is not None and (left := left - len(data)) < 0:
                raise _NothingToSee(f"its {len(images)} images are larger together than what is read here")
            try:
                self._known[identity] = self._features.read(open_image(ImageRef(ref.key, data=data)))
            except ImageError as error:
                raise _NothingToSee(f"an image cannot be read: {error}") from error

    def matrix(self, keys: Sequence[tuple[str, ...]]) -> npt.NDArray[np.float32]:
        """Mean features of the images of each key, (keys, width); 0 without images."""
        nothing = np.zeros_like(next(iter(self._known.values())))
        return np.stack([np.mean([self._known[each] for each in key], axis=0) if key else nothing for key in keys])


def _bytes_of(ref: ImageRef) -> bytes:
    """The encoded image, if it is the one that was recorded."""
    try:
        data = read_bytes(ref)
    except ImageError as error:
        raise _NothingToSee(f"an image cannot be read: {error}") from error
    if ref.digest and content_hash(data) != ref.digest:
        raise _NothingToSee(f"the file of image {ref.key!r} is not the one that was recorded")
    return data
