"""Decoding a batch: one row per request, each with options, interventions and an end of its own.

transformers' `generate` computes; what is special to a row happens in two of its hooks. `Steering` sees the logits of
each step: it reads the verdict after the prefill, lets interventions change logits, and samples. `Recorder` sees the
token that was chosen, and decides whether the row has ended. Rows of plain greedy decoding pass the first untouched.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList, StoppingCriteria, StoppingCriteriaList

from holisafe.errors import ModelError
from holisafe.guard import AnswerStates, refusal_of_answer
from holisafe.models._watch import Watch
from holisafe.models.engine.inside import intervened
from holisafe.models.engine.interventions import Action, End, Intervention, changes_tokens
from holisafe.models.engine.options import GenerationOptions
from holisafe.models.engine.output import AnswerWatch
from holisafe.models.engine.request import Answer, FinishReason, Request
from holisafe.models.engine.streaming import Listener
from holisafe.models.prompts import Prepared
from holisafe.records import AnswerCheck, GuardVerdict


class Row:
    """One answer while it is generated.

    Args:
        request: What was asked.
        prepared: Its tensors.
        room: Maximum number of new tokens.
        listener: Takes its events; None where nobody listens.
        watch: Judges the answer; None where that is not asked for.
    """

    def __init__(
        self,
        request: Request,
        prepared: Prepared,
        room: int,
        listener: Listener | None = None,
        watch: AnswerWatch | None = None,
    ) -> None:
        self.options: GenerationOptions = request.options
        self.interventions: tuple[Intervention, ...] = request.interventions
        self.prepared = prepared
        self.room = room
        self.finish_reason: FinishReason | None = None
        self.verdict = GuardVerdict()
        self.watch = watch
        self._listener = listener
        self._ending: FinishReason | None = None  # why it ends once its last token has been judged
        self._refusal = ""
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

    @property
    def steps(self) -> int:
        """Maximum number of decoding steps: the state of the last token is read in one more."""
        return self.room + (self.watch is not None)

    @property
    def read_tokens(self) -> int:
        """Tokens of the answer that the model has read when it chooses the next."""
        return len(self._tokens)

    def is_due(self, token: int, ends: frozenset[int]) -> bool:
        """Whether the answer is to be judged before `token`, the next one, is taken."""
        if self.watch is None or self.finish_reason is not None:
            return False
        return self.watch.is_due(len(self._tokens), ends=self._ending is not None or token in ends)

    def judge(self, check: AnswerCheck) -> None:
        """Take what the guard says of the answer so far; it may end here."""
        assert self.watch is not None
        let_through = self.watch.judged
        self.watch.add(check)
        if self.watch.has_blocked:
            self.finish_reason = FinishReason.BLOCKED
            told = "" if self._listener is None else self._listener.told
            self._refusal = "\n\n".join(filter(None, (told, refusal_of_answer(self.watch.verdict))))
            self._tokens = self._tokens[:let_through]
        if self._listener is not None:
            self._listener.output(self.watch.verdict, blocked=self.watch.has_blocked)
            if self.watch.has_blocked:
                self._listener.text(self._refusal)

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
        if token in ends or self._ending is not None:
            self.finish_reason = self._ending or FinishReason.STOP
            if self.watch is not None and self._listener is not None:
                self._stream(tokenizer, self._listener)
            return
        self._tokens.append(token)
        for intervention in self.interventions:
            self._act(intervention.on_token(len(self._tokens) - 1, token))
        if self.finish_reason is None and len(self._tokens) >= self.room:
            self.finish_reason = FinishReason.LENGTH
        may_stop = bool(self.options.stop) and self.finish_reason is not FinishReason.INTERVENTION
        if may_stop and self._stops_at(self._text(tokenizer)) is not None:
            self.finish_reason = FinishReason.STOP
        if self.watch is not None and self.finish_reason is not None:
            self._ending, self.finish_reason = self.finish_reason, None
        if self._listener is not None:
            self._stream(tokenizer, self._listener)

    def answer(self, tokenizer: Any) -> Answer:
        """The whole answer; its listener has it then too."""
        text = self._final_text(tokenizer)
        reason = FinishReason.LENGTH if self.finish_reason is None else self.finish_reason
        output = None if self.watch is None else self.watch.verdict
        answer = Answer(text, tuple(self._tokens), reason, len(self.prepared.ids), self.verdict, output)
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

    def _text(self, tokenizer: Any, count: int | None = None) -> str:
        """The text so far: decoded tokens, or the first `count`, and what interventions put between them."""
        tokens = self._tokens[:count]
        if not self._inserted:
            return _decoded(tokenizer, tokens).strip()
        pieces, start, begins = [], 0, True
        for place, inserted in [*(each for each in self._inserted if each[0] <= len(tokens)), (len(tokens), "")]:
            piece = _decoded(tokenizer, tokens[start:place])
            pieces += [piece.lstrip() if begins else piece, inserted]
            begins = begins and not piece
            start = place
        return "".join(pieces).strip()

    def _final_text(self, tokenizer: Any, count: int | None = None) -> str:
        if self.finish_reason is FinishReason.BLOCKED:
            return self._refusal
        text = self._text(tokenizer, count)
        place = self._stops_at(text)
        return text if place is None else text[:place].rstrip()

    def _stops_at(self, text: str) -> int | None:
        return min((place for stop in self.options.stop if (place := text.find(stop)) >= 0), default=None)

    def _stream(self, tokenizer: Any, listener: Listener) -> None:
        """Tell what of the text is sure to stay; where a flag would end the answer, what has been judged of it."""
        held_back = self.watch is not None and self.watch.blocks
        text = self._final_text(tokenizer, self.watch.judged if self.watch is not None and held_back else None)
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
    judges = any(row.watch is not None for row in rows)
    with intervened(model, rows, inputs), AnswerStates(model) if judges else nullcontext() as states:
        recorder = Recorder(rows, tokenizer, config, states)
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
    """Hands each row its token, has the guard judge answers where that is due, and says which rows have ended."""

    def __init__(
        self, rows: Sequence[Row], tokenizer: Any, config: GenerationConfig, states: AnswerStates | None = None
    ) -> None:
        self._rows = rows
        self._states = states
        self._tokenizer = tokenizer
        ends = config.eos_token_id
        self._ends = frozenset(ends if isinstance(ends, list) else [] if ends is None else [ends])

    def __call__(self, input_ids: Tensor, scores: Any, **_: Any) -> Tensor:
        """Whether each row has ended, (rows,)."""
        tokens = input_ids[:, -1].tolist()
        if self._states is not None:
            self._judge(self._states, tokens)
        for row, token in zip(self._rows, tokens, strict=True):
            row.add(token, self._ends, self._tokenizer)
        ended = [row.finish_reason is not None for row in self._rows]
        return torch.tensor(ended, device=input_ids.device)

    def _judge(self, states: AnswerStates, tokens: Sequence[int]) -> None:
        """Judge the answers that are due by what the model has read of them: all but the tokens just chosen."""
        due = [place for place, row in enumerate(self._rows) if row.is_due(tokens[place], self._ends)]
        if due:
            checks = states.check(due, [self._rows[place].read_tokens for place in due])
            for place, check in zip(due, checks, strict=True):
                self._rows[place].judge(check)


def _decoded(tokenizer: Any, tokens: list[int]) -> str:
    text: str = tokenizer.decode(tokens, skip_special_tokens=True)
    return text
