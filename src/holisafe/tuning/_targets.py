"""What a guard's heads are to learn of a sample, and which samples can be learned from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from holisafe.errors import TuningError
from holisafe.guard import GuardConfig
from holisafe.records import CATEGORY_TAG, Sample
from holisafe.taxonomy import Category, Combination, GuardLabel, parse_label

IGNORED = -100
"""Target of what is not learned, as in transformers."""


def check_samples(samples: Iterable[Sample], guard: GuardConfig | None = None) -> None:
    """Refuse samples that cannot be learned from, before any time is spent on training.

    Args:
        samples: Safety data in training form.
        guard: The guard that is to learn; with an image head, every image needs a label. None where there is none.

    Raises:
        TuningError: A sample has no reference, a name is outside the taxonomy, or image labels are
            missing where the guard needs them; the message names the sample and the field.
    """
    needs_labels = guard is not None and guard.image_head
    for sample in samples:
        check_conversation(sample)
        joint_targets(sample)
        image_targets(sample, HEAD if guard is None else guard.labels)
        if needs_labels and sample.images and not sample.image_labels:
            raise TuningError(
                f"sample {sample.id}: image_labels: found none, and the guard's image head learns one per image; give "
                'them, or tune with method="sft"'
            )


def check_conversation(sample: Sample) -> None:
    """Refuse a sample without an answer to learn.

    Raises:
        TuningError: It lacks one.
    """
    if not (sample.reference or "").strip():
        raise TuningError(
            f"sample {sample.id}: reference: found none; the model learns to give it, so tune on data that have "
            "reference answers"
        )


def image_targets(sample: Sample, labels: Sequence[str]) -> list[int]:
    """Index of each image's label among the guard's `labels`; `IGNORED` for images of a sample without any.

    Raises:
        TuningError: A label is not among them, or there are not as many as images.
    """
    if not sample.image_labels:
        return [IGNORED] * len(sample.images)
    if len(sample.image_labels) != len(sample.images):
        raise TuningError(
            f"sample {sample.id}: image_labels: found {len(sample.image_labels)} for {len(sample.images)} images, "
            "expected one each"
        )
    known = [parse_label(label) for label in labels]
    for label in sample.image_labels:
        if label not in known:
            raise TuningError(
                f"sample {sample.id}: image_labels: found {str(label)!r}, expected one of {', '.join(known)}"
            )
    return [known.index(label) for label in sample.image_labels]


def joint_targets(sample: Sample) -> tuple[int, int]:
    """Index of the combination and of the category; `IGNORED` where there is none, as is a safe sample's category.

    Raises:
        TuningError: The category is outside the taxonomy.
    """
    category = sample.tags.get(CATEGORY_TAG)
    if category is not None and category not in _CATEGORIES:
        raise TuningError(f"sample {sample.id}: category: found {category!r}, expected one of {', '.join(_CATEGORIES)}")
    if sample.combination is None:  # general data, for example
        return IGNORED, IGNORED
    combination = _COMBINATIONS.index(sample.combination)
    if _COMBINATIONS[combination].is_safe or category is None:
        return combination, IGNORED
    return combination, _CATEGORIES.index(Category(category))


HEAD: tuple[str, ...] = tuple(label.value for label in GuardLabel)
"""The labels of the published image head."""

_COMBINATIONS = tuple(Combination)
_CATEGORIES = tuple(Category)
