"""What a guard model is: what it sees, what it can express, what it is asked, and how its reply is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from holisafe.judges._registry import Reply
from holisafe.records import GuardReading, Response, Sample, Turn
from holisafe.taxonomy import Combination


class Sees(StrEnum):
    """What a guard model is shown."""

    IMAGE = "image"
    TEXT = "text"
    RESPONSE = "response"


class Subject(StrEnum):
    """What one question to a guard model is about."""

    IMAGE = "image"
    REQUEST = "request"
    RESPONSE = "response"


EVERY_COMBINATION = frozenset(Combination)
IMAGE_ALONE = frozenset({Combination.SSS, Combination.USU, Combination.UUU})
"""What a guard can tell from SSS that sees images without their text: harm in the image itself."""
TEXT_ALONE = frozenset({Combination.SSS, Combination.SUU, Combination.UUU})
"""What a guard can tell from SSS that sees text without its images: harm in the text itself."""


class CannotExpress(Exception):
    """A guard model cannot say anything of a sample: it does not see what would have to be seen. Says why."""


@dataclass(frozen=True, slots=True)
class GuardQuestion:
    """One conversation that is put to a guard model.

    Attributes:
        turns: The conversation.
        subject: What it is about.
        image: Index of the image that it is about, for the subject IMAGE; else None.
        category: The category that it asks for, where it asks for one alone; else empty.
        template: Arguments of the model's chat template.
    """

    turns: tuple[Turn, ...]
    subject: Subject
    image: int | None = None
    category: str = ""
    template: Mapping[str, Any] = field(default_factory=dict, hash=False)


class GuardModel(Protocol):
    """One published guard model: how it is asked, and how it is read.

    It reaches no model itself; `holisafe.judges.guard_models.ModelGuard` does, and makes a judge and a guard of it.
    """

    @property
    def name(self) -> str:
        """The name it is registered under."""
        ...

    @property
    def expresses(self) -> frozenset[Combination]:
        """The combinations that it can tell from the others when it is shown a request; SSS for false alarms."""
        ...

    @property
    def sees(self) -> frozenset[Sees]:
        """What it is shown."""
        ...

    @property
    def max_tokens(self) -> int:
        """Maximum number of tokens of a reply."""
        ...

    @property
    def architectures(self) -> tuple[str, ...]:
        """The transformers classes of its checkpoints, by which they are loaded."""
        ...

    @property
    def is_plain(self) -> bool:
        """Whether the text of a question is the whole prompt, without a chat template."""
        ...

    @property
    def verdict_words(self) -> tuple[str, ...]:
        """The words of which one begins a verdict, that for unsafe first; empty where there are none."""
        ...

    def messages(self, sample: Sample, response: Response | None) -> tuple[GuardQuestion, ...]:
        """What it is asked, in its published format: one question, or one per image and category.

        Args:
            sample: The request.
            response: The answer that is to be judged; None where the request itself is.

        Raises:
            CannotExpress: It does not see what would have to be seen.
        """
        ...

    def read(self, reply: Reply, question: GuardQuestion) -> GuardReading:
        """Read a reply strictly; what does not follow the published format is neither safe nor unsafe."""
        ...
