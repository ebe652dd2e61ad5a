"""What a guard says: of each image, and of the whole request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from holisafe.errors import GuardError
from holisafe.taxonomy import Category, Combination, GuardLabel


@dataclass(frozen=True, slots=True)
class ImageVerdict:
    """The output of a guard for one image.

    Attributes:
        label: The most probable label.
        probability: Its probability, in [0, 1].
        distribution: Probability of every label; sums to 1.
        threshold: Probability of "unsafe" at and above which the image is flagged, in [0, 1].
    """

    label: GuardLabel
    probability: float
    distribution: Mapping[GuardLabel, float]
    threshold: float

    @property
    def unsafe(self) -> float:
        """Probability in [0, 1] that the image is unsafe: 1 - P(safe).

        Raises:
            GuardError: The distribution holds no probability of safe, or one that is no number.
        """
        return _unsafe(self.distribution.get(GuardLabel.SAFE))

    @property
    def flagged(self) -> bool:
        """Whether `unsafe` reaches the threshold."""
        return self.unsafe >= self.threshold

    def to_json(self) -> dict[str, Any]:
        """JSON values: label, probability, distribution, unsafe, threshold, flagged."""
        return {
            "label": self.label.value,
            "probability": self.probability,
            "distribution": {label.value: probability for label, probability in self.distribution.items()},
            "unsafe": self.unsafe,
            "threshold": self.threshold,
            "flagged": self.flagged,
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> ImageVerdict:
        """Read what `to_json` wrote.

        Raises:
            KeyError, TypeError, ValueError, AttributeError: It is not such an object.
        """
        return ImageVerdict(
            label=GuardLabel(data["label"]),
            probability=float(data["probability"]),
            distribution={GuardLabel(label): float(value) for label, value in data["distribution"].items()},
            threshold=float(data["threshold"]),
        )


@dataclass(frozen=True, slots=True)
class RequestVerdict:
    """The output of a guard for the whole request: images and text together.

    Attributes:
        combination: The most probable of the five.
        probability: Its probability, in [0, 1].
        distribution: Probability of each combination; sums to 1.
        categories: Probability of each category, given that the request is unsafe; sums to 1.
        threshold: Probability of "unsafe" (all but SSS) at and above which the request is flagged, in [0, 1].
    """

    combination: Combination
    probability: float
    distribution: Mapping[Combination, float]
    categories: Mapping[Category, float]
    threshold: float

    @property
    def unsafe(self) -> float:
        """Probability in [0, 1] that the request is unsafe: 1 - P(SSS).

        Raises:
            GuardError: The distribution holds no probability of SSS, or one that is no number.
        """
        return _unsafe(self.distribution.get(Combination.SSS))

    @property
    def flagged(self) -> bool:
        """Whether `unsafe` reaches the threshold."""
        return self.unsafe >= self.threshold

    def to_json(self) -> dict[str, Any]:
        """JSON values: combination, probability, distribution, categories, unsafe, threshold, flagged."""
        return {
            "combination": self.combination.value,
            "probability": self.probability,
            "distribution": {name.value: probability for name, probability in self.distribution.items()},
            "categories": {name.value: probability for name, probability in self.categories.items()},
            "unsafe": self.unsafe,
            "threshold": self.threshold,
            "flagged": self.flagged,
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> RequestVerdict:
        """Read what `to_json` wrote.

        Raises:
            KeyError, TypeError, ValueError, AttributeError: It is not such an object.
        """
        return RequestVerdict(
            combination=Combination(data["combination"]),
            probability=float(data["probability"]),
            distribution={Combination(name): float(value) for name, value in data["distribution"].items()},
            categories={Category(name): float(value) for name, value in data["categories"].items()},
            threshold=float(data["threshold"]),
        )


@dataclass(frozen=True, slots=True)
class GuardVerdict:
    """The output of a guard for one prompt; empty without a guard.

    Attributes:
        images: One verdict per image, in the order of the prompt; empty without an image head.
        request: The verdict on the whole request; None without a joint head.
    """

    images: tuple[ImageVerdict, ...] = ()
    request: RequestVerdict | None = None

    @property
    def unsafe(self) -> float:
        """The highest probability of unsafe among the verdicts, in [0, 1]; 0 without any."""
        return max((each.unsafe for each in self._all()), default=0.0)

    @property
    def flagged(self) -> bool:
        """Whether any verdict reaches its own threshold."""
        return any(each.flagged for each in self._all())

    def to_json(self) -> dict[str, Any]:
        """JSON values: `{images, request}`, request null without a joint head."""
        return {
            "images": [each.to_json() for each in self.images],
            "request": None if self.request is None else self.request.to_json(),
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> GuardVerdict:
        """Read what `to_json` wrote.

        Raises:
            KeyError, TypeError, ValueError, AttributeError: It is not such an object.
        """
        request = data["request"]
        return GuardVerdict(
            tuple(map(ImageVerdict.from_json, data["images"])),
            None if request is None else RequestVerdict.from_json(request),
        )

    def _all(self) -> tuple[ImageVerdict | RequestVerdict, ...]:
        return self.images if self.request is None else (*self.images, self.request)


def _unsafe(safe: float | None) -> float:
    if safe is None or not 0 <= safe <= 1:
        raise GuardError(f"a verdict's probability of safe is {safe}; expected a number in [0, 1] to decide on")
    return 1 - safe
