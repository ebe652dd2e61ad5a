"""What a run would do and need, without a step of it."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from holisafe.errors import TuningError
from holisafe.guard import GuardConfig
from holisafe.models import ModelSpec
from holisafe.records import Sample
from holisafe.tuning._architectures import ready_architecture, synthetic_batch
from holisafe.tuning._config import TuneConfig
from holisafe.tuning._estimate import Estimate, Speed, estimate
from holisafe.tuning._mix import length_of
from holisafe.tuning._parts import configure_trainable_parts
from holisafe.tuning._ready import Ready, count_drawn, guard_for, make_ready, step_count, tunable
from holisafe.tuning._recipes import Recipe
from holisafe.tuning._result import learned_parts
from holisafe.tuning._samples import SkippedSample, read_training


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run would do.

    Attributes:
        learned: Parameters and peak learning rate of each part that learns, by name.
        parameters: Of the whole model, guard and adapter included.
        by_combination: How many samples of each combination would be drawn; "general" for general data.
        steps: Optimizer steps.
        longest: Most tokens of a sample; None for any.
        skipped: Samples that would not be learned from.
        broken: Records that cannot be read.
        estimate: Memory and time; None where shapes do not tell them.
        why_not: Why there is no estimate.
    """

    learned: Mapping[str, Mapping[str, Any]]
    parameters: int
    by_combination: Mapping[str, int]
    steps: int
    longest: int | None
    skipped: Sequence[SkippedSample]
    broken: int
    estimate: Estimate | None = None
    why_not: str = ""


def plan(
    model: str | Path | ModelSpec,
    data: str | Path | Sequence[Sample],
    config: TuneConfig | None = None,
    *,
    split: str | None = None,
    general: str | Path | Sequence[Sample] | None = None,
    guard: GuardConfig | bool | None = None,
    speed: Speed | None = None,
) -> Plan:
    """Say what `tune` would do with these arguments: it reads the data and the model, and trains and writes nothing.

    Memory and time are those of a micro-batch of the longest samples.

    Raises:
        HoliSafeError: As `tune` does before it trains.
    """
    config, spec = config or TuneConfig(), tunable(model)
    parts = guard_for(config, guard, spec.source)
    training = read_training(data, split, general, parts, config)
    ready = make_ready(spec, training, config, parts, None)
    adapted = configure_trainable_parts(ready.loaded.model, config)
    planned = Plan(
        learned=learned_parts(adapted, config),
        parameters=sum(weight.numel() for weight in adapted.parameters()),
        by_combination=ready.counts(ready.drawn),
        steps=step_count(config, len(ready.drawn)),
        longest=ready.longest,
        skipped=ready.skipped,
        broken=training.broken,
    )
    return _estimated(planned, adapted, config, _longest_batch(ready, config, parts), speed)


def plan_recipe(
    recipe: Recipe,
    config: TuneConfig | None = None,
    *,
    num_samples: int = 10_215,
    text_tokens: int = 256,
    speed: Speed | None = None,
) -> Plan:
    """The same for the model that a recipe was written for, which need not be there: its architecture is shipped.

    Memory and time are those of samples of one image (two of the method "mirage") and so much text.

    Args:
        recipe: From `read_recipe`.
        config: The settings; the recipe's when None.
        num_samples: Samples of safety data; the default is HoliSafe's training set (arXiv 2506.04704).
        text_tokens: Tokens of a sample that are text, half of them learned; at least 2.
        speed: How fast a GPU is taken to be.

    Raises:
        TuningError: The architecture is not shipped.
    """
    config = config or recipe.config
    parts = config.method_part.guard(recipe.guard) if recipe.guard or config.method_part.has_guard else None
    adapted = ready_architecture(recipe.model, config, parts)
    images = 2 if config.method == "mirage" else 1
    batch = synthetic_batch(adapted, config, parts, text_tokens, images)
    planned = Plan(
        learned=learned_parts(adapted, config),
        parameters=sum(weight.numel() for weight in adapted.parameters()),
        by_combination={"any": count_drawn(config, num_samples)},
        steps=step_count(config, count_drawn(config, num_samples)),
        longest=None,
        skipped=[],
        broken=0,
    )
    return _estimated(planned, adapted, config, batch, speed)


def _longest_batch(ready: Ready, config: TuneConfig, guard: GuardConfig | None) -> dict[str, Any]:
    """A micro-batch of the samples that are longest as far as their text tells."""
    collate = config.method_part.collator(
        ready.loaded.processor, guard, max_length=config.max_length, chat_template_args=config.chat_template_args
    )
    return collate(heapq.nlargest(config.batch_size, ready.drawn, key=length_of))


def _estimated(planned: Plan, adapted: Any, config: TuneConfig, batch: Mapping[str, Any], speed: Speed | None) -> Plan:
    try:
        return replace(planned, estimate=estimate(adapted, config, batch, speed))
    except (TuningError, RuntimeError, NotImplementedError, TypeError) as error:  # what torch says of an operation
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        return replace(planned, why_not=first[:300])
