"""Step "doubts": given labels against which a guard's probabilities speak, by confident learning (cleanlab).

Method: Northcutt et al. 2021, arXiv 1911.00068. The guard must not have been trained on these pictures. A doubt is a
row and a tag of the picture's samples; nothing is left out for it.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from holisafe._lazy import missing
from holisafe.building._labels import GIVEN, Labelled, guard_rows, scanner_of
from holisafe.building._steps import Row, Status, StepCounts, StepFile, key_of
from holisafe.taxonomy import GuardLabel

DOUBT = "label_doubt"
"""Tag of samples whose picture's given label is in doubt."""

KEPT = "likely label error, kept"
"""What counts call a doubt."""

_LABELS = tuple(GuardLabel)


def find_doubts(
    labelled: Sequence[Labelled], guard: str, device: str | None, probabilities: StepFile, file: StepFile
) -> tuple[list[Row], dict[str, str], StepCounts]:
    """Compare given labels with a guard's probabilities.

    Args:
        labelled: The pictures; those that the guard itself has labelled are passed over.
        guard: Model with a guard.
        device: Device of the guard.
        probabilities: File of the guard's distributions, a row per picture.
        file: The step's file.

    Returns:
        One row per picture with a given label, the doubt by digest of each picture that has one, and the counts.

    Raises:
        MissingDependencyError: cleanlab is not installed.
        ModelError, GuardError: The guard cannot be loaded.
        RunError: A file cannot be written.
    """
    given = [one for one in labelled if one.by == GIVEN]
    said = _distributions(given, guard, device, probabilities)
    state = key_of([[row.key, one.label.value] for one, row in zip(given, said, strict=True)])
    keys = [key_of("doubts", one.picture.digest, state) for one in given]
    rows = file.whole(keys, lambda: _compared(given, said, keys))
    found = {str(row.values["digest"]): str(row.values["doubt"]) for row in rows if row.values.get("doubt")}
    reasons = {KEPT: len(found)} if found else {}
    unread = sum(not row.is_ok for row in rows)
    return rows, found, StepCounts("doubts", len(rows), len(rows), {**reasons, **_unread(unread)}, "given labels")


def _unread(count: int) -> Mapping[str, int]:
    return {"not compared, kept": count} if count else {}


def _distributions(given: Sequence[Labelled], guard: str, device: str | None, file: StepFile) -> list[Row]:
    keys = [key_of("probabilities", one.picture.digest, guard) for one in given]
    pairs = [(key, one) for key, one in zip(keys, given, strict=True) if file.get(key) is None]
    said = guard_rows([one.picture for _, one in pairs], scanner_of(guard, device)) if pairs else iter(())
    for (key, one), verdict in zip(pairs, said, strict=True):
        values = {"picture": one.picture.name, "digest": one.picture.digest, "guard": guard}
        if "error" in verdict:
            file.append(Row(key, Status.REJECTED, f"guard: {verdict['error']}", values))
        else:
            file.append(Row(key, values={**values, "distribution": dict(verdict["distribution"])}))
    return [row for key in keys if (row := file.latest(key)) is not None]


def _compared(given: Sequence[Labelled], said: Sequence[Row], keys: Sequence[str]) -> Iterator[Row]:
    readable = [at for at, row in enumerate(said) if row.is_ok]
    labels = np.array([_LABELS.index(given[at].label) for at in readable], dtype=np.int64)
    chances = np.array([[said[at].values["distribution"][each] for each in _LABELS] for at in readable])
    doubted = {readable[at] for at in _issues(labels, chances)}
    for at, (one, key) in enumerate(zip(given, keys, strict=True)):
        values = {"picture": one.picture.name, "digest": one.picture.digest, "label": one.label.value}
        if not said[at].is_ok:
            yield Row(key, Status.REJECTED, f"not compared: {said[at].reason}", values)
            continue
        chance = said[at].values["distribution"]
        likely = max(chance, key=chance.__getitem__)
        told = f"given {one.label}, probability {chance[one.label]:.3f}; the guard sees {likely}, {chance[likely]:.3f}"
        doubt = {"doubt": told} if at in doubted else {}
        yield Row(key, values={**values, "probability": chance[one.label], "guard_label": likely, **doubt})


def _issues(labels: np.ndarray, chances: np.ndarray) -> Sequence[int]:
    """Places of likely label errors; none where all pictures have one label, about which nothing can be learned."""
    if len(set(labels.tolist())) < 2:
        return ()
    try:
        from cleanlab.filter import find_label_issues
    except ModuleNotFoundError as error:
        raise missing(error, "holisafe build --check-labels") or error from error
    sums = chances.sum(axis=1, keepdims=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # it warns of rare labels when nothing is to be deleted, as here
        found = find_label_issues(
            labels, chances / sums, return_indices_ranked_by="self_confidence", min_examples_per_class=0, n_jobs=1
        )
    return [int(at) for at in found]
