"""Clusters of samples with several images: those that share any image, or are twins, are one cluster."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from holisafe.records import Sample


def connected(samples: Iterable[Sample]) -> list[Sample]:
    """The samples, each with the cluster it belongs to: named after its first image in the order of names.

    Samples for which the reader names one cluster stay together; those without images, twin and cluster are alone.
    """
    found = list(samples)
    parents: dict[str, str] = {}

    def top(name: str) -> str:
        parents.setdefault(name, name)
        while parents[name] != name:
            parents[name] = parents[parents[name]]
            name = parents[name]
        return name

    def join(one: str, other: str) -> None:
        low, high = sorted((top(one), top(other)))
        parents[high] = low

    for sample in found:
        own = f"sample {sample.id}"
        top(own)
        for image in sample.images:
            join(own, image.identity)
        if sample.twin is not None:
            join(own, f"sample {sample.twin}")
        if sample.cluster:
            join(own, f"together {sample.cluster}")
    return [replace(sample, cluster=top(f"sample {sample.id}")) for sample in found]
