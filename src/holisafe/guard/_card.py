"""The model card written beside a guard's weights."""

from __future__ import annotations

from holisafe.guard._config import GuardConfig, GuardSite
from holisafe.guard.calibration import Calibration
from holisafe.taxonomy import parse_label

OURS = "library_name: holisafe"
"""Line by which a card of ours is known."""


def model_card_of(config: GuardConfig, site: GuardSite, calibration: Calibration) -> str:
    """The text of README.md: what the guard is for, what it tells apart, and from where it flags."""
    base = site.base_model
    front = ["---", OURS, "tags: [safety, guardrail, vision-language]"]
    if "/" in base:  # the Hub links it
        front.append(f"base_model: {base}")
    parts = []
    if config.image_head:
        pooled = f"{config.pooling} of its {config.features} features"
        if config.meta_token:
            pooled = "a safety meta token" + (" in the vision encoder" if config.meta_in_encoder else "")
        parts.append(f"- one verdict per image, from {pooled}, among {len(config.labels)} labels")
    if config.joint_head:
        parts.append("- one verdict on image and question together")
    if config.output_head:
        parts.append("- one verdict on the answer, while it is generated")
    lines = [
        *front,
        "---",
        "",
        f"# Guard for {base or 'a vision-language model'}",
        "",
        f"Made for a hidden size of {site.width}. It gives, in the same prefill as the answer:",
        "",
        *parts,
        "",
        "```python",
        "from holisafe.guard import guarded_generate, load_guard",
        "",
        'model = load_guard(model, "this repository or folder")',
        "answers = guarded_generate(model, inputs, processor=processor)",
        "```",
        "",
    ]
    if config.image_head:
        lines += ["Labels, by index: " + ", ".join(parse_label(label).value for label in config.labels) + ".", ""]
    return "\n".join([*lines, *_calibration_lines(config, calibration), *_output_lines(config, calibration)])


def _calibration_lines(config: GuardConfig, calibration: Calibration) -> list[str]:
    if not calibration.is_fitted:
        return ["Not calibrated: its scores are no probabilities, and its thresholds promise nothing.", ""]
    columns = ["head", "temperature", "flagged from P(unsafe)", "safe ones flagged: target", "measured"]
    rows = [f"| {' | '.join(columns)} |", "| --- | ---: | ---: | ---: | ---: |"]
    if config.image_head:
        rows.append(
            f"| image | {calibration.temperature:.3f} | {calibration.threshold:.3f} | {_target(calibration.flag_rate)} "
            f"| {_measured(calibration.measured_flag_rate)} |"
        )
    if config.joint_head:
        rows.append(
            f"| joint | {calibration.joint_temperature:.3f} | {calibration.joint_threshold:.3f} "
            f"| {_target(calibration.joint_flag_rate)} | {_measured(calibration.joint_measured_flag_rate)} |"
        )
    fitted = f"Calibrated on {calibration.records} records ({calibration.safe_records} safe)"
    return [fitted + (f"; data {calibration.data}." if calibration.data else "."), "", *rows, ""]


def _output_lines(config: GuardConfig, calibration: Calibration) -> list[str]:
    if not config.output_head:
        return []
    if not calibration.output_records:
        return ["On answers it is not calibrated: its threshold promises nothing.", ""]
    return [
        f"An answer is checked every {calibration.output_every} tokens, and flagged from P(harm) "
        f"{calibration.output_threshold:.3f} (temperature {calibration.output_temperature:.3f}). Harmless answers "
        f"flagged: target {_target(calibration.output_flag_rate)}, measured "
        f"{_measured(calibration.output_measured_flag_rate)} ({calibration.output_records} answers).",
        "",
    ]


def _target(rate: float | None) -> str:
    return "set by hand" if rate is None else f"at most {rate:.1%}"


def _measured(rate: float | None) -> str:
    return "–" if rate is None else f"{rate:.1%}"
