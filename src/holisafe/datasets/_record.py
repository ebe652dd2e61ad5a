"""One record of the released format: a mapping in, a sample out, and everything that is wrong with it.

Fields of the released HoliSafe-Bench files: `id`, `image`, `query`, `type`, `category`, `subcategory`, `image_safe`,
`image_safety_label`; prediction files add `prediction`; older ones carry `conversations` instead of `query`. Our
exports add `images`, `image_safety_labels`, `reference`, `twin`, `cluster`, `source` and `licence` where known.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from holisafe.datasets._loaded import Level, Problem
from holisafe.errors import ImageError, UnknownNameError
from holisafe.images import content_hash
from holisafe.records import ImageRef, Sample
from holisafe.taxonomy import (
    Combination,
    GuardLabel,
    parse_category,
    parse_label,
    parse_subcategory,
)

CheckImage = Callable[[ImageRef], object]
"""Raises ImageError for an image that should count as broken; its result is not used."""

_T = TypeVar("_T")
_IMAGE_TOKEN = re.compile(r"\A\s*<image>\s*|\s*<image>\s*\Z")
_MISSING = object()
_INCOMPLETE = "complete the record, or remove it"


@dataclass(frozen=True, slots=True)
class Source:
    """Where records come from, for messages and defaults.

    Attributes:
        file: What to call the file in messages.
        root: Data folder that `image` paths are below.
        name: What `Sample.source` says where the record does not.
        licence: What `Sample.licence` says where the record does not.
    """

    file: str
    root: Path
    name: str = ""
    licence: str = ""


class _WrongField(Exception):
    """A field is not as it should be: field, found, expected, remedy."""


def read_record(raw: Any, index: int, source: Source, check_image: CheckImage) -> tuple[Sample | None, list[Problem]]:
    """Turn one record into a sample.

    Args:
        raw: The record as JSON or Parquet gave it.
        index: Its position in the file, from 0.
        source: Where it comes from.
        check_image: What an image has to pass.

    Returns:
        The sample, None when the record is broken; and all that is wrong or worth a note, not only the first.
    """
    return _Record(raw, index, source, []).read(check_image)


def record_id(raw: Any) -> str | None:
    """The id of a record as text; None where there is none that can be used."""
    return _as_id(raw.get("id")) if isinstance(raw, Mapping) else None


def _as_id(found: Any) -> str | None:
    usable = isinstance(found, int | str) and not isinstance(found, bool) and _is_encodable(str(found))
    return str(found) if usable and found != "" else None


@dataclass(slots=True)
class _Record:
    raw: Any
    index: int
    source: Source
    problems: list[Problem]

    def read(self, check_image: CheckImage) -> tuple[Sample | None, list[Problem]]:
        if not isinstance(self.raw, Mapping):
            self._report("record", show(self.raw), "an object with named fields", _INCOMPLETE)
            return None, self.problems
        sample_id = self._try(self._id)
        combination = self._try(self._combination)
        query = self._try(self._query)
        images = self._try(self._images)
        category = self._try(lambda: self._topic("category", parse_category))
        subcategory = self._try(lambda: self._topic("subcategory", parse_subcategory))
        labels = self._try(lambda: self._labels(len(images or [""])))
        reference = self._try(lambda: self._optional_text("reference"))
        twin = self._try(self._twin)
        cluster = self._try(lambda: self._optional_text("cluster"))
        source = self._try(lambda: self._optional_text("source"))
        licence = self._try(lambda: self._optional_text("licence"))
        if combination is not None:
            self._try(lambda: self._check_agreement(combination, labels or ()))
        for ref in images or ():
            self._check_image(ref, check_image)
        if self.problems or sample_id is None or combination is None or query is None or not images:
            return None, self.problems
        sample = Sample.ask(
            sample_id,
            images,
            query,
            combination,
            category,
            subcategory,
            image_labels=labels or (),
            reference=reference,
            twin=twin,
            cluster=cluster or images[0].key,
            source=source or self.source.name,
            licence=licence or self.source.licence,
        )
        self._add_notes(sample)
        return sample, self.problems

    def _id(self) -> str:
        found = record_id(self.raw)
        if found is None:
            raise self._wrong("id", "an integer or a text", "give the record an id of its own")
        return found

    def _combination(self) -> Combination:
        found = self.raw.get("type", _MISSING)
        if found not in list(Combination):
            raise self._wrong("type", f"one of {', '.join(Combination)}", "correct it")
        return Combination(found)

    def _query(self) -> str:
        if "query" in self.raw or "conversations" not in self.raw:
            return self._text("query", self.raw.get("query", _MISSING))
        turns = self.raw["conversations"]
        if isinstance(turns, Sequence) and not isinstance(turns, str):
            for turn in turns:
                if isinstance(turn, Mapping) and turn.get("from") == "human":
                    value = turn.get("value")
                    stripped = _IMAGE_TOKEN.sub("", value) if isinstance(value, str) else value
                    return self._text("conversations", stripped)
        raise self._wrong("conversations", 'a list with a turn {"from": "human", "value": TEXT}', _INCOMPLETE)

    def _images(self) -> tuple[ImageRef, ...]:
        several = self.raw.get("images")
        if several is None:
            return (self._image("image", self.raw.get("image", _MISSING)),)
        if not isinstance(several, Sequence) or isinstance(several, str) or not several:
            raise self._wrong("images", "a list with one or more images", _INCOMPLETE)
        return tuple(self._image("images", image) for image in several)

    def _image(self, field: str, found: Any) -> ImageRef:
        """A path below the data folder, an address, or the `{bytes, path}` that Parquet files hold."""
        if isinstance(found, Mapping):
            data, path = found.get("bytes"), found.get("path")
            if isinstance(data, bytes):
                return ImageRef(path if isinstance(path, str) and path else content_hash(data), data=data)
            found = path
        if isinstance(found, bytes):
            return ImageRef(content_hash(found), data=found)
        path = self._text(field, found, "a path below the data folder")
        if path.lower().startswith(("http://", "https://")):
            return ImageRef(path, url=path)
        if self.source.root.name == "images":
            path = path.removeprefix("images/")
        return ImageRef(path, self.source.root / path, self.source.root)

    def _topic(self, field: str, parse: Callable[[str], _T]) -> _T | None:
        """A category or subcategory; null where the data do not say."""
        found = self.raw.get(field, _MISSING)
        if found is None:
            return None
        try:
            return parse(self._text(field, found))
        except UnknownNameError as error:
            raise self._wrong(field, f"a {field} of the taxonomy", str(error)) from error

    def _labels(self, count: int) -> tuple[GuardLabel, ...]:
        """The guard label of each image; empty where the data do not say, as in some older files."""
        field = "image_safety_labels" if self.raw.get("image_safety_labels") is not None else "image_safety_label"
        found = self.raw.get(field)
        if found is None:
            return ()
        several = found if isinstance(found, list | tuple) else [found]
        if len(several) != count:
            raise self._wrong(field, f"{count} labels, one per image", "give each image its label")
        return tuple(self._label(field, label) for label in several)

    def _label(self, field: str, found: Any) -> GuardLabel:
        labels = list(GuardLabel)
        try:
            if isinstance(found, str):
                return parse_label(found)
            if isinstance(found, int) and not isinstance(found, bool) and 0 <= found < len(labels):
                return labels[found]
        except UnknownNameError as error:
            raise self._wrong(field, "a label of the taxonomy", str(error)) from error
        raise self._wrong(field, f"0 (safe) to {len(labels) - 1}, or a label's name", "correct it")

    def _check_agreement(self, combination: Combination, labels: tuple[GuardLabel, ...]) -> None:
        """The three fields that say whether the image is safe have to say the same."""
        expected = combination.image_is_safe
        stated = self.raw.get("image_safe")
        if stated is not None and not isinstance(stated, bool):
            raise self._wrong("image_safe", "true or false", "correct it")
        which = f"type {combination} says the image is {'safe' if expected else 'unsafe'}"
        remedy = "correct the field that is wrong"
        if stated is not None and stated is not expected:
            raise _WrongField("image_safe", show(stated), f"{show(expected)}: {which}", remedy)
        if labels and all(label is GuardLabel.SAFE for label in labels) is not expected:
            found = ", ".join(f"{label.index} ({label})" for label in labels)
            right = "0 (safe)" if expected else "1 to 19 (unsafe)"
            raise _WrongField("image_safety_label", found, f"{right}: {which}", remedy)

    def _check_image(self, ref: ImageRef, check: CheckImage) -> None:
        try:
            check(ref)
        except ImageError as error:
            expected = "a readable image below the data folder"
            self._report("image", ref.key, expected, f"the image was refused: {error}")

    def _add_notes(self, sample: Sample) -> None:
        """What looks odd but breaks nothing: released records do differ from their image's folder here and there."""
        folders = sample.images[0].key.split("/")[:-1][-2:]
        own = (sample.category, sample.subcategory)
        parsers = (parse_category, parse_subcategory)
        if len(folders) == 2:
            for field, folder, value, parse in zip(_TOPICS, folders, own, parsers, strict=True):
                if value is not None and _parse_or_none(parse, folder) not in (None, value):
                    remedy = "nothing: the record's own field counts"
                    self._report(f"{field} (folder of the image)", folder, value, remedy, Level.NOTE)
        unsafe = [label for label in sample.image_labels if label is not GuardLabel.SAFE]
        if unsafe and sample.subcategory and all(label.subcategory is not sample.subcategory for label in unsafe):
            expected = f"{sample.subcategory}, the record's subcategory"
            remedy = "nothing: an image may show something else than its question is about"
            self._report("image_safety_label", ", ".join(unsafe), expected, remedy, Level.NOTE)
        if sample.subcategory and sample.category not in (None, sample.subcategory.category):
            expected = f"{sample.subcategory.category} for subcategory {sample.subcategory}"
            remedy = "check which of the two is meant"
            self._report("category", str(sample.category), expected, remedy, Level.NOTE)

    def _twin(self) -> str | None:
        found = self.raw.get("twin")
        if found is None or found == "":
            return None
        twin = _as_id(found)
        if twin is None:
            raise self._wrong("twin", "the id of the other sample of the pair", "correct it")
        return twin

    def _optional_text(self, field: str) -> str | None:
        found = self.raw.get(field)
        return None if found is None or found == "" else self._text(field, found)

    def _text(self, field: str, found: Any, expected: str = "a text") -> str:
        if not isinstance(found, str) or not found.strip():
            raise _WrongField(field, show(found), expected, _INCOMPLETE)
        if not _is_encodable(found):
            raise _WrongField(field, show(found), "text of whole characters", "save the file as UTF-8")
        return found

    def _wrong(self, field: str, expected: str, remedy: str) -> _WrongField:
        return _WrongField(field, show(self.raw.get(field, _MISSING)), expected, remedy)

    def _try(self, parse: Callable[[], _T]) -> _T | None:
        try:
            return parse()
        except _WrongField as wrong:
            self._report(*wrong.args)
            return None

    def _report(self, field: str, found: str, expected: str, remedy: str, level: Level = Level.BROKEN) -> None:
        self.problems.append(
            Problem(self.source.file, self.index, record_id(self.raw), field, found, expected, remedy, level)
        )


def show(found: Any) -> str:
    """A value as a message shows it: short, on one line, and plain when it is not there."""
    if found is _MISSING:
        return "nothing (the field is missing)"
    if isinstance(found, bytes):
        return f"{len(found)} bytes"
    text = json.dumps(found, default=repr)
    return text if len(text) <= 80 else f"{text[:77]}..."


_TOPICS = ("category", "subcategory")


def _parse_or_none(parse: Callable[[str], object], name: str) -> object:
    try:
        return parse(name)
    except UnknownNameError:
        return None


def _is_encodable(text: str) -> bool:
    """Whether a text holds whole characters only: JSON can smuggle in half a surrogate pair."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
