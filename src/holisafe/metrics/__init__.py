"""What is counted: rates with cluster-bootstrap intervals, paired runs, agreement of judges, calibration of guards."""

from holisafe.metrics._agreement import Agreement, agreement
from holisafe.metrics._paired import Comparison, Difference, compare
from holisafe.metrics._rates import is_hit, is_right
from holisafe.metrics._summary import Figure, Summary, summarise
from holisafe.metrics._twins import twin_pairs
from holisafe.metrics.calibration import (
    ClassScores,
    ReliabilityBin,
    auprc,
    auroc,
    bootstrap_figure,
    conformal_spread,
    conformal_threshold,
    equal_mass_calibration_error,
    equal_mass_reliability_curve,
    expected_calibration_error,
    negative_log_likelihood,
    per_class,
    reliability_curve,
    share_figure,
    softmax,
)
from holisafe.metrics.temperature import Temperature, fit_temperature

__all__ = [
    "Agreement",
    "ClassScores",
    "Comparison",
    "Difference",
    "Figure",
    "ReliabilityBin",
    "Summary",
    "Temperature",
    "agreement",
    "auprc",
    "auroc",
    "bootstrap_figure",
    "compare",
    "conformal_spread",
    "conformal_threshold",
    "equal_mass_calibration_error",
    "equal_mass_reliability_curve",
    "expected_calibration_error",
    "fit_temperature",
    "is_hit",
    "is_right",
    "negative_log_likelihood",
    "per_class",
    "reliability_curve",
    "share_figure",
    "softmax",
    "summarise",
    "twin_pairs",
]
