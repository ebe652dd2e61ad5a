"""`sapt`, The Safety Reminder (arXiv 2506.15734): a learned soft prompt in the growing answer asks if it is safe.

Every 16 tokens the model reads its partial answer and four soft tokens; a probe on the last layer's state says how
probable it is that all is well. Below the threshold the answer stops, and the model writes on after the soft tokens:
only that is given, greedily decoded, never the part before. An answer of less than 16 tokens is never checked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from holisafe._fields import ABOVE_ZERO, Range
from holisafe.defences._contract import DEFENCES, FittedConfig, FittedDefence, Look, Progress, Steps
from holisafe.defences._fitted import take_fitted
from holisafe.defences._soft import CachedReader, apart, soft_at
from holisafe.families.features import extended
from holisafe.models import Answer, End, Engine, FinishReason, Intervention, LoadedModel, Request
from holisafe.models.engine.options import generation_config
from holisafe.records import Sample

EVERY = 16
"""Tokens between two checks, as published."""


@dataclass(frozen=True, kw_only=True)
class SaptConfig(FittedConfig):
    """The threshold, and how the soft prompt is learned; the published values."""

    threshold: float = field(default=0.2, metadata={"help": "P(safe) below which the answer stops.", "range": Range()})
    soft_tokens: int = field(default=4, metadata={"help": "Fitting: soft tokens.", "range": Range(1)})
    components: int = field(default=4, metadata={"help": "Fitting: components of the probe.", "range": Range(1)})
    per_class: int = field(default=256, metadata={"help": "Fitting: requests of each kind.", "range": Range(2)})
    epochs: int = field(default=50, metadata={"help": "Fitting: epochs.", "range": Range(1)})
    batch_size: int = field(default=4, metadata={"help": "Fitting: batch size.", "range": Range(1)})
    learning_rate: float = field(default=1e-4, metadata={"help": "Fitting: learning rate.", "range": ABOVE_ZERO})
    probe_weight: float = field(default=0.05, metadata={"help": "Fitting: the probe's weight.", "range": Range()})
    seed: int = field(default=0, metadata={"help": "Fitting: of prefixes and order.", "range": Range()})


class Sapt(FittedDefence):
    """A reminder inside the answer."""

    name = "sapt"
    needs: ClassVar[Mapping[str, tuple[str | int, ...]]] = {
        "soft": ("any", "hidden"),
        "mean": ("hidden",),
        "components": ("components", "hidden"),
        "weights": ("components",),
        "intercept": (1,),
    }
    about = "a learned soft prompt in the growing answer asks whether it is safe; if not, it is written anew from there"
    cost = "1 answer per request and a short forward pass every 16 tokens; 2 answers where it stops"
    config = SaptConfig
    source = "arXiv 2506.15734"

    def __init__(self, config: Any = None) -> None:
        super().__init__(config)
        self._tokenizer: Any = None

    @classmethod
    def fit(
        cls, engine: Engine, samples: Sequence[Sample], config: SaptConfig, progress: Progress
    ) -> Mapping[str, Tensor]:
        """The probe on prompts, then the soft prompt on partial answers."""
        from holisafe.defences._sapt_fit import fit_soft_prompt

        return fit_soft_prompt(engine, samples, config, progress)

    def check(self, loaded: LoadedModel) -> None:
        """It was fitted on this model."""
        take_fitted(self, loaded)
        self._tokenizer = loaded.processor.tokenizer

    def answer(self, request: Request) -> Steps:
        """The answer, or what the model writes after it was reminded."""
        inputs, reader = yield Look(request.prompt, self._reader)
        reminder = Reminder(reader, self.parts, self.settings.threshold)
        first: Answer = yield replace(request, interventions=(*request.interventions, reminder))
        if not reminder.has_stopped:
            return first
        again: Answer = yield Look(
            request.prompt, lambda model, _: self._continued(model, inputs, reminder.tokens, request)
        )
        return replace(again, verdict=first.verdict, input_tokens=first.input_tokens)

    def _reader(self, model: Any, inputs: dict[str, Any]) -> tuple[dict[str, Any], CachedReader]:
        return inputs, CachedReader(model, inputs, self.parts["soft"].to(model.device))

    def _continued(self, model: Any, inputs: Mapping[str, Any], tokens: Sequence[int], request: Request) -> Answer:
        soft = self.parts["soft"].to(model.device)
        first = inputs["input_ids"].shape[1] + len(tokens)
        whole = extended(inputs, [*tokens, *[tokens[-1]] * len(soft)])
        config = generation_config(model, self._tokenizer, request.options.max_new_tokens)
        with soft_at(model, soft, first):
            written = model.generate(**whole, generation_config=config)[0, whole["input_ids"].shape[1] :].tolist()
        ends = config.eos_token_id if isinstance(config.eos_token_id, list) else [config.eos_token_id]
        is_whole = bool(written) and written[-1] in ends
        kept = tuple(token for token in written if token not in ends)
        text = self._tokenizer.decode(kept, skip_special_tokens=True).strip()
        reason = FinishReason.STOP if is_whole else FinishReason.LENGTH
        for stop in request.options.stop:
            if stop in text:
                text, reason = text[: text.index(stop)].rstrip(), FinishReason.STOP
        return Answer(text, kept, reason, first)


class Reminder(Intervention):
    """Stops an answer whose state after the soft tokens is not safe; of one request.

    Args:
        reader: Gives that state.
        parts: The probe.
        threshold: P(safe) below which it stops.

    Attributes:
        tokens: The answer so far.
        has_stopped: Whether it was stopped.
        safe: P(safe) at each check.
    """

    def __init__(self, reader: CachedReader, parts: Mapping[str, Tensor], threshold: float) -> None:
        self.tokens: list[int] = []
        self.has_stopped = False
        self.safe: list[float] = []
        self._reader = reader
        self._parts = parts
        self._threshold = threshold

    def on_token(self, step: int, token: int) -> End | None:
        """Check after every 16th token."""
        if step == 0:
            self.tokens, self.has_stopped, self.safe = [], False, []
        self.tokens.append(token)
        if len(self.tokens) % EVERY:
            return None
        state = apart(lambda: self._reader.state(self.tokens))
        self.safe.append(float(probe(state, self._parts)))
        self.has_stopped = self.safe[-1] < self._threshold
        return End() if self.has_stopped else None


def probe(state: Tensor, parts: Mapping[str, Tensor]) -> Tensor:
    """P(safe) of states (..., hidden): a logistic regression on their first principal components."""
    of = {name: part.to(state) for name, part in parts.items()}
    return torch.sigmoid(((state - of["mean"]) @ of["components"].T) @ of["weights"] + of["intercept"])


DEFENCES.add(Sapt.name, Sapt)
