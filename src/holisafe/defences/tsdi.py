"""`tsdi`: take away what safety tuning prefers at the answer's beginning whatever is asked (arXiv 2502.02153).

The bias of position i is the mean, over random prompts, of log p(tuned) - log p(reference); it is subtracted from the
log-probabilities of the first tokens. Where the paper is silent: a random prompt is words of the data's questions in
random order, without an image, and the tokens before position i are drawn from those words too.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor

from holisafe._fields import Range
from holisafe.defences._contract import DEFENCES, FittedConfig, FittedDefence, Progress, Steps
from holisafe.defences._fitted import take_fitted
from holisafe.errors import DefenceError
from holisafe.models import Engine, GenerationOptions, Intervention, LoadedModel, Prompt, Request, load
from holisafe.records import Sample

BIAS = "bias"
WORDS = 12
"""Words of a random prompt."""


@dataclass(frozen=True, kw_only=True)
class TsdiConfig(FittedConfig):
    """What the bias is taken against, and where it is subtracted."""

    reference: str = field(default="", metadata={"help": "Fitting: the model before safety tuning."})
    positions: int = field(default=8, metadata={"help": "Fitting: first tokens that are changed.", "range": Range(1)})
    prompts: int = field(default=64, metadata={"help": "Fitting: random prompts.", "range": Range(1)})
    seed: int = field(default=0, metadata={"help": "Fitting: of the random prompts.", "range": Range()})


class Tsdi(FittedDefence):
    """Debiasing of the first tokens: against refusals of harmless requests."""

    name = "tsdi"
    needs: ClassVar[Mapping[str, tuple[str | int, ...]]] = {BIAS: ("any", "vocabulary")}
    about = "what safety tuning prefers at the answer's beginning, whatever is asked, is taken away"
    cost = "1 answer per request"
    config = TsdiConfig
    source = "arXiv 2502.02153"

    @classmethod
    def fit(
        cls, engine: Engine, samples: Sequence[Sample], config: TsdiConfig, progress: Progress
    ) -> Mapping[str, Tensor]:
        """The bias, (positions, vocabulary), from the words of the samples' questions."""
        if not config.reference:
            raise DefenceError("tsdi: reference: name the model before safety tuning, such as reference=pocket")
        words = sorted({word for sample in samples for turn in sample.turns for word in turn.text.split()})
        if len(words) < WORDS:
            raise DefenceError(f"tsdi: the questions have {len(words)} different words; at least {WORDS} are needed")
        other = load(config.reference, device=str(engine.model.device))
        check_vocabularies(engine.processor.tokenizer, other.processor.tokenizer)
        with Engine(*other) as reference:
            return {BIAS: mean_difference(engine, reference, words, config, progress)}

    def check(self, loaded: LoadedModel) -> None:
        """It was fitted on this model."""
        take_fitted(self, loaded)

    def answer(self, request: Request) -> Steps:
        """The answer with its first tokens debiased."""
        debiased = Debiased(self.parts[BIAS])
        return (yield replace(request, interventions=(*request.interventions, debiased)))


class Debiased(Intervention):
    """Log-probabilities less a bias at the first positions.

    Args:
        bias: (positions, vocabulary).
    """

    def __init__(self, bias: Tensor) -> None:
        self._bias = bias

    def on_logits(self, step: int, logits: Tensor) -> Tensor:
        """Log p - bias, up to a constant; unchanged after the first positions."""
        if step >= len(self._bias):
            return logits
        return logits.log_softmax(-1) - self._bias[step].to(logits)


def mean_difference(
    engine: Engine, reference: Engine, words: Sequence[str], config: TsdiConfig, progress: Progress
) -> Tensor:
    """Mean over random prompts of log p(tuned) - log p(reference), (positions, vocabulary), in float32."""
    draw = random.Random(config.seed)
    options = GenerationOptions(max_new_tokens=config.positions + 1)
    tokenizer = engine.processor.tokenizer
    pool = sorted({i for word in words for i in tokenizer(" " + word, add_special_tokens=False)["input_ids"]})
    total: Tensor | None = None
    for place in range(config.prompts):
        progress("random prompts", place, config.prompts)
        prompt = Prompt.ask(" ".join(draw.choices(words, k=WORDS)))
        tokens = draw.choices(pool, k=config.positions - 1)
        tuned, before = (first_logits(each, prompt, tokens, options) for each in (engine, reference))
        difference = tuned.log_softmax(-1) - before.log_softmax(-1)
        total = difference if total is None else total + difference
    assert total is not None
    return (total / config.prompts).float()


def first_logits(engine: Engine, prompt: Prompt, tokens: Sequence[int], options: GenerationOptions) -> Tensor:
    """Logits of the first positions of an answer whose tokens are given, (len(tokens) + 1, vocabulary), in float64."""
    branch = engine.fork(prompt, options).result()
    try:
        given: list[int | None] = [None, *tokens]
        return torch.stack([branch.logits(token).double().cpu() for token in given])
    finally:
        branch.close()


def check_vocabularies(tokenizer: object, other: object) -> None:
    """Refuse a reference whose tokens mean something else.

    Raises:
        DefenceError: The vocabularies differ.
    """
    if tokenizer.get_vocab() != other.get_vocab():  # type: ignore[attr-defined]
        raise DefenceError("tsdi: model and reference have different vocabularies; the reference must be its own base")


DEFENCES.add(Tsdi.name, Tsdi)
