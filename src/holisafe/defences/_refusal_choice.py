"""Which direction refusal hangs on: the published rule (arXiv 2406.11717, section 2.3 and appendix C)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from holisafe.defences._contract import Progress
from holisafe.defences._directions import LATEST, Classes
from holisafe.defences._steering import Ablate, Add
from holisafe.errors import DefenceError
from holisafe.models import Engine, GenerationOptions, Intervention, Prompt, Request


@dataclass(frozen=True, slots=True)
class Candidate:
    """A difference of means.

    Attributes:
        layer: Of the layer that reads it.
        position: Of the token, from the end of the prompt: -1 is the last.
        direction: Mean of harmful minus mean of harmless requests, (hidden,), float32.
    """

    layer: int
    position: int
    direction: Tensor


@dataclass(frozen=True, slots=True)
class Limits:
    """What a candidate has to keep.

    Attributes:
        max_kl: Largest mean Kullback-Leibler divergence of the first token's distribution on harmless requests when the
            direction is removed, in nats.
        min_induced: Least mean log-odds of refusal on harmless requests when the direction is added.
    """

    max_kl: float = 0.1
    min_induced: float = 0.0


@dataclass(frozen=True, slots=True)
class Chosen:
    """A candidate that keeps the limits, and its figures.

    Attributes:
        candidate: The candidate.
        kl: As `Limits.max_kl`.
        induced: As `Limits.min_induced`.
        bypassed: Mean log-odds of refusal on harmful requests when the direction is removed.
    """

    candidate: Candidate
    kl: float
    induced: float
    bypassed: float


def end_in_common(ends: Sequence[Sequence[int]]) -> int:
    """How many tokens all prompts end with, of those that were read: what the chat template puts after the question."""
    count = 0
    for column in zip(*(reversed(end) for end in ends), strict=False):
        if len(set(column)) > 1:
            break
        count += 1
    return count


def as_answered(engine: Engine, classes: Classes, refusals: Sequence[str], progress: Progress) -> Classes:
    """Harmful requests that the model refuses and harmless ones that it answers, by the first token of its answer.

    Raises:
        DefenceError: Nothing is left of a part.
    """
    tokens = first_tokens(engine, refusals)
    kept: dict[str, list[Prompt]] = {}
    for done, each in enumerate(fields(classes)):
        progress("asking", done, len(fields(classes)))
        prompts: list[Prompt] = getattr(classes, each.name)
        begun = first_distribution(engine, prompts)
        refuses = [refusal_score(row[None], tokens) > 0 for row in begun]
        is_harmful = each.name.startswith("harmful")
        kept[each.name] = [prompt for prompt, no in zip(prompts, refuses, strict=True) if no is is_harmful]
        if not kept[each.name]:
            none = f"refuses none of {len(prompts)} harmful" if is_harmful else f"refuses all {len(prompts)} harmless"
            raise DefenceError(
                f"the model {none} requests, by the first token ({'|'.join(refusals)}); name how its refusals begin "
                "with refusals=, or give more samples"
            )
    return Classes(**kept)


def choose(
    engine: Engine,
    candidates: Sequence[Candidate],
    layers: int,
    classes: Classes,
    limits: Limits,
    refusals: Sequence[str],
    progress: Progress,
) -> Chosen:
    """Of the candidates that keep the limits, the one whose removal leaves the least refusal of harmful requests.

    Each figure is measured only where the one before it keeps its limit, so that fewer prompts are read; the choice is
    the same.

    Args:
        engine: The model at work.
        candidates: What to choose from; those of the last 20 % of the layers are left out.
        layers: How many layers the model has.
        classes: Their validation prompts are read.
        limits: What has to be kept.
        refusals: Texts with which refusals begin; the first token of each counts.
        progress: Told how far it is.

    Raises:
        DefenceError: No candidate keeps the limits.
    """
    tried = [each for each in candidates if each.layer < LATEST * layers]
    tokens = first_tokens(engine, refusals)
    plain = first_distribution(engine, classes.harmless_validation)
    lowest_kl, highest_induced = torch.inf, -torch.inf
    kept: list[Chosen] = []
    for done, each in enumerate(tried):
        progress("trying directions", done, len(tried))
        ablate = Ablate.of(each.direction)
        kl = _divergence(plain, first_distribution(engine, classes.harmless_validation, ablate))
        lowest_kl = min(lowest_kl, kl)
        if not kl <= limits.max_kl:
            continue
        added = first_distribution(engine, classes.harmless_validation, Add(each.layer, each.direction))
        induced = refusal_score(added, tokens)
        highest_induced = max(highest_induced, induced)
        if not induced >= limits.min_induced:
            continue
        removed = first_distribution(engine, classes.harmful_validation, ablate)
        kept.append(Chosen(each, kl, induced, refusal_score(removed, tokens)))
    progress("trying directions", len(tried), len(tried))
    if not kept:
        raise DefenceError(
            f"none of {len(tried)} directions passes the rule: lowest KL {lowest_kl:.3g} (at most {limits.max_kl:g}), "
            f"highest induced log-odds among those {highest_induced:.3g} (at least {limits.min_induced:g}); the model "
            "does not refuse along one direction, or its refusals begin otherwise: name how with refusals="
        )
    return min(kept, key=lambda each: each.bypassed)


def first_distribution(engine: Engine, prompts: Sequence[Prompt], *interventions: Intervention) -> Tensor:
    """Log-probabilities of the first token of each answer, (prompts, vocabulary), float64."""
    notes = [_Note() for _ in prompts]
    options = GenerationOptions(max_new_tokens=1)
    requests = [Request(each, options, (*interventions, note)) for each, note in zip(prompts, notes, strict=True)]
    for waiting in [engine.submit(each) for each in requests]:
        waiting.result()
    return torch.stack([note.logits for note in notes]).double().log_softmax(-1)


def first_tokens(engine: Engine, texts: Sequence[str]) -> list[int]:
    """The first token of each text.

    Raises:
        DefenceError: One has none.
    """
    tokenizer = engine.processor.tokenizer
    found = [tokenizer(text, add_special_tokens=False)["input_ids"][:1] for text in texts]
    if not all(found):
        raise DefenceError(f"refusals: expected texts separated by |, none of them empty, found {'|'.join(texts)!r}")
    return sorted({token for each in found for token in each})


def refusal_score(distribution: Tensor, tokens: Sequence[int]) -> float:
    """Mean log-odds that an answer begins with one of `tokens`.

    Args:
        distribution: Log-probabilities, (prompts, vocabulary).
        tokens: Ids.
    """
    begins = distribution[:, list(tokens)].exp().sum(-1)  # (prompts,)
    return float(((begins + 1e-8).log() - (1 - begins + 1e-8).log()).mean())


def _divergence(plain: Tensor, changed: Tensor) -> float:
    """Mean Kullback-Leibler divergence of rows of log-probabilities, in nats."""
    return float((plain.exp() * (plain - changed)).nan_to_num().sum(-1).mean())


class _Note(Intervention):
    """Keeps the logits of the first token."""

    logits: Tensor

    def on_logits(self, step: int, logits: Tensor) -> Tensor:
        """As they are."""
        self.logits = logits.float().cpu().clone()
        return logits
