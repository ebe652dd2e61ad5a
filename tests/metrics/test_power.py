"""The power table says how many samples see a difference; simulated comparisons see it as often."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from holisafe.errors import DataError
from holisafe.metrics import Design, power_table, smallest_effect
from holisafe.metrics._intervals import difference_intervals

Hits = npt.NDArray[np.bool_]


def _correlated(
    generator: np.random.Generator, clusters: int, size: int, rates: tuple[float, float], correlation: float, icc: float
) -> tuple[Hits, Hits]:
    """Hits of two runs, (clusters, size) each, with that correlation on a sample and that ICC of a run's hits."""
    first, second = rates
    both = first * second + correlation * np.sqrt(first * (1 - first) * second * (1 - second))
    edges = np.cumsum([both, first - both, second - both])
    shared = np.searchsorted(edges, generator.random((clusters, 1)), side="right")
    own = np.searchsorted(edges, generator.random((clusters, size)), side="right")
    kinds = np.where(generator.random((clusters, size)) < np.sqrt(icc), shared, own)
    return kinds <= 1, (kinds == 0) | (kinds == 2)


@pytest.mark.parametrize(
    ("rate", "effect", "size", "icc"), [(0.05, 0.05, 1, 0.0), (0.3, 0.1, 1, 0.0), (0.3, 0.1, 3, 0.2)]
)
def test_the_paired_samples_that_it_names_see_the_difference_as_often_as_it_says(
    rate: float, effect: float, size: int, icc: float
) -> None:
    design = Design(rate, correlation=0.3, cluster_size=size, icc=icc)
    clusters = -(-power_table(design, 1, [effect])[0].paired // size)
    generator = np.random.default_rng(3)
    drawn = [_correlated(generator, clusters, size, (rate, rate + effect), 0.3, icc) for _ in range(400)]
    gains = np.stack([(second & ~first).sum(axis=1) for first, second in drawn], axis=1)[..., None]
    losses = np.stack([(first & ~second).sum(axis=1) for first, second in drawn], axis=1)[..., None]
    _, p = difference_intervals(gains, losses, np.full_like(gains, size))
    assert np.mean(p < 0.05) == pytest.approx(0.8, abs=0.07)


def test_the_unpaired_samples_that_it_names_see_the_difference_as_often_as_it_says() -> None:
    row = power_table(Design(0.05), 1, [0.03])[0]
    generator = np.random.default_rng(4)
    first, second = (generator.binomial(row.unpaired, rate, 20_000) / row.unpaired for rate in (0.05, 0.08))
    mean = (first + second) / 2
    z = (second - first) / np.sqrt(2 * mean * (1 - mean) / row.unpaired)
    assert np.mean(np.abs(z) > 1.96) == pytest.approx(0.8, abs=0.015)
    assert row.unpaired == 1059  # as tables of the formula for two proportions give it


def test_power_at_the_samples_it_names_is_the_power_asked_for() -> None:
    row = power_table(Design(0.2), 1, [0.05])[0]
    for paired, needed in ((True, row.paired), (False, row.unpaired)):
        there = power_table(Design(0.2), needed, [0.05])[0]
        assert (there.paired_power if paired else there.unpaired_power) == pytest.approx(0.8, abs=0.002)
        smallest = smallest_effect(Design(0.2), needed, paired=paired)
        assert smallest == pytest.approx(0.05, abs=0.0005)


def test_clusters_cost_what_the_design_effect_says() -> None:
    plain, clustered = (power_table(Design(0.1, cluster_size=m, icc=0.1), 500, [0.05])[0] for m in (1, 3))
    assert clustered.paired == pytest.approx(1.2 * plain.paired, abs=2)
    assert clustered.paired_power < plain.paired_power


def test_a_higher_correlation_needs_fewer_paired_samples_and_as_many_unpaired() -> None:
    low, high = (power_table(Design(0.2, correlation=c), 500, [0.05])[0] for c in (0.0, 0.8))
    assert high.paired < low.paired and high.unpaired == low.unpaired


def test_with_few_samples_no_difference_may_be_seen() -> None:
    assert smallest_effect(Design(0.5), 3, paired=False) is None


@pytest.mark.parametrize(
    ("change", "words"),
    [({"rate": 0.0}, "rate is 0.0"), ({"icc": 1.5}, "icc is 1.5"), ({"cluster_size": 0.5}, "cluster size is 0.5"),
     ({"power": 0.01}, "power is 0.01"), ({"correlation": 1.0}, "correlation is 1.0"), ({"rate": float("nan")}, "nan")],
)  # fmt: skip
def test_what_means_nothing_is_refused_by_name(change: dict[str, float], words: str) -> None:
    with pytest.raises(DataError, match=words):
        Design(**{"rate": 0.1, **change})


def test_a_difference_that_the_rate_does_not_allow_is_refused() -> None:
    with pytest.raises(DataError, match="smaller --effect"):
        power_table(Design(0.9), 100, [0.2])


@pytest.mark.parametrize(
    ("change", "effect"),
    [
        ({}, 1e-300),
        ({}, 1e-12),
        ({"cluster_size": 1e308, "icc": 1.0}, 0.1),
        ({"alpha": 1e-320}, 0.1),
    ],
)
def test_what_no_number_of_samples_shows_is_refused(change: dict[str, float], effect: float) -> None:
    with pytest.raises(DataError, match="takes more than"):
        power_table(Design(0.5, **change), 100, [effect])


@pytest.mark.parametrize("samples", [0, -1, 10**16, 10**400])
def test_a_number_of_samples_that_is_none_is_refused(samples: int) -> None:
    with pytest.raises(DataError, match="expected from 1 to"):
        power_table(Design(0.5), samples)
