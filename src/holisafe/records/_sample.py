"""What is asked: image references, turns of a conversation, and what would be right to do with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from holisafe._checks import check_each, check_type
from holisafe._enums import parse_enum
from holisafe.errors import DataError
from holisafe.taxonomy import (
    Category,
    Combination,
    GuardLabel,
    Subcategory,
    parse_category,
    parse_label,
    parse_subcategory,
)

CATEGORY_TAG = "category"
SUBCATEGORY_TAG = "subcategory"


@dataclass(frozen=True, slots=True)
class ImageRef:
    """Where an image's bytes are: a file below a data folder, or bytes already in memory.

    Exactly one of `path`, `data` and `url` is set. Only `holisafe.images` turns a reference into pixels.

    Attributes:
        key: Name to show in messages and tables; it identifies nothing.
        path: The file, which must lie below `root`.
        root: The data folder that `path` may not leave.
        data: The encoded image (JPEG, PNG, ...).
        url: An http or https address, fetched only where the caller of `holisafe.images` allows it.
        digest: SHA-256 of the encoded bytes, in hex: the image's identity, set by `holisafe.images.identify`; empty
            until then.
    """

    key: str
    path: Path | None = None
    root: Path | None = None
    data: bytes | None = field(default=None, repr=False)
    url: str | None = None
    digest: str = ""

    @property
    def identity(self) -> str:
        """What tells this image from others: the digest, or its place until it is identified."""
        return self.digest or self.url or (str(self.path) if self.path is not None else self.key)


class Role(StrEnum):
    """Who speaks in a turn."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"


@dataclass(frozen=True, slots=True)
class Turn:
    """One message of a conversation: its images, in the order the model sees them, then its text."""

    role: Role
    text: str
    images: tuple[ImageRef, ...] = ()

    def __post_init__(self) -> None:
        """Read the role's name."""
        check_type(self.text, str, "text")
        check_each(self.images, ImageRef, "images")
        object.__setattr__(self, "role", parse_enum(Role, self.role))
        object.__setattr__(self, "images", tuple(self.images))

    @classmethod
    def of(cls, role: Role | str, text: str, images: Sequence[ImageRef] = ()) -> Turn:
        """A turn of a role given by name.

        Raises:
            UnknownNameError: There is no such role.
        """
        return cls(parse_enum(Role, role), text, tuple(images))


class Behaviour(StrEnum):
    """What is right to do with a request."""

    ANSWER = "answer"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Sample:
    """One request, usually one question about one image, and what would be right to do with it.

    `Sample.ask` makes the common case, one user turn.

    Attributes:
        id: Unique within the data set.
        turns: The conversation up to the answer; the last turn is the user's.
        expected: What is right; None where a benchmark scores something else.
        combination: Which of the five image-text combinations this is; None where the data do not say.
        image_labels: The guard label of each image, in order; empty where the data do not say.
        reference: A right answer: helpful, or a refusal that names the reason.
        options: The choices of a multiple-choice question; empty for open questions.
        twin: Id of the other sample of its twin pair (same query or same image, other right behaviour).
        cluster: Samples that share an image share it; intervals allow for it. Loaders set the first image's
            digest where the data name none.
        tags: What figures can be grouped by: category, subcategory, scenario, split, ...
        source: Where the sample comes from (data set, artwork).
        licence: SPDX id, or several joined by " AND ".
        rejected: A worse answer than the reference, of data with preference pairs; None elsewhere.
    """

    id: str
    turns: tuple[Turn, ...]
    expected: Behaviour | None = None
    combination: Combination | None = None
    image_labels: tuple[GuardLabel, ...] = ()
    reference: str | None = None
    options: tuple[str, ...] = ()
    twin: str | None = None
    cluster: str = ""
    tags: Mapping[str, str] = field(default_factory=dict, hash=False)
    source: str = ""
    licence: str = ""
    rejected: str | None = None

    def __post_init__(self) -> None:
        """Read the names of enums: figures compare members."""
        check_type(self.id, str, "id")
        check_each(self.turns, Turn, "turns")
        object.__setattr__(self, "turns", tuple(self.turns))
        if self.expected is not None:
            object.__setattr__(self, "expected", parse_enum(Behaviour, self.expected))
        if self.combination is not None:
            object.__setattr__(self, "combination", parse_enum(Combination, self.combination))
        object.__setattr__(self, "image_labels", tuple(map(parse_label, self.image_labels)))

    @classmethod
    def ask(
        cls,
        id: str,
        images: Sequence[ImageRef],
        query: str,
        combination: Combination | str | None = None,
        category: Category | str | None = None,
        subcategory: Subcategory | str | None = None,
        *,
        expected: Behaviour | str | None = None,
        image_labels: Sequence[GuardLabel | str] = (),
        tags: Mapping[str, str] | None = None,
        **fields: Any,
    ) -> Sample:
        """A sample of one user turn.

        Args:
            id: Unique within the data set.
            images: The images of the turn.
            query: Its text, as it is sent.
            combination: The combination; it fixes `expected` where that is not given.
            category: Topic, kept as the tag "category".
            subcategory: Finer topic, kept as the tag "subcategory".
            expected: What is right.
            image_labels: The guard label of each image, in order.
            tags: Further tags.
            fields: The remaining attributes of a sample.

        Raises:
            UnknownNameError: A name is not one of its enum's.
        """
        kind = None if combination is None else parse_enum(Combination, combination)
        right = None if expected is None else parse_enum(Behaviour, expected)
        if right is None and kind is not None:
            right = Behaviour.ANSWER if kind.is_safe else Behaviour.REFUSE
        topics = {
            CATEGORY_TAG: None if category is None else parse_category(category),
            SUBCATEGORY_TAG: None if subcategory is None else parse_subcategory(subcategory),
        }
        named = {name: topic.value for name, topic in topics.items() if topic is not None}
        turn = Turn(Role.USER, query, tuple(images))
        labels = tuple(parse_label(label) for label in image_labels)
        return cls(id, (turn,), right, kind, labels, tags={**named, **(tags or {})}, **fields)

    @property
    def images(self) -> tuple[ImageRef, ...]:
        """The images of all turns, in order."""
        return tuple(image for turn in self.turns for image in turn.images)

    @property
    def query(self) -> str:
        """Text of the last turn: what the answer is an answer to."""
        return self.turns[-1].text if self.turns else ""

    @property
    def category(self) -> Category | None:
        """The tag "category"; None where the data do not say."""
        value = self.tags.get(CATEGORY_TAG)
        return None if value is None else Category(value)

    @property
    def subcategory(self) -> Subcategory | None:
        """The tag "subcategory"; None where the data do not say."""
        value = self.tags.get(SUBCATEGORY_TAG)
        return None if value is None else Subcategory(value)

    @property
    def required_combination(self) -> Combination:
        """The combination, where what is done with the sample needs one.

        Raises:
            DataError: The data do not say it.
        """
        if self.combination is None:
            raise DataError(f"sample {self.id!r} has no combination; expected SSS, SSU, USU, UUU or SUU")
        return self.combination

    @property
    def is_safe(self) -> bool:
        """Whether the request is to be answered.

        Raises:
            DataError: The data do not say what is right.
        """
        if self.expected is None:
            raise DataError(f"sample {self.id!r} does not say what is right; expected 'answer' or 'refuse'")
        return self.expected is Behaviour.ANSWER

    def with_query(self, query: str) -> Sample:
        """The same sample with another text in its last turn."""
        return replace(self, turns=(*self.turns[:-1], replace(self.turns[-1], text=query)))

    def with_images(self, images: tuple[ImageRef, ...]) -> Sample:
        """The same sample with other images, as many as it has, in order; with one turn, any number.

        Raises:
            ValueError: The sample has several turns, and their number of images differs.
        """
        if len(self.turns) == 1:
            return replace(self, turns=(replace(self.turns[0], images=tuple(images)),))
        if len(images) != len(self.images):
            raise ValueError(f"expected {len(self.images)} images, found {len(images)}")
        left = list(images)
        turns = tuple(replace(turn, images=tuple(left.pop(0) for _ in turn.images)) for turn in self.turns)
        return replace(self, turns=turns)
