"""Temperatures and thresholds of a guard: what makes its scores probabilities and decides what it flags."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from holisafe.errors import GuardError
from holisafe.records import CHECK_EVERY


@dataclass(frozen=True, slots=True)
class Calibration:
    """Temperatures and thresholds of a guard, and what they were fitted on. The defaults change nothing.

    Attributes:
        temperature: What the image head's logits are divided by, above 0.
        threshold: Probability of unsafe (1 - P(safe)) at and above which an image is flagged, in [0, 1].
        flag_rate: Target: largest share of safe images to flag, in (0, 1); None where the threshold was set by hand.
        measured_flag_rate: Share of safe images flagged, measured on images that did not set the threshold, in
            [0, 1]; None where it was not measured.
        joint_temperature: What the joint head's combination logits are divided by, above 0.
        joint_threshold: Probability of unsafe (1 - P(SSS)) at and above which a request is flagged, in [0, 1].
        joint_flag_rate: Target of the joint head: largest share of safe requests to flag; None as above.
        joint_measured_flag_rate: Share of safe requests flagged; None as above.
        output_temperature: What the output head's logits of harm are divided by, above 0.
        output_threshold: Probability of harm at and above which a check flags an answer, in [0, 1].
        output_flag_rate: Target of the output head: largest share of harmless answers to flag; None as above.
        output_measured_flag_rate: Share of harmless answers flagged; None as above.
        output_records: Answers that the output head was calibrated on.
        output_every: Tokens between two checks for which the threshold was set, at least 1.
        records: Records it was fitted on: images, or requests where the guard has no image head.
        safe_records: Safe ones among them.
        data: Fingerprint of the data set they come from.

    Raises:
        GuardError: A value is outside its range; the message names the field.
    """

    temperature: float = 1.0
    threshold: float = 0.5
    flag_rate: float | None = None
    measured_flag_rate: float | None = None
    joint_temperature: float = 1.0
    joint_threshold: float = 0.5
    joint_flag_rate: float | None = None
    joint_measured_flag_rate: float | None = None
    records: int = 0
    safe_records: int = 0
    data: str = ""
    output_temperature: float = 1.0
    output_threshold: float = 0.5
    output_flag_rate: float | None = None
    output_measured_flag_rate: float | None = None
    output_records: int = 0
    output_every: int = CHECK_EVERY

    def __post_init__(self) -> None:
        for head in ("", "joint_", "output_"):
            temperature, threshold = getattr(self, f"{head}temperature"), getattr(self, f"{head}threshold")
            target, share = getattr(self, f"{head}flag_rate"), getattr(self, f"{head}measured_flag_rate")
            _expect(f"{head}temperature", temperature, 0 < temperature < math.inf, "a finite number above 0")
            _expect(f"{head}threshold", threshold, 0 <= threshold <= 1, "a probability in [0, 1]")
            _expect(f"{head}flag_rate", target, target is None or 0 < target < 1, "a share in (0, 1)")
            _expect(f"{head}measured_flag_rate", share, share is None or 0 <= share <= 1, "a share in [0, 1]")
        _expect("output_records", self.output_records, self.output_records >= 0, "a count")
        _expect("output_every", self.output_every, self.output_every >= 1, "a number of tokens of at least 1")
        _expect("records", self.records, self.records >= 0, "a count")
        _expect("safe_records", self.safe_records, 0 <= self.safe_records <= self.records, "a count up to records")

    @property
    def is_fitted(self) -> bool:
        """Whether it was fitted on records; otherwise scores are no probabilities and thresholds promise nothing."""
        return self.records > 0

    def with_output_of(self, other: Calibration) -> Calibration:
        """This one, with temperature and threshold of another's output head."""
        kept = {name: value for name, value in other.to_json().items() if name.startswith("output_")}
        return dataclasses.replace(self, **kept)

    def to_json(self) -> dict[str, Any]:
        """JSON values; `from_json` reads them."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: object, source: str = "guard_config.json") -> Calibration:
        """Read what `to_json` wrote.

        Args:
            values: What stands under "calibration".
            source: The file, for messages.

        Raises:
            GuardError: It is no object, or a field is missing, unknown, or of another kind or range.
        """
        if not isinstance(values, Mapping):
            raise GuardError(f"{source}: calibration: expected an object, found {json.dumps(values)[:60]}")
        if missing := [field for field in _KINDS if field not in values and field not in _OPTIONAL]:
            raise GuardError(f"{source}: calibration.{missing[0]} is missing; calibrate the guard again")
        if unknown := [str(field) for field in values if field not in _KINDS]:
            raise GuardError(f"{source}: calibration.{unknown[0]} is unknown; expected {', '.join(_KINDS)}")
        for field in values:
            kinds = _KINDS[field]
            if isinstance(values[field], bool) or not isinstance(values[field], kinds):
                names = " or ".join(_KIND_NAMES[kind] for kind in kinds if kind is not int or float not in kinds)
                raise GuardError(f"{source}: calibration.{field}: expected {names}, found {values[field]!r}")
        try:
            return cls(**values)
        except GuardError as error:
            raise GuardError(f"{source}: calibration.{error}") from None


_KINDS: dict[str, tuple[type, ...]] = {
    "temperature": (int, float),
    "threshold": (int, float),
    "flag_rate": (int, float, type(None)),
    "measured_flag_rate": (int, float, type(None)),
    "joint_temperature": (int, float),
    "joint_threshold": (int, float),
    "joint_flag_rate": (int, float, type(None)),
    "joint_measured_flag_rate": (int, float, type(None)),
    "records": (int,),
    "safe_records": (int,),
    "data": (str,),
    "output_temperature": (int, float),
    "output_threshold": (int, float),
    "output_flag_rate": (int, float, type(None)),
    "output_measured_flag_rate": (int, float, type(None)),
    "output_records": (int,),
    "output_every": (int,),
}
_OPTIONAL = (
    "measured_flag_rate",
    "joint_flag_rate",
    "joint_measured_flag_rate",
    *(field for field in _KINDS if field.startswith("output_")),
)
_KIND_NAMES = {int: "a whole number", float: "a number", str: "a string", type(None): "null"}


def _expect(field: str, value: object, holds: bool, expected: str) -> None:
    if not holds:
        raise GuardError(f"{field}: expected {expected}, found {value}")
