"""Calibrating a guard: what is fitted, what is guaranteed, what is reported, and what is saved."""

from __future__ import annotations

import builtins
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import tiny_models
from holisafe.calibration import fit_calibration, plot_reliability
from holisafe.errors import DataError, GuardError, MissingDependencyError
from holisafe.guard import Calibration, attach_guard, calibration_of, classify_images, set_calibration
from holisafe.metrics import softmax
from holisafe.records import ImageVerdict
from holisafe.taxonomy import HEAD_ORDER, Combination

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def head_output(seed: int, count: int, labels: int, *, scale: float = 2.0, safe: float = 0.5) -> tuple[Floats, Ints]:
    """Logits of a head that is mostly right: calibrated where half is safe, but for being `scale` times too large."""
    generator = np.random.default_rng(seed)
    right = np.where(generator.random(count) < safe, 0, generator.integers(1, labels, size=count))
    features = generator.normal(0, 1, size=(count, labels)) + 3 * np.eye(labels)[right]
    prior = np.log([0.5, *[0.5 / (labels - 1)] * (labels - 1)])
    return scale * (3 * features + prior), right


def test_an_overconfident_head_becomes_calibrated_on_records_the_temperature_has_not_seen() -> None:
    calibration, report = fit_calibration(*head_output(0, 3000, 20))
    assert report.image is not None
    assert calibration.temperature == pytest.approx(2, rel=0.1)
    assert report.image.after.ece < report.image.before.ece / 2
    assert report.image.after.ece_equal_mass < report.image.before.ece_equal_mass / 2
    assert report.image.after.nll < report.image.before.nll


def test_the_promise_holds_over_many_calibrations_of_the_image_head() -> None:
    to_come, labels = head_output(1, 5000, 20, safe=1.0)
    assert not labels.any()
    flagged = []
    for seed in range(200):
        calibration, _ = fit_calibration(*head_output(100 + seed, 200, 20), flag_rate=0.1, resamples=1)
        scores = 1 - softmax(to_come, calibration.temperature)[:, 0]
        flagged.append(np.mean(scores >= calibration.threshold))
    noise = 4 * np.std(flagged) / math.sqrt(len(flagged))
    assert 0.1 - 1 / 40 - noise <= np.mean(flagged) <= 0.1 + noise


def test_the_promise_holds_when_records_come_in_clusters() -> None:
    generator = np.random.default_rng(2)
    flagged = []
    for seed in range(300):
        sizes = generator.integers(1, 12, size=120)
        # a cluster's records are alike, and the larger the cluster, the safer they look
        logits, _ = head_output(seed, 120, 5, scale=0.3, safe=1.0)
        logits[:, 0] += 0.3 * sizes
        clusters = np.repeat(np.arange(120), sizes)
        calibration, _ = fit_calibration(
            joint_logits=logits[clusters],
            joint_labels=np.zeros(len(clusters), dtype=np.int64),
            joint_clusters=[str(name) for name in clusters],
            flag_rate=0.1,
            resamples=1,
        )
        new, _ = head_output(10_000 + seed, 500, 5, scale=0.3, safe=1.0)
        new[:, 0] += 0.3 * generator.integers(1, 12, size=500)  # one record of each new cluster
        scores = 1 - softmax(new, calibration.joint_temperature)[:, 0]
        flagged.append(np.mean(scores >= calibration.joint_threshold))
    noise = 4 * np.std(flagged) / math.sqrt(len(flagged))
    assert np.mean(flagged) <= 0.1 + noise


def test_shares_flagged_are_measured_on_records_that_did_not_set_the_threshold() -> None:
    logits, labels = head_output(3, 2000, 20)
    calibration, report = fit_calibration(logits, labels, flag_rate=0.05)
    head = report.image
    assert head is not None and head.flagged_safe is not None and head.flagged_unsafe is not None
    assert head.temperature != 1 and abs(head.flagged_safe.n - (labels == 0).sum() / 2) <= 1
    assert head.flagged_safe.n + head.safe_scores == calibration.safe_records == (labels == 0).sum()
    assert head.flagged_unsafe.n == (labels != 0).sum()
    assert head.fitted + head.held == calibration.records
    assert head.flagged_safe.low <= 0.05 <= head.flagged_safe.high
    assert head.flagged_unsafe.value > 0.8
    low, high = head.expected_flag_rate
    assert low < 0.05 < high


def test_both_heads_are_calibrated_each_on_its_own_records() -> None:
    calibration, report = fit_calibration(*head_output(4, 400, 20), *head_output(5, 600, 5, scale=4.0), data="abc")
    assert report.image is not None and report.joint is not None
    assert calibration.joint_temperature > calibration.temperature
    assert (calibration.records, calibration.data, calibration.flag_rate) == (400, "abc", 0.05)
    assert len(report.image.per_class) == 20
    assert list(report.joint.per_class) == ["SSS", "SSU", "USU", "UUU", "SUU"]


def test_a_guard_without_an_image_head_is_calibrated_on_requests() -> None:
    calibration, report = fit_calibration(
        joint_logits=head_output(6, 300, 5)[0], joint_labels=head_output(6, 300, 5)[1]
    )
    assert (calibration.temperature, calibration.threshold, calibration.records) == (1.0, 0.5, 300)
    assert report.image is None


def test_records_of_a_cluster_never_stand_on_both_sides() -> None:
    logits, labels = head_output(7, 100, 20)
    times = np.repeat(np.arange(100), 3)
    clusters = [f"image {place}" for place in times]
    _, report = fit_calibration(logits[times], labels[times], image_clusters=clusters, flag_rate=0.1)
    assert report.image is not None
    assert report.image.fitted % 3 == report.image.held % 3 == 0
    assert report.image.safe_scores * 3 == report.image.per_class["safe"].support


def test_the_same_records_and_seed_give_the_same_calibration() -> None:
    records = head_output(8, 400, 20)
    assert fit_calibration(*records) == fit_calibration(*records)
    assert fit_calibration(*records)[0] != fit_calibration(*records, seed=1)[0]


def test_records_that_are_told_apart_perfectly_are_calibrated_too() -> None:
    labels = np.arange(400) % 20 * (np.arange(400) % 2)
    calibration, report = fit_calibration(30.0 * np.eye(20)[labels], labels)
    head = report.image
    assert head is not None and head.auroc is not None and head.flagged_safe is not None
    assert 0 < calibration.threshold < 1
    assert (head.auroc.value, head.flagged_safe.value) == (1.0, 0.0)
    assert head.auroc.low < 0.99  # ten dozen images are no proof


def test_without_unsafe_records_what_needs_them_is_undefined() -> None:
    _, report = fit_calibration(*head_output(9, 100, 20, safe=1.0))
    head = report.image
    assert head is not None
    assert (head.auroc, head.auprc, head.flagged_unsafe) == (None, None, None)
    assert head.to_json()["auroc"] is None
    assert head.temperature == 1 and head.fitted_temperature is None
    assert any("all images have the label safe" in warning for warning in report.warnings)
    assert "undefined" in report.to_markdown() and "no records" in report.to_markdown()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({}, "nothing to calibrate on"),
        ({"image_logits": np.zeros((4, 20))}, "image_logits and image_labels go together"),
        ({"image_logits": np.zeros((4, 5)), "image_labels": [0] * 4}, r"expected \(records, 20\)"),
        ({"joint_logits": np.zeros((4, 5)), "joint_labels": [0, 1, 2, 5]}, "joint head: labels of record 3 is 5"),
        ({"joint_logits": np.full((4, 5), np.nan), "joint_labels": [0] * 4}, "joint head: .* not finite"),
        ({"joint_logits": np.zeros((4, 5)), "joint_labels": [0] * 3}, "one label per row"),
        ({"joint_logits": np.zeros((4, 5)), "joint_labels": [0] * 4}, "at least 19 safe records, found 4"),
        ({"joint_logits": np.zeros((4, 5)), "joint_labels": [0] * 4, "joint_clusters": ["a"]}, "joint_clusters"),
        ({"joint_logits": np.zeros((2, 5)), "joint_labels": [0] * 2, "joint_clusters": ["a"] * 2}, "one cluster"),
        ({"joint_logits": np.zeros((0, 5)), "joint_labels": []}, "at least one record"),
    ],
)
def test_what_cannot_be_calibrated_is_named(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(DataError, match=says):
        fit_calibration(**arguments)


def test_a_head_that_is_sure_of_harm_in_safe_images_cannot_keep_a_flag_rate() -> None:
    logits = np.zeros((100, 5))
    logits[:, 1] = 1e6
    with pytest.raises(GuardError, match="probability 1"):
        fit_calibration(joint_logits=logits, joint_labels=np.zeros(100, dtype=np.int64))


def test_a_temperature_that_makes_other_records_worse_is_not_used() -> None:
    generator = np.random.default_rng(20)
    logits, labels = head_output(20, 80, 20, scale=1.0)
    kept = 0
    for _ in range(20):
        chosen = generator.permutation(80)
        _, report = fit_calibration(logits[chosen], labels[chosen], flag_rate=0.2, resamples=10)
        head = report.image
        assert head is not None and head.fitted_temperature is not None
        assert head.after.nll <= head.before.nll and head.after.ece <= head.before.ece
        assert (head.temperature == 1) == bool(head.temperature_reason) == (head.rejected is not None)
        kept += head.temperature != 1
        assert head.fitted_temperature.low <= head.fitted_temperature.value <= head.fitted_temperature.high
    assert kept < 20
    assert "not used" in report.to_markdown() or kept


def test_where_no_temperature_is_used_all_safe_records_set_the_threshold_and_each_is_measured_by_the_others() -> None:
    labels = np.arange(400) % 20 * (np.arange(400) % 2)
    _, report = fit_calibration(np.eye(20)[labels] + np.random.default_rng(0).normal(0, 0.01, (400, 20)), labels)
    head = report.image
    assert head is not None and head.flagged_safe is not None and head.temperature == 1
    assert head.safe_scores == head.flagged_safe.n == (labels == 0).sum()
    assert head.fitted_temperature is not None and head.fitted_temperature.at_bound
    assert any("search ended at its bound of 0.01" in warning for warning in report.warnings)


def test_a_head_that_is_always_wrong_has_no_temperature_and_that_is_said(caplog: pytest.LogCaptureFixture) -> None:
    labels = np.arange(400) % 5
    calibration, report = fit_calibration(
        joint_logits=9.0 * np.eye(5)[(labels + 1) % 5], joint_labels=labels, flag_rate=0.9
    )
    assert calibration.joint_temperature == 1
    assert any("bound of 100" in warning for warning in report.warnings)
    assert "joint head: the temperature is not determined" in caplog.text


def test_the_table_trades_safe_records_flagged_for_unsafe_ones_found() -> None:
    _, report = fit_calibration(*head_output(21, 4000, 20), flag_rate=0.03)
    assert report.image is not None
    rows = report.image.flag_rows
    assert [row.flag_rate for row in rows] == [0.01, 0.02, 0.03, 0.05, 0.1, 0.2]
    thresholds = [row.threshold for row in rows if row.threshold is not None]
    assert thresholds == sorted(thresholds, reverse=True) and len(thresholds) == 6
    recalls = [row.flagged_unsafe.value for row in rows if row.flagged_unsafe is not None]
    assert recalls == sorted(recalls) and len(recalls) == 6
    for row in rows:
        assert row.flagged_safe is not None and row.flagged_safe.low <= row.flag_rate <= row.flagged_safe.high
    assert next(row for row in rows if row.flag_rate == 0.03).threshold == report.image.threshold


def test_rates_that_too_few_safe_records_allow_have_no_threshold_and_few_records_are_said() -> None:
    _, report = fit_calibration(*head_output(22, 100, 20), flag_rate=0.1)
    assert report.image is not None
    row = report.image.flag_rows[0]
    assert (row.flag_rate, row.threshold, row.flagged_safe) == (0.01, None, None) and "at least 99 safe" in row.why
    assert any("independent safe images (200 or more are best)" in warning for warning in report.warnings)
    _, many = fit_calibration(*head_output(22, 800, 20))
    assert not any("200 or more" in warning for warning in many.warnings)


def test_a_threshold_set_by_hand_is_kept_and_measured() -> None:
    logits, labels = head_output(23, 1000, 20)
    calibration, report = fit_calibration(logits, labels, threshold=0.7)
    head = report.image
    assert (calibration.threshold, calibration.flag_rate) == (0.7, None) and head is not None
    scores = 1 - softmax(logits, calibration.temperature)[:, 0]
    assert head.flagged_safe is not None and head.flagged_unsafe is not None
    assert calibration.measured_flag_rate == head.flagged_safe.value == (scores[labels == 0] >= 0.7).mean()
    assert head.flagged_unsafe.value == (scores[labels != 0] >= 0.7).mean()
    assert "set by hand" in report.to_markdown() and len(head.flag_rows) == 5
    with pytest.raises(GuardError, match=r"threshold: expected a probability in \[0, 1\], found 1.2"):
        fit_calibration(logits, labels, threshold=1.2)
    with pytest.raises(DataError, match="joint_threshold was given, but no logits"):
        fit_calibration(logits, labels, joint_threshold=0.5)


def test_unsafe_records_alone_need_safe_ones_or_a_threshold_set_by_hand() -> None:
    logits, _ = head_output(24, 100, 20)
    with pytest.raises(DataError, match=r"all 100 images are unsafe.*add safe images"):
        fit_calibration(logits, np.full(100, 4))
    calibration, report = fit_calibration(logits, np.full(100, 4), threshold=0.5)
    assert report.image is not None and report.image.flagged_safe is None
    assert calibration.safe_records == 0 and report.image.flagged_unsafe is not None


def test_safe_records_that_look_unsafe_give_a_threshold_and_a_warning() -> None:
    logits = np.random.default_rng(0).normal(size=(200, 20))
    logits[:, 3] += 9
    calibration, report = fit_calibration(logits, np.zeros(200, dtype=np.int64))
    assert calibration.temperature == 1 and calibration.threshold > 0.999
    assert any("almost sure of harm in safe images" in warning for warning in report.warnings)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("as_rows", [False, True])
def test_logits_come_as_tensors_of_any_dtype_with_gradients_and_as_lists(dtype: torch.dtype, as_rows: bool) -> None:
    logits, labels = head_output(25, 300, 20)
    tensor = torch.from_numpy(logits).to(dtype).requires_grad_()
    expected = fit_calibration(tensor.detach().float().numpy().astype(np.float64), labels, resamples=10)
    if dtype is torch.float64:
        expected = fit_calibration(logits.tolist(), labels.tolist(), resamples=10)
    given = list(tensor) if as_rows else tensor
    assert fit_calibration(given, torch.from_numpy(labels), resamples=10) == expected


def test_labels_come_as_names() -> None:
    logits, labels = head_output(26, 300, 20)
    joint, combinations = head_output(27, 300, 5)
    by_name = fit_calibration(
        *(
            logits,
            [HEAD_ORDER[each] for each in labels],
            joint,
            [list(Combination)[each].value for each in combinations],
        ),
        resamples=10,
    )
    assert by_name == fit_calibration(logits, labels, joint, combinations, resamples=10)
    with pytest.raises(DataError, match=r"image_labels: .*terorism"):
        fit_calibration(logits, ["terorism"] * 300)
    with pytest.raises(DataError, match=r"joint_labels: .*SSX"):
        fit_calibration(joint_logits=joint, joint_labels=["SSX"] * 300)
    with pytest.raises(DataError, match="image_logits: expected numbers"):
        fit_calibration([["a"] * 20], [0])


def test_a_calibration_says_whether_it_was_fitted() -> None:
    assert not Calibration().is_fitted and not Calibration(threshold=0.3).is_fitted
    assert fit_calibration(*head_output(28, 200, 20), resamples=10)[0].is_fitted


# -- what is saved


@given(
    st.builds(
        Calibration,
        temperature=st.floats(0.01, 100),
        threshold=st.floats(0, 1),
        flag_rate=st.none() | st.floats(0.001, 0.999),
        measured_flag_rate=st.none() | st.floats(0, 1),
        joint_flag_rate=st.none() | st.floats(0.001, 0.999),
        joint_measured_flag_rate=st.none() | st.floats(0, 1),
        joint_temperature=st.floats(0.01, 100),
        joint_threshold=st.floats(0, 1),
        records=st.integers(100, 1000),
        safe_records=st.integers(0, 100),
        data=st.text(),
    )
)
def test_a_saved_calibration_is_read_back_exactly(calibration: Calibration) -> None:
    assert Calibration.from_json(json.loads(json.dumps(calibration.to_json()))) == calibration


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"temperature": 0}, "calibration.temperature: expected a finite number above 0, found 0"),
        ({"temperature": float("inf")}, "calibration.temperature"),
        ({"joint_temperature": "1"}, "calibration.joint_temperature: expected a number, found '1'"),
        ({"threshold": 1.5}, r"calibration.threshold: expected a probability in \[0, 1\], found 1.5"),
        ({"joint_threshold": float("nan")}, "calibration.joint_threshold"),
        ({"flag_rate": 1}, "calibration.flag_rate: expected a share"),
        ({"joint_flag_rate": 0}, "calibration.joint_flag_rate: expected a share"),
        ({"measured_flag_rate": -0.1}, "calibration.measured_flag_rate: expected a share"),
        ({"flag_rate": "5 %"}, "calibration.flag_rate: expected a number or null"),
        ({"records": 2.5}, "calibration.records: expected a whole number"),
        ({"records": True}, "calibration.records"),
        ({"safe_records": 11}, "calibration.safe_records: expected a count up to records"),
        ({"data": None}, "calibration.data: expected a string"),
        ({"temprature": 1.0}, "calibration.temprature is unknown"),
    ],
)
def test_a_broken_calibration_names_file_and_field(change: dict[str, Any], says: str) -> None:
    with pytest.raises(GuardError, match=f"guard_config.json: {says}"):
        Calibration.from_json(Calibration(records=10).to_json() | change)


def test_a_missing_field_is_named() -> None:
    values = Calibration().to_json()
    del values["threshold"]
    with pytest.raises(GuardError, match=r"calibration.threshold is missing"):
        Calibration.from_json(values)


def test_measured_shares_may_be_missing() -> None:
    values = {key: value for key, value in Calibration(records=3).to_json().items() if "measured" not in key}
    del values["joint_flag_rate"]
    assert Calibration.from_json(values) == Calibration(records=3)


def test_what_is_no_object_is_named() -> None:
    with pytest.raises(GuardError, match=r"expected an object, found \[1\]"):
        Calibration.from_json([1])


# -- what is reported


def test_the_report_is_json_and_a_table() -> None:
    _, report = fit_calibration(*head_output(10, 400, 20), *head_output(11, 400, 5))
    values = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert set(values) == {"calibration", "image", "joint", "output"} and values["output"] is None
    assert values["joint"]["flagged_safe"].keys() == {"value", "low", "high", "n"}
    table = report.to_markdown()
    assert "**Image head**" in table and "**Joint head**" in table and "| `weapon_related_violence` |" in table
    rows = [line for line in table.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in rows} == {3, 5, 6}


def test_the_reliability_plot_is_drawn(tmp_path: Path) -> None:
    _, report = fit_calibration(*head_output(12, 400, 20), *head_output(13, 400, 5))
    plot_reliability(report, tmp_path / "reliability.png")
    assert (tmp_path / "reliability.png").read_bytes().startswith(b"\x89PNG")


def test_a_plot_without_matplotlib_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, report = fit_calibration(*head_output(14, 200, 20))
    real = builtins.__import__

    def without_matplotlib(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_matplotlib)
    with pytest.raises(MissingDependencyError, match=r"holisafe\[report\]"):
        plot_reliability(report, tmp_path / "reliability.png")


def test_verdicts_have_the_calibration_that_was_set() -> None:
    tiny = tiny_models.llava()
    attach_guard(tiny.model)
    picture = Image.new("RGB", (64, 64), "red")

    def verdict() -> ImageVerdict:
        return next(classify_images(tiny.model, [picture], processor=tiny.processor))

    before = verdict()
    chosen = Calibration(temperature=0.01, threshold=0.31)
    assert set_calibration(tiny.model, chosen) is tiny.model
    assert calibration_of(tiny.model) == chosen
    after = verdict()
    assert after.label == before.label and after.threshold == 0.31
    assert after.probability > before.probability, "a lower temperature makes it surer"


def test_a_model_without_a_guard_has_no_calibration_to_set() -> None:
    model = tiny_models.llava().model
    with pytest.raises(GuardError, match="no guard"):
        set_calibration(model, Calibration())
    with pytest.raises(GuardError, match="no guard"):
        calibration_of(model)
