"""A guard from pictures and labels alone: the model stays frozen, its features are computed once, a head is trained."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from holisafe.calibration import CalibrationReport, fit_calibration
from holisafe.errors import DataError, GuardError, ImageError, TuningError
from holisafe.guard import (
    Calibration,
    GuardConfig,
    attach_guard,
    detach_guard,
    guard_of,
    save_guard,
    set_calibration,
)
from holisafe.guard.attach import find_observer
from holisafe.guard.classify import classify_batch
from holisafe.images import open_image
from holisafe.taxonomy import HEAD_ORDER, GuardLabel
from holisafe.tuning._fields import ABOVE_ZERO, Range
from holisafe.tuning._labelled_images import LabelledImage, read_labelled_images, split_by_digest
from holisafe.tuning._samples import SkippedSample

GuardProgress = Callable[[str, int, int], None]
"""Called with what is done ("features" or "training"), how far it is, and how far it goes."""

REPORT_FILE = "guard_training.json"
"""What a guard's folder holds about its training."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardTraining:
    """Settings of the head's training; AdamW with a cosine schedule.

    Raises:
        TuningError: A value is out of its range.
    """

    num_train_epochs: float = 30.0
    """Passes over the pictures to learn from, above 0."""
    max_steps: int | None = None
    """Optimizer steps, in place of `num_train_epochs` unless None."""
    batch_size: int = 32
    """Pictures of one step, and of one forward pass of the model; at least 1."""
    learning_rate: float = 1e-3
    """Peak learning rate, above 0."""
    weight_decay: float = 0.01
    """Decoupled weight decay, at least 0."""
    held_out: float = 0.25
    """Share of the pictures of each label that is measured and calibrated on, in (0, 1)."""
    flag_rate: float = 0.05
    """Largest share of safe pictures that the calibrated guard may flag, in (0, 1)."""
    seed: int = 0
    """Of the split, new weights and the order; at least 0."""

    def __post_init__(self) -> None:
        inside = Range(0, includes_low=False, below=1)
        ranges = {
            "num_train_epochs": ABOVE_ZERO, "max_steps": Range(1), "batch_size": Range(1),
            "learning_rate": ABOVE_ZERO, "weight_decay": Range(), "held_out": inside, "flag_rate": inside,
            "seed": Range(below=2**32),
        }  # fmt: skip
        for name, allowed in ranges.items():
            allowed.check(name, getattr(self, name), TuningError)


@dataclass(frozen=True, slots=True)
class TrainedGuard:
    """A guard on the disk; `load_guard` and `holisafe guard --guard FOLDER` read it.

    Attributes:
        folder: Its folder.
        accuracy: Share of held-out pictures whose most probable label is right.
        chance: The share that always naming the most frequent label of those learned would get right.
        learned: Pictures that were learned from, by label.
        held_out: Pictures that were held out, by label.
        skipped: Pictures that could not be read.
        loss: Mean cross-entropy of the last pass over the pictures, in nats.
        report: What calibration found; None where it could not be calibrated.
        uncalibrated: Why it could not be; empty where it is calibrated.
    """

    folder: Path
    accuracy: float
    chance: float
    learned: dict[str, int]
    held_out: dict[str, int]
    skipped: tuple[SkippedSample, ...]
    loss: float
    report: CalibrationReport | None
    uncalibrated: str = ""

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "folder": str(self.folder),
            "accuracy": self.accuracy,
            "chance": self.chance,
            "learned": self.learned,
            "held_out": self.held_out,
            "skipped": [{"id": each.id, "why": each.why} for each in self.skipped],
            "loss": self.loss,
            "calibration": None if self.report is None else self.report.to_json(),
            "uncalibrated": self.uncalibrated or None,
        }


def train_guard_on_images(
    model: Any,
    processor: Any,
    images: str | Path,
    out: str | Path,
    training: GuardTraining | None = None,
    *,
    guard: GuardConfig | None = None,
    crosswalk: str | None = None,
    split: str | None = None,
    progress: GuardProgress | None = None,
) -> TrainedGuard:
    """Train a guard's image head on pictures and labels, calibrate it on held-out pictures, and write its folder.

    The model is frozen: each picture goes through it once. Pictures are identified by their bytes, so that no picture
    is both learned and held out. The model is given the guard and keeps it.

    Args:
        model: A transformers model without a guard, in evaluation mode.
        processor: Its processor.
        images: A folder with a folder per label, a CSV file with the columns "image" and "label", or records with image
            labels.
        out: Folder of the guard; made if missing.
        training: The settings; `GuardTraining()` when None.
        guard: The guard's parts; when None, an image head on the projector's features. A learned pooling and a joint
            head need `tune`.
        crosswalk: Name of the taxonomy whose codes the labels are; our labels when None.
        split: Split of records.
        progress: Called with the progress.

    Raises:
        DataError: The pictures or labels cannot be read, or are of one label.
        TuningError: A setting is out of its range, `out` is not empty, or the model has a guard.
        GuardError: The model cannot be guarded, or its guard cannot be trained on pictures alone.
        UnknownNameError: A crosswalk or data set is unknown.
    """
    training = training or GuardTraining()
    config = guard or GuardConfig(features="projector", joint_head=False)
    folder = Path(out)
    _check(model, config, folder)
    read = read_labelled_images(images, crosswalk=crosswalk, split=split)
    if len({each.label for each in read.images}) < 2:
        raise DataError(f"{images}: every image is labelled {read.images[0].label}; expected at least two labels")
    learned, held = split_by_digest(read.images, training.held_out, seed=training.seed)
    if not held:
        raise DataError(f"{images}: no label has two images, so that none can be held out; give more images")
    torch.manual_seed(training.seed)
    attach_guard(model, config, processor=processor)
    try:
        found = _features(model, processor, [*learned, *held], training.batch_size, progress)
        learned, held = ([each for each in part if each.image.digest in found.vectors] for part in (learned, held))
        inputs, labels = _tensors(found.vectors, learned)
        loss = train_head(_head(model), inputs, LabelLoss(labels, len(HEAD_ORDER)), training, progress)
        vectors, labels = _tensors(found.vectors, held)
        with torch.no_grad():
            logits = _head(model)(vectors).float().cpu()
        report, why_not = _calibrated(model, logits, labels, held, training)
        result = TrainedGuard(
            folder,
            accuracy=float((logits.argmax(1) == labels).float().mean()),
            chance=_chance(learned, held),
            learned=_counts(learned),
            held_out=_counts(held),
            skipped=(*read.skipped, *found.skipped),
            loss=loss,
            report=report,
            uncalibrated=why_not,
        )
        _save(model, result)
    except BaseException:
        detach_guard(model)
        raise
    return result


def _check(model: Any, config: GuardConfig, folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise TuningError(f"{folder} is there already; choose a new folder")
    if find_observer(model) is not None:
        raise TuningError("the model has a guard already; take it out with detach_guard(model)")
    if config.joint_head or config.meta_token or config.pooling == "attention" or not config.image_head:
        raise GuardError(
            "a guard that learns from pictures alone has an image head, no joint head, no meta token and the pooling "
            "mean or last; use tune for others"
        )


def _head(model: Any) -> nn.Module:
    head = guard_of(model).image_head
    assert head is not None  # `_check` asks for one
    return head


@dataclass(frozen=True, slots=True)
class _Features:
    """The image head's input by picture (width,), and pictures that the model could not take."""

    vectors: dict[str, Tensor]
    skipped: list[SkippedSample]


def _features(
    model: Any, processor: Any, images: Sequence[LabelledImage], batch_size: int, progress: GuardProgress | None
) -> _Features:
    """What the image head reads of each picture, by its digest; one pass of the frozen model each."""
    seen: list[Tensor] = []
    hook = _head(model).register_forward_pre_hook(lambda _, args: seen.append(args[0].detach()))
    found = _Features({}, [])
    done = 0
    try:
        for start in range(0, len(images), batch_size):
            batch = images[start : start + batch_size]
            opened = [(each, picture) for each in batch if (picture := _opened(each, found.skipped)) is not None]
            for group in ([opened], [[one] for one in opened]):  # one by one where the batch is refused
                try:
                    for part in group:
                        if part:
                            seen.clear()
                            classify_batch(model, [picture for _, picture in part], processor=processor)
                            rows = torch.cat(seen).float().cpu()  # (pictures, width)
                            found.vectors.update(
                                {each.image.digest: row for (each, _), row in zip(part, rows, strict=True)}
                            )
                    break
                except ValueError as error:  # how processors refuse a picture's shape
                    if group[0] is not opened:
                        first = part[0][0]
                        found.skipped.append(
                            SkippedSample(first.image.key, "image", f"the processor does not take it: {error}")
                        )
            done += len(batch)
            if progress is not None:
                progress("features", done, len(images))
    finally:
        hook.remove()
    return found


def _opened(each: LabelledImage, skipped: list[SkippedSample]) -> Image.Image | None:
    try:
        return open_image(each.image)
    except ImageError as error:
        skipped.append(SkippedSample(each.image.key, "image", str(error)))
        return None


def _tensors(vectors: dict[str, Tensor], images: Sequence[LabelledImage]) -> tuple[Tensor, Tensor]:
    """Features (pictures, width) and labels (pictures,)."""
    if not images:
        raise DataError("none of the images could be read by the model")
    return (
        torch.stack([vectors[each.image.digest] for each in images]),
        torch.tensor([each.label.index for each in images]),
    )


class LabelLoss:
    """Cross-entropy in which each label that occurs counts the same.

    Args:
        labels: The right label of each row (rows,).
        count: How many labels there are.
    """

    def __init__(self, labels: Tensor, count: int) -> None:
        counts = torch.bincount(labels, minlength=count).float()
        even = len(labels) / (counts.clamp(min=1) * (counts > 0).sum())
        self._weights = torch.where(counts > 0, even, torch.zeros(()))  # (labels,)
        self._labels = labels

    def __call__(self, logits: Tensor, rows: Sequence[int]) -> Tensor:
        """Loss of some rows, of logits (rows, labels)."""
        return F.cross_entropy(logits, self._labels[rows], weight=self._weights)


def train_head(
    head: Any,
    vectors: Tensor,
    loss_of: Callable[[Tensor, Sequence[int]], Tensor],
    training: GuardTraining,
    progress: GuardProgress | None,
) -> float:
    """Train a head on standardised features, and put the standardisation into its first layer.

    Args:
        head: The head.
        vectors: Features (rows, width).
        loss_of: Gives the loss of the head's logits for some rows, by their numbers.
        training: The settings.
        progress: Called with the progress.

    Returns:
        Mean loss of the last pass.

    Raises:
        TuningError: The loss is not finite.
    """
    trained = copy.deepcopy(head).float().cpu().train()
    mean, spread = vectors.mean(0), vectors.std(0, correction=0).clamp(min=1e-6)  # (width,)
    inputs = (vectors - mean) / spread  # (pictures, width)
    per_epoch = math.ceil(len(inputs) / training.batch_size)
    steps = training.max_steps or max(1, round(training.num_train_epochs * per_epoch))
    optimizer = torch.optim.AdamW(trained.parameters(), lr=training.learning_rate, weight_decay=training.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    generator = torch.Generator().manual_seed(training.seed)
    order: list[int] = []
    losses: list[float] = []
    for step in range(steps):
        if not order:
            order = torch.randperm(len(inputs), generator=generator).tolist()
        rows, order = order[: training.batch_size], order[training.batch_size :]
        loss: Any = loss_of(trained(inputs[rows]), rows)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(float(loss.detach()))
        if progress is not None:
            progress("training", step + 1, steps)
    if not math.isfinite(losses[-1]):
        raise TuningError("the loss is not finite; lower the learning rate")
    _fold(trained.mlp[0], mean, spread)
    head.load_state_dict(trained.state_dict())
    head.eval()
    return sum(losses[-per_epoch:]) / len(losses[-per_epoch:])


@torch.no_grad()
def _fold(first: nn.Linear, mean: Tensor, spread: Tensor) -> None:
    """Make a layer that reads standardised features read them as they are."""
    first.weight.div_(spread)
    first.bias.sub_(first.weight @ mean)


def _calibrated(
    model: Any, logits: Tensor, labels: Tensor, held: Sequence[LabelledImage], training: GuardTraining
) -> tuple[CalibrationReport | None, str]:
    """Calibrate on the held-out pictures; why not, where they are too few."""
    try:
        calibration, report = fit_calibration(
            image_logits=logits.numpy(),
            image_labels=labels.numpy(),
            flag_rate=training.flag_rate,
            image_clusters=[each.image.digest for each in held],
            seed=training.seed,
        )
    except (DataError, GuardError) as error:
        set_calibration(model, Calibration())
        return None, str(error)
    set_calibration(model, calibration)
    return report, ""


def _chance(learned: Sequence[LabelledImage], held: Sequence[LabelledImage]) -> float:
    counts = _counts(learned)
    common = max(counts, key=lambda name: counts[name])
    return sum(each.label == common for each in held) / len(held)


def _counts(images: Sequence[LabelledImage]) -> dict[str, int]:
    names = [each.label for each in images]
    return {label.value: names.count(label) for label in GuardLabel if label in names}


def _save(model: Any, result: TrainedGuard) -> None:
    save_guard(model, result.folder)
    described = {key: value for key, value in result.to_json().items() if key != "folder"}
    try:
        (result.folder / REPORT_FILE).write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")
        if result.report is not None:
            text = f"# Calibration of a guard\n\n{result.report.to_markdown()}"
            (result.folder / "calibration.md").write_text(text, encoding="utf-8")
    except OSError as error:
        raise TuningError(f"cannot write to {result.folder}: {error.strerror or error}; make room") from error
