"""Step "labels": what each picture shows, given by a file or by its folder, else by a guard."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from holisafe._files import MAX_JSON_BYTES, parse_json, read_bounded
from holisafe.building._pictures import Found, Picture
from holisafe.building._steps import Row, Status, StepFile, key_of
from holisafe.errors import DataError, UnknownNameError
from holisafe.scan import Scanner
from holisafe.taxonomy import GuardLabel, parse_label

GIVEN = "given"
"""Who has labelled a picture whose label a file or a folder gives."""

FOLDERS = "folders"
"""In place of a labels file: the first folder on a picture's path is its label."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """A picture and what it shows.

    Attributes:
        picture: The picture.
        label: Its safety label.
        shows: What it shows in a few words, as a labels file says; empty where none does.
        by: "given", or the guard's name.
    """

    picture: Picture
    label: GuardLabel
    shows: str
    by: str


@dataclass(frozen=True, slots=True)
class Given:
    """What a labels file says of one picture: its label's text and what it shows."""

    label: str
    shows: str = ""


def read_given(labels: str | Path | None, found: Found) -> Mapping[str, Given]:
    """Labels by picture name.

    Args:
        labels: A CSV or JSON Lines file with `image`, `label` and perhaps `shows`; "folders"; or None.
        found: The pictures.

    Raises:
        DataError: The file cannot be read, or a row lacks a field.
    """
    if labels is None:
        return {}
    if str(labels) == FOLDERS:
        parts = {name: name.split("/") for names in found.names.values() for name in names}
        if parts and all(len(each) == 1 for each in parts.values()):
            raise DataError(
                "labels: with the word folders each picture lies in a folder of its label's name, as in safe/cup.png; "
                f"all {len(parts)} pictures lie in no folder. Give a file with image and label, or a guard with --guard"
            )
        return {name: Given(each[0] if len(each) > 1 else "") for name, each in parts.items()}
    given: dict[str, Given] = {}
    for where, raw in _rows(Path(labels)):
        image, label, shows = raw.get("image"), raw.get("label"), raw.get("shows") or ""
        if not isinstance(image, str) or not image or not isinstance(label, str) or not isinstance(shows, str):
            raise DataError(f"{where}: expected texts image and label (and shows); found {raw!s:.80}")
        said = Given(label, shows.strip())
        for field, old, new in zip(("label", "shows"), astuple(given.get(image, said)), astuple(said), strict=True):
            if old != new:
                raise DataError(f"{where}, field {field}: {image!r} has two of them, {old!r:.80} and {new!r:.80}")
        given[image] = said
    if not given:
        raise DataError(f"{labels}: holds no label; expected a row of image and label for each picture")
    return given


def unmatched(given: Mapping[str, Given], found: Found) -> list[Row]:
    """A row for each label that names no file of the folder."""
    there = {str(row.values["picture"]) for row in found.rows}
    reason = "no picture: the folder holds no such file; name it by its path below the folder"
    lost = [name for name in given if name not in there]
    return [Row(key_of("given", name), Status.REJECTED, reason, {"image": name}) for name in lost]


def label_pictures(
    found: Found, given: Mapping[str, Given], guard: str | None, device: str | None, file: StepFile
) -> tuple[list[Row], list[Labelled]]:
    """The label of every picture; one row each.

    Args:
        found: The pictures.
        given: Labels by name.
        guard: Model with a guard, as `holisafe.models.load` takes it, for pictures without a label; None for none.
        device: Device of the guard.
        file: The step's file.

    Raises:
        ModelError, GuardError: The guard cannot be loaded.
        RunError: The step's file cannot be written.
    """
    keys = {each.digest: _key(each, found, given, guard) for each in found.pictures}
    unknown = [each for each in found.pictures if file.get(keys[each.digest]) is None]
    to_guard = []
    for picture in unknown:
        said = _said(picture, found, given)
        if said or guard is None:
            file.append(_from_given(keys[picture.digest], picture, said))
        else:
            to_guard.append(picture)
    if to_guard and guard is not None:
        for row in _by_guard(to_guard, keys, guard, device):
            file.append(row)
    rows = [known for each in found.pictures if (known := file.latest(keys[each.digest])) is not None]
    pairs = zip(found.pictures, rows, strict=True)
    return rows, [_labelled(picture, known) for picture, known in pairs if known.is_ok]


def planned_labels(found: Found, given: Mapping[str, Given], guard: str | None, file: StepFile) -> list[Labelled]:
    """The labels that are given or there already; a picture that a guard has still to label counts as safe."""
    labelled = []
    for picture in found.pictures:
        key = _key(picture, found, given, guard)
        said = _said(picture, found, given)
        noted = file.get(key)
        if noted is None and (said or guard is None):
            noted = _from_given(key, picture, said)
        if noted is None:
            labelled.append(Labelled(picture, GuardLabel.SAFE, "", guard or ""))
        elif noted.is_ok:
            labelled.append(_labelled(picture, noted))
    return labelled


def _labelled(picture: Picture, row: Row) -> Labelled:
    values = row.values
    return Labelled(picture, GuardLabel(values["label"]), str(values["shows"]), str(values["by"]))


def _rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if not path.is_file():
        raise DataError(f"{path}: no such file; expected CSV or JSON Lines with image and label, or the word {FOLDERS}")
    text = read_bounded(path, DataError, max_bytes=MAX_JSON_BYTES).decode("utf-8-sig", "replace")
    if path.suffix.lower() == ".csv":
        reader = csv.DictReader(io.StringIO(text, newline=""))
        try:
            for row in reader:
                where = f"{path}: line {reader.line_num}"
                if None in row:
                    raise DataError(f"{where}: more fields than the first line has; quote a text that holds a comma")
                yield where, row
        except csv.Error as error:
            raise DataError(f"{path}: line {reader.line_num + 1}: no CSV ({error}); mend the line") from error
        return
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            where = f"{path}: line {number}"
            row = parse_json(line, DataError, source=where)
            if not isinstance(row, dict):
                raise DataError(f"{where}: found {row!r:.40}; expected an object with image and label")
            yield where, row


def _said(picture: Picture, found: Found, given: Mapping[str, Given]) -> list[Given]:
    """What is given of any file with the picture's bytes, without doubles."""
    all_given = [given[name] for name in found.names[picture.digest] if name in given]
    return list(dict.fromkeys(each for each in all_given if each.label))


def _key(picture: Picture, found: Found, given: Mapping[str, Given], guard: str | None) -> str:
    said = [[each.label, each.shows] for each in _said(picture, found, given)]
    return key_of("labels", picture.digest, said, None if said else guard)


def _from_given(key: str, picture: Picture, said: Sequence[Given]) -> Row:
    values = {"picture": picture.name, "digest": picture.digest}
    if not said:
        reason = "no label: give one with --labels, or a guard with --guard"
        return Row(key, Status.REJECTED, reason, values)
    try:
        labels = {parse_label(each.label) for each in said}
    except UnknownNameError as error:
        return Row(key, Status.REJECTED, f"unknown label: {error}", values)
    if len(labels) > 1:
        names = " and ".join(sorted(labels))
        return Row(key, Status.REJECTED, f"two labels: the same picture is given as {names}", values)
    return Row(key, values={**values, "label": labels.pop().value, "shows": said[0].shows, "by": GIVEN})


def scanner_of(guard: str, device: str | None) -> Scanner:
    """The guard of a model, which is loaded when it is first asked."""
    return Scanner(guard, device=device)


def guard_rows(pictures: Sequence[Picture], scanner: Scanner) -> Iterator[Mapping[str, Any]]:
    """What a guard says of pictures, one row each, as `holisafe.scan.ScanRow.to_json` has it.

    Raises:
        ModelError, GuardError: The guard cannot be loaded.
    """
    for start in range(0, len(pictures), scanner.batch_size):
        batch = pictures[start : start + scanner.batch_size]
        yield from scanner([{"id": each.digest, "path": each.ref.path} for each in batch])


def _by_guard(pictures: Sequence[Picture], keys: Mapping[str, str], guard: str, device: str | None) -> Iterator[Row]:
    for picture, row in zip(pictures, guard_rows(pictures, scanner_of(guard, device)), strict=True):
        values = {"picture": picture.name, "digest": picture.digest}
        if "error" in row:
            yield Row(keys[picture.digest], Status.REJECTED, f"guard: {row['error']}", values)
            continue
        label = _label_of(row["distribution"], bool(row["flagged"]))
        found = {"label": label, "shows": "", "by": guard, "unsafe": row["unsafe"], "threshold": row["threshold"]}
        yield Row(keys[picture.digest], values={**values, **found})


def _label_of(distribution: Mapping[str, float], flagged: bool) -> str:
    """The most probable unsafe label of a picture that is flagged, else safe."""
    unsafe = {name: value for name, value in distribution.items() if name != GuardLabel.SAFE}
    return max(unsafe, key=unsafe.__getitem__) if flagged else GuardLabel.SAFE.value
