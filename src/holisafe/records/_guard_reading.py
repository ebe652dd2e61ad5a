"""What a guard model says: a reading of one thing it was shown, and its verdict on one request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from holisafe.errors import GuardError
from holisafe.records._judge_id import JudgeId
from holisafe.taxonomy import Combination


@dataclass(frozen=True, slots=True)
class GuardReading:
    """What one reply of a guard model says.

    Attributes:
        unsafe: Whether it calls what it was shown unsafe; None where it says neither, which is never safe.
        probability: Probability of unsafe in [0, 1], where the guard gives one.
        categories: The categories that it names, in its own words and order.
        refusal: Whether the response refuses, where the guard says so.
        why: Why it says neither; empty where it says one.
    """

    unsafe: bool | None
    probability: float | None = None
    categories: tuple[str, ...] = ()
    refusal: bool | None = None
    why: str = ""

    def __post_init__(self) -> None:
        """Refuse a probability that is none.

        Raises:
            GuardError: It is not in [0, 1].
        """
        if self.probability is not None and not 0 <= self.probability <= 1:
            raise GuardError(f"a guard's probability of unsafe is {self.probability}; expected a number in [0, 1]")

    def to_json(self) -> dict[str, Any]:
        """JSON values: `{unsafe, probability, categories, refusal, why}`."""
        return {
            "unsafe": self.unsafe,
            "probability": self.probability,
            "categories": list(self.categories),
            "refusal": self.refusal,
            "why": self.why,
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> GuardReading:
        """Read what `to_json` wrote.

        Raises:
            KeyError, TypeError, ValueError: It is not such an object.
            GuardError: Its probability is none.
        """
        probability = data["probability"]
        return GuardReading(
            unsafe=_truth(data["unsafe"]),
            probability=None if probability is None else float(probability),
            categories=tuple(str(each) for each in data["categories"]),
            refusal=_truth(data["refusal"]),
            why=str(data["why"]),
        )


@dataclass(frozen=True, slots=True)
class GuardModelVerdict:
    """The output of a guard model for one request, before anything is answered.

    Attributes:
        sample_id: The sample's id.
        guard: Which guard; two verdicts can be compared, or one reused, only where all of it is equal.
        images: One reading per image, in the order of the request, from a guard that reads each image by itself;
            empty from one that reads the request as a whole.
        request: The reading of the whole request; None from a guard that reads images alone.
        error: Why there is no verdict, where the guard could not be reached; None otherwise.
    """

    sample_id: str
    guard: JudgeId
    images: tuple[GuardReading, ...] = ()
    request: GuardReading | None = None
    error: str | None = None

    @property
    def unsafe(self) -> bool | None:
        """Whether the request is flagged: any reading says unsafe; None where none does and one says neither."""
        readings = [*self.images, *([] if self.request is None else [self.request])]
        if any(reading.unsafe for reading in readings):
            return True
        return None if not readings or any(reading.unsafe is None for reading in readings) else False

    def to_json(self) -> dict[str, Any]:
        """JSON values: `{sample_id, guard, images, request, error}`."""
        return {
            "sample_id": self.sample_id,
            "guard": self.guard.to_json(),
            "images": [each.to_json() for each in self.images],
            "request": None if self.request is None else self.request.to_json(),
            "error": self.error,
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> GuardModelVerdict:
        """Read what `to_json` wrote.

        Raises:
            KeyError, TypeError, ValueError: It is not such an object.
            GuardError: A probability in it is none.
        """
        request, error = data["request"], data["error"]
        return GuardModelVerdict(
            sample_id=str(data["sample_id"]),
            guard=JudgeId.from_json(data["guard"]),
            images=tuple(map(GuardReading.from_json, data["images"])),
            request=None if request is None else GuardReading.from_json(request),
            error=None if error is None else str(error),
        )


@dataclass(frozen=True, slots=True)
class GuardModelRun:
    """A guard model beside a run: what it can express, and what it said.

    Attributes:
        guard: Which guard.
        expresses: The combinations that it can tell from the others; of the rest it has no rate.
        verdicts: One per sample of the run, in the same order.
    """

    guard: JudgeId
    expresses: frozenset[Combination]
    verdicts: tuple[GuardModelVerdict, ...]


def _truth(value: Any) -> bool | None:
    if value is not None and not isinstance(value, bool):
        raise TypeError(f"expected true, false or null, found {value!r}")
    return value
