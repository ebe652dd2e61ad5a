from __future__ import annotations

from typing import Any

import pytest
import torch

from guard.families.all import SUITES
from holisafe.guard import Calibration, GuardConfig, Policy, attach_guard, guarded_generate, set_calibration
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
