"""What calibration did to a guard, as people and programs read it: JSON, a markdown table, a reliability plot."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holisafe.errors import MissingDependencyError
from holisafe.metrics import ClassScores, Figure, ReliabilityBin, Temperature

if TYPE_CHECKING:
    from holisafe.guard.calibration import Calibration


@dataclass(frozen=True, slots=True)
class Fit:
    """How well a head's probabilities fit what was so, at one temperature.

    Attributes:
        nll: Mean negative log likelihood of the right label, in nats.
        ece: Expected calibration error of the most probable label, 15 bins of equal width, in [0, 1].
        ece_equal_mass: The same over 15 bins of equally many records.
        curve: The bins of equal width that hold records.
    """

    nll: float
    ece: float
    ece_equal_mass: float
    curve: tuple[ReliabilityBin, ...]

    def to_json(self) -> dict[str, Any]:
        """`{nll, ece, ece_equal_mass, curve: [{low, high, confidence, accuracy: {value, low, high, n}}]}`."""
        return {
            "nll": self.nll,
            "ece": self.ece,
            "ece_equal_mass": self.ece_equal_mass,
            "curve": [
                {"low": part.low, "high": part.high, "confidence": part.confidence, "accuracy": part.accuracy.to_json()}
                for part in self.curve
            ],
        }


@dataclass(frozen=True, slots=True)
class FlagRow:
    """A line of the table of thresholds: what flagging a share of safe records costs and gains.

    Attributes:
        flag_rate: Target: largest share of safe records to flag.
        threshold: Probability of unsafe at and above which this takes flagging; None where there is no such threshold.
        flagged_safe: Share of safe records flagged, measured on records that did not set the threshold.
        flagged_unsafe: Share of unsafe records flagged (recall).
        why: Why there is no threshold.
    """

    flag_rate: float
    threshold: float | None
    flagged_safe: Figure | None
    flagged_unsafe: Figure | None
    why: str = ""

    def to_json(self) -> dict[str, Any]:
        """`{flag_rate, threshold, flagged_safe, flagged_unsafe, why}`, null where undefined."""
        return {
            "flag_rate": self.flag_rate,
            "threshold": self.threshold,
            "flagged_safe": _json(self.flagged_safe),
            "flagged_unsafe": _json(self.flagged_unsafe),
            "why": self.why,
        }


@dataclass(frozen=True, slots=True)
class HeadReport:
    """One head, calibrated. Intervals are 95 %; figures are None where they are undefined.

    Attributes:
        temperature: What its logits are divided by.
        fitted_temperature: What was fitted, with its interval; None where nothing could be fitted.
        temperature_reason: Why the fitted temperature is not used and `temperature` is 1; empty where it is used.
        threshold: Probability of unsafe at and above which it flags.
        flag_rate: Target: largest share of safe records flagged, in expectation; None for a threshold set by hand.
        expected_flag_rate: Range of the share of safe records flagged in 95 % of calibrations on as many safe records;
            None for a threshold set by hand.
        fitted: Records of the first half, which sets the temperature.
        held: Records of the second half, on which ranking and labels are measured.
        safe_scores: Safe records, one per cluster, that set the threshold.
        before: Fit of all records at temperature 1.
        after: The same with each record at the temperature that the other half gives; `before` where that is not used.
        rejected: What `after` would be with a temperature that is not used.
        auroc: Of the probability of unsafe, for safe against unsafe.
        auprc: Average precision of the same; chance would give `unsafe_share`.
        unsafe_share: Share of the second half that is unsafe.
        flagged_safe: Share of safe records flagged (false alarms), on records that did not set the threshold.
        flagged_unsafe: Share of unsafe records flagged (recall).
        flag_rows: Thresholds and shares flagged for several targets.
        per_class: Scores of each label as the most probable one.
        warnings: What limits the use of the figures.
    """

    temperature: float
    fitted_temperature: Temperature | None
    temperature_reason: str
    threshold: float
    flag_rate: float | None
    expected_flag_rate: tuple[float, float] | None
    fitted: int
    held: int
    safe_scores: int
    before: Fit
    after: Fit
    rejected: Fit | None
    auroc: Figure | None
    auprc: Figure | None
    unsafe_share: float
    flagged_safe: Figure | None
    flagged_unsafe: Figure | None
    flag_rows: tuple[FlagRow, ...]
    per_class: Mapping[str, ClassScores]
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """One key per attribute, null where a figure is undefined."""
        return {
            "temperature": self.temperature,
            "fitted_temperature": None if self.fitted_temperature is None else self.fitted_temperature.to_json(),
            "temperature_reason": self.temperature_reason,
            "threshold": self.threshold,
            "flag_rate": self.flag_rate,
            "expected_flag_rate": None if self.expected_flag_rate is None else list(self.expected_flag_rate),
            "fitted": self.fitted,
            "held": self.held,
            "safe_scores": self.safe_scores,
            "before": self.before.to_json(),
            "after": self.after.to_json(),
            "rejected": None if self.rejected is None else self.rejected.to_json(),
            "auroc": _json(self.auroc),
            "auprc": _json(self.auprc),
            "unsafe_share": self.unsafe_share,
            "flagged_safe": _json(self.flagged_safe),
            "flagged_unsafe": _json(self.flagged_unsafe),
            "flag_rows": [row.to_json() for row in self.flag_rows],
            "per_class": {label: scores.to_json() for label, scores in self.per_class.items()},
            "warnings": list(self.warnings),
        }


@dataclass(frozen=True, slots=True)
class CalibrationReport:
    """What `calibrate` found, per head; None for a head that was not calibrated."""

    calibration: Calibration
    image: HeadReport | None
    joint: HeadReport | None
    output: HeadReport | None = None

    def to_json(self) -> dict[str, Any]:
        """`{calibration, image, joint, output}`, a head that was not calibrated as null."""
        return {
            "calibration": self.calibration.to_json(),
            "image": self.image.to_json() if self.image else None,
            "joint": self.joint.to_json() if self.joint else None,
            "output": self.output.to_json() if self.output else None,
        }

    def to_markdown(self) -> str:
        """Three tables per head: the figures, thresholds for several flag rates, and the labels that occur."""
        return "\n\n".join(table for title, head in self.heads() for table in _tables(title, head)) + "\n"

    @property
    def warnings(self) -> list[str]:
        """Those of each head, with its name."""
        return [f"{title.lower()}: {warning}" for title, head in self.heads() for warning in head.warnings]

    def heads(self) -> Iterator[tuple[str, HeadReport]]:
        """The heads there are, with their titles."""
        for title, head in (("Image head", self.image), ("Joint head", self.joint), ("Output head", self.output)):
            if head is not None:
                yield title, head


def plot_reliability(report: CalibrationReport, path: Path) -> None:
    """Draw confidence against accuracy before and after calibration, one panel per head, with the records behind it.

    Args:
        report: What `calibrate` returned.
        path: File to write; its suffix (.png, .svg, .pdf) says the format.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure as Canvas
    except ImportError:
        raise MissingDependencyError("plots need matplotlib: pip install 'holisafe[report]'") from None
    heads = list(report.heads())
    canvas = Canvas(figsize=(4.6 * len(heads), 5.6), layout="constrained")
    axes = canvas.subplots(2, len(heads), squeeze=False, sharex=True, height_ratios=(4, 1))
    for (title, head), curve, counts in zip(heads, axes[0], axes[1], strict=True):
        curve.plot([0, 1], [0, 1], color="0.6", linewidth=1, linestyle="--", label="calibrated")
        for fit, name, colour, marker, shift in (
            (head.before, "before", "#c2571a", "o", -0.15),
            (head.after, "after", "#1f5fa8", "s", 0.15),
        ):
            _draw(curve, fit, f"{name}: ECE {fit.ece:.3f}", colour, marker)
            counts.bar(
                [(part.low + part.high) / 2 + shift * (part.high - part.low) for part in fit.curve],
                [part.accuracy.n for part in fit.curve],
                width=0.3 * (head.before.curve[0].high - head.before.curve[0].low),
                color=colour,
            )
        curve.set(xlim=(0, 1.02), ylim=(0, 1.02), ylabel="accuracy")
        curve.set_title(f"{title} (temperature {head.temperature:.2f})", pad=24)
        curve.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3, fontsize="small", frameon=False)
        counts.set(xlabel="confidence (probability of the most probable label)", ylabel="records", yscale="log")
        counts.set_ylim(bottom=0.5)  # a single record is seen
    canvas.savefig(path, dpi=150)


def _draw(axes: Any, fit: Fit, label: str, colour: str, marker: str) -> None:
    claimed = [part.confidence for part in fit.curve]
    found = [part.accuracy for part in fit.curve]
    whiskers = [[f.value - f.low for f in found], [f.high - f.value for f in found]]
    axes.errorbar(
        claimed,
        [figure.value for figure in found],
        yerr=whiskers,
        label=label,
        color=colour,
        marker=marker,
        markersize=4,
        linewidth=1.2,
        elinewidth=0.8,
        capsize=2,
    )


def _tables(title: str, head: HeadReport) -> Iterator[str]:
    rows = [
        ("temperature", _temperature(head)),
        ("threshold on P(unsafe)", f"{head.threshold:.6f}{'' if head.flag_rate else ', set by hand'}"),
        ("safe records flagged: target", _target(head)),
        ("safe records flagged: measured", _percent(head.flagged_safe, "not measured: too few safe records")),
        ("unsafe records flagged (recall)", _percent(head.flagged_unsafe, "no records")),
        ("AUROC", _plain(head.auroc)),
        ("AUPRC", f"{_plain(head.auprc)}, chance {head.unsafe_share:.3f}"),
        ("ECE before → after", f"{head.before.ece:.3f} → {head.after.ece:.3f}"),
        ("ECE, equal mass, before → after", f"{head.before.ece_equal_mass:.3f} → {head.after.ece_equal_mass:.3f}"),
        ("NLL before → after (nats)", f"{head.before.nll:.3f} → {head.after.nll:.3f}"),
        ("records: first / second half", f"{head.fitted} / {head.held}"),
        ("safe records that set the threshold", f"{head.safe_scores}"),
    ]
    yield f"**{title}**\n\n" + _markdown(("figure", "value"), rows)
    if head.warnings:
        yield "\n".join(f"- Note: {warning}." for warning in head.warnings)
    yield _markdown(
        ("safe flagged: target", "threshold", "safe flagged: measured", "unsafe flagged"),
        [
            (
                f"{row.flag_rate:.1%}",
                "too few safe records" if row.threshold is None else f"{row.threshold:.6f}",
                _percent(row.flagged_safe, "–"),
                _percent(row.flagged_unsafe, "–"),
            )
            for row in head.flag_rows
        ],
    )
    present = ((label, scores) for label, scores in head.per_class.items() if scores.support or scores.predicted)
    by_label = [
        (f"`{label}`", *map(_share, (scores.precision, scores.recall, scores.f1)), str(scores.support))
        for label, scores in present
    ]
    yield _markdown(("label", "precision", "recall", "F1", "records"), by_label)


def _markdown(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in (header, ("---",) * len(header), *rows))


def _temperature(head: HeadReport) -> str:
    found = head.fitted_temperature
    if found is None:
        return f"1, nothing fitted: {head.temperature_reason}"
    fitted = f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"
    return f"1; fitted {fitted}, not used: {head.temperature_reason}" if head.temperature_reason else fitted


def _target(head: HeadReport) -> str:
    if head.flag_rate is None or head.expected_flag_rate is None:
        return "none"
    low, high = head.expected_flag_rate
    return f"at most {head.flag_rate:.1%} on average (this calibration: {low:.1%} to {high:.1%})"


def _percent(figure: Figure | None, otherwise: str) -> str:
    return otherwise if figure is None else f"{figure.value:.1%} [{figure.low:.1%}, {figure.high:.1%}] of {figure.n}"


def _plain(figure: Figure | None) -> str:
    return "undefined" if figure is None else f"{figure.value:.3f} [{figure.low:.3f}, {figure.high:.3f}]"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _json(figure: Figure | None) -> dict[str, Any] | None:
    return None if figure is None else figure.to_json()
