"""A guard is calibrated on what it says of held-out samples in their prefills."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from guard.prompts import guard, tiny
from holisafe.calibration import calibrate, fit_calibration
from holisafe.calibration.guards import Records, ask_guard
from holisafe.datasets import fingerprint
from holisafe.errors import DataError, GuardError
from holisafe.guard import Calibration, GuardConfig, attach_guard, calibration_of, guard_of, session, set_calibration
from holisafe.images import content_hash, identify
from holisafe.models import Prompt
from holisafe.models.engine.prefill import plain_inputs
from holisafe.models.prompts import prepare
from holisafe.records import ImageRef, Sample
from holisafe.taxonomy import HEAD_ORDER, Combination, GuardLabel
from tiny_models import Tiny
from tuning.data import mixed, picture, sample
from tuning.tiny_run import safety


def guarded(family: str = "llava", **parts: Any) -> Tiny:
    made = tiny(family)
    guard(made, **parts)
    made.model.eval()
    return made


def samples() -> list[Sample]:
    """One image, two images, and a second question about the first of them."""
    again = sample("again", query="why, then?", combination=Combination.UUU)
    return [*mixed(), again]


def plain(made: Tiny, asked: Sample) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Log-probabilities of each image (images, 20) and of the request (5,), from a plain forward pass."""
    prompt = prepare(made.processor, Prompt.ask(asked.query, *asked.images), keep_prompt=True)
    with torch.no_grad(), session(made.model):
        output = made.model(**plain_inputs(made.model, made.processor, [prompt]))
    return normal(output.image_logits), normal(output.joint_logits[0, : len(Combination)])


def normal(logits: Any) -> NDArray[np.float64]:
    """Log-probabilities of logits; those of logits that differ by a constant are the same."""
    return torch.log_softmax(torch.as_tensor(logits).double(), -1).numpy()


@pytest.mark.parametrize("family", ["llava", "qwen2_5_vl", "smolvlm"])
def test_logits_are_those_of_plain_forward_passes(family: str) -> None:
    made = guarded(family)
    one, two, again = samples()
    set_calibration(made.model, Calibration(temperature=3, joint_temperature=0.5))  # is no part of logits
    said = ask_guard(made.model, made.processor, [one, two, again], batch_size=2)
    (of_one, one_joint), (of_two, two_joint), (_, again_joint) = (plain(made, each) for each in (one, two, again))
    assert said.images is not None and said.requests is not None
    np.testing.assert_allclose(normal(said.images.logits), [*of_one, *of_two], atol=2e-4)
    np.testing.assert_allclose(normal(said.requests.logits), [one_joint, two_joint, again_joint], atol=2e-4)
    assert len({tuple(row) for row in said.images.logits}) == 3
    assert said.left_out == () and said.data == fingerprint([one, two, again])
    assert calibration_of(made.model).temperature == 3


def test_an_image_counts_once_in_its_cluster_and_each_sample_for_the_joint_head() -> None:
    made = guarded()
    one, two, again = samples()
    said = ask_guard(made.model, made.processor, [one, replace(two, cluster="pair"), again])
    assert said.images is not None and said.requests is not None
    assert said.images.labels == [HEAD_ORDER.index(each) for each in ("terrorism", "safe", "gender")]
    digest = identify(one.images[0]).digest
    assert said.images.clusters == [digest, "pair", "pair"]
    assert said.requests.labels == [[str(each) for each in Combination].index(name) for name in ("USU", "SSS", "UUU")]
    assert said.requests.clusters == [digest, "pair", digest]


def test_other_images_of_the_same_name_count_and_the_same_image_of_another_name_does_not() -> None:
    made = guarded(joint_head=False)
    one = sample("one", images=(replace(picture("red"), key="upload.png"),))
    other = sample("other", images=(replace(picture("teal"), key="upload.png"),))
    copy = sample("copy", images=(replace(picture("red"), key="copy.png"),))
    logits = ask_guard(made.model, made.processor, [one, other, copy])
    assert logits.images is not None and len(logits.images.labels) == 2
    assert len({tuple(row) for row in logits.images.logits}) == 2


def test_a_sample_without_a_combination_counts_for_the_image_head_and_ends_nothing() -> None:
    made = guarded()
    logits = ask_guard(made.model, made.processor, [replace(samples()[0], combination=None), *samples()[1:]])
    assert [(each.id, each.reason) for each in logits.left_out] == [("one", "combination")]
    assert logits.images is not None and logits.requests is not None
    assert (len(logits.images.labels), len(logits.requests.labels)) == (3, 2)


def test_without_a_joint_head_only_new_images_are_read() -> None:
    made = guarded(joint_head=False)
    told: list[tuple[int, int]] = []
    said = ask_guard(made.model, made.processor, samples(), progress=lambda *done: told.append(done))
    assert said.requests is None and isinstance(said.images, Records) and len(said.images.labels) == 3
    assert told == [(1, 2), (2, 2)]


def test_without_an_image_head_no_image_labels_are_needed() -> None:
    made = guarded(image_head=False)
    said = ask_guard(made.model, made.processor, [replace(each, image_labels=()) for each in samples()])
    assert said.images is None and said.left_out == ()
    assert said.requests is not None and len(said.requests.labels) == 3


def test_calibrate_on_calibrates_on_these_logits() -> None:
    made, given = guarded(), safety(24)
    before = calibration_of(made.model)
    found, report = calibrate(made.model, made.processor, given, flag_rate=0.3)
    (images, joint) = zip(*(plain(made, each) for each in given), strict=True)
    labels = [each.image_labels[0].index for each in given]
    combinations = [list(Combination).index(each.combination) for each in given]
    clusters = [each.cluster for each in given]
    expected, _ = fit_calibration(
        *(np.concatenate(images), labels, np.stack(joint), combinations),
        flag_rate=0.3,
        data=fingerprint(given),
        image_clusters=clusters,
        joint_clusters=clusters,
    )
    numbers, others = found.to_json(), expected.to_json()
    assert numbers.pop("data") == others.pop("data")
    assert [name for name, value in numbers.items() if value is None] == [
        name for name in others if others[name] is None
    ]
    assert {name: value for name, value in numbers.items() if value is not None} == pytest.approx(
        {name: value for name, value in others.items() if value is not None}, rel=1e-2
    )
    assert found == report.calibration and found.records == 24 and found.safe_records == 12
    assert report.image is not None and report.joint is not None
    assert calibration_of(made.model) == before


def test_what_cannot_be_used_is_left_out_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    whole = picture("green").data
    assert whole is not None
    bad = sample("cut", images=(ImageRef(content_hash(whole), data=whole[:60]),))
    bare = sample("bare", images=(picture("pink"),), image_labels=())
    blind = sample("blind", images=(), image_labels=())
    made = guarded()
    given = [bad, *safety(24), bare, blind]
    said = ask_guard(made.model, made.processor, given)
    assert sorted((each.id, each.reason) for each in said.left_out) == [
        ("bare", "label"),
        ("blind", "image"),
        ("cut", "image"),
    ]
    assert said.images is not None and said.requests is not None
    assert (len(said.images.labels), len(said.requests.labels)) == (24, 25)
    with caplog.at_level(logging.WARNING, "holisafe"):
        calibrate(made.model, made.processor, given, flag_rate=0.3)
    assert "3 of 27 samples left out or used in part" in caplog.text


def test_a_sample_on_which_the_model_fails_is_left_out() -> None:
    made = guarded()
    made.model.model.language_model.register_forward_pre_hook(_fail_where_long, with_kwargs=True)
    said = ask_guard(made.model, made.processor, [sample("long", query="long " * 60), *samples()])
    assert [(each.id, each.reason) for each in said.left_out] == [("long", "model")]
    assert "out of patience" in said.left_out[0].why
    assert said.requests is not None and len(said.requests.labels) == 3


def _fail_where_long(_: object, __: object, given: dict[str, Any]) -> None:
    if given["inputs_embeds"].shape[1] > 200:
        raise RuntimeError("out of patience")


def test_features_that_are_not_finite_end_it() -> None:
    made = guarded()
    with torch.no_grad():
        next(guard_of(made.model).parameters()).mul_(torch.inf)
    with pytest.raises(GuardError, match="not finite"):
        calibrate(made.model, made.processor, samples())


@pytest.mark.parametrize("flag_rate", [0, 1, 1.5])
def test_a_flag_rate_that_is_no_share_is_refused_before_anything_is_read(flag_rate: float) -> None:
    with pytest.raises(GuardError, match="flag_rate: expected a share"):
        calibrate(None, None, [], flag_rate=flag_rate)


def test_too_few_safe_samples_are_refused() -> None:
    made = guarded()
    with pytest.raises(DataError, match="in the part of the data that sets the threshold"):
        calibrate(made.model, made.processor, safety(24), flag_rate=0.05)


def test_samples_without_any_image_label_are_refused_where_there_is_an_image_head() -> None:
    made = guarded()
    bare = [replace(each, image_labels=()) for each in samples()]
    with pytest.raises(DataError, match="no record for the guard's image head; the first: one: found 0 image labels"):
        calibrate(made.model, made.processor, bare)


def test_a_guard_of_other_labels_is_refused() -> None:
    made = tiny("llava")
    attach_guard(made.model, GuardConfig(labels=(GuardLabel.SAFE, GuardLabel.TERRORISM)))
    with pytest.raises(GuardError, match="tells 2 labels apart"):
        calibrate(made.model, made.processor, samples())


def test_order_and_spelling_of_the_guards_labels_do_not_matter() -> None:
    made = guarded()
    turned = tiny("llava")
    attach_guard(turned.model, GuardConfig(labels=tuple(label.head_name for label in reversed(HEAD_ORDER))))
    weights = guard_of(made.model).state_dict()
    last = [name for name in weights if name.startswith("image_head.mlp.3")]
    assert len(last) == 2
    guard_of(turned.model).load_state_dict(weights | {name: weights[name].flip(0) for name in last})
    one, other = (ask_guard(each.model.eval(), each.processor, samples()).images for each in (made, turned))
    assert one is not None and other is not None
    np.testing.assert_allclose(normal(other.logits), normal(one.logits), atol=1e-5)


def test_a_model_without_a_guard_is_refused() -> None:
    made = tiny("llava")
    with pytest.raises(GuardError, match="no guard"):
        calibrate(made.model, made.processor, samples())
