"""Which data a guard can be calibrated on: held out from what it, or its model, learned from."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from holisafe.checkpoints.tuned import IMAGES_FILE, TUNED_FILE, image_digests
from holisafe.datasets import OPEN_NAMES, load, split_names
from holisafe.errors import DataError, GuardError, MissingDependencyError, ModelError, UnknownNameError
from holisafe.models.loading import OWN_GUARD, looks_local, tuned_model
from holisafe.models.registry import registered_guard, registered_models
from holisafe.records import Sample

CALIBRATION = "calibration"
"""The split that is used where a data set has one of this name and none was asked for."""

OPEN_MODELS = ("pocket", "pocket-safe")
"""Models whose guards learned from HoliSafe-Open's split `train`"""

OPEN = "open"
LEARNED = "train"

SUGGESTED = ("calibration", "validation", "valid", "val", "dev")
"""Splits of the data that a model was tuned on, in the order in which they are looked for."""


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Data to calibrate on.

    Attributes:
        name: Name of a data set, path or Hub id.
        split: Its split; None for a data set without splits, which is used whole.
    """

    name: str
    split: str | None

    def __str__(self) -> str:
        """The name, and the split where there is one."""
        return self.name if self.split is None else f"{self.name} (split {self.split})"


def choose_data(model: str, guard: str, data: str | None, split: str | None) -> HeldOut:
    """What a guard is calibrated on: what was asked for, else the held-out split of what it was tuned on.

    Args:
        model: What `load` is asked for.
        guard: "own", or where the guard comes from.
        data: Name of a data set, path or Hub id; None to use the data that the model was tuned on.
        split: Its split; None for the split `calibration`, or all of data without splits.

    Raises:
        DataError: It is not known what the guard was tuned on, or which split is held out.
        UnknownNameError: The data have no such split.
    """
    name = _tuned_on(model, guard) if data is None else data
    names = split_names(name)
    if split is not None:
        if names and split not in names:
            raise UnknownNameError(f"split of {name}", split, names)
        if not names:
            raise DataError(f"{name} has no splits, and --split {split} was given; leave it out to use all of the data")
        return HeldOut(name, split)
    if not names:
        if data is None:
            raise DataError(
                f"{model} was tuned on {name}, which has no split that is held out; give other data with --data"
            )
        return HeldOut(name, None)
    wanted = SUGGESTED if data is None else (CALIBRATION,)
    if found := next((each for each in wanted if each in names), None):
        return HeldOut(name, found)
    if len(names) == 1 and data is not None:
        return HeldOut(name, names[0])
    tuned = "" if data is not None else f", which {model} was tuned on,"
    raise DataError(
        f"{name}{tuned} has no split {CALIBRATION!r}; say with --split which of {', '.join(names)} is held out, or "
        "give other data with --data"
    )


def check_held_out(model: str, guard: str, data: HeldOut, samples: Sequence[Sample]) -> None:
    """Refuse samples that the guard, its model, or what it was tuned from learned from, as far as that is known.

    Images are compared by the digest of their bytes, data sets by name and split.

    Args:
        model: What `load` is asked for.
        guard: "own", or where the guard comes from.
        data: Where the samples come from.
        samples: The samples.

    Raises:
        GuardError: They are what it was tuned on.
        ModelError: `tuned.json` or `learned_images.txt` cannot be read.
    """
    digests: dict[str, str] | None = None
    for source in dict.fromkeys((*_sources(model), *_guard_sources(guard))):
        name, of_split = _data_of(source)
        if name is not None and _is_same(name, data.name) and of_split in (None, data.split):
            raise GuardError(_learned_from(source, f"the split {of_split or data.split} of {name}"))
        learned = _learned_images(source)
        if learned:
            digests = image_digests(samples) if digests is None else digests
            if both := digests.keys() & learned:
                which = f"{len(both)} of the {len(digests)} images of {data}, such as {digests[min(both)]}"
                raise GuardError(_learned_from(source, which))


def _tuned_on(model: str, guard: str) -> str:
    """Name of the data that a guard learned from.

    Raises:
        DataError: It is not known, or the data are gone.
    """
    source = next(iter(_sources(model) if guard == OWN_GUARD else _guard_sources(guard)), None)
    name = None if source is None else _data_of(source)[0]
    if name is None:
        raise DataError(
            f"it is not known which data the guard of {model} was tuned on; give held-out samples with --data, whose "
            "images are like those that the guard will judge"
        )
    if _place(name) != name and not Path(name).exists():
        raise DataError(f"{model} was tuned on {name}, which is not there now; say with --data where the data are")
    return name


def _sources(model: str) -> Iterator[str]:
    """A model's folder or short name, and those of what it was tuned from, one from the other."""
    seen: set[str] = set()
    while True:
        is_registered = model in registered_models()
        tuned = None if is_registered or not looks_local(model) else tuned_model(model)
        if tuned is not None:
            source = str(tuned.folder)
        else:
            source = str(Path(model).expanduser()) if looks_local(model) and not is_registered else model
        if source in seen:
            return
        seen.add(source)
        yield source
        if tuned is None:
            return
        model = tuned.base


def _guard_sources(guard: str) -> Iterator[str]:
    """The tuned model that a guard's folder is part of; nothing where it is on its own."""
    folder = Path(guard).expanduser().resolve()
    if guard == OWN_GUARD or not folder.is_dir():
        return
    for name in OPEN_MODELS:
        if (shipped := registered_guard(name)) is not None and shipped.resolve() == folder:
            yield name
            return
    if (folder.parent / TUNED_FILE).is_file():
        yield str(folder.parent)


def _data_of(source: str) -> tuple[str | None, str | None]:
    """Name and split of the data that a model learned from; None where they have none.

    Raises:
        ModelError: `tuned.json` cannot be read.
    """
    if source in OPEN_MODELS:
        return OPEN, LEARNED
    path = Path(source) / TUNED_FILE
    if not path.is_file():
        return None, None
    try:
        learned = json.loads(path.read_text("utf-8"))["data"] or {}
        name, split = learned.get("name") or None, learned.get("split")  # samples given from Python have no name
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelError(f"{path}: data: cannot be read ({error}); expected what `holisafe tune` writes") from None
    if not isinstance(name, str | None) or not isinstance(split, str | None):
        raise ModelError(f"{path}: data: expected the name and split as strings, found {str((name, split))[:80]}")
    return name, split


def _learned_images(source: str) -> set[str]:
    """Digests of the images that a model learned from, as `image_digests` gives them; empty where they are not known.

    Raises:
        ModelError: The list cannot be read.
    """
    if source in OPEN_MODELS:
        try:
            return {digest for name in OPEN_NAMES if name != OPEN for digest in image_digests(load(name, LEARNED))}
        except MissingDependencyError:  # a model of this name by another package
            return set()
    path = Path(source) / IMAGES_FILE
    if not path.is_file():
        return set()
    try:
        return set(path.read_text("ascii").split())
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: cannot be read ({error}); expected what `holisafe tune` writes") from None


def _learned_from(source: str, what: str) -> str:
    return (
        f"{source} was tuned on {what}, so its scores there promise nothing of other images; calibrate on samples that "
        "it has not learned from"
    )


def _is_same(name: str, other: str) -> bool:
    """Whether two names mean one data set: versions of HoliSafe-Open do, since no artwork changes its split."""
    return {name, other} <= set(OPEN_NAMES) or _place(name) == _place(other)


def _place(name: str) -> str | Path:
    """A path by what it leads to, another name as it is."""
    return Path(name).expanduser().resolve() if looks_local(name) or Path(name).exists() else name
