"""Which samples stand behind which rate: one column per combination, per topic within it, and one for mASR pooled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from holisafe.metrics._rates import Sums, cluster_indices, is_hit, sum_by_cluster
from holisafe.records import Outcome, Sample
from holisafe.taxonomy import Category, Combination, Subcategory

Column: TypeAlias = tuple[Combination | None, Category | Subcategory | None]

POOLED: Column = (None, None)
"""All samples of the four unsafe combinations together."""


def sum_columns(samples: Sequence[Sample], outcomes: Sequence[Outcome]) -> tuple[list[Column], Sums]:
    """Every column that has samples, and its hits and totals within each image cluster.

    Returns:
        The columns, and the sums (clusters, columns) in their order.
    """
    places: dict[Column, int] = {}
    entries: list[tuple[int, int]] = []  # position of the sample, place of the column
    for position, sample in enumerate(samples):
        for column in _columns_of(sample):
            entries.append((position, places.setdefault(column, len(places))))
    table = np.array(entries, dtype=np.int64).reshape(-1, 2)
    hits = np.array([is_hit(s.required_combination, o) for s, o in zip(samples, outcomes, strict=True)], dtype=bool)
    clusters = cluster_indices(samples)
    sums = sum_by_cluster(clusters[table[:, 0]], table[:, 1], hits[table[:, 0]], len(places))
    return list(places), sums


def _columns_of(sample: Sample) -> list[Column]:
    columns: list[Column] = [(sample.combination, None)]
    if not sample.is_safe:
        columns.append(POOLED)
    columns += [(sample.combination, topic) for topic in (sample.category, sample.subcategory) if topic is not None]
    return columns
