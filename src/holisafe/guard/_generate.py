"""Answers and verdicts from the same prefill."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from holisafe.errors import GuardError
from holisafe.guard._attach import base_model, observer_of
from holisafe.guard._observer import IGNORED, GuardOutput, Observer, encode_first, feature_lengths
from holisafe.guard._spans import find_images, last_columns
from holisafe.guard._verdict import image_verdicts, joint_verdicts
from holisafe.records import ImageVerdict, JointVerdict


@dataclass(frozen=True, slots=True)
class PromptVerdicts:
    """What the guard says of one prompt.

    Attributes:
        images: One verdict per image, in the order of the prompt; empty without an image head.
        joint: The verdict on image and question together; None without a joint head.
    """

    images: tuple[ImageVerdict, ...]
    joint: JointVerdict | None


@dataclass(frozen=True, slots=True)
class GuardedAnswers:
    """What `guarded_generate` gives.

    Attributes:
        texts: The answers, one per prompt and returned sequence; empty without a tokenizer.
        sequences: What `generate` gave, usually token ids (answers, tokens), prompts included.
        verdicts: One per prompt.
    """

    texts: tuple[str, ...]
    sequences: Any
    verdicts: tuple[PromptVerdicts, ...]


@torch.no_grad()
def guarded_generate(model: Any, inputs: Mapping[str, Any], *, processor: Any = None, **options: Any) -> GuardedAnswers:
    """Answer prompts and say what their images are, in one prefill.

    Args:
        model: A model with a guard.
        inputs: What the processor gave for one or more left-padded prompts.
        processor: The model's processor or tokenizer, to read the answers as text.
        options: For `generate`, e.g. `max_new_tokens=64`; beam search, sampling and every kind of cache work.

    Raises:
        GuardError: The model has no guard, a prompt has no image, or its features are not finite.
    """
    base = base_model(model)
    prepared = prepare_inputs(model, inputs)
    with watching(model, prepared) as observer:
        sequences = base.generate(**prepared, **options)
        verdicts = read_verdicts(observer, prepared["input_ids"].shape[0])
    texts: tuple[str, ...] = ()
    if processor is not None:
        tokens: Tensor = sequences if isinstance(sequences, Tensor) else sequences.sequences
        texts = tuple(processor.batch_decode(tokens[:, prepared["input_ids"].shape[1] :], skip_special_tokens=True))
    return GuardedAnswers(texts, sequences, verdicts)


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
    if observer.needs_lengths:
        prepared = encode_first(base, prepared)
    return add_meta_tokens(model, prepared) if observer.config.meta_token else prepared


@contextmanager
def watching(model: Any, prepared: Mapping[str, Any]) -> Iterator[Observer]:
    """While it lasts, the guard watches for the prompts of `prepared`, however their prefill is cut up."""
    observer = observer_of(model)
    observer.plan(observer.layout(prepared))
    try:
        yield observer
    finally:
        observer.forget()


def read_verdicts(observer: Observer, prompts: int) -> tuple[PromptVerdicts, ...]:
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
    return tuple(PromptVerdicts(tuple(of_row[row]), joint[row] if joint else None) for row in range(prompts))


def add_meta_tokens(model: Any, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Put the meta token after each image's visual tokens, in every input that has one value per token.

    Labels get -100 there, masks 1, token types 0 and everything else the value of the token before; prompts stay
    padded on the side they were. Visual features must be computed where only they tell images apart.
    """
    observer = observer_of(model)
    ids: Tensor = inputs["input_ids"]
    mask = inputs.get("attention_mask")
    found = find_images(
        ids.cpu(), observer.image_token, observer.family, observer.config.boundary_ids, feature_lengths(inputs),
        last_columns(mask, ids.shape[1], ids.shape[0]),
    )  # fmt: skip
    _row, column, _image = found.tokens
    last = found.counts.cumsum(0) - 1
    counts = torch.bincount(found.rows, minlength=len(ids))
    pad_left = mask is not None and bool((mask[:, -1] != 0).all())
    extra = int(counts.max()) - counts  # padding of rows with fewer images (rows,)
    filled: dict[str, Any] = {"input_ids": observer.config.meta_token_id, "attention_mask": 1, "labels": IGNORED}
    prepared = dict(inputs)
    for key, value in inputs.items():
        if not isinstance(value, Tensor) or value.shape != ids.shape:
            continue
        padding = {"labels": IGNORED}.get(key, 0)
        if key == "input_ids" and mask is not None and bool((mask == 0).any()):
            padding = int(ids[mask == 0][0])
        rows = []
        for r in range(len(ids)):
            cuts = (column[last][found.rows == r] + 1).tolist()
            parts = list(torch.tensor_split(value[r], cuts))
            token = value.new_full((1,), filled.get(key, 0))
            joined = [parts[0]] + [piece for part in parts[1:] for piece in (token, part)]
            pad = value.new_full((int(extra[r]),), padding)
            rows.append(torch.cat([pad, *joined] if pad_left else [*joined, pad]))
        prepared[key] = torch.stack(rows)
    return prepared
