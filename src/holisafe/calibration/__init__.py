"""Temperatures and thresholds of a guard: fitted on held-out records, measured, reported.

`calibrate` asks a model's guard about samples and fits; `fit_calibration` fits on logits that are there already.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holisafe._lazy import lazy

if TYPE_CHECKING:
    from holisafe.calibration.fit import fit_calibration
    from holisafe.calibration.guards import calibrate
    from holisafe.calibration.report import CalibrationReport, plot_reliability

__all__ = ["CalibrationReport", "calibrate", "fit_calibration", "plot_reliability"]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "CalibrationReport": "holisafe.calibration.report",
        "fit_calibration": "holisafe.calibration.fit",
        "calibrate": "holisafe.calibration.guards",
        "plot_reliability": "holisafe.calibration.report",
    },
)
