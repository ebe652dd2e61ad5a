"""What loaders of released formats share: fields of a record, its images, and what is wrong with it, typed."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from holisafe.datasets._clusters import connected
from holisafe.datasets._identity import Identifier
from holisafe.datasets._loaded import Level, Loaded, Problem
from holisafe.datasets._release_files import ReleaseFiles, open_files
from holisafe.datasets._values import MISSING, plain, show, usable_id
from holisafe.errors import DataError, ImageError, UnknownNameError
from holisafe.records import Behaviour, ImageRef, Sample
from holisafe.taxonomy import Combination, parse_category, parse_subcategory

BENCHMARK_TAG = "benchmark"
"""Tag with the name of the benchmark, as it is registered."""

SETTING_TAG = "setting"
"""Tag with the variant of the prompt."""


class WrongField(Exception):
    """A field of a record is not as it should be; the reader makes a `Problem` of it.

    Args:
        field: The field.
        found: What is there, as a message shows it.
        expected: What should be there.
        remedy: What to do about it.
    """

    def __init__(self, field: str, found: str, expected: str, remedy: str = "repair the record, or remove it") -> None:
        super().__init__(field, found, expected, remedy)
        self.field, self.found, self.expected, self.remedy = field, found, expected, remedy


@dataclass
class ReleaseReader:
    """Collects the samples and problems of one release.

    Attributes:
        files: Its files.
        name: The benchmark's name, for the tag.
        title: The data set's name, for `Sample.source`.
        licence: SPDX id; empty where the authors name none.
    """

    files: ReleaseFiles
    name: str
    title: str
    licence: str = ""
    problems: list[Problem] = field(default_factory=list)
    records: int = 0
    _samples: list[Sample] = field(default_factory=list)
    _pending: list[Sample] = field(default_factory=list)
    _seen: set[str] = field(default_factory=set)
    _identify: Identifier = field(default_factory=Identifier)

    @contextlib.contextmanager
    def record(self, index: int, name: str | None = None, *, file: str | None = None) -> Iterator[None]:
        """One record: what is added within is kept only if nothing about it is wrong.

        Args:
            index: Its position in the file, from 0.
            name: Its id, for messages.
            file: The file of the release that holds it; the main file if not given.
        """
        self.records += 1
        self._pending = []
        try:
            yield
            twice = next((each.id for each in self._pending if each.id in self._seen), None)
            if twice is not None:
                raise WrongField("id", show(twice), "an id of its own", "rename or remove one; the first is kept")
        except WrongField as wrong:
            place = self.files.describe(file or self.files.main)
            found = Problem(place, index, name, wrong.field, wrong.found, wrong.expected, wrong.remedy)
            self.problems.append(found)
        else:
            self._samples += self._pending
            self._seen.update(each.id for each in self._pending)

    def note(self, field: str, found: str, expected: str, remedy: str) -> None:
        """Something about the release as a whole that costs no record."""
        place = self.files.describe(self.files.main)
        self.problems.append(Problem(place, None, None, field, found, expected, remedy, Level.NOTE))

    def add(
        self,
        name: str,
        images: Sequence[ImageRef],
        query: str,
        *,
        expected: Behaviour | None = None,
        combination: Combination | None = None,
        tags: Mapping[str, str | None] | None = None,
        topics: tuple[Any, Any] = (None, None),
        **fields: Any,
    ) -> None:
        """Add a sample of the current record.

        Args:
            name: Its id.
            images: Its images, in the order of the prompt.
            query: The text that is sent.
            expected: What is right; follows from `combination` where not given.
            combination: Which of the five it is, where the data say so.
            tags: Further tags; those that are None are left out.
            topics: The data's own category and subcategory: kept as tags, and as ours where they are one of ours.
            fields: The remaining attributes of a sample.
        """
        own = {key: value for key, value in (tags or {}).items() if value is not None}
        tagged = {BENCHMARK_TAG: self.name, **_topics(*topics), **own}
        named = {"source": self.title, "licence": self.licence, **fields}
        sample = Sample.ask(name, images, query, combination, expected=expected, tags=tagged, **named)
        self._pending.append(sample)

    def image(self, field: str, *names: str) -> ImageRef:
        """The first image file that is there, with its digest.

        Args:
            field: The field that names it, for messages.
            names: Candidates, relative to the release's folder.

        Raises:
            WrongField: None is there, or it cannot be read.
        """
        try:
            return self._identify(self.files.image(*names))
        except ImageError as error:
            remedy = f"the image was refused: {error}; download the images again"
            raise WrongField(field, show(names[0]), "a readable image of the release", remedy) from error

    def loaded(self, split: str | None = None) -> Loaded:
        """What was read; samples that share an image, or are twins, share a cluster.

        Raises:
            DataError: There was no record.
        """
        if not self.records:
            where = "" if split is None else f" of split {split!r}"
            raise DataError(
                f"{self.files.path}: no records{where}, expected one or more; check that it is {self.title}"
            )
        return Loaded(tuple(connected(self._samples)), tuple(self.problems))


def open_release(path: Path, name: str, title: str, main_names: Sequence[str], licence: str = "") -> ReleaseReader:
    """A reader of the release at a path.

    Args:
        path: The file, folder or zip.
        name: The benchmark's name.
        title: The data set's name.
        main_names: File names under which the authors release the records.
        licence: SPDX id; empty where the authors name none.
    """
    return ReleaseReader(open_files(Path(path), main_names), name, title, licence)


def check_split(split: str | None, splits: Sequence[str], title: str) -> None:
    """Refuse a split that is not there.

    Raises:
        UnknownNameError: It is not.
    """
    if split is not None and split not in splits:
        raise UnknownNameError(f"split of {title}", split, splits)


def objects(value: Any, where: str, title: str) -> list[Any]:
    """A list of records.

    Raises:
        DataError: It is none.
    """
    if not isinstance(value, list):
        raise DataError(f"{where}: found {show(value)}, expected a list of records, as {title} is released")
    return value


def mapping(value: Any) -> Mapping[str, Any]:
    """A record as an object.

    Raises:
        WrongField: It is none.
    """
    if not isinstance(value, Mapping):
        raise WrongField("record", show(value), "an object with named fields")
    return value


def text(raw: Mapping[str, Any], name: str) -> str:
    """A field that holds text.

    Raises:
        WrongField: It is missing, of another type, or blank.
    """
    value = raw.get(name, MISSING)
    if not isinstance(value, str) or not value.strip():
        raise WrongField(name, show(value), "text")
    return value


def texts(raw: Mapping[str, Any], name: str) -> list[str]:
    """A field that holds a list of texts, at least one.

    Raises:
        WrongField: It is missing, of another type, empty, or holds other than texts.
    """
    value = raw.get(name, MISSING)
    good = isinstance(value, list) and value and all(isinstance(each, str) and each.strip() for each in value)
    if not good:
        raise WrongField(name, show(value), "a list of texts")
    return list(value)


def optional_text(raw: Mapping[str, Any], name: str) -> str | None:
    """A field that may be missing, null or blank.

    Raises:
        WrongField: It holds something other than text.
    """
    value = plain(raw.get(name))
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if not isinstance(value, str):
        raise WrongField(name, show(value), "text, or nothing")
    return value


def identifier(raw: Mapping[str, Any], name: str) -> str:
    """A field that holds an id: text or a whole number.

    Raises:
        WrongField: It holds none.
    """
    found = usable_id(raw.get(name))
    if found is None:
        raise WrongField(name, show(raw.get(name, MISSING)), "text on one line, or a whole number")
    return found


def _topics(category: Any, subcategory: Any) -> dict[str, str]:
    """The data's own topics as tags, and as ours where they are one of ours."""
    parsers: tuple[tuple[str, Any, Callable[[str], str]], ...] = (
        ("category", category, parse_category),
        ("subcategory", subcategory, parse_subcategory),
    )
    tags: dict[str, str] = {}
    for name, value, parse in parsers:
        if isinstance(value, str) and value.strip():
            tags[f"source_{name}"] = value
            with contextlib.suppress(UnknownNameError):
                tags[name] = str(parse(value))
    return tags


def with_tags(loaded: Loaded, **tags: str) -> Loaded:
    """What was read, every sample with further tags."""
    samples = tuple(replace(each, tags={**each.tags, **tags}) for each in loaded.samples)
    return Loaded(samples, loaded.problems, loaded.responses)


def doubles(names: Sequence[str]) -> list[str]:
    """Names that occur more than once, in order."""
    return [name for name, count in Counter(names).items() if count > 1]
