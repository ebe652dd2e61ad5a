"""Decoding a batch: one row per request, each with options, interventions and an end of its own.

transformers' `generate` computes; what is special to a row happens in two of its hooks. `Steering` sees the logits of
each step: it reads the verdict after the prefill, lets interventions change logits, and samples. `Recorder` sees the
token that was chosen, and decides whether the row has ended. Rows of plain greedy decoding pass the first untouched.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList, StoppingCriteria, StoppingCriteriaList

from holisafe.errors import ModelError
from holisafe.models._watch import Watch
from holisafe.models.engine.inside import intervened
from holisafe.models.engine.interventions import Action, End, Intervention, changes_tokens
from holisafe.models.engine.options import GenerationOptions
from holisafe.models.engine.request import Answer, FinishReason, Request
from holisafe.models.engine.streaming import Listener
from holisafe.models.prompts import Prepared
from holisafe.records import GuardVerdict


class Row:
    """One answer while it is generated.

    Args:
        request: What was asked.
        prepared: Its tensors.
        room: Maximum number of new tokens.
        listener: Takes its events; None where nobody listens.
    """

    def __init__(self, request: Request, prepared: Prepared, room: int, listener: Listener | None = None) -> None:
        self.options: GenerationOptions = request.options
        self.interventions: tuple[Intervention, ...] = request.interventions
        self.prepared = prepared
        self.room = room
        self.finish_reason: FinishReason | None = None
        self.verdict = GuardVerdict()
        self._listener = listener
        self._tokens: list[int] = []
        self._inserted: list[tuple[int, str]] = []  # after so many tokens, this text
        self._generator: torch.Generator | None = None
        if not self.options.is_greedy:
            seed = secrets.randbits(63) if self.options.seed is None else self.options.seed % 2**63
            self._generator = torch.Generator().manual_seed(seed)

    @property
    def is_plain(self) -> bool:
        """Whether it needs nothing but its tokens: no verdict before the first, and no logits changed."""
        return self.options.is_greedy and not self.interventions and self._listener is None

    @property
    def picks_tokens(self) -> bool:
        """Whether it chooses its tokens by itself."""
        return not self.options.is_greedy or changes_tokens(self.interventions)

    def start(self, verdict: GuardVerdict) -> None:
        """The prompt has been read."""
        self.verdict = verdict
        if self._listener is not None:
            self._listener.verdict(verdict, len(self.prepared.ids))
        for intervention in self.interventions:
            self._act(intervention.on_prefill(verdict))

    def pick(self, logits: Tensor) -> int:
        """Choose the next token from its logits (vocabulary,)."""
        for intervention in self.interventions:
            changed = intervention.on_logits(len(self._tokens), logits)
            if changed.shape != logits.shape:
                raise ModelError(
                    f"{type(intervention).__name__}.on_logits gave the shape {list(changed.shape)}, expected "
                    f"{list(logits.shape)}"
                )
            logits = changed
        if self._generator is None:
            return int(logits.argmax())
        return sample(logits, self.options, self._generator)

    def add(self, token: int, ends: frozenset[int], tokenizer: Any) -> None:
        """Take the token that was chosen."""
        if self.finish_reason is not None:
            return
        if token in ends:
            self.finish_reason = FinishReason.STOP
            return
        self._tokens.append(token)
        for intervention in self.interventions:
            self._act(intervention.on_token(len(self._tokens) - 1, token))
        if self.finish_reason is None and len(self._tokens) >= self.room:
            self.finish_reason = FinishReason.LENGTH
        may_stop = bool(self.options.stop) and self.finish_reason is not FinishReason.INTERVENTION
        if may_stop and self._stops_at(self._text(tokenizer)) is not None:
            self.finish_reason = FinishReason.STOP
        if self._listener is not None:
            self._stream(tokenizer, self._listener)

    def answer(self, tokenizer: Any) -> Answer:
        """The whole answer; its listener has it then too."""
        text = self._final_text(tokenizer)
        reason = FinishReason.LENGTH if self.finish_reason is None else self.finish_reason
        answer = Answer(text, tuple(self._tokens), reason, len(self.prepared.ids), self.verdict)
        if self._listener is not None:
            self._listener.text(text)
            self._listener.finish(answer)
        return answer

    def _act(self, action: Action | None) -> None:
        """The first intervention that ends the answer has the last word."""
        if action is None or self.finish_reason is FinishReason.INTERVENTION:
            return
        self._inserted.append((len(self._tokens), action.text))
        if isinstance(action, End):
            self.finish_reason = FinishReason.INTERVENTION

    def _text(self, tokenizer: Any) -> str:
        """The text so far: decoded tokens, and what interventions put between them."""
        if not self._inserted:
            return _decoded(tokenizer, self._tokens).strip()
        pieces, start, begins = [], 0, True
        for place, inserted in [*self._inserted, (len(self._tokens), "")]:
            piece = _decoded(tokenizer, self._tokens[start:place])
            pieces += [piece.lstrip() if begins else piece, inserted]
            begins = begins and not piece
            start = place
        return "".join(pieces).strip()

    def _final_text(self, tokenizer: Any) -> str:
        text = self._text(tokenizer)
        place = self._stops_at(text)
        return text if place is None else text[:place].rstrip()

    def _stops_at(self, text: str) -> int | None:
        return min((place for stop in self.options.stop if (place := text.find(stop)) >= 0), default=None)

    def _stream(self, tokenizer: Any, listener: Listener) -> None:
        """Tell what of the text is sure to stay."""
        text = self._final_text(tokenizer)
        if self.finish_reason is None:
            text = self._settled(text, words=bool(tokenizer.clean_up_tokenization_spaces))
        listener.text(text)
        if not listener.is_open and self.finish_reason is None:
            self.finish_reason = FinishReason.INTERVENTION

    def _settled(self, text: str, *, words: bool) -> str:
        """The text without an end that the next tokens may change."""
        text = text.rstrip("\ufffd")  # a character of which some bytes are missing
        for stop in self.options.stop:
            for length in range(min(len(stop) - 1, len(text)), 0, -1):
                if text.endswith(stop[:length]):
                    text = text[:-length]
                    break
        if words:  # these tokenizers take spaces before punctuation away again
            text = text[: max(text.rstrip().rfind(" "), 0)]
        return text.rstrip()


def sample(logits: Tensor, options: GenerationOptions, generator: torch.Generator) -> int:
    """Draw a token from logits (vocabulary,) under temperature, top-k and top-p.

    In float64 on the CPU, and in the order of the vocabulary: rounding, which depends on the other rows of a batch,
    hardly ever changes what is drawn.
    """
    scores = logits.detach().double().cpu() / options.temperature
    if 0 < options.top_k < len(scores):
        scores = scores.masked_fill(scores < scores.topk(options.top_k).values[-1], -torch.inf)
    probabilities = scores.softmax(0)
    if options.top_p < 1:
        ordered, places = probabilities.sort(descending=True, stable=True)
        before = ordered.cumsum(0) - ordered  # probability of all that are more probable
        probabilities[places[before >= options.top_p]] = 0
    reached = probabilities.cumsum(0)
    drawn = torch.rand((), generator=generator, dtype=torch.float64) * reached[-1]
    place = int(torch.searchsorted(reached, drawn, right=True))
    return min(place, int(probabilities.nonzero()[-1]))


@torch.inference_mode()
def decode(
    model: Any, tokenizer: Any, rows: Sequence[Row], inputs: dict[str, Any], config: GenerationConfig, watch: Watch
) -> list[Answer]:
    """Generate from `inputs`, one answer per row.

    Raises:
        GuardError: The guard's features are not finite.
        ModelError: An intervention gave something else than it was asked for.
    """
    steering = None if all(row.is_plain for row in rows) else Steering(rows, watch)
    recorder = Recorder(rows, tokenizer, config)
    with intervened(model, rows, inputs):
        model.generate(
            **inputs,
            generation_config=config,
            logits_processor=LogitsProcessorList([] if steering is None else [steering]),
            stopping_criteria=StoppingCriteriaList([recorder]),
        )
    if steering is None:
        for row, verdict in zip(rows, watch.verdicts(len(rows)), strict=True):
            row.verdict = verdict
    return [row.answer(tokenizer) for row in rows]


class Steering(LogitsProcessor):  # type: ignore[misc]
    """Reads verdicts after the prefill, and chooses the tokens of rows that do not decode greedily."""

    def __init__(self, rows: Sequence[Row], watch: Watch) -> None:
        self._rows = rows
        self._watch = watch
        self._has_started = False

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Logits (rows, vocabulary), with all but the chosen token at minus infinity where a row has chosen."""
        if not self._has_started:
            self._has_started = True
            for row, verdict in zip(self._rows, self._watch.verdicts(len(self._rows)), strict=True):
                row.start(verdict)
        changed = scores
        for place, row in enumerate(self._rows):
            if row.finish_reason is None and row.picks_tokens:
                if changed is scores:
                    changed = scores.clone()
                token = row.pick(scores[place])
                changed[place] = -torch.inf
                changed[place, token] = 0
        return changed


class Recorder(StoppingCriteria):  # type: ignore[misc]
    """Hands each row its token, and says which rows have ended."""

    def __init__(self, rows: Sequence[Row], tokenizer: Any, config: GenerationConfig) -> None:
        self._rows = rows
        self._tokenizer = tokenizer
        ends = config.eos_token_id
        self._ends = frozenset(ends if isinstance(ends, list) else [] if ends is None else [ends])

    def __call__(self, input_ids: Tensor, scores: Any, **_: Any) -> Tensor:
        """Whether each row has ended, (rows,)."""
        for row, token in zip(self._rows, input_ids[:, -1].tolist(), strict=True):
            row.add(token, self._ends, self._tokenizer)
        ended = [row.finish_reason is not None for row in self._rows]
        return torch.tensor(ended, device=input_ids.device)


def _decoded(tokenizer: Any, tokens: list[int]) -> str:
    text: str = tokenizer.decode(tokens, skip_special_tokens=True)
    return text
