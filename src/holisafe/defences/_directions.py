"""Directions of the residual stream: which samples they are learned from, and how states are read."""

from __future__ import annotations

import io
import random
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from PIL import Image
from torch import Tensor

from holisafe.defences._contract import Progress
from holisafe.errors import DefenceError
from holisafe.models import Engine, Prompt, hidden_states
from holisafe.records import ImageRef, Sample

TRAIN = 128
"""Samples of a class that directions are learned from, as published (arXiv 2406.11717)."""

VALIDATION = 32
"""Further samples of a class, by which one is chosen."""

LEAST = 5
"""Samples of a class below which nothing is learned."""

LATEST = 0.8
"""Share of the layers before the first of which no direction is taken, as published."""

SIDE = 224
"""Pixels of each side of a neutral picture."""


class FewSamplesWarning(UserWarning):
    """A defence is fitted on fewer samples than published."""


@dataclass(frozen=True, slots=True)
class Classes:
    """Harmless and harmful prompts: some to learn from, others to choose by."""

    harmless: list[Prompt]
    harmful: list[Prompt]
    harmless_validation: list[Prompt]
    harmful_validation: list[Prompt]


def whole_requests(samples: Sequence[Sample]) -> Classes:
    """Requests with their pictures, by what is right to do with them.

    Raises:
        DefenceError: A class is too small.
        DataError: A sample does not say what is right.
    """
    return _classes([(each.is_safe, Prompt.of(each)) for each in samples], "requests")


def texts_alone(samples: Sequence[Sample]) -> Classes:
    """Requests without their pictures, by whether the text alone is harmful.

    Where samples have a combination: the texts of SSS against those of UUU and SUU. Elsewhere what is right to do with
    the request decides.

    Raises:
        DefenceError: A class is too small.
        DataError: A sample does not say what is right.
    """
    found: dict[Prompt, bool] = {}
    for each in samples:
        if each.combination is None or each.is_safe or not each.combination.query_is_safe:
            alone = Prompt(tuple(replace(turn, images=()) for turn in each.turns))
            found[alone] = each.is_safe
    return _classes([(is_safe, prompt) for prompt, is_safe in found.items()], "texts")


def beside_colours(prompts: Sequence[Prompt]) -> list[Prompt]:
    """Texts, each beside a neutral picture: one random colour."""
    draw = random.Random(0)
    found = []
    for number, each in enumerate(prompts):
        encoded = io.BytesIO()
        Image.new("RGB", (SIDE, SIDE), tuple(draw.randrange(256) for _ in range(3))).save(encoded, "PNG")
        picture = ImageRef(f"neutral-{number}", data=encoded.getvalue())
        *before, last = each.turns
        found.append(Prompt((*before, replace(last, images=(picture,)))))
    return found


def _classes(labelled: list[tuple[bool, Prompt]], what: str) -> Classes:
    drawn = random.Random(0).sample(labelled, len(labelled))
    harmless = [prompt for is_safe, prompt in drawn if is_safe]
    harmful = [prompt for is_safe, prompt in drawn if not is_safe]
    counts = f"{len(harmless)} harmless and {len(harmful)} harmful {what}"
    fewest = min(len(harmless), len(harmful))
    if fewest < LEAST:
        raise DefenceError(f"the samples hold {counts}; at least {LEAST} of each are needed, give more samples")
    if fewest < TRAIN + VALIDATION:
        warnings.warn(
            f"{counts}, fewer than the {TRAIN + VALIDATION} of each as published", FewSamplesWarning, stacklevel=3
        )
    (learned, held_out), (learned_harmful, held_out_harmful) = map(_parts, (harmless, harmful))
    return Classes(learned, learned_harmful, held_out, held_out_harmful)


def _parts(prompts: list[Prompt]) -> tuple[list[Prompt], list[Prompt]]:
    """What is learned from, and what is held out: a fifth where there are few."""
    held_out = min(VALIDATION, len(prompts) // LEAST)
    return prompts[held_out:][:TRAIN], prompts[:held_out]


@dataclass(frozen=True, slots=True)
class Reading:
    """States at the end of one prompt.

    Attributes:
        states: What each layer reads at the last tokens, (layers, tokens, hidden), float32, on the CPU.
        ids: These tokens.
    """

    states: Tensor
    ids: tuple[int, ...]


def read_ends(
    engine: Engine, prompts: Sequence[Prompt], progress: Progress, what: str, *, tokens: int = 1
) -> list[Reading]:
    """The states at the last tokens of each prompt, one forward pass each.

    Raises:
        ImageError, ModelError: A prompt cannot be read.
    """
    readings: list[Reading] = []
    progress(what, 0, len(prompts))
    for start in range(0, len(prompts), engine.pool):
        waiting = [engine.look(prompt, _end(tokens)) for prompt in prompts[start : start + engine.pool]]
        for each in waiting:
            readings.append(each.result())
            progress(what, len(readings), len(prompts))
    return readings


def _end(tokens: int) -> Callable[..., Reading]:
    def read(model: object, inputs: dict[str, Tensor]) -> Reading:
        states = hidden_states(model, inputs)[:-1, -tokens:].clone().cpu()
        return Reading(states, tuple(inputs["input_ids"][0, -tokens:].tolist()))

    return read


def last_states(model: object, inputs: dict[str, Tensor]) -> Tensor:
    """What each layer reads at the last token, (layers, hidden), float32."""
    return hidden_states(model, inputs)[:-1, -1].clone()


def stacked(readings: Sequence[Reading]) -> Tensor:
    """States of several prompts, (prompts, layers, tokens, hidden), float64."""
    return torch.stack([each.states for each in readings]).double()
