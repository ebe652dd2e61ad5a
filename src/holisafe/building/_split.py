"""Steps "split" and "twins": groups of pictures to learn from or to measure on, and minimal pairs within each."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from holisafe.building._labels import Labelled
from holisafe.building._out import TEST, TRAIN
from holisafe.building._pictures import SIDE, Features
from holisafe.building._requests import Asked
from holisafe.building._steps import Row, Status, StepFile, key_of
from holisafe.taxonomy import Combination, GuardLabel


def split_groups(
    labelled: Sequence[Labelled], groups: Mapping[str, str], held_out: float, seed: int, file: StepFile
) -> tuple[list[Row], dict[str, str]]:
    """Hold out a share of the groups, each label in proportion; one row per group.

    A label with one group is learned only. Which groups are held out depends on seed and digests alone.

    Returns:
        The rows, and the split of each group.

    Raises:
        RunError: The step's file cannot be written.
    """
    by_label: dict[GuardLabel, list[str]] = defaultdict(list)
    seen: set[str] = set()
    for one in labelled:
        group = groups.get(one.picture.digest)
        if group is not None and group not in seen:
            seen.add(group)
            by_label[one.label].append(group)
    names = [group for label in sorted(by_label) for group in by_label[label]]
    state = key_of(sorted(groups.items()), names, held_out, seed)
    keys = [key_of("split", name, state) for name in names]

    def make() -> Iterator[Row]:
        held: set[str] = set()
        for found in by_label.values():
            shuffled = sorted(found, key=lambda name: key_of(seed, name))
            count = 0 if len(found) == 1 else min(round(held_out * len(found)), len(found) - 1)
            held |= set(shuffled[:count])
        for key, name in zip(keys, names, strict=True):
            yield Row(key, values={"group": name, "split": TEST if name in held else TRAIN})

    rows = file.whole(keys, make)
    return rows, {str(row.values["group"]): str(row.values["split"]) for row in rows}


def find_twins(
    checked: Sequence[Asked],
    labelled: Sequence[Labelled],
    splits: Mapping[str, str],
    file: StepFile,
    edited: Mapping[str, Labelled] | None = None,
) -> tuple[list[Row], list[Asked]]:
    """For each request that is unsafe by its picture alone or with it: the nearest harmless picture of its split.

    Args:
        checked: The requests that were kept.
        labelled: The pictures that were kept.
        splits: Digest of a picture → its split.
        file: The step's file.
        edited: Id of a request → the harmless picture that was made of its own; such a request has that one.

    Returns:
        One row per request of USU and SSU without an edited picture, and the same requests about the harmless pictures,
        without answers unless a template has one.

    Raises:
        RunError: The step's file cannot be written.
    """
    edited = edited or {}
    every = [one for one in checked if one.combination in (Combination.USU, Combination.SSU)]
    wanted = [one for one in every if one.id not in edited]
    safe = [one for one in labelled if one.label is GuardLabel.SAFE]
    pool = [[one.picture.digest, one.shows, splits[one.picture.digest]] for one in safe]
    state = key_of(pool)
    keys = [key_of("twins", one.id, one.avoid, splits[one.about.picture.digest], state) for one in wanted]
    rows = file.whole(keys, lambda: _nearest(wanted, keys, safe, splits))
    by_digest = {one.picture.digest: one for one in safe}
    pairs = [(one, row) for one, row in zip(wanted, rows, strict=True) if row.is_ok]
    nearest = [_twin(one, by_digest[row.values["twin_digest"]]) for one, row in pairs]
    return rows, [*(_twin(one, edited[one.id]) for one in every if one.id in edited), *nearest]


def _twin(one: Asked, about: Labelled) -> Asked:
    return Asked(about, Combination.SSS, one.question, None, one.by, one.safe_answer, twin=one.id)


def _nearest(
    wanted: Sequence[Asked], keys: Sequence[str], safe: Sequence[Labelled], splits: Mapping[str, str]
) -> Iterator[Row]:
    features = Features.of([(one.picture.dhash, one.picture.colours) for one in safe])
    for one, key in zip(wanted, keys, strict=True):
        own = one.about.picture
        may = [at for at, other in enumerate(safe) if splits[other.picture.digest] == splits[own.digest]]
        may = [at for at in may if safe[at].picture.digest != own.digest and _is_apart(safe[at], one.avoid)]
        if not may:
            reason = "no twin: no harmless picture of the same split fits"
            yield Row(key, Status.REJECTED, reason, one.said)
            continue
        distance = features.bits_from(own.dhash) / SIDE**2 + features.colours_from(own.colours)
        best = safe[may[int(np.argmin(distance[may]))]].picture
        yield Row(key, values={**one.said, "twin_picture": best.name, "twin_digest": best.digest})


def _is_apart(other: Labelled, avoid: Sequence[str]) -> bool:
    """Whether a picture is known to show none of these words; where nothing is known and words matter, it is not."""
    words = re.findall(r"[a-z]+", other.shows.lower())
    return not avoid or (bool(words) and not any(word in words for word in avoid))
