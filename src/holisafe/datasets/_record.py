"""One record: a mapping in, a sample out, and everything that is wrong with it.

Fields of the released HoliSafe-Bench files: `id`, `image`, `query`, `type`, `category`, `subcategory`, `image_safe`,
`image_safety_label`; prediction files add `prediction`; older ones carry `conversations` instead of `query`, as
training data do (`_conversation`). Our exports add `images`, `image_safety_labels`, `expected`, `messages`,
`reference`, `options`, `twin`, `cluster`, `tags`, `source` and `licence` where known. Preference pairs have `rejected`
beside the reference, which may be called `chosen`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from holisafe._enums import parse_enum
from holisafe._printable import encodable
from holisafe.datasets import _conversation
from holisafe.datasets._conversation import Draft, WrongTurn
from holisafe.datasets._identity import with_cluster
from holisafe.datasets._loaded import Level, Problem
from holisafe.datasets._oddities import oddities
from holisafe.datasets._places import Source
from holisafe.datasets._values import MISSING, plain_fields, show, usable_id
from holisafe.errors import ImageError, UnknownNameError
from holisafe.images import content_hash
from holisafe.records import CATEGORY_TAG, SUBCATEGORY_TAG, Behaviour, ImageRef, Role, Sample, Turn
from holisafe.taxonomy import (
    Combination,
    GuardLabel,
    parse_category,
    parse_label,
    parse_subcategory,
)

CheckImage = Callable[[ImageRef], ImageRef]
"""Gives an image with its digest; raises ImageError for one that counts as broken."""

GENERAL = "type"
TEXT_ONLY = "image"

_T = TypeVar("_T")
_INCOMPLETE = "complete the record, or remove it"


class _WrongField(Exception):
    """A field is not as it should be: field, found, expected, remedy."""


@dataclass(frozen=True, slots=True)
class ReadRecord:
    """What reading one record gives.

    Attributes:
        sample: None where the record is broken.
        problems: All that is wrong or worth a note, not only the first.
        assumed: Fields that the record leaves out and that were read as `GENERAL` (training data without `type`: a
            harmless request) or `TEXT_ONLY` (no image).
    """

    sample: Sample | None
    problems: list[Problem]
    assumed: frozenset[str] = frozenset()


def read_record(raw: Any, index: int, source: Source, check_image: CheckImage) -> ReadRecord:
    """Turn one record into a sample.

    Args:
        raw: The record as JSON, CSV or Parquet gave it.
        index: Its position in the file, from 0.
        source: Where it comes from.
        check_image: What an image has to pass.
    """
    if isinstance(raw, Mapping):
        return _Record(plain_fields(raw), raw, index, source).read(check_image)
    problem = Problem(source.file, index, None, "record", show(raw), "an object with named fields", _INCOMPLETE)
    return ReadRecord(None, [problem])


def record_id(raw: Any) -> str | None:
    """The id of a record as text; None where there is none that can be used."""
    return usable_id(raw.get("id")) if isinstance(raw, Mapping) else None


@dataclass(slots=True)
class _Record:
    fields: dict[str, Any]
    raw: Mapping[str, Any]
    index: int
    source: Source
    problems: list[Problem] = field(default_factory=list)
    assumed: set[str] = field(default_factory=set)

    def read(self, check_image: CheckImage) -> ReadRecord:
        sample_id = self._try(self._id)
        asked = self._try(self._asked)
        images = self._try(lambda: self._images(asked[0] if asked else []))
        category = self._try(lambda: self._topic("category", parse_category))
        subcategory = self._try(lambda: self._topic("subcategory", parse_subcategory))
        combination = self._try(self._combination)
        expected = self._try(lambda: self._expected(combination))
        turns = self._try(lambda: self._turns(asked[0], images)) if asked and images is not None else None
        count = 1 if turns is None else sum(len(turn.images) for turn in turns)
        labels = self._try(lambda: self._labels(count))
        texts = {name: self._try(lambda name=name: self._optional_text(name)) for name in _TEXTS}  # type: ignore[misc]
        pair = self._try(lambda: self._pair(texts["reference"] or (asked[1] if asked else None)))
        twin = self._try(self._twin)
        tags = self._try(self._tags)
        options = self._try(self._options)
        if combination is not None:
            self._try(lambda: self._check_agreement(combination, labels or (), turns))
        if turns is not None:
            turns = tuple(replace(turn, images=self._checked(turn.images, check_image)) for turn in turns)
        is_broken = any(problem.level is Level.BROKEN for problem in self.problems)
        if is_broken or sample_id is None or asked is None or not turns:
            return ReadRecord(None, self.problems)
        sample = Sample.ask(
            sample_id,
            (),
            "",
            combination,
            category,
            subcategory,
            expected=expected,
            tags=tags,
            image_labels=labels or (),
            reference=pair[0] if pair else texts["reference"] or asked[1],
            rejected=pair[1] if pair else None,
            options=options or (),
            twin=twin,
            cluster=texts["cluster"] or "",
            source=texts["source"] or self.source.name,
            licence=texts["licence"] or self.source.licence,
        )
        sample = with_cluster(replace(sample, turns=turns))
        for odd in oddities(sample):
            self._report(*odd, Level.NOTE)
        return ReadRecord(sample, self.problems, frozenset(self.assumed))

    def _id(self) -> str:
        found = record_id(self.raw)
        if found is None:
            given = self.fields.get("id")
            expected = "an integer or a text"
            if isinstance(given, str) and given.strip():
                expected = "a text of one line without control characters or broken characters"
            raise self._wrong("id", expected, "give the record an id of its own")
        return found

    def _asked(self) -> tuple[list[Draft], str | None]:
        """The turns up to the last question, and the answer to it where the record is a conversation."""
        name = self._conversation_field()
        if name is None:
            query = "question" if self.fields.get("query") is None and "question" in self.fields else "query"
            text, count = _conversation.without_placeholders(self._text(query, self.fields.get(query, MISSING)))
            return [*self._system(), Draft(Role.USER, self._text(query, text), [None] * count)], None
        try:
            drafts, reference = _conversation.read_turns(self.fields[name])
        except WrongTurn as wrong:
            raise _WrongField(name, wrong.found, wrong.expected, _INCOMPLETE) from None
        for draft in drafts:
            if draft.text or draft is drafts[-1]:
                self._text(name, draft.text)
        if drafts[0].role is not Role.SYSTEM:
            drafts = [*self._system(), *drafts]
        return drafts, self._text(name, reference) if reference else None

    def _conversation_field(self) -> str | None:
        if self.fields.get("query") is not None:
            return None
        return next((name for name in _conversation.FIELDS if self.fields.get(name) is not None), None)

    def _system(self) -> list[Draft]:
        found = self._optional_text("system")
        return [] if found is None else [Draft(Role.SYSTEM, found)]

    def _images(self, drafts: Sequence[Draft]) -> tuple[ImageRef, ...]:
        """The images of the fields `images` or `image`; none where the record is text only."""
        name = self._image_field()
        found = self.fields.get(name, MISSING)
        if isinstance(found, list):
            return tuple(self._image(name, each) for each in found)
        if found is not MISSING and found is not None:
            return (self._image(name, found),)
        if any(draft.images for draft in drafts):
            return ()  # they hold them themselves, or `_turns` says what is missing
        other = next((each for each in self.fields if each.lower() in _OTHER_NAMES), None)
        if other is not None:
            remedy = f"rename the field {other!r} to `image`"
            raise _WrongField("image", show(found), "a path below the data folder", remedy)
        self.assumed.add(TEXT_ONLY)
        return ()

    def _image_field(self) -> str:
        return "images" if self.fields.get("images") is not None else "image"

    def _image(self, name: str, found: Any) -> ImageRef:
        """A path below the data folder, an address, or the `{bytes, path}` that Parquet files hold."""
        if isinstance(found, Mapping):
            data, path = found.get("bytes"), found.get("path")
            if isinstance(data, bytes):
                return ImageRef(encodable(path) if isinstance(path, str) and path else content_hash(data), data=data)
            found = path
        if isinstance(found, bytes):
            return ImageRef(content_hash(found), data=found)
        path = self._text(name, found, "a path below the data folder")
        if path[:5].lower() == "data:" and (data := _conversation.data_url(path)) is not None:
            return ImageRef(content_hash(data), data=data)
        if path.lower().startswith(("http://", "https://")):
            return ImageRef(path, url=path)
        return self.source.image(path)

    def _turns(self, drafts: Sequence[Draft], images: Sequence[ImageRef]) -> tuple[Turn, ...]:
        """The conversation with its images in place."""
        mentioned = [each for draft in drafts if draft.role is Role.USER for each in draft.images]
        own = [None if each is None else self._image("content part", each) for each in mentioned]
        placeholders = sum(each is None for each in own)
        if placeholders > len(images):
            name = self._image_field()
            found = f"{len(images)} image{'s' * (len(images) != 1)}"
            expected = f"{placeholders}, one for each <image> in the text"
            raise _WrongField(name, found, expected, "add the images, or remove the <image> that has none")
        if 0 < placeholders < len(images):
            found, expected = f"{placeholders} <image> for {len(images)} images", "one <image> for each image"
            remedy = "the other images belong to the first question"
            self._report("text", found, expected, remedy, Level.NOTE)
        return tuple(_conversation.place_images(drafts, own, images))

    def _combination(self) -> Combination | None:
        found = self.fields.get("type")
        if isinstance(found, str):
            try:
                return parse_enum(Combination, found)
            except UnknownNameError:
                pass
        elif found is None and (self.fields.get("expected") is not None or self._is_pair()):
            return None
        elif found is None and self._is_general():
            self.assumed.add(GENERAL)
            return Combination.SSS
        raise self._wrong("type", f"one of {', '.join(Combination)}", "correct it, or say `expected` (answer, refuse)")

    def _is_general(self) -> bool:
        """Whether this is a conversation to train on, and nothing in it says that it is about harm."""
        unsafe = [self.fields.get(name) for name in ("category", "subcategory", *_LABELS)]
        said = self.fields.get("image_safe")
        return self._conversation_field() is not None and not any(unsafe) and said in (None, True)

    def _expected(self, combination: Combination | None) -> Behaviour | None:
        found = self.fields.get("expected")
        if found is None:
            return None
        try:
            expected = parse_enum(Behaviour, found if isinstance(found, str) else "")
        except UnknownNameError:
            raise self._wrong("expected", f"one of {', '.join(Behaviour)}", "correct it") from None
        if combination is not None and combination.is_safe is not (expected is Behaviour.ANSWER):
            right = Behaviour.ANSWER if combination.is_safe else Behaviour.REFUSE
            raise self._wrong("expected", f"{right}, as type {combination} says", "correct the field that is wrong")
        return expected

    def _topic(self, name: str, parse: Callable[[str], _T]) -> _T | None:
        """A category or subcategory; null where the data do not say."""
        found = self.fields.get(name, MISSING)
        is_released = self.fields.get("type") is not None and self.fields.get("query") is not None
        if found is None or (found is MISSING and not is_released):
            return None
        try:
            return parse(self._text(name, found))
        except UnknownNameError as error:
            raise self._wrong(name, f"a {name} of the taxonomy", str(error)) from error

    def _labels(self, count: int) -> tuple[GuardLabel, ...]:
        """The guard label of each image; empty where the data do not say, as in some older files."""
        name = next((name for name in _LABELS if self.fields.get(name) is not None), None)
        if name is None:
            return ()
        found = self.fields[name]
        labels = tuple(self._label(name, label) for label in (found if isinstance(found, list) else [found]))
        if not isinstance(found, list) and labels == (GuardLabel.SAFE,):
            return labels * count
        if len(labels) != count:
            raise self._wrong(name, f"{count} labels, one per image", "give each image its label")
        return labels

    def _label(self, name: str, found: Any) -> GuardLabel:
        labels = list(GuardLabel)
        try:
            if isinstance(found, str):
                return parse_label(found)
            if isinstance(found, int) and not isinstance(found, bool) and 0 <= found < len(labels):
                return labels[found]
        except UnknownNameError as error:
            raise self._wrong(name, "a label of the taxonomy", str(error)) from error
        raise self._wrong(name, f"0 (safe) to {len(labels) - 1}, or a label's name", "correct it")

    def _check_agreement(
        self, combination: Combination, labels: tuple[GuardLabel, ...], turns: Sequence[Turn] | None
    ) -> None:
        """What says whether the image is safe has to say the same."""
        expected = combination.image_is_safe
        stated = self.fields.get("image_safe")
        if isinstance(stated, int) and stated in (0, 1):  # a column of booleans with a null becomes numbers
            stated = bool(stated)
        if stated is not None and not isinstance(stated, bool):
            raise self._wrong("image_safe", "true or false", "correct it")
        which = f"type {combination} says the image is {'safe' if expected else 'unsafe'}"
        remedy = "correct the field that is wrong"
        if turns is not None and not expected and not any(turn.images for turn in turns):
            raise self._wrong(self._image_field(), f"an image: {which}", _INCOMPLETE)
        if stated is not None and stated is not expected:
            raise _WrongField("image_safe", show(stated), f"{show(expected)}: {which}", remedy)
        if labels and all(label is GuardLabel.SAFE for label in labels) is not expected:
            found = ", ".join(f"{label.index} ({label})" for label in labels)
            right = "0 (safe)" if expected else "1 to 19 (unsafe)"
            raise _WrongField("image_safety_label", found, f"{right}: {which}", remedy)

    def _checked(self, refs: Sequence[ImageRef], check: CheckImage) -> tuple[ImageRef, ...]:
        passed: list[ImageRef] = []
        for ref in refs:
            try:
                passed.append(check(ref))
            except ImageError as error:
                expected = "a readable image below the data folder"
                self._report("image", ref.key, expected, f"the image was refused: {error}")
        return tuple(passed)

    def _is_pair(self) -> bool:
        return any(self.fields.get(name) is not None for name in ("chosen", "rejected"))

    def _pair(self, reference: str | None) -> tuple[str, str] | None:
        """The better and the worse answer; None where there is no worse one to be had."""
        if not self._is_pair():
            return None
        chosen = self._answer("chosen") if self.fields.get("chosen") is not None else reference
        if chosen is None:
            raise self._wrong("chosen", "a text, the better answer", _INCOMPLETE)
        rejected = self._answer("rejected")
        if chosen.strip() == rejected.strip():
            raise self._wrong("rejected", "another answer than the better one", _INCOMPLETE)
        return chosen, rejected

    def _answer(self, name: str) -> str:
        """A text, or the one turn of a list."""
        found = self.fields.get(name, MISSING)
        if not isinstance(found, list):
            return self._text(name, found, "a text, the better answer" if name == "chosen" else "a text, the worse one")
        try:
            drafts, answer = _conversation.read_turns([{"role": "user", "content": "x"}, *found])
        except WrongTurn as wrong:
            raise _WrongField(name, wrong.found, wrong.expected, _INCOMPLETE) from None
        if len(drafts) != 1 or answer is None:
            raise self._wrong(name, "a text, or a list of one turn of the assistant", "put other turns into `prompt`")
        return self._text(name, answer)

    def _twin(self) -> str | None:
        found = self.fields.get("twin")
        if found is None or found == "":
            return None
        twin = usable_id(found)
        if twin is None:
            raise self._wrong("twin", "the id of the other sample of the pair", "correct it")
        return twin

    def _tags(self) -> dict[str, str]:
        found = self.fields.get("tags")
        if found is None:
            return {}
        if isinstance(found, list) and all(isinstance(tag, Mapping) for tag in found):  # as Parquet has them
            found = {str(tag.get("name")): tag.get("value") for tag in found}
        if not isinstance(found, Mapping):
            raise self._wrong("tags", "an object of texts", "correct it")
        given = {name: value for name, value in found.items() if value is not None}  # Arrow gives every name
        if CATEGORY_TAG in given or SUBCATEGORY_TAG in given:
            raise self._wrong("tags", "no category or subcategory", "use the fields of these names")
        return {self._text("tags", name): self._text("tags", value) for name, value in given.items()}

    def _options(self) -> tuple[str, ...]:
        found = self.fields.get("options")
        if found is None:
            return ()
        if not isinstance(found, list):
            raise self._wrong("options", "a list of texts", "correct it")
        return tuple(self._text("options", option) for option in found)

    def _optional_text(self, name: str) -> str | None:
        found = self.fields.get(name)
        return None if found is None or found == "" else self._text(name, found)

    def _text(self, name: str, found: Any, expected: str = "a text") -> str:
        if not isinstance(found, str) or not found.strip():
            raise _WrongField(name, show(found), expected, _INCOMPLETE)
        if encodable(found) != found:
            raise _WrongField(name, show(found), "text of whole characters", "save the file as UTF-8")
        return found

    def _wrong(self, name: str, expected: str, remedy: str) -> _WrongField:
        return _WrongField(name, show(self.fields.get(name, MISSING)), expected, remedy)

    def _try(self, parse: Callable[[], _T]) -> _T | None:
        try:
            return parse()
        except _WrongField as wrong:
            self._report(*wrong.args)
            return None

    def _report(self, name: str, found: str, expected: str, remedy: str, level: Level = Level.BROKEN) -> None:
        self.problems.append(
            Problem(self.source.file, self.index, record_id(self.raw), name, found, expected, remedy, level)
        )


_LABELS = ("image_safety_labels", "image_safety_label")
_TEXTS = ("reference", "cluster", "source", "licence")
_OTHER_NAMES = ("img", "imgs", "image_path", "image_file", "image_name", "img_path", "image_url", "picture", "photo")
"""What others call the field `image`; a record with one of them is no record without image."""
