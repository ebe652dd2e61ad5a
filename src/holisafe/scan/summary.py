"""What a scan found: counts, shares with intervals, images near the threshold, and images to look at."""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from holisafe.metrics import Figure, share_figure
from holisafe.scan.folder import ScanFolder
from holisafe.scan.kept import check_part, readable

MOST_FOR_INTERVALS = 20_000_000
"""Images beyond which shares have no interval: it would be narrower than what is printed."""

FLAGGED, NO_VERDICT = "flagged", "no verdict"
_COLUMNS = ["image", "digest", "label", "unsafe", "threshold", "flagged", "error"]


@dataclass(frozen=True, slots=True)
class Shown:
    """One image of a summary.

    Attributes:
        image: Where it is.
        digest: SHA-256 of its encoded bytes, in hex.
        label: Its label.
        unsafe: Probability that it is unsafe, in [0, 1].
        threshold: Probability at and above which it is flagged.
    """

    image: str
    digest: str
    label: str
    unsafe: float
    threshold: float

    def to_json(self) -> dict[str, Any]:
        """JSON values: the fields, and flagged."""
        return {
            "image": self.image,
            "digest": self.digest,
            "label": self.label,
            "unsafe": self.unsafe,
            "threshold": self.threshold,
            "flagged": self.unsafe >= self.threshold,
        }


@dataclass(frozen=True)
class ScanSummary:
    """What a scan found.

    Attributes:
        scan: The scan.
        images: Rows.
        distinct: Images with different bytes; None of more than 20 million rows.
        labels: Images by label.
        flagged_labels: Flagged images by label.
        flagged: Flagged images.
        without_verdict: Images that have none.
        errors: The most frequent reasons, and how many images have each.
        shares: Share of all images, by label, and of those flagged and without a verdict; images with the same bytes
            are one cluster of the interval. Empty beyond 20 million rows.
        near: Images whose probability is nearest to the threshold, nearest first.
        samples: Some images of each label, drawn by their digest, flagged ones first.
        by_image: Every error as (image, reason), the first 1,000.
    """

    scan: ScanFolder
    images: int
    distinct: int | None
    labels: Mapping[str, int]
    flagged_labels: Mapping[str, int]
    flagged: int
    without_verdict: int
    errors: Sequence[tuple[str, int]]
    shares: Mapping[str, Figure]
    near: Sequence[Shown]
    samples: Mapping[str, Sequence[Shown]]
    by_image: Sequence[tuple[str, str]]

    def to_json(self) -> dict[str, Any]:
        """The documented object (docs/scan.md)."""
        return {
            "folder": str(self.scan.folder),
            "model": self.scan.settings.get("model"),
            "guard": self.scan.settings.get("guard"),
            "complete": not self.scan.missing,
            "missing_shards": list(self.scan.missing),
            "images": self.images,
            "distinct_images": self.distinct,
            "flagged": self.flagged,
            "without_verdict": self.without_verdict,
            "labels": dict(self.labels),
            "flagged_labels": dict(self.flagged_labels),
            "shares": {name: _figure(figure) for name, figure in self.shares.items()},
            "errors": [{"error": error, "images": count} for error, count in self.errors],
            "near_threshold": [each.to_json() for each in self.near],
            "samples": {label: [each.to_json() for each in shown] for label, shown in self.samples.items()},
            "without_verdict_first": [{"image": image, "error": error} for image, error in self.by_image],
        }


def summarise_scan(scan: ScanFolder, *, near: int = 48, each: int = 12) -> ScanSummary:
    """Count what a scan found, in one pass over its parts.

    Args:
        scan: The scan.
        near: Images near the threshold to list.
        each: Images to list of each label.

    Raises:
        RunError: A part is damaged, or not as it was written.
    """
    counts = _Counts(near, each)
    for part in scan.parts:
        check_part(part, _COLUMNS)
        with readable(part), pq.ParquetFile(part) as file:
            for batch in file.iter_batches(columns=_COLUMNS):
                counts.add(pa.Table.from_batches([batch]))
    return counts.summary(scan)


@dataclass
class _Counts:
    near_most: int
    each: int
    images: int = 0
    flagged: int = 0
    labels: Counter[str] = field(default_factory=Counter)
    flagged_labels: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    by_image: list[tuple[str, str]] = field(default_factory=list)
    near: list[tuple[float, str, Shown]] = field(default_factory=list)
    samples: dict[str, list[tuple[int, Shown]]] = field(default_factory=lambda: defaultdict(list))
    outcomes: list[Any] = field(default_factory=list)
    digests: list[Any] = field(default_factory=list)
    names: dict[str, int] = field(default_factory=lambda: {NO_VERDICT: 0})

    def add(self, table: pa.Table) -> None:
        """Count the rows of a table."""
        label = table["label"].to_pylist()
        flagged = table["flagged"].to_pylist()
        self.images += table.num_rows
        self.labels.update(each for each in label if each is not None)
        self.flagged_labels.update(each for each, is_flagged in zip(label, flagged, strict=True) if is_flagged)
        self.flagged += sum(map(bool, flagged))
        self._add_errors(table)
        digests = table["digest"].to_pylist()
        if self.images <= MOST_FOR_INTERVALS:
            codes = [self.names.setdefault(each or NO_VERDICT, len(self.names)) for each in label]
            self.outcomes.append(np.array(codes, dtype=np.int16) * 2 + np.array([bool(each) for each in flagged]))
            # rows whose bytes could not be read are clusters of their own
            keys = [int(each[:16], 16) if each else hash((self.images, at)) for at, each in enumerate(digests)]
            self.digests.append(np.array([key & (2**64 - 1) for key in keys], dtype=np.uint64))
        self._add_shown(table, label, digests)

    def _add_errors(self, table: pa.Table) -> None:
        for image, error in zip(table["image"].to_pylist(), table["error"].to_pylist(), strict=True):
            if error is None:
                continue
            if error in self.errors or len(self.errors) < 10_000:
                self.errors[error] += 1
            if len(self.by_image) < 1000:
                self.by_image.append((image, error))

    def _add_shown(self, table: pa.Table, labels: Sequence[str | None], digests: Sequence[str | None]) -> None:
        unsafe = np.asarray(table["unsafe"].to_numpy(), dtype=float)
        threshold = np.asarray(table["threshold"].to_numpy(), dtype=float)
        distance = np.abs(unsafe - threshold)
        distance[np.isnan(distance)] = np.inf
        flagged = unsafe >= threshold

        def shown(at: int) -> Shown:
            return Shown(
                table["image"][at].as_py(), digests[at] or "", labels[at] or "", float(unsafe[at]), float(threshold[at])
            )

        for at in np.argsort(distance, kind="stable")[: self.near_most].tolist():
            if np.isfinite(distance[at]):
                self.near.append((float(distance[at]), table["image"][at].as_py(), shown(at)))
        self.near = heapq.nsmallest(self.near_most, self.near, key=lambda each: each[:2])
        order: dict[str, list[tuple[int, int]]] = defaultdict(list)
        for at, (label, digest) in enumerate(zip(labels, digests, strict=True)):
            if label is not None and digest:
                order[label].append(((0 if flagged[at] else 2**64) + int(digest[:16], 16), at))
        for label, ranked in order.items():
            best = [(rank, shown(at)) for rank, at in heapq.nsmallest(self.each, ranked)]
            merged = dict([*self.samples[label], *best])
            self.samples[label] = heapq.nsmallest(self.each, merged.items(), key=lambda each: each[0])

    def summary(self, scan: ScanFolder) -> ScanSummary:
        shares: dict[str, Figure] = {}
        distinct: int | None = 0
        if self.images > MOST_FOR_INTERVALS:
            distinct = None
        elif self.images:
            outcomes, digests = np.concatenate(self.outcomes), np.concatenate(self.digests)
            _, clusters = np.unique(digests, return_inverse=True)
            distinct = int(clusters.max()) + 1
            shares = _shares(outcomes, clusters, self.names)
        with_verdict = sum(self.labels.values())
        return ScanSummary(
            scan,
            self.images,
            distinct,
            dict(self.labels.most_common()),
            dict(self.flagged_labels.most_common()),
            self.flagged,
            self.images - with_verdict,
            self.errors.most_common(20),
            shares,
            [each for _, _, each in self.near],
            {label: [one for _, one in self.samples[label]] for label, _ in self.labels.most_common()},
            self.by_image,
        )


def _shares(outcomes: Any, clusters: Any, names: Mapping[str, int]) -> dict[str, Figure]:
    truths = {FLAGGED: outcomes % 2 == 1, NO_VERDICT: outcomes // 2 == 0}
    truths |= {name: outcomes // 2 == code for name, code in names.items() if code}
    found = {name: share_figure(holds, clusters) for name, holds in truths.items()}
    return {name: figure for name, figure in found.items() if figure is not None}


def _figure(figure: Figure) -> dict[str, Any]:
    return {"value": figure.value, "low": figure.low, "high": figure.high, "n": figure.n}


def default_page(folder: Path) -> Path:
    """Where a summary's page is written when no place is named; readers of Parquet folders pass over it."""
    return folder / "_summary.html"
