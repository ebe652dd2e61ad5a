"""From a guard's logits to verdicts that people read."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from holisafe.errors import GuardError
from holisafe.guard.calibration import Calibration
from holisafe.records import AnswerCheck, ImageVerdict, RequestVerdict
from holisafe.taxonomy import Category, Combination, parse_label

_COMBINATIONS = tuple(Combination)
_CATEGORIES = tuple(Category)


def image_verdicts(logits: Tensor, labels: Sequence[str], calibration: Calibration) -> list[ImageVerdict]:
    """One verdict per row of logits (images, labels).

    Raises:
        GuardError: A row is not finite.
    """
    named = [parse_label(label) for label in labels]
    verdicts = []
    for row in _probabilities(logits, calibration.temperature, "image"):
        best = max(range(len(named)), key=row.__getitem__)
        distribution = dict(zip(named, row, strict=True))
        verdicts.append(ImageVerdict(named[best], row[best], distribution, calibration.threshold))
    return verdicts


def joint_verdicts(logits: Tensor, calibration: Calibration) -> list[RequestVerdict]:
    """One verdict per row of logits (prompts, 12): five combinations, then seven categories.

    Raises:
        GuardError: A row is not finite.
    """
    combinations = _probabilities(logits[:, : len(_COMBINATIONS)], calibration.joint_temperature, "prompt")
    categories = _probabilities(logits[:, len(_COMBINATIONS) :], 1.0, "prompt")
    verdicts = []
    for row, kinds in zip(combinations, categories, strict=True):
        best = max(range(len(row)), key=row.__getitem__)
        verdicts.append(
            RequestVerdict(
                _COMBINATIONS[best],
                row[best],
                dict(zip(_COMBINATIONS, row, strict=True)),
                dict(zip(_CATEGORIES, kinds, strict=True)),
                calibration.joint_threshold,
            )
        )
    return verdicts


def answer_checks(logits: Tensor, tokens: Sequence[int], calibration: Calibration) -> list[AnswerCheck]:
    """One check per row of logits (answers, 9): harmless and harmful, then seven categories.

    Args:
        logits: What the output head gives.
        tokens: How many tokens of each answer had been read.
        calibration: Has the temperature.

    Raises:
        GuardError: A row is not finite.
    """
    harm = _probabilities(logits[:, :2], calibration.output_temperature, "answer")
    categories = _probabilities(logits[:, 2:], 1.0, "answer")
    return [
        AnswerCheck(count, row[1], dict(zip(_CATEGORIES, kinds, strict=True)))
        for count, row, kinds in zip(tokens, harm, categories, strict=True)
    ]


def _probabilities(logits: Tensor, temperature: float, what: str) -> list[list[float]]:
    scaled = logits.detach().double().cpu() / temperature
    bad = (~scaled.isfinite().all(-1)).nonzero()[:, 0].tolist()
    if bad:
        raise GuardError(
            f"{what} {bad[0] + 1} of {len(scaled)}: the model's features are not finite, so there is no verdict; "
            "float16 overflows in some models: try bfloat16 or float32"
        )
    rows: list[list[float]] = torch.softmax(scaled, -1).tolist()
    return rows
