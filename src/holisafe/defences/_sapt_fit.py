"""Fitting of `sapt`: a probe on what the model reads, and a soft prompt on partial answers."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from holisafe.defences._contract import Progress
from holisafe.defences._soft import soft_at
from holisafe.errors import DefenceError
from holisafe.families.features import extended
from holisafe.models import Engine, GenerationOptions, Prompt, hidden_states
from holisafe.models.prompts import prepare
from holisafe.records import Behaviour, Sample

if TYPE_CHECKING:
    from holisafe.defences.sapt import SaptConfig

INSTRUCTION = "If the answer so far is unsafe, refuse; otherwise go on helpfully."
"""The soft prompt begins as the embeddings of its first tokens."""

SHORTEST_PREFIX = 20
"""Characters of a partial answer that is not empty, as published."""

EMPTY = 1 / 3
"""Share of examples without a partial answer, as published."""


@dataclass(frozen=True, slots=True)
class Example:
    """One request: what the model would write of itself, and what it should write once it is reminded."""

    inputs: dict[str, Any]
    own: str
    wanted: str
    is_safe: bool


def fit_soft_prompt(
    engine: Engine, samples: Sequence[Sample], config: SaptConfig, progress: Progress
) -> Mapping[str, Tensor]:
    """The soft prompt and the probe.

    What a request that is to be refused would have been answered is the model's own answer to it.

    Raises:
        DefenceError: There are less than two requests of a kind with a reference answer.
    """
    safe, unsafe = (_chosen(samples, behaviour, config) for behaviour in (Behaviour.ANSWER, Behaviour.REFUSE))
    progress("the probe", 0, 0)
    probed = fit_probe(engine, safe, unsafe, config)
    own = engine.answer([Prompt.of(each) for each in unsafe], GenerationOptions(max_new_tokens=64))
    examples = [_example(engine, each, each.reference or "", is_safe=True) for each in safe]
    examples += [_example(engine, each, answer.text, is_safe=False) for each, answer in zip(unsafe, own, strict=True)]
    return {"soft": _learn(engine, examples, probed, config, progress), **probed}


def fit_probe(
    engine: Engine, safe: Sequence[Sample], unsafe: Sequence[Sample], config: SaptConfig
) -> dict[str, Tensor]:
    """Principal components of the last prompt token's state, and a logistic regression on them."""
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression

    looks = [engine.look(Prompt.of(each), last_state) for each in [*safe, *unsafe]]
    states = torch.stack([each.result() for each in looks]).double().cpu().numpy()  # (requests, hidden)
    count = min(config.components, *states.shape)
    reduced = PCA(n_components=count, random_state=config.seed).fit(states)
    labels = np.array([1] * len(safe) + [0] * len(unsafe))
    regression = LogisticRegression(max_iter=1000).fit(reduced.transform(states), labels)
    found = {
        "mean": reduced.mean_, "components": reduced.components_, "weights": regression.coef_[0],
        "intercept": regression.intercept_,
    }  # fmt: skip
    return {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in found.items()}


def last_state(model: Any, inputs: dict[str, Any]) -> Tensor:
    """The last layer's state of the last token, (hidden,)."""
    return hidden_states(model, inputs)[-1, -1]


def _chosen(samples: Sequence[Sample], behaviour: Behaviour, config: SaptConfig) -> list[Sample]:
    found = [each for each in samples if each.expected is behaviour and each.reference]
    random.Random(config.seed).shuffle(found)
    if len(found) < 2:
        raise DefenceError(
            f"sapt: the samples hold {len(found)} with a reference answer that expect {behaviour.value}; at least 2 "
            "of each kind are needed"
        )
    return found[: config.per_class]


def _example(engine: Engine, sample: Sample, own: str, *, is_safe: bool) -> Example:
    prepared = prepare(engine.processor, Prompt.of(sample))
    model = engine.model
    inputs = {"input_ids": prepared.ids[None], **{key: value[None] for key, value in prepared.per_token.items()}}
    inputs |= dict(prepared.vision)
    placed = {
        key: value.to(model.device, model.dtype if value.is_floating_point() else None)
        if isinstance(value, Tensor)
        else value
        for key, value in inputs.items()
    }
    return Example(placed, own, sample.reference or "", is_safe)


def _learn(
    engine: Engine, examples: Sequence[Example], probed: Mapping[str, Tensor], config: SaptConfig, progress: Progress
) -> Tensor:
    """AdamW on the soft prompt alone; the model's weights stay as they are."""
    model, tokenizer = engine.model, engine.processor.tokenizer
    first = tokenizer(INSTRUCTION, add_special_tokens=False)["input_ids"]
    start = [first[place % len(first)] for place in range(config.soft_tokens)]
    soft = model.get_input_embeddings().weight[start].detach().float().clone().requires_grad_(True)
    optimizer = torch.optim.AdamW([soft], lr=config.learning_rate, weight_decay=0.01)
    draw = random.Random(config.seed)
    order = list(examples)
    with frozen(model):
        for epoch in range(config.epochs):
            progress("epochs of the soft prompt", epoch, config.epochs)
            draw.shuffle(order)
            for place in range(0, len(order), config.batch_size):
                batch = order[place : place + config.batch_size]
                for example in batch:
                    loss = example_loss(model, tokenizer, example, soft, probed, draw, config) / len(batch)
                    torch.autograd.backward(loss)
                optimizer.step()
                optimizer.zero_grad()
    learned: Tensor = soft.detach()
    return learned


def example_loss(
    model: Any, tokenizer: Any, example: Example, soft: Tensor, probed: Mapping[str, Tensor], draw: random.Random,
    config: SaptConfig,
) -> Tensor:  # fmt: skip
    """Cross-entropy of what is to be written after the soft tokens, and of the probe on the last of them."""
    from holisafe.defences.sapt import probe

    prefix = cut(example.wanted if example.is_safe else example.own, draw)
    wanted = example.wanted[len(prefix) :] if example.is_safe else example.wanted
    before = tokenizer(prefix, add_special_tokens=False)["input_ids"] if prefix else []
    target = [*tokenizer(wanted, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
    first = example.inputs["input_ids"].shape[1] + len(before)
    whole = extended(example.inputs, [*before, *[target[0]] * len(soft), *target])
    with soft_at(model, soft, first) as states:
        logits = model(**whole, use_cache=False).logits[0]
    last = first + len(soft) - 1
    answer = F.cross_entropy(logits[last : last + len(target)].float(), whole["input_ids"][0, last + 1 :])
    safe = probe(states[0][0, last].float(), probed)
    said = F.binary_cross_entropy(safe.clamp(1e-6, 1 - 1e-6), torch.full_like(safe, float(example.is_safe)))
    return answer + config.probe_weight * said


def cut(text: str, draw: random.Random) -> str:
    """A partial answer: nothing in a third of the cases, else a beginning of at least 20 characters, up to a word."""
    if draw.random() < EMPTY or len(text) <= SHORTEST_PREFIX:
        return ""
    place = text.rfind(" ", SHORTEST_PREFIX, draw.randint(SHORTEST_PREFIX, len(text) - 1))
    return text[: max(place, SHORTEST_PREFIX)]


@contextmanager
def frozen(model: Any) -> Iterator[None]:
    """While it lasts, no weight of the model has a gradient."""
    learning = [each for each in model.parameters() if each.requires_grad]
    for each in learning:
        each.requires_grad_(False)
    try:
        yield
    finally:
        for each in learning:
            each.requires_grad_(True)
