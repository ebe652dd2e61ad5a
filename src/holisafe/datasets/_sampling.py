"""A smaller set that still shows all five combinations in their shares."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

from holisafe._checks import check_each
from holisafe.errors import DataError
from holisafe.records import Sample


def stratified(samples: Sequence[Sample], limit: int, seed: int = 0) -> list[Sample]:
    """Draw `limit` samples: each combination keeps its share (largest remainder), and none becomes empty.

    Samples without a combination count as one of what is right with them: to answer, to refuse, or not given.

    Twin pairs are drawn whole: one is split only where the shares cannot be met otherwise. Which samples are drawn
    depends on the seed and on the ids, not on the order of `samples`; their order is kept.

    Args:
        samples: What to draw from.
        limit: How many to draw; all are returned when there are no more than that.
        seed: Seed of the draw.

    Raises:
        DataError: `limit` is smaller than the number of combinations present.
    """
    check_each(samples, Sample, "samples")
    counts = Counter(map(_stratum, samples))
    if limit < max(len(counts), 1):
        names = ", ".join(sorted(counts))
        raise DataError(
            f"a limit of {limit} would leave combinations empty: the data hold {len(counts)} ({names or 'none'}); "
            f"use at least {max(len(counts), 1)}"
        )
    if limit >= len(samples):
        return list(samples)
    quotas = _quotas(counts, limit)
    units = _units(samples)
    random.Random(seed).shuffle(units)
    chosen: set[str] = set()
    for unit in units:
        _take_if_it_fits(unit, quotas, chosen)
    for unit in sorted(units, key=len):  # shares not met by whole units: single samples, then halves of pairs
        for sample in unit:
            if sample.id not in chosen:
                _take_if_it_fits([sample], quotas, chosen)
    return [sample for sample in samples if sample.id in chosen]


def _stratum(sample: Sample) -> str:
    """The combination; where the data name none, what is right."""
    return sample.combination or sample.expected or "not given"


def _quotas(counts: Counter[str], limit: int) -> Counter[str]:
    """How many samples of each combination: largest remainder, and at least one."""
    total = counts.total()
    quotas = Counter({combination: limit * count // total for combination, count in counts.items()})
    by_remainder = sorted(counts, key=lambda combination: (-(limit * counts[combination] % total), combination))
    quotas.update(by_remainder[: limit - quotas.total()])
    for combination in sorted(counts):
        if quotas[combination] == 0:
            richest = max(sorted(quotas), key=lambda other: quotas[other])
            quotas[richest] -= 1
            quotas[combination] = 1
    return quotas


def _units(samples: Sequence[Sample]) -> list[list[Sample]]:
    """Whole twin pairs and single samples, in the order of their ids."""
    by_id = {sample.id: sample for sample in samples}
    partner: dict[str, str] = {}  # that one member names the other is enough
    for name in sorted(by_id):
        twin = by_id[name].twin
        if twin in by_id and twin != name and name not in partner and twin not in partner:
            partner[name], partner[twin] = twin, name
    units: list[list[Sample]] = []
    for name in sorted(by_id):
        if name not in partner:
            units.append([by_id[name]])
        elif name < partner[name]:
            units.append([by_id[name], by_id[partner[name]]])
    return units


def _take_if_it_fits(unit: Sequence[Sample], quotas: Counter[str], chosen: set[str]) -> None:
    need = Counter(map(_stratum, unit))
    if all(quotas[combination] >= count for combination, count in need.items()):
        quotas.subtract(need)
        chosen.update(sample.id for sample in unit)
