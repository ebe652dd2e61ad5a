"""Pictures with a guard label each: from a folder per label, a CSV file, or records."""

from __future__ import annotations

import csv
import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from holisafe import datasets
from holisafe.crosswalks import CROSSWALKS, Crosswalk
from holisafe.errors import DataError, ImageError, UnknownNameError
from holisafe.images import identify, looks_like_image
from holisafe.records import ImageRef
from holisafe.taxonomy import HEAD_ORDER, GuardLabel, parse_label
from holisafe.tuning._samples import SkippedSample


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """A picture and what it shows; `image.digest` is set."""

    image: ImageRef
    label: GuardLabel


@dataclass(frozen=True, slots=True)
class LabelledImages:
    """Different pictures with their labels, and what was skipped with the reason."""

    images: tuple[LabelledImage, ...]
    skipped: tuple[SkippedSample, ...] = ()


def read_labelled_images(
    source: str | Path, *, crosswalk: str | None = None, split: str | None = None
) -> LabelledImages:
    """Read pictures and labels.

    Args:
        source: A folder with a folder per label, a CSV file with the columns "image" (path, relative to the file) and
            "label", or records: the name, path or Hub id of a data set with image labels.
        crosswalk: Name of the taxonomy whose codes the labels are, such as "llama_guard"; our labels when None.
        split: Split of records.

    Raises:
        DataError: There are no pictures, a row lacks a field, or one picture has two labels.
        UnknownNameError: A label, a crosswalk or a data set is unknown.
    """
    walk = None if crosswalk is None else _crosswalk(crosswalk)
    path = Path(source).expanduser()
    if path.is_dir() and not _holds_records(path):
        pairs = _from_folders(path, walk)
    elif path.suffix.lower() == ".csv" and path.is_file():
        pairs = _from_csv(path, walk)
    else:
        pairs = _from_records(source, split)
    return _identified(pairs, str(source))


def split_by_digest(
    images: Sequence[LabelledImage], held_out: float, *, seed: int
) -> tuple[list[LabelledImage], list[LabelledImage]]:
    """Split different pictures into those to learn from and those held out, each label in proportion.

    A label with a single picture is learned only. Depends on seed and digests, not on names or order.
    """
    by_label: dict[GuardLabel, list[LabelledImage]] = defaultdict(list)
    for each in sorted(images, key=lambda each: each.image.digest):
        by_label[each.label].append(each)
    rng = random.Random(seed)
    learned: list[LabelledImage] = []
    held: list[LabelledImage] = []
    for label in (label for label in HEAD_ORDER if label in by_label):
        found = by_label[label]
        rng.shuffle(found)
        count = 0 if len(found) == 1 else min(max(1, round(held_out * len(found))), len(found) - 1)
        held += found[:count]
        learned += found[count:]
    return learned, held


_Pair = tuple[ImageRef, GuardLabel]
_RECORDS = (".json", ".jsonl", ".parquet")


def _holds_records(folder: Path) -> bool:
    return any(child.suffix.lower() in _RECORDS for child in folder.iterdir() if child.is_file())


def _from_folders(folder: Path, walk: Crosswalk | None) -> list[_Pair]:
    classes = sorted(child for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))
    if not classes:
        raise DataError(
            f"{folder}: found no folders; expected one per label, such as {folder / 'safe'} and {folder / 'terrorism'}"
        )
    pairs = []
    for each in classes:
        label = _label(each.name, walk, f"{each}: folder name")
        files = sorted(path for path in each.rglob("*") if path.is_file() and _looks_like_image(path))
        pairs += [(ImageRef(str(path.relative_to(folder)), path=path, root=folder), label) for path in files]
    return pairs


def _looks_like_image(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return looks_like_image(file.read(64)) or path.suffix.lower() in (".png", ".jpg", ".jpeg", ".webp", ".gif")
    except OSError:
        return True  # whoever opens it says why it cannot be


def _from_csv(path: Path, walk: Crosswalk | None) -> list[_Pair]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            missing = {"image", "label"} - set(reader.fieldnames or ())
            if missing:
                raise DataError(
                    f"{path}: column {', '.join(sorted(missing))}: not found; expected a first line with image,label"
                )
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as CSV ({error})") from None
    pairs = []
    for number, row in enumerate(rows, 2):
        image, label = row["image"], row["label"]
        if not image or not label:
            raise DataError(f"{path}: line {number}: {'image' if not image else 'label'}: found none")
        place = (path.parent / image).resolve() if not Path(image).is_absolute() else Path(image)
        pairs.append((ImageRef(image, path=place), _label(label, walk, f"{path}: line {number}: label")))
    return pairs


def _from_records(source: str | Path, split: str | None) -> list[_Pair]:
    samples = datasets.read(source, split).samples
    pairs = [
        pair
        for sample in samples
        if len(sample.image_labels) == len(sample.images)
        for pair in zip(sample.images, sample.image_labels, strict=True)
    ]
    if samples and not pairs:
        raise DataError(f"{source}: image_labels: none of {len(samples)} records has a label per image")
    return pairs


def _label(name: str, walk: Crosswalk | None, where: str) -> GuardLabel:
    if walk is None:
        try:
            return parse_label(name)
        except UnknownNameError as error:
            hint = "; labels of another taxonomy need its name as crosswalk" if _known_elsewhere(name) else ""
            raise DataError(f"{where}: {error}{hint}") from None
    if name.strip().lower() == GuardLabel.SAFE.value:
        return GuardLabel.SAFE
    try:
        found = walk.subcategories_of(name.strip())
    except UnknownNameError as error:
        raise DataError(f"{where}: {error}") from None
    if len(found) != 1:
        labels = ", ".join(each.value for each in found) or "none of our labels"
        raise DataError(f"{where}: {name} of {walk.title} stands for {labels}; expected one: use our label's name")
    return GuardLabel(found[0].value)


def _known_elsewhere(name: str) -> bool:
    return any(name in walk.codes for walk in CROSSWALKS)


def _crosswalk(name: str) -> Crosswalk:
    found = next((walk for walk in CROSSWALKS if walk.name == name), None)
    if found is None:
        raise UnknownNameError("crosswalk", name, [walk.name for walk in CROSSWALKS])
    return found


def _identified(pairs: Sequence[_Pair], source: str) -> LabelledImages:
    """Each picture once, by its digest; what cannot be read is skipped.

    Raises:
        DataError: There are none, or one picture has two labels.
    """
    by_digest: dict[str, LabelledImage] = {}
    skipped = []
    for image, label in pairs:
        try:
            known = identify(image)
        except ImageError as error:
            skipped.append(SkippedSample(image.key, "image", str(error)))
            continue
        before = by_digest.setdefault(known.digest, LabelledImage(replace(known), label))
        if before.label is not label:
            raise DataError(
                f"{source}: {before.image.key} and {image.key} are the same image, labelled {before.label} and "
                f"{label}; expected one label for it"
            )
    if not by_digest:
        why = f"; the first of {len(skipped)} that cannot be read: {skipped[0].why}" if skipped else ""
        raise DataError(f"{source}: no images with labels found{why}")
    return LabelledImages(tuple(by_digest.values()), tuple(skipped))
