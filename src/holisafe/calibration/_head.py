"""The held-out records of one of a guard's heads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from holisafe.calibration.arrays import as_image_labels, as_joint_labels, as_logits
from holisafe.errors import DataError
from holisafe.metrics import negative_log_likelihood, softmax
from holisafe.taxonomy import GuardLabel

_SAFE = GuardLabel.SAFE.index  # SSS is the first combination, too


@dataclass(frozen=True, slots=True)
class HeadRecords:
    """Records of one head: logits (records, labels), labels and cluster indices (records,), names of the labels."""

    what: str
    logits: npt.NDArray[np.float64]
    labels: npt.NDArray[np.int64]
    clusters: npt.NDArray[np.int64]
    names: Sequence[str]

    def only(self, kept: npt.NDArray[np.bool_]) -> HeadRecords:
        """Some of the records, by a mask (records,)."""
        clusters = _numbered(self.clusters[kept])
        return HeadRecords(self.what, self.logits[kept], self.labels[kept], clusters, self.names)

    @property
    def safe(self) -> npt.NDArray[np.bool_]:
        """Whether each record is safe."""
        return np.asarray(self.labels == _SAFE)

    @property
    def noun(self) -> str:
        """What its records are called."""
        return {"image": "images", "joint": "requests", "output": "answers"}[self.what]

    def unsafe_scores(self, temperature: float) -> npt.NDArray[np.float64]:
        """The verdict's own score: 1 - P(safe)."""
        return np.asarray(1 - softmax(self.logits, temperature)[:, _SAFE], dtype=np.float64)


def read_head(
    what: str, logits: Any, labels: Any, names: Sequence[str], clusters: Sequence[str] | None
) -> HeadRecords | None:
    """The records of one head, checked; None where there are none.

    Raises:
        DataError: What was given does not fit together.
    """
    if logits is None and labels is None:
        return None
    if logits is None or labels is None:
        raise DataError(f"{what}_logits and {what}_labels go together; give both or neither")
    values = as_logits(f"{what}_logits", logits)
    readers: dict[str, Callable[[Any], npt.NDArray[Any]]] = {
        "image": as_image_labels, "joint": as_joint_labels, "output": np.asarray,
    }  # fmt: skip
    right = readers[what](labels)
    if values.ndim != 2 or values.shape[1] != len(names):
        raise DataError(f"{what}_logits has shape {values.shape}; expected (records, {len(names)})")
    try:
        negative_log_likelihood(values, right)  # checks what both must be
    except DataError as error:
        raise DataError(f"{what} head: {error}") from None
    if clusters is not None and len(clusters) != len(right):
        raise DataError(f"expected one of {what}_clusters per record, found {len(clusters)} for {len(right)}")
    belongs = np.arange(len(right)) if clusters is None else _numbered(np.asarray(clusters, dtype=np.str_))
    return HeadRecords(what, values, right.astype(np.int64), belongs, names)


def first_half_of(head: HeadRecords, seed: int) -> npt.NDArray[np.bool_]:
    """Which records set the temperature: of each label's clusters, every other one in a drawn order.

    A cluster of several labels goes with its first record's.
    """
    clusters, firsts = np.unique(head.clusters, return_index=True)
    drawn = np.random.default_rng(seed).permutation(len(clusters))
    by_label = drawn[np.argsort(head.labels[firsts[drawn]], kind="stable")]
    chosen = np.zeros(len(clusters), dtype=np.bool_)
    chosen[by_label[1::2]] = True  # the odd one out goes to the threshold, which needs records most
    return np.asarray(chosen[head.clusters])


def _numbered(names: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Index of each name among the different ones, in their order."""
    return np.asarray(np.unique(names, return_inverse=True)[1], dtype=np.int64)
