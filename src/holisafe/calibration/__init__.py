"""Temperatures and thresholds of a guard: fitted on held-out records, measured, reported.

`calibrate_on` asks a model's guard about samples and fits; `calibrate` fits on logits that are there already.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holisafe._lazy import lazy

if TYPE_CHECKING:
    from holisafe.calibration.fit import calibrate
    from holisafe.calibration.guards import calibrate_on
    from holisafe.calibration.report import CalibrationReport, plot_reliability

__all__ = ["CalibrationReport", "calibrate", "calibrate_on", "plot_reliability"]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "CalibrationReport": "holisafe.calibration.report",
        "calibrate": "holisafe.calibration.fit",
        "calibrate_on": "holisafe.calibration.guards",
        "plot_reliability": "holisafe.calibration.report",
    },
)
