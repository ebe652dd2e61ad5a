"""Which samples are learned from, and in what order: balanced safety data, and general data among them."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from itertools import cycle, islice
from typing import TypeVar

from holisafe.errors import TuningError
from holisafe.records import Sample
from holisafe.taxonomy import Combination
from holisafe.tuning._targets import joint_targets


def mix(
    samples: Sequence[Sample],
    count: int,
    *,
    seed: int = 0,
    general: Sequence[Sample] = (),
    general_share: float = 0.0,
    keep_twins: bool = True,
) -> list[Sample]:
    """Draw what a run learns from, in the order in which it does.

    The combinations that the data hold get the same number of samples, and so do, within each, the categories it
    holds; numbers that do not divide differ by one. Within a category all samples are used equally often: a small one
    is repeated whole before any of its samples comes once more. Depends on the seed and the ids, not on the order of
    `samples`.

    Twins come together: of the harmless samples, those come first whose unsafe twin was drawn, and the rest is drawn by
    categories. Else a question that is asked of a safe and of an unsafe image would mostly be learned with its refusal,
    since unsafe combinations are smaller and so drawn more often, and the model would refuse it with every image.

    Args:
        samples: Safety data.
        count: How many to draw, general data included.
        seed: Seed of the draw and of the order.
        general: General instruction data, which need no refusal; all are used equally often.
        general_share: Share of `count` that comes from `general`, in [0, 1) (the paper: up to 15K beside 10K
            samples).
        keep_twins: Whether twins come together.

    Raises:
        TuningError: The data are empty or of one combination, a name is outside the taxonomy, ids are not unique, the
            count is too small to hold every combination and category, or the share does not fit `general`.
    """
    names = _combinations(samples)
    if not 0 <= general_share < 1:
        raise TuningError(f"general_share: expected a number in [0, 1), found {general_share}")
    if general_share and not general:
        raise TuningError(
            f"general_share is {general_share}, but there are no general data; give some, or a share of 0"
        )
    for sample in general:
        if not sample.combination.is_safe:
            raise TuningError(
                f"general sample {sample.id}: combination: found {sample.combination}, expected SSS; general data need "
                "no refusal"
            )
    check_ids((*samples, *general))
    from_general = round(count * general_share)
    groups = grouped(samples)
    fewest = len(names) * max(len(categories) for categories in groups.values())
    if count - from_general < fewest:
        raise TuningError(
            f"count: expected at least {fewest} samples of safety data, so that each combination and category is "
            f"learned, found {count - from_general}; raise steps, batch or accumulation"
        )
    rng = random.Random(seed)
    chosen: list[Sample] = []
    quotas = _shared(sorted(groups), count - from_general, rng)
    for combination, quota in sorted(quotas, key=lambda each: Combination(each[0]).is_safe):  # SSS last
        categories = groups[combination]
        left = quota
        if keep_twins and Combination(combination).is_safe:
            twins = _twins_of(chosen, samples, rng)[: quota - len(categories)]
            chosen += twins
            left -= len(twins)
        for category, number in _shared(sorted(categories), left, rng):
            chosen += _draw(categories[category], number, rng)
    chosen += _draw(general, from_general, rng)
    rng.shuffle(chosen)
    return chosen


def _twins_of(drawn: Sequence[Sample], samples: Sequence[Sample], rng: random.Random) -> list[Sample]:
    """The harmless twins of drawn samples, as often as these were drawn, in an order of chance."""
    by_id = {sample.id: sample for sample in samples}
    twin_of = {sample.twin: sample for sample in samples if sample.twin and sample.combination.is_safe}
    found = [twin_of.get(sample.id) or by_id.get(sample.twin or "") for sample in drawn]
    twins = [each for each in found if each is not None and each.combination.is_safe]
    rng.shuffle(twins)
    return twins


def group_by_length(samples: Sequence[Sample], batch: int, *, seed: int = 0) -> list[Sample]:
    """Bring samples of like length into the same batch, so that little of it is padding.

    Among each `GROUPED_BATCHES` batches' samples, which chance put together, those of a batch are next to each other in
    length; the batches come in an order of chance.

    Args:
        samples: In the order of `mix`.
        batch: Samples of a batch.
        seed: Seed of the order.
    """
    rng = random.Random(seed)
    ordered: list[Sample] = []
    for start in range(0, len(samples), batch * GROUPED_BATCHES):
        near = sorted(samples[start : start + batch * GROUPED_BATCHES], key=_length)
        batches = [near[i : i + batch] for i in range(0, len(near), batch)]
        last = batches.pop() if len(batches[-1]) < batch else []  # it would shift the others
        rng.shuffle(batches)
        ordered += [sample for each in (*batches, last) for sample in each]
    return ordered


GROUPED_BATCHES = 8


def _length(sample: Sample) -> tuple[int, int]:
    """What orders samples as their tokens would: images, then characters."""
    return len(sample.images), len(sample.query) + len(sample.reference or "")


def _combinations(samples: Sequence[Sample]) -> list[str]:
    """The combinations of the data.

    Raises:
        TuningError: There are fewer than two, or a name is outside the taxonomy.
    """
    for sample in samples:
        joint_targets(sample)
    names = sorted({sample.combination for sample in samples})
    if not names:
        raise TuningError("the safety data are empty; expected samples of at least two combinations")
    if len(names) == 1:
        raise TuningError(
            f"the safety data hold {names[0]} alone, from which a model would learn to do the same whatever it is "
            "asked; expected at least two combinations"
        )
    return [str(name) for name in names]


def check_ids(samples: Iterable[Sample]) -> None:
    """Refuse an id that stands for two samples.

    Raises:
        TuningError: There is one.
    """
    seen: set[str] = set()
    for sample in samples:
        if sample.id in seen:
            raise TuningError(f"sample {sample.id}: its id stands for two samples; expected unique ids")
        seen.add(sample.id)


def grouped(samples: Sequence[Sample]) -> dict[str, dict[str, list[Sample]]]:
    """Samples by combination and category, in the order of their ids; those without a category are one more."""
    groups: dict[str, dict[str, list[Sample]]] = defaultdict(lambda: defaultdict(list))
    for sample in sorted(samples, key=lambda each: each.id):
        groups[sample.combination][sample.category or ""].append(sample)
    return groups


_Name = TypeVar("_Name", bound=Hashable)


def _shared(names: Sequence[_Name], count: int, rng: random.Random) -> list[tuple[_Name, int]]:
    """`count` in equal shares; chance decides which of them are larger by one."""
    richer = set(rng.sample(range(len(names)), count % len(names)))
    return [(name, count // len(names) + (at in richer)) for at, name in enumerate(names)]


def _draw(samples: Sequence[Sample], count: int, rng: random.Random) -> list[Sample]:
    """`count` samples in an order of chance, from the beginning again once all have been used."""
    ordered = sorted(samples, key=lambda each: each.id)
    rng.shuffle(ordered)
    return list(islice(cycle(ordered), count))
