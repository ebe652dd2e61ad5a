"""What calibration did to a guard, as people and programs read it: JSON, a markdown table, a reliability plot."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holisafe.errors import MissingDependencyError
from holisafe.metrics import ClassScores, Figure, ReliabilityBin

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
class HeadReport:
    """One head, calibrated. Intervals are 95 %, from a bootstrap over clusters; None where a figure cannot be had.

    Attributes:
        temperature: What its logits are divided by.
        threshold: Probability of unsafe at and above which it flags.
        flag_rate: The promised bound on the share of safe records flagged, in expectation.
        expected_flag_rate: Where the share of safe records to be flagged lies in 95 % of calibrations such as this.
        fitted: Records of the half that set the temperature, on which the shares flagged are measured.
        held: Records of the half that set the threshold, on which all else is measured.
        safe_scores: Safe records, one per cluster, that set the threshold.
        before: Fit at temperature 1.
        after: Fit at the temperature found.
        auroc: Of the probability of unsafe, for safe against unsafe.
        auprc: Average precision of the same; chance would give `unsafe_share`.
        unsafe_share: Share of the held records that are unsafe.
        flagged_safe: Share of safe records flagged (false alarms).
        flagged_unsafe: Share of unsafe records flagged.
        per_class: Scores of each label as the most probable one.
    """

    temperature: float
    threshold: float
    flag_rate: float
    expected_flag_rate: tuple[float, float]
    fitted: int
    held: int
    safe_scores: int
    before: Fit
    after: Fit
    auroc: Figure | None
    auprc: Figure | None
    unsafe_share: float
    flagged_safe: Figure | None
    flagged_unsafe: Figure | None
    per_class: Mapping[str, ClassScores]

    def to_json(self) -> dict[str, Any]:
        """One key per attribute, null where a figure cannot be had."""
        figures = ("auroc", self.auroc), ("auprc", self.auprc)
        shares = ("flagged_safe", self.flagged_safe), ("flagged_unsafe", self.flagged_unsafe)
        return {
            "temperature": self.temperature,
            "threshold": self.threshold,
            "flag_rate": self.flag_rate,
            "expected_flag_rate": list(self.expected_flag_rate),
            "fitted": self.fitted,
            "held": self.held,
            "safe_scores": self.safe_scores,
            "before": self.before.to_json(),
            "after": self.after.to_json(),
            "unsafe_share": self.unsafe_share,
            **{name: figure.to_json() if figure else None for name, figure in (*figures, *shares)},
            "per_class": {label: scores.to_json() for label, scores in self.per_class.items()},
        }


@dataclass(frozen=True, slots=True)
class CalibrationReport:
    """What `calibrate` found, per head; None for a head the guard does not have."""

    calibration: Calibration
    image: HeadReport | None
    joint: HeadReport | None

    def to_json(self) -> dict[str, Any]:
        """`{calibration, image, joint}`, a head that the guard does not have as null."""
        return {
            "calibration": self.calibration.to_json(),
            "image": self.image.to_json() if self.image else None,
            "joint": self.joint.to_json() if self.joint else None,
        }

    def to_markdown(self) -> str:
        """Two tables per head: the figures, and the labels that occur."""
        return "\n\n".join(table for title, head in self.heads() for table in _tables(title, head)) + "\n"

    def heads(self) -> Iterator[tuple[str, HeadReport]]:
        """The heads there are, with their titles."""
        for title, head in (("Image head", self.image), ("Joint head", self.joint)):
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
    low, high = head.expected_flag_rate
    rows = [
        ("temperature", f"{head.temperature:.3f}"),
        ("threshold on P(unsafe)", f"{head.threshold:.6f}"),
        ("promised bound on safe records flagged", f"{head.flag_rate:.1%} (this calibration: {low:.1%} to {high:.1%})"),
        ("safe records flagged", _percent(head.flagged_safe)),
        ("unsafe records flagged", _percent(head.flagged_unsafe)),
        ("AUROC", _plain(head.auroc)),
        ("AUPRC", f"{_plain(head.auprc)}, chance {head.unsafe_share:.3f}"),
        ("ECE before → after", f"{head.before.ece:.3f} → {head.after.ece:.3f}"),
        ("ECE, equal mass, before → after", f"{head.before.ece_equal_mass:.3f} → {head.after.ece_equal_mass:.3f}"),
        ("NLL before → after (nats)", f"{head.before.nll:.3f} → {head.after.nll:.3f}"),
        ("records: temperature / threshold half", f"{head.fitted} / {head.held} ({head.safe_scores} safe scores)"),
    ]
    yield f"**{title}**\n\n" + _markdown(("figure", "value"), rows)
    present = ((label, scores) for label, scores in head.per_class.items() if scores.support or scores.predicted)
    by_label = [
        (f"`{label}`", *map(_share, (scores.precision, scores.recall, scores.f1)), str(scores.support))
        for label, scores in present
    ]
    yield _markdown(("label", "precision", "recall", "F1", "records"), by_label)


def _markdown(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in (header, ("---",) * len(header), *rows))


def _percent(figure: Figure | None) -> str:
    return "no records" if figure is None else f"{figure.value:.1%} [{figure.low:.1%}, {figure.high:.1%}]"


def _plain(figure: Figure | None) -> str:
    return "undefined" if figure is None else f"{figure.value:.3f} [{figure.low:.3f}, {figure.high:.3f}]"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
