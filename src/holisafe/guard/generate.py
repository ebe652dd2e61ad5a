"""Answers and verdicts from the same prefill."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import StoppingCriteria, StoppingCriteriaList

from holisafe.errors import GuardError
from holisafe.guard._spans import find_images, last_columns
from holisafe.guard._verdict import image_verdicts, joint_verdicts
from holisafe.guard.attach import base_model, observer_of
from holisafe.guard.observer import IGNORED, GuardOutput, Observer, encode_first, feature_lengths, goes_on, turn
from holisafe.guard.policy import Decision, Policy, apply, decide
from holisafe.records import GuardVerdict, ImageVerdict


@dataclass(frozen=True, slots=True)
class GuardedAnswers:
    """What `guarded_generate` gives.

    Attributes:
        texts: The answers under the policy, one per prompt and returned sequence; empty without a tokenizer.
        sequences: What `generate` gave, usually token ids (answers, tokens), prompts included.
        verdicts: One per prompt.
        decisions: What the policy made of them, one per prompt.
    """

    texts: tuple[str, ...]
    sequences: Any
    verdicts: tuple[GuardVerdict, ...]
    decisions: tuple[Decision, ...]


@torch.no_grad()
def guarded_generate(
    model: Any, inputs: Mapping[str, Any], *, processor: Any = None, policy: Policy = Policy.OBSERVE, **options: Any
) -> GuardedAnswers:
    """Answer prompts and say what their images are, in one prefill.

    Threads that ask one model wait for one another.

    Args:
        model: A model with a guard.
        inputs: What the processor gave for one or more left-padded prompts.
        processor: The model's processor or tokenizer, to read the answers as text.
        policy: What a flag does: OBSERVE reports it, WARN puts a note before the answer, REFUSE ends the answer after
            its first token and puts a refusal that names the reason in its place.
        options: For `generate`, e.g. `max_new_tokens=64`; beam search, sampling and every kind of cache work.

    Raises:
        GuardError: The model has no guard, a prompt has no image or is read in part already (`past_key_values`), or
            its features are not finite.
    """
    if goes_on(options.get("past_key_values", inputs.get("past_key_values"))):
        raise GuardError(
            "the guard needs whole prompts, and past_key_values holds the beginning of these; leave it out"
        )
    base = base_model(model)
    with turn(observer_of(model)):
        prepared = prepare_inputs(model, inputs)
        prompts = prepared["input_ids"].shape[0]
        with watching(model, prepared) as observer:
            if policy is Policy.REFUSE:
                ours = _EndFlagged(observer, prompts)
                options["stopping_criteria"] = StoppingCriteriaList([*options.get("stopping_criteria", ()), ours])
            sequences = base.generate(**prepared, **options)
            verdicts = read_verdicts(observer, prompts)
    decisions = tuple(decide(policy, verdict.images, verdict.request) for verdict in verdicts)
    texts: tuple[str, ...] = ()
    if processor is not None:
        tokens: Tensor = sequences if isinstance(sequences, Tensor) else sequences.sequences
        said = processor.batch_decode(tokens[:, prepared["input_ids"].shape[1] :], skip_special_tokens=True)
        each = len(said) // prompts  # returned sequences per prompt
        texts = tuple(apply(decisions[row // each], text) for row, text in enumerate(said))
    return GuardedAnswers(texts, sequences, verdicts, decisions)


class _EndFlagged(StoppingCriteria):  # type: ignore[misc]
    """Ends the answers to prompts that the guard has flagged, after their first token."""

    def __init__(self, observer: Observer, prompts: int) -> None:
        self.observer, self.prompts = observer, prompts
        self.flagged: Tensor | None = None

    def __call__(self, input_ids: Tensor, scores: Any, **_: Any) -> Tensor:
        """Whether each row has ended (rows,)."""
        if self.flagged is None:
            verdicts = read_verdicts(self.observer, self.prompts)
            flagged = [decide(Policy.REFUSE, verdict.images, verdict.request).flagged for verdict in verdicts]
            beams = input_ids.shape[0] // self.prompts
            self.flagged = torch.tensor(flagged, device=input_ids.device).repeat_interleave(beams)
        return self.flagged


def prepare_inputs(model: Any, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Inputs as the guard needs them: visual features computed where only they tell images apart, meta tokens added.

    Raises:
        GuardError: A prompt has no image.
    """
    observer = observer_of(model)
    base = base_model(model)
    prepared = dict(inputs)
    if "input_ids" not in prepared:
        raise GuardError(f"expected input_ids among the inputs, found {', '.join(prepared) or 'none'}")
    has_image = (prepared["input_ids"] == observer.image_token).any(1)
    if not bool(has_image.all()):
        row = int((~has_image).nonzero()[0, 0])
        raise GuardError(f"prompt {row + 1} of {len(has_image)} has no image; the guard judges images")
    if observer.config.meta_token:
        return add_meta_tokens(model, prepared)
    return encode_first(base, prepared) if observer.needs_lengths else prepared


@contextmanager
def watching(model: Any, prepared: Mapping[str, Any]) -> Iterator[Observer]:
    """While it lasts, the guard watches for the prompts of `prepared`, however their prefill is cut up."""
    observer = observer_of(model)
    observer.plan(observer.layout(prepared))
    try:
        yield observer
    finally:
        observer.forget()


def read_verdicts(observer: Observer, prompts: int) -> tuple[GuardVerdict, ...]:
    """The verdicts of the latest prompts.

    Raises:
        GuardError: The model has not read them, or its features are not finite.
    """
    said: GuardOutput | None = observer.output
    if said is None:
        raise GuardError("the model has not read the prompts to their end, so the guard has nothing to say")
    images = (
        []
        if said.image_logits is None
        else image_verdicts(said.image_logits, observer.config.labels, observer.calibration)
    )
    joint = [] if said.joint_logits is None else joint_verdicts(said.joint_logits, observer.calibration)
    of_row: list[list[ImageVerdict]] = [[] for _ in range(prompts)]
    for row, verdict in zip(said.image_rows.tolist(), images, strict=False):
        of_row[row].append(verdict)
    return tuple(GuardVerdict(tuple(of_row[row]), joint[row] if joint else None) for row in range(prompts))


def add_meta_tokens(model: Any, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Put the meta token after each image's visual tokens, in every input that has one value per token.

    A training step does so too: `model(**add_meta_tokens(model, inputs))`. Labels get -100 there, masks 1 and all
    others 0; prompts stay padded on the side they were. Where only visual features tell images apart they are
    computed now, with gradients if those are on, and take the pixels' place. `position_ids` are left out: the model
    makes its own. A meta token in the vision encoder is one more placeholder of its image.

    Raises:
        GuardError: The visual features do not fit the placeholders.
    """
    observer = observer_of(model)
    prepared = dict(inputs)
    prepared.pop("position_ids", None)
    if observer.needs_lengths:
        prepared = encode_first(base_model(model), prepared)
    ids: Tensor = prepared["input_ids"]
    mask: Tensor | None = prepared.get("attention_mask")
    if mask is None:
        mask = prepared["attention_mask"] = torch.ones_like(ids)
    lengths = feature_lengths(prepared)
    if observer.config.meta_in_encoder and lengths is not None:
        lengths = _without_meta(lengths, int((ids == observer.image_token).sum()))
    found = find_images(
        ids.cpu(), observer.image_token, observer.family, observer.config.boundary_ids, lengths,
        last_columns(mask, ids.shape[1], ids.shape[0]),
    )  # fmt: skip
    counts = torch.bincount(found.rows, minlength=len(ids))
    after = found.tokens[1][found.counts.cumsum(0) - 1] + 1  # columns where the tokens go (images,)
    cuts = torch.tensor_split(after, counts.cumsum(0)[:-1])
    pads = (counts.max() - counts).tolist()  # rows with fewer images get padding instead
    pads_left = bool((mask[:, -1] != 0).all())
    is_pad = mask == 0
    fillings: dict[str, tuple[Any, Any]] = {  # of the token's place, of padding
        "input_ids": (observer.meta_token_id, int(ids[is_pad][0]) if bool(is_pad.any()) else 0),
        "attention_mask": (1, 0),
        "labels": (IGNORED, IGNORED),
        "mm_token_type_ids": (1 if observer.config.meta_in_encoder else 0, 0),  # of an image, of text
    }
    for key, value in prepared.items():
        if not isinstance(value, Tensor) or value.shape != ids.shape:
            continue
        token, padding = (value.new_full((1,), filling) for filling in fillings.get(key, (0, 0)))
        rows = []
        for row, cut, pad in zip(value, cuts, pads, strict=True):
            first, *others = torch.tensor_split(row, cut)
            joined = [first, *(piece for part in others for piece in (token, part))]
            rows.append(torch.cat([padding.expand(pad), *joined] if pads_left else [*joined, padding.expand(pad)]))
        prepared[key] = torch.stack(rows)  # (rows, columns + most images of a row)
    return prepared


def _without_meta(lengths: list[int], placeholders: int) -> list[int]:
    """Visual tokens of each image but the meta token that the vision encoder has put after them."""
    if sum(lengths) == placeholders:
        raise GuardError(
            f"{placeholders} image placeholders in the prompts, and as many visual tokens, meta tokens included: the "
            "prompts have been through add_meta_tokens already, or their visual features were computed without the "
            "guard; pass each prompt once, with pixels"
        )
    return [length - 1 for length in lengths]
