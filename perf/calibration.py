"""What the calibration of the two shipped guards does on HoliSafe-Open's test split, before and after.

    python perf/calibration.py --before FOLDER --after FOLDER --out docs/results/calibration.json

Each folder holds `pocket/guard_config.json` and `pocket_safe/guard_config.json`, with a calibration each. A guard's
logits do not depend on its calibration, so each model reads the test split once.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from holisafe.calibration.guards import Records, ask_guard
from holisafe.datasets import load as load_samples
from holisafe.guard import Calibration
from holisafe.metrics import expected_calibration_error, negative_log_likelihood, share_figure, softmax
from holisafe.models import load

MODELS = {"pocket": "pocket", "pocket-safe": "pocket_safe"}


def main() -> None:
    """Measure both guards, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, required=True, help="folder with the calibrations before")
    parser.add_argument("--after", type=Path, required=True, help="folder with the calibrations after")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--batch-size", type=int, default=16)
    given = parser.parse_args()
    samples = load_samples("open", "test")
    found: dict[str, Any] = {"data": "open, split test", "samples": len(samples), "models": {}}
    for name, folder in MODELS.items():
        loaded = load(name, guard="own", device="cpu")
        logits = ask_guard(loaded.model, loaded.processor, samples, batch_size=given.batch_size)
        calibrations = {
            when: _calibration(getattr(given, when) / folder / "guard_config.json") for when in ("before", "after")
        }
        found["models"][name] = {
            head: {when: measure(records, head, each) for when, each in calibrations.items()}
            for head, records in (("image", logits.images), ("joint", logits.requests))
            if records is not None
        }
    given.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def measure(records: Records, head: str, calibration: Calibration) -> dict[str, Any]:
    """Fit, and shares of safe and unsafe records flagged with 95 % intervals, of one head."""
    temperature, threshold, target = (
        (calibration.temperature, calibration.threshold, calibration.flag_rate)
        if head == "image"
        else (calibration.joint_temperature, calibration.joint_threshold, calibration.joint_flag_rate)
    )
    logits, labels = np.array(records.logits), np.array(records.labels)
    clusters = np.unique(np.array(records.clusters), return_inverse=True)[1]
    probabilities = softmax(logits, temperature)
    flagged = 1 - probabilities[:, 0] >= threshold
    return {
        "temperature": temperature,
        "threshold": threshold,
        "target": target,
        "ece": expected_calibration_error(probabilities.max(1), probabilities.argmax(1) == labels),
        "nll": negative_log_likelihood(logits, labels, temperature),
        "safe_flagged": _share(flagged, clusters, labels == 0),
        "unsafe_flagged": _share(flagged, clusters, labels != 0),
    }


def _share(
    flagged: npt.NDArray[np.bool_], clusters: npt.NDArray[np.int64], of: npt.NDArray[np.bool_]
) -> dict[str, float | int] | None:
    figure = share_figure(flagged[of], clusters[of])
    return None if figure is None else figure.to_json()


def _calibration(path: Path) -> Calibration:
    return Calibration.from_json(json.loads(path.read_text("utf-8"))["calibration"], str(path))


if __name__ == "__main__":
    main()
