"""Step "dedup": pictures that are near-duplicates of others, or lie in data that models are measured on.

It comes before anything is asked, so that nothing is paid for a picture that is left out. A near-duplicate with another
label is kept, in the same group: such pairs are the hard cases.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from holisafe.building._labels import Labelled
from holisafe.building._pictures import Features, features_of
from holisafe.building._steps import Row, Status, StepFile, key_of
from holisafe.datasets import fingerprint, load
from holisafe.errors import ImageError
from holisafe.images import open_identified

NEAR_COLOURS = 0.06
"""Mean difference of colours, in [0, 1], up to which pictures with close hashes are near-duplicates."""


@dataclass(frozen=True, slots=True)
class _Other:
    """A picture of data that models are measured on: where, digest, hash and colours."""

    name: str
    digest: str
    dhash: str
    colours: tuple[int, ...]


def deduplicate(
    labelled: Sequence[Labelled], against: Sequence[str], near_bits: int, file: StepFile
) -> tuple[list[Row], dict[str, str]]:
    """Leave out near-duplicates and leaked pictures; one row per picture.

    Args:
        labelled: The pictures.
        against: Names or paths of data sets of which no picture may be in the data.
        near_bits: Bits of the hash in which near-duplicates differ at most.
        file: The step's file.

    Returns:
        The rows, and for each picture that is kept, by digest, the group that it belongs to.

    Raises:
        DataError, UnknownNameError: A data set cannot be read.
        RunError: The step's file cannot be written.
    """
    sets = {name: load(name) for name in against}
    pictures = [[one.picture.digest, one.label.value] for one in labelled]
    state = key_of(pictures, [[name, fingerprint(found)] for name, found in sets.items()], near_bits)
    keys = [key_of("dedup", one.picture.digest, state) for one in labelled]

    def make() -> Iterator[Row]:
        others = [
            other
            for name, samples in sets.items()
            for other in _others(name, {ref.identity: ref for one in samples for ref in one.images}.values())
        ]
        return _compared(labelled, keys, others, near_bits)

    rows = file.whole(keys, make)
    kept = zip(labelled, rows, strict=True)
    return rows, {one.picture.digest: str(row.values["group"]) for one, row in kept if row.is_ok}


def _others(name: str, refs: object) -> Iterator[_Other]:
    for ref in refs:  # type: ignore[attr-defined]
        try:
            image, digest = open_identified(ref)
        except ImageError:
            continue  # what cannot be opened cannot be measured on
        yield _Other(name, digest, *features_of(image))


def _compared(
    labelled: Sequence[Labelled], keys: Sequence[str], others: Sequence[_Other], near_bits: int
) -> Iterator[Row]:
    leaks = {other.digest: other for other in others}
    theirs = Features.of([(other.dhash, other.colours) for other in others])
    ours = Features.of([(one.picture.dhash, one.picture.colours) for one in labelled])
    groups: dict[int, str] = {}  # of the pictures that are kept, by place
    for place, (one, key) in enumerate(zip(labelled, keys, strict=True)):
        values = {"picture": one.picture.name, "digest": one.picture.digest}
        leak = leaks.get(one.picture.digest) or next((others[at] for at in _near(theirs, one, near_bits)), None)
        if leak is not None:
            how = "same bytes" if leak.digest == one.picture.digest else "near-duplicate"
            yield Row(key, Status.REJECTED, f"leak: in {leak.name} ({how})", values)
            continue
        near = [at for at in _near(ours, one, near_bits) if at < place and at in groups]
        same = [at for at in near if labelled[at].label is one.label]
        if same:
            yield Row(key, Status.REJECTED, f"near-duplicate: of {labelled[same[0]].picture.name}", values)
            continue
        groups[place] = groups[near[0]] if near else one.picture.digest
        yield Row(key, values={**values, "group": groups[place]})


def _near(features: Features, one: Labelled, near_bits: int) -> list[int]:
    """Places of near-duplicates, the nearest first."""
    if not len(features.hashes):
        return []
    bits = features.bits_from(one.picture.dhash)
    close = np.flatnonzero((bits <= near_bits) & (features.colours_from(one.picture.colours) <= NEAR_COLOURS))
    return [int(at) for at in close[np.argsort(bits[close], kind="stable")]]
