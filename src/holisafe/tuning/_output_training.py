"""The guard's output head, from labelled answers: the model stays frozen, its states are computed once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from holisafe.calibration import CalibrationReport
from holisafe.calibration.answers import LabelledAnswer, StatesOfAnswers, calibrate_output, read_states
from holisafe.errors import DataError, GuardError, TuningError
from holisafe.guard import GuardConfig, add_output_head, attach_guard, guard_of, save_guard, set_calibration
from holisafe.guard.attach import find_observer
from holisafe.records import CHECK_EVERY
from holisafe.taxonomy import Category
from holisafe.tuning._guard_training import GuardProgress, GuardTraining, LabelLoss, train_head

LEARN_EVERY = 4
"""Tokens between two states that are learned from: more than are checked, so that any check is of a kind it knows."""

_CATEGORIES = tuple(Category)
_NONE = -100
"""Label of an answer without a category; such are not learned."""


@dataclass(frozen=True, slots=True)
class TrainedOutput:
    """A guard with an output head, on the disk.

    Attributes:
        folder: Its folder.
        learned: Answers that were learned from, harmless and harmful.
        held_out: Answers that it was calibrated on, harmless and harmful.
        left_out: Name of the sample of each answer that could not be read, and why.
        loss: Mean loss of the last pass over the states, in nats.
        report: What calibration found; None where it could not be calibrated.
        uncalibrated: Why it could not be; empty where it is calibrated.
    """

    folder: Path
    learned: tuple[int, int]
    held_out: tuple[int, int]
    left_out: tuple[tuple[str, str], ...]
    loss: float
    report: CalibrationReport | None
    uncalibrated: str = ""

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "folder": str(self.folder),
            "learned": {"harmless": self.learned[0], "harmful": self.learned[1]},
            "held_out": {"harmless": self.held_out[0], "harmful": self.held_out[1]},
            "left_out": [{"id": name, "why": why} for name, why in self.left_out],
            "loss": self.loss,
            "calibration": None if self.report is None else self.report.to_json(),
            "uncalibrated": self.uncalibrated or None,
        }


def train_output_head(
    model: Any,
    processor: Any,
    answers: Sequence[LabelledAnswer],
    out: str | Path,
    training: GuardTraining | None = None,
    *,
    held_out: Sequence[LabelledAnswer] | None = None,
    every: int = CHECK_EVERY,
    progress: GuardProgress | None = None,
) -> TrainedOutput:
    """Train the output head of a model's guard on labelled answers, calibrate it, and write the guard's folder.

    The model reads each answer once, and is frozen, as are the guard's other heads. A model without a guard is given
    one with an output head alone.

    Args:
        model: A transformers model in evaluation mode; it keeps the output head.
        processor: Its processor.
        answers: What `labelled_answers` gives; of any model.
        out: New folder of the guard.
        training: The settings; `GuardTraining()` when None. `held_out` and `flag_rate` are of answers.
        held_out: Answers to calibrate on; a share of the clusters of `answers` when None.
        every: Tokens between two checks, for which the threshold is set.
        progress: Called with the progress.

    Raises:
        DataError: No answers could be read, or they are of one kind.
        TuningError: `out` is not empty, or the loss is not finite.
        GuardError: The model cannot be guarded, or the guard has an output head.
    """
    training = training or GuardTraining()
    folder = Path(out)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise TuningError(f"{folder} is there already; choose a new folder")
    learned, held = (list(answers), list(held_out)) if held_out is not None else _split(answers, training)
    torch.manual_seed(training.seed)
    if find_observer(model) is None:
        attach_guard(model, GuardConfig(image_head=False, joint_head=False, output_head=True), processor=processor)
    else:
        add_output_head(model)
    read = _read(model, processor, learned, LEARN_EVERY, "answers to learn", progress)
    loss = train_head(guard_of(model).output_head, read.states, AnswerLoss(read), training, progress)
    checked = _read(model, processor, held, every, "held-out answers", progress)
    report, why_not = _calibrated(model, checked, training, every)
    result = TrainedOutput(
        folder, _counts(read), _counts(checked), (*read.left_out, *checked.left_out), loss, report, why_not
    )
    save_guard(model, folder)
    return result


class AnswerLoss:
    """Whether an answer is harmful, each kind counting the same, and of harmful ones the category.

    Args:
        read: The answers, and which of them each state is of.
    """

    def __init__(self, read: StatesOfAnswers) -> None:
        harmful = torch.tensor([int(each.harmful) for each in read.answers])
        named = [_NONE if each.category is None else _CATEGORIES.index(each.category) for each in read.answers]
        self._harm = LabelLoss(harmful[read.owners], 2)
        self._categories = torch.tensor(named)[read.owners]  # (states,)

    def __call__(self, logits: Tensor, rows: Sequence[int]) -> Tensor:
        """Loss of some rows, of logits (rows, 9)."""
        loss = self._harm(logits[:, :2], rows)
        categories = self._categories[rows]
        if bool((categories != _NONE).any()):
            loss = loss + F.cross_entropy(logits[:, 2:], categories, ignore_index=_NONE)
        return loss


def _split(
    answers: Sequence[LabelledAnswer], training: GuardTraining
) -> tuple[list[LabelledAnswer], list[LabelledAnswer]]:
    """Answers to learn from and to calibrate on; those that share an image stay together."""
    names = sorted({each.cluster for each in answers})
    order = torch.randperm(len(names), generator=torch.Generator().manual_seed(training.seed)).tolist()
    held = {names[place] for place in order[: round(training.held_out * len(names))]}
    parts = [each for each in answers if each.cluster not in held], [each for each in answers if each.cluster in held]
    for part, what in zip(parts, ("to learn from", "held out"), strict=True):
        if len({each.harmful for each in part}) < 2:
            raise DataError(
                f"the {len(part)} answers {what} are all harmful or all harmless; give more answers, or others"
            )
    return parts


def _read(
    model: Any,
    processor: Any,
    answers: Sequence[LabelledAnswer],
    every: int,
    what: str,
    progress: GuardProgress | None,
) -> StatesOfAnswers:
    def told(done: int, total: int) -> None:
        if progress is not None:
            progress(what, done, total)

    return read_states(model, processor, answers, every=every, progress=told)


def _calibrated(
    model: Any, read: StatesOfAnswers, training: GuardTraining, every: int
) -> tuple[CalibrationReport | None, str]:
    """Calibrate on the held-out answers; why not, where they are too few."""
    try:
        calibration, report = calibrate_output(model, read, flag_rate=training.flag_rate, every=every)
    except (DataError, GuardError) as error:
        return None, str(error)
    set_calibration(model, calibration)
    return report, ""


def _counts(read: StatesOfAnswers) -> tuple[int, int]:
    harmful = sum(each.harmful for each in read.answers)
    return len(read.answers) - harmful, harmful
