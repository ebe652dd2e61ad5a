"""Which samples are learned from, and in what order: balanced safety data, and general data among them."""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from itertools import cycle, islice
from typing import TypeVar

from holisafe.errors import TuningError
from holisafe.records import Behaviour, Sample
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
    twin_share: float | None = None,
    safe_weight: float = 1.0,
) -> list[Sample]:
    """Draw what a run learns from, in the order in which it does.

    The combinations that the data hold get the same number of samples, and so do, within each, the categories it
    holds; numbers that do not divide differ by one. Within a category all samples are used equally often: a small one
    is repeated whole before any of its samples comes once more. Depends on the seed and the ids, not on the order of
    `samples`.

    Twins come together: of the harmless samples, those come first whose unsafe twin was drawn, and the rest is drawn by
    categories. Else a question that is asked of a safe and of an unsafe image would mostly be learned with its refusal,
    since unsafe combinations are smaller and so drawn more often, and the model would refuse it with every image.
    Twins are what is hardest to learn; with a `twin_share`, that share of the safety data are whole pairs, all pairs
    used equally often, and the rest is balanced as above over the samples that have no twin.

    Args:
        samples: Safety data.
        count: How many to draw, general data included.
        seed: Seed of the draw and of the order.
        general: General instruction data, which need no refusal; all are used equally often.
        general_share: Share of `count` that comes from `general`, in [0, 1) (the paper: up to 15K beside 10K
            samples).
        keep_twins: Whether twins come together.
        twin_share: Share of the safety data that are pairs of twins, in (0, 1); None: as many as the balance brings.
        safe_weight: How many samples of SSS come for one of each unsafe combination, outside such pairs; above 0.
            There are many ways to ask for what is harmless, and a model that saw few of them refuses the others.

    Raises:
        TuningError: The data are empty or of one combination, a name is outside the taxonomy, ids are not unique, the
            count is too small to hold every combination and category, or a share or weight does not fit the data.
    """
    _check_combinations(samples)
    if not safe_weight > 0:
        raise TuningError(f"safe_weight: expected a number above 0, found {safe_weight}")
    _check_general(general, general_share)
    check_ids((*samples, *general))
    rng = random.Random(seed)
    from_general = round(count * general_share)
    chosen: list[Sample] = []
    if twin_share is not None:
        chosen, samples = _pairs(samples, count - from_general, twin_share, rng)
    chosen += _balanced(samples, count - from_general - len(chosen), keep_twins, safe_weight, rng)
    chosen += _draw(general, from_general, rng)
    rng.shuffle(chosen)
    return chosen


def draw_equally(
    samples: Sequence[Sample], count: int, *, seed: int = 0, general: Sequence[Sample] = (), general_share: float = 0.0
) -> list[Sample]:
    """Draw what a run learns from, each sample equally often, shuffled; combinations play no part.

    Depends on the seed and the ids, not on the order of `samples`.

    Args:
        samples: Safety data.
        count: How many to draw, general data included.
        seed: Seed of the draw and of the order.
        general: General instruction data, which need no refusal; all are used equally often.
        general_share: Share of `count` that comes from `general`, in [0, 1).

    Raises:
        TuningError: The data are empty, ids are not unique, or a share does not fit the data.
    """
    if not samples:
        raise TuningError("the safety data are empty; expected one sample or more")
    _check_general(general, general_share)
    check_ids((*samples, *general))
    rng = random.Random(seed)
    from_general = round(count * general_share)
    chosen = _draw(samples, count - from_general, rng) + _draw(general, from_general, rng)
    rng.shuffle(chosen)
    return chosen


def _balanced(
    samples: Sequence[Sample], count: int, keep_twins: bool, safe_weight: float, rng: random.Random
) -> list[Sample]:
    """Draw equally many of each combination, of SSS `safe_weight` times as many, and within each of each category.

    Harmless twins come first if they are kept.

    Raises:
        TuningError: The count is too small to hold every combination and category.
    """
    groups = grouped(samples)
    weights = {name: safe_weight if Combination(name).is_safe else 1.0 for name in groups}
    fewest = math.ceil(max(len(groups[name]) * sum(weights.values()) / weight for name, weight in weights.items()))
    if count < fewest:
        raise TuningError(
            f"the steps draw {count}, and at least {fewest} samples of safety data are needed to learn each "
            "combination and category; raise max_steps, batch_size or gradient_accumulation_steps"
        )
    chosen: list[Sample] = []
    for combination, quota in _quotas(sorted(groups), count, safe_weight, rng):
        categories = groups[combination]
        left = quota
        if keep_twins and Combination(combination).is_safe:
            twins = _twins_of(chosen, samples, rng)[: quota - len(categories)]
            chosen += twins
            left -= len(twins)
        for category, number in _shared(sorted(categories), left, rng):
            chosen += _draw(categories[category], number, rng)
    return chosen


def _quotas(combinations: Sequence[str], count: int, safe_weight: float, rng: random.Random) -> list[tuple[str, int]]:
    """How many samples of each combination: equally many, of SSS `safe_weight` times as many; SSS last."""
    unsafe = [name for name in combinations if not Combination(name).is_safe]
    safe = [name for name in combinations if name not in unsafe]
    if not safe or safe_weight == 1:
        quotas = _shared(combinations, count, rng)
        return sorted(quotas, key=lambda each: each[0] in safe)
    of_safe = round(count * safe_weight / (safe_weight + len(unsafe)))
    return [*_shared(unsafe, count - of_safe, rng), (safe[0], of_safe)]


def _pairs(
    samples: Sequence[Sample], count: int, share: float, rng: random.Random
) -> tuple[list[Sample], list[Sample]]:
    """Draw as many samples as the share of `count` has, in pairs: an unsafe one and its harmless twin.

    Returns:
        Those drawn, and the samples that belong to no pair.

    Raises:
        TuningError: The share is outside (0, 1), or there are no pairs, or nothing else.
    """
    if not 0 < share < 1:
        raise TuningError(f"twin_share: expected a number in (0, 1), found {share}")
    harmless = _harmless_twins(samples)
    paired = harmless.keys() | {twin.id for twin in harmless.values()}
    rest = [each for each in samples if each.id not in paired]
    if not harmless or not rest:
        raise TuningError(
            f"twin_share is {share}, but {'not one' if not harmless else 'each'} of the samples is of a pair (an "
            "unsafe sample and a harmless one, which the field twin names); give other data, or no twin_share"
        )
    drawn = _draw([each for each in samples if each.id in harmless], round(count * share / 2), rng)
    return [sample for each in drawn for sample in (each, harmless[each.id])], rest


def _twins_of(drawn: Sequence[Sample], samples: Sequence[Sample], rng: random.Random) -> list[Sample]:
    """The harmless twins of drawn samples, as often as these were drawn, shuffled."""
    harmless = _harmless_twins(samples)
    twins = [harmless[each.id] for each in drawn if each.id in harmless]
    rng.shuffle(twins)
    return twins


def _harmless_twins(samples: Sequence[Sample]) -> dict[str, Sample]:
    """By the id of an unsafe sample, its harmless twin; that one of them names the other is enough."""
    by_id = {sample.id: sample for sample in samples}
    named = {sample.twin: sample for sample in samples if sample.twin and sample.is_safe}
    found = {each.id: named.get(each.id) or by_id.get(each.twin or "") for each in samples if not each.is_safe}
    return {name: twin for name, twin in found.items() if twin is not None and twin.is_safe}


def group_by_length(samples: Sequence[Sample], batch_size: int, batches: int, *, seed: int = 0) -> list[Sample]:
    """Split the samples of each optimizer step into batches of like length, so that less is padding.

    A step keeps its samples, and so its gradient: grouping over several steps would make one of short refusals alone
    and another of long answers alone, and shift weight between them. The batches of a step are shuffled.

    Args:
        samples: In the order of `mix`.
        batch_size: Samples of a batch.
        batches: Batches of an optimizer step, over all processes.
        seed: Seed of the order.
    """
    rng = random.Random(seed)
    ordered: list[Sample] = []
    for start in range(0, len(samples), batch_size * batches):
        near = sorted(samples[start : start + batch_size * batches], key=length_of)
        found = [near[i : i + batch_size] for i in range(0, len(near), batch_size)]
        last = found.pop() if len(found[-1]) < batch_size else []  # it would shift the others
        rng.shuffle(found)
        ordered += [sample for each in (*found, last) for sample in each]
    return ordered


def length_of(sample: Sample) -> tuple[int, int]:
    """What orders samples as their tokens would: images, then characters."""
    answer = max(len(text or "") for text in (sample.reference, sample.rejected))
    return len(sample.images), sum(len(turn.text) for turn in sample.turns) + answer


def _check_combinations(samples: Sequence[Sample]) -> None:
    """Refuse data of fewer than two combinations.

    Raises:
        TuningError: There are fewer than two, or a name is outside the taxonomy.
    """
    for sample in samples:
        joint_targets(sample)
        if sample.combination is None:
            raise TuningError(
                f"sample {sample.id}: combination: found none, expected one of {', '.join(Combination)}; give data "
                "without combinations as general data"
            )
    names = sorted({sample.required_combination for sample in samples})
    if not names:
        raise TuningError("the safety data are empty; expected samples of at least two combinations")
    if len(names) == 1:
        raise TuningError(
            f"the safety data hold {names[0]} alone, from which a model would learn to do the same whatever it is "
            "asked; expected at least two combinations"
        )


def _check_general(general: Sequence[Sample], share: float) -> None:
    """Refuse a share that is none, or that the general data do not fit, and general data to be refused.

    Raises:
        TuningError: Such as these.
    """
    if not 0 <= share < 1:
        raise TuningError(f"general_share: expected a number in [0, 1), found {share}")
    if share and not general:
        raise TuningError(f"general_share is {share}, but there are no general data; give some, or a share of 0")
    for sample in general:
        if sample.expected is Behaviour.REFUSE:
            raise TuningError(
                f"general sample {sample.id}: combination: found {sample.combination}, expected SSS or none; general "
                "data need no refusal"
            )


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
        groups[sample.required_combination][sample.category or ""].append(sample)
    return groups


_Name = TypeVar("_Name", bound=Hashable)


def _shared(names: Sequence[_Name], count: int, rng: random.Random) -> list[tuple[_Name, int]]:
    """`count` in equal shares; chance decides which of them are larger by one."""
    richer = set(rng.sample(range(len(names)), count % len(names)))
    return [(name, count // len(names) + (at in richer)) for at, name in enumerate(names)]


def _draw(samples: Sequence[Sample], count: int, rng: random.Random) -> list[Sample]:
    """`count` samples shuffled, from the beginning again once all have been used."""
    ordered = sorted(samples, key=lambda each: each.id)
    rng.shuffle(ordered)
    return list(islice(cycle(ordered), count))
