"""From samples to a batch in which the model learns the answer and its end, and nothing else."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jinja2 import TemplateError
from torch import Tensor
from transformers import ProcessorMixin

from holisafe.errors import TuningError
from holisafe.guard import GuardConfig
from holisafe.images import open_image
from holisafe.records import Sample, Turn
from holisafe.tuning._spans import squeezed
from holisafe.tuning._targets import IGNORED, check_conversation, image_targets, joint_targets


@dataclass(frozen=True, slots=True)
class Collator:
    """Makes a training batch of samples, for any processor with a chat template.

    The sample's turns are the context, the reference is the assistant's answer to them; assistant turns of the context
    are not learned. What is learned is what the model would have to write when asked: all that the template puts
    between the prompt (with its generation prompt) and the end of the answer, and the control token that ends the turn.
    A template that ends turns without one gets the tokenizer's end-of-sequence token there, since the model would never
    learn to stop. Nothing is assumed of a template: the prompt's token ids must begin those of the whole conversation,
    and what is learned must read as the reference.

    Attributes:
        processor: The model's processor.
        guard: The guard that learns too; None where there is none, and the batch then has no targets for it.
        max_length: Longest conversation that is accepted, visual tokens included, in tokens; None for any.
        chat_template_args: Arguments for the chat template.
    """

    processor: Any
    guard: GuardConfig | None = None
    max_length: int | None = None
    chat_template_args: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.processor.chat_template:
            raise TuningError(f"{self._named()} has no chat template; add a chat_template.jinja to the checkpoint")
        tokenizer = self.processor.tokenizer
        for name, found in (("padding", tokenizer.pad_token_id), ("end-of-sequence", tokenizer.eos_token_id)):
            if found is None:
                raise TuningError(f"{self._named()}: its tokenizer has no {name} token; set one before tuning")

    def __call__(self, samples: Sequence[Sample]) -> dict[str, Any]:
        """A right-padded batch.

        Returns:
            What the processor gives for the conversations, and `labels` (batch, tokens), -100 where nothing is
            learned. With a guard also `image_labels` (images of the batch, in order), indices among its labels or
            -100, and `combinations` and `categories` (batch,), the latter -100 where the sample is safe.

        Raises:
            TuningError: A sample has no reference, its labels do not fit, it is too long, or the template
                cannot be trained on; the message names the sample or the processor.
            ImageError: An image could not be let in.
        """
        for sample in samples:
            check_conversation(sample)
        asked = [[_turn(turn) for turn in sample.turns] for sample in samples]
        answered = [[*turns, _answer(sample)] for turns, sample in zip(asked, samples, strict=True)]
        processor = _seeing_once(self.processor)
        prompts = self._encode(processor, asked, add_generation_prompt=True)
        whole = self._encode(processor, answered, add_generation_prompt=False)
        batch = _widened(whole, self.processor.tokenizer.pad_token_id)
        labels = torch.full_like(batch["input_ids"], IGNORED)  # (batch, tokens)
        for row, sample in enumerate(samples):
            self._learn(sample, prompts, batch, labels, row)
        batch["labels"] = labels
        batch = _narrowed(batch)
        if self.guard is not None:
            names = self.guard.labels
            joint = [joint_targets(sample) for sample in samples]
            batch["image_labels"] = torch.tensor([index for s in samples for index in image_targets(s, names)])
            batch["combinations"] = torch.tensor([combination for combination, _ in joint])
            batch["categories"] = torch.tensor([category for _, category in joint])
        return batch

    def _encode(
        self, processor: Any, conversations: list[list[dict[str, Any]]], *, add_generation_prompt: bool
    ) -> dict[str, Any]:
        """Tensors of a right-padded batch; control tokens that a text spells out stay text where that is possible."""
        options: dict[str, Any] = {"processor_kwargs": {"padding": True, "padding_side": "right"}}
        if "sanitize_control_tokens" in inspect.signature(ProcessorMixin.apply_chat_template).parameters:
            options["sanitize_control_tokens"] = True
        try:
            encoded = processor.apply_chat_template(
                conversations,
                tokenize=True,
                return_dict=True,
                return_tensors="pt",
                add_generation_prompt=add_generation_prompt,
                **{**self.chat_template_args, **options},
            )
        except TemplateError as error:
            raise TuningError(f"{self._named()}: its chat template refuses the conversation: {error}") from error
        return dict(encoded)

    def _learn(self, sample: Sample, prompts: dict[str, Any], batch: dict[str, Any], labels: Tensor, row: int) -> None:
        """Put the answer's ids into this row's labels; end it, in place, if the template does not."""
        prompt: list[int] = prompts["input_ids"][row][prompts["attention_mask"][row] != 0].tolist()
        mask: Tensor = batch["attention_mask"][row]
        ids: list[int] = batch["input_ids"][row][mask != 0].tolist()
        start = len(prompt)
        if ids[:start] != prompt:
            same = next((at for at, (a, b) in enumerate(zip(ids, prompt, strict=False)) if a != b), len(ids))
            raise TuningError(
                f"{self._named()}: sample {sample.id}: the prompt is no beginning of the conversation with its answer "
                f"(they differ from token {same} of {start} on), so what the model would have to write is not known; "
                "give the processor a template whose generation prompt is how it begins an assistant's turn"
            )
        stop, ends = self._end(sample, ids[start:], self._opened(sample, prompt))
        stop += start
        if not ends:
            batch["input_ids"][row, stop] = self.processor.tokenizer.eos_token_id
            batch["input_ids"][row, stop + 1 :] = self.processor.tokenizer.pad_token_id
            mask[stop], mask[stop + 1 :] = 1, 0
        labels[row, start : stop + 1] = batch["input_ids"][row, start : stop + 1]
        if self.max_length is not None and int(mask.sum()) > self.max_length:
            raise TuningError(
                f"sample {sample.id}: {int(mask.sum())} tokens with its images and reference, expected at most "
                f"{self.max_length}; leave it out, or raise max_length if the model's context allows"
            )

    def _opened(self, sample: Sample, prompt: list[int]) -> str:
        """What the generation prompt has written of the reference: the mark that opens its thought, or nothing."""
        begins = str(sample.reference).lstrip().startswith(_THOUGHT)
        end = squeezed(self.processor.tokenizer.decode(prompt[-_LONGEST_TAIL:])) if begins else ""
        return _THOUGHT if end.endswith(_THOUGHT) else ""

    def _end(self, sample: Sample, said: list[int], opened: str) -> tuple[int, bool]:
        """Where the end token of these ids of the assistant's turn is or belongs, and whether it is there."""
        tokenizer = self.processor.tokenizer
        wanted = squeezed(tokenizer.decode(tokenizer(sample.reference, add_special_tokens=False)["input_ids"]))
        wanted = wanted.removeprefix(opened)
        control = {*tokenizer.all_special_ids}
        control |= {token for token, added in tokenizer.added_tokens_decoder.items() if added.special}
        at = next((at for at, token in enumerate(said) if token in control), None)
        if at is not None and squeezed(tokenizer.decode(said[:at])) == wanted:
            return at, True
        if at is None:
            # spaces and line breaks that the template puts after the answer are not the answer's
            reads_right = [
                length
                for length in range(max(0, len(said) - _LONGEST_TAIL), len(said) + 1)
                if squeezed(tokenizer.decode(said[:length])) == wanted
            ]
            if reads_right:
                return reads_right[0], False
        found = tokenizer.decode(said)
        shown = found if len(found) <= 120 else f"{found[:120]}…"
        raise TuningError(
            f"{self._named()}: sample {sample.id}: its chat template has no assistant turn that holds just the answer: "
            f"it makes {shown!r} of the reference; give the processor a template that writes such turns as they are"
        )

    def _named(self) -> str:
        name = self.processor.tokenizer.name_or_path
        return f"{type(self.processor).__name__}{f' of {name}' if name else ''}"


def _seeing_once(processor: Any) -> Any:
    """The processor with an image processor that works once for the prompts and the conversations of a batch."""
    if "image_processor" not in processor.get_attributes():
        return processor
    seeing = copy.copy(processor)
    seeing.image_processor = _Once(processor.image_processor)
    return seeing


class _Once:
    """An image processor that gives what it gave before where it is asked the same about the same images."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self._asked: Any = None

    def __call__(self, images: Any, **options: Any) -> Any:
        asked = (_identities(images), options)
        if asked != self._asked:
            self._asked, self._images, self._given = asked, images, self._inner(images, **options)
        return copy.copy(self._given)  # processors take out of it what they need for themselves

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def _identities(images: Any) -> Any:
    return [_identities(each) for each in images] if isinstance(images, (list, tuple)) else id(images)


def _turn(turn: Turn) -> dict[str, Any]:
    """A turn, as the evaluation protocol puts it: images first, then the raw text."""
    images = [{"type": "image", "image": open_image(image)} for image in turn.images]
    return {"role": turn.role.value, "content": [*images, {"type": "text", "text": turn.text}]}


def _answer(sample: Sample) -> dict[str, Any]:
    return {"role": "assistant", "content": [{"type": "text", "text": sample.reference}]}


def _widened(batch: dict[str, Any], padding: int) -> dict[str, Any]:
    """The batch with one more column of padding, for an end token."""
    ids: Tensor = batch["input_ids"]
    column = {key: value.new_zeros(len(value), 1) for key, value in batch.items() if _one_per_token(value, ids)}
    column["input_ids"] += padding
    return {key: torch.cat([value, column[key]], 1) if key in column else value for key, value in batch.items()}


def _narrowed(batch: dict[str, Any]) -> dict[str, Any]:
    """The batch without the columns that are padding in every row."""
    ids: Tensor = batch["input_ids"]
    used = int(batch["attention_mask"].sum(1).max())
    return {key: value[:, :used] if _one_per_token(value, ids) else value for key, value in batch.items()}


def _one_per_token(value: Any, ids: Tensor) -> bool:
    return isinstance(value, Tensor) and value.shape == ids.shape


_THOUGHT = "<think>"
"""What opens a thought: templates of thinking models write it in the generation prompt."""

_LONGEST_TAIL = 32
"""Tokens that a template may write after an answer where no control token ends the turn."""
