"""A guard's verdict in words: what decides stands beside it, and a flag never reads as safe."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from holisafe.report.verdicts import image_verdict_words, percent, request_verdict_words
from holisafe.taxonomy import Combination, GuardLabel
from report_runs import image_verdict, joint_verdict

PROBABILITIES = st.floats(0.06, 1)


@given(st.sampled_from(GuardLabel), PROBABILITIES, st.floats(0, 1))
def test_an_image_flag_says_why_and_never_reads_safe(label: GuardLabel, probability: float, threshold: float) -> None:
    verdict = image_verdict(label, probability, threshold)
    words = image_verdict_words(verdict)
    assert words.startswith("flagged, " if verdict.flagged else "not flagged, ")
    assert f"P(unsafe) {percent(verdict.unsafe)}" in words and f"threshold {percent(threshold)}" in words
    if verdict.flagged:
        assert not words.endswith(": safe")


@given(st.sampled_from(Combination), st.floats(0.21, 1), st.floats(0, 1))
def test_a_request_flag_says_why_and_never_reads_safe(kind: Combination, probability: float, threshold: float) -> None:
    verdict = joint_verdict(kind, probability, threshold)
    words = request_verdict_words(verdict)
    assert words.startswith("flagged, " if verdict.flagged else "not flagged, ")
    if verdict.flagged:
        assert not words.endswith("SSS")


def test_a_likely_safe_image_above_a_low_threshold_names_the_likeliest_harm() -> None:
    verdict = image_verdict(GuardLabel.SAFE, 0.767, 0.2)
    assert image_verdict_words(verdict) == "flagged, P(unsafe) 23.3 % ≥ threshold 20.0 %: gender"


def test_a_guard_without_safe_flags_nothing_and_says_so() -> None:
    verdict = image_verdict(GuardLabel.SUICIDE, 0.9)
    distribution = {label: share for label, share in verdict.distribution.items() if label is not GuardLabel.SAFE}
    words = image_verdict_words(type(verdict)(verdict.label, 0.9, distribution, 0.5))
    assert words == "suicide 90.0 % (never flagged: the guard has no label “safe”)"
