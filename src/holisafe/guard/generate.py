"""Answers and verdicts from the same prefill."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase, ProcessorMixin, StoppingCriteria, StoppingCriteriaList

from holisafe._checks import check_type
from holisafe._enums import parse_enum
from holisafe.errors import GuardError
from holisafe.guard.attach import base_model, observer_of
from holisafe.guard.observer import goes_on
from holisafe.guard.policy import DecideBy, Decision, Policy, apply, decide
from holisafe.guard.sessions import GuardSession, session
from holisafe.records import GuardVerdict


@dataclass(frozen=True, slots=True)
class GuardedAnswers:
    """What `guarded_generate` returns.

    Attributes:
        texts: The answers under the policy, one per prompt and returned sequence; empty without a tokenizer.
        sequences: What `generate` returned, usually token ids (answers, tokens), prompts included.
        verdicts: One per prompt.
        decisions: What the policy made of them, one per prompt.
    """

    texts: tuple[str, ...]
    sequences: Any
    verdicts: tuple[GuardVerdict, ...]
    decisions: tuple[Decision, ...]


@torch.no_grad()
def guarded_generate(
    model: Any,
    inputs: Mapping[str, Any],
    *,
    processor: Any = None,
    policy: Policy | str = Policy.OBSERVE,
    decide_by: DecideBy | str = DecideBy.REQUEST,
    **options: Any,
) -> GuardedAnswers:
    """Answer prompts and give the guard's verdicts on them and their images, in one prefill.

    Threads may share a model: each call has its own verdicts, and no call waits for another.

    Args:
        model: A model with a guard.
        inputs: What the processor returned for one or more left-padded prompts, with or without images.
        processor: The model's processor or tokenizer, to decode the answers.
        policy: What a flag does: "observe" reports it, "warn" puts a note before the answer, "refuse" ends the answer
            after its first token and puts a refusal that names the reason in its place.
        decide_by: Which verdict flags: "request" (that on the whole request where the guard gives one, else those on
            its images), "image", or "either".
        options: For `generate`, e.g. `max_new_tokens=64`; beam search, sampling and every kind of cache work.

    Raises:
        UnknownNameError: The policy or `decide_by` is unknown.
        GuardError: The model has no guard, or none that can decide so; a prompt is read in part already
            (`past_key_values`), or its features are not finite.
    """
    policy, decide_by = parse_enum(Policy, policy), parse_enum(DecideBy, decide_by)
    check_type(inputs, Mapping, "inputs")
    if processor is not None:
        check_type(processor, (ProcessorMixin, PreTrainedTokenizerBase), "processor")
    _check_heads(model, decide_by)
    if goes_on(options.get("past_key_values", inputs.get("past_key_values"))):
        raise GuardError(
            "the guard needs whole prompts, and past_key_values holds the beginning of these; leave it out"
        )
    base = base_model(model)
    with session(model, inputs) as watched:
        prompts, length = watched.inputs["input_ids"].shape
        if policy is Policy.REFUSE:
            ours = _EndFlagged(watched, prompts, decide_by)
            options["stopping_criteria"] = StoppingCriteriaList([*(options.get("stopping_criteria") or ()), ours])
        sequences = base.generate(**watched.inputs, **options)
        verdicts = watched.verdicts()
    decisions = tuple(decide(policy, verdict.images, verdict.request, decide_by) for verdict in verdicts)
    texts: tuple[str, ...] = ()
    if processor is not None:
        tokens: Tensor = sequences if isinstance(sequences, Tensor) else sequences.sequences
        decoded = processor.batch_decode(tokens[:, length:], skip_special_tokens=True)
        each = len(decoded) // prompts  # returned sequences per prompt
        texts = tuple(apply(decisions[row // each], text) for row, text in enumerate(decoded))
    return GuardedAnswers(texts, sequences, verdicts, decisions)


def _check_heads(model: Any, decide_by: DecideBy) -> None:
    """Refuse to decide by verdicts that this guard never gives."""
    config = observer_of(model).config
    if decide_by is not DecideBy.REQUEST and not config.image_head:
        raise GuardError(
            f'decide_by="{decide_by}": the guard has no image head, so it gives no image verdicts; use '
            'decide_by="request"'
        )
    if decide_by is DecideBy.EITHER and not config.joint_head:
        raise GuardError(
            'decide_by="either": the guard has no joint head, so it gives no request verdicts; use decide_by="image"'
        )


class _EndFlagged(StoppingCriteria):  # type: ignore[misc]
    """Ends the answers to prompts that the guard has flagged, after their first token."""

    def __init__(self, watched: GuardSession, prompts: int, decide_by: DecideBy) -> None:
        self.watched, self.prompts, self.decide_by = watched, prompts, decide_by
        self.flagged: Tensor | None = None

    def __call__(self, input_ids: Tensor, scores: Any, **_: Any) -> Tensor:
        """Whether each row has ended (rows,)."""
        if self.flagged is None:
            decisions = [decide(Policy.REFUSE, v.images, v.request, self.decide_by) for v in self.watched.verdicts()]
            flagged = torch.tensor([decision.flagged for decision in decisions], device=input_ids.device)
            self.flagged = flagged.repeat_interleave(input_ids.shape[0] // self.prompts)
        return self.flagged
