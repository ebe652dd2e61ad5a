from __future__ import annotations

from typing import Any

import pytest
import torch

from guard.families.all import SUITES
from holisafe.errors import GuardError, UnknownNameError
from holisafe.guard import (
    Calibration,
    GuardConfig,
    Policy,
    attach_guard,
    detach_guard,
    guarded_generate,
    set_calibration,
)
from holisafe.guard.conformance import _pictures
from tiny_models import llava


def guarded(threshold: float) -> tuple[Any, dict[str, Any], Any]:
    torch.manual_seed(0)
    case = SUITES["llava"]().case()
    attach_guard(case.model, GuardConfig())
    set_calibration(case.model, Calibration(joint_threshold=threshold))
    a, b = _pictures(2)
    return case.model, case.inputs([[a], [b]], ["hello", "what is this?"]), llava().processor


def test_a_flagged_prompt_is_refused_without_generating() -> None:
    model, batch, processor = guarded(threshold=0.0)  # flags everything
    answer = guarded_generate(
        model, batch, processor=processor, policy=Policy.REFUSE, max_new_tokens=8, do_sample=False
    )
    assert answer.sequences.shape[1] == batch["input_ids"].shape[1] + 1
    assert list(answer.texts) == [decision.text for decision in answer.decisions]
    assert all(answer.texts)
    assert all(decision.flagged for decision in answer.decisions)


def test_only_flagged_prompts_of_a_batch_are_refused() -> None:
    model, batch, processor = guarded(threshold=0.0)
    plain = guarded_generate(model, batch, processor=processor, max_new_tokens=8, do_sample=False)
    unsafe = [1 - verdict.request.distribution["SSS"] for verdict in plain.verdicts]
    set_calibration(model, Calibration(joint_threshold=sum(unsafe) / 2))
    answer = guarded_generate(
        model, batch, processor=processor, policy=Policy.REFUSE, max_new_tokens=8, do_sample=False
    )
    for row, score in enumerate(unsafe):
        if score >= sum(unsafe) / 2:
            assert answer.texts[row] == answer.decisions[row].text != ""
        else:
            assert answer.texts[row] == plain.texts[row]
    assert sum(decision.flagged for decision in answer.decisions) == 1


def test_a_warning_stands_before_the_answer() -> None:
    model, batch, processor = guarded(threshold=0.0)
    plain = guarded_generate(model, batch, processor=processor, max_new_tokens=8, do_sample=False)
    warned = guarded_generate(model, batch, processor=processor, policy=Policy.WARN, max_new_tokens=8, do_sample=False)
    for before, after in zip(plain.texts, warned.texts, strict=True):
        assert after.endswith(before) and len(after) > len(before)


@pytest.mark.parametrize("policy", list(Policy))
def test_what_is_not_flagged_is_answered_as_ever(policy: Policy) -> None:
    model, batch, processor = guarded(threshold=1.0)  # flags nothing
    plain = guarded_generate(model, batch, processor=processor, max_new_tokens=8, do_sample=False)
    answer = guarded_generate(model, batch, processor=processor, policy=policy, max_new_tokens=8, do_sample=False)
    assert answer.texts == plain.texts
    assert torch.equal(answer.sequences, plain.sequences)


def test_beams_and_several_answers_are_refused_too() -> None:
    model, batch, processor = guarded(threshold=0.0)
    answer = guarded_generate(
        model, batch, processor=processor, policy=Policy.REFUSE, max_new_tokens=8, num_beams=2, num_return_sequences=2,
        do_sample=False,
    )  # fmt: skip
    assert len(answer.texts) == 4
    assert list(answer.texts) == [decision.text for decision in answer.decisions for _ in range(2)]


def test_a_policy_by_name_refuses_and_an_unknown_one_generates_nothing() -> None:
    model, batch, processor = guarded(threshold=0.0)
    options = {"processor": processor, "max_new_tokens": 4, "do_sample": False}
    found = guarded_generate(model, batch, policy="refuse", **options)
    assert found.texts == guarded_generate(model, batch, policy=Policy.REFUSE, **options).texts
    assert all(text == decision.text for text, decision in zip(found.texts, found.decisions, strict=True))
    for wrong in ({"policy": "nonsense"}, {"decide_by": "joint"}):
        with pytest.raises(UnknownNameError):
            guarded_generate(model, batch, **wrong, **options)


def test_options_of_a_checkpoint_and_of_none_work() -> None:
    model, batch, processor = guarded(threshold=0.0)
    expected = guarded_generate(model, batch, processor=processor, max_new_tokens=4, num_beams=2)
    model.generation_config.return_dict_in_generate = True
    model.generation_config.num_beams = model.generation_config.num_return_sequences = 2
    found = guarded_generate(model, batch, processor=processor, max_new_tokens=4, stopping_criteria=None)
    assert found.verdicts == expected.verdicts
    assert len(found.texts) == 2 * len(found.verdicts)
    refused = guarded_generate(
        model, batch, processor=processor, max_new_tokens=4, policy="refuse", stopping_criteria=None
    )
    assert refused.verdicts == expected.verdicts


def test_a_guard_without_the_head_that_is_to_decide_is_refused() -> None:
    model, batch, _ = guarded(threshold=0.0)
    attach_guard(detach_guard(model), GuardConfig(joint_head=False))
    with pytest.raises(GuardError, match='decide_by="either": the guard has no joint head'):
        guarded_generate(model, batch, decide_by="either", max_new_tokens=1)
    attach_guard(detach_guard(model), GuardConfig(image_head=False))
    with pytest.raises(GuardError, match='decide_by="image": the guard has no image head'):
        guarded_generate(model, batch, decide_by="image", max_new_tokens=1)
