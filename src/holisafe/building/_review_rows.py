"""What people have decided about built samples, as rows of the step "review"."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from holisafe.building._steps import Row, StepFile, key_of
from holisafe.records import Sample

REVIEW = "review"
"""Name of the step."""


def review_key(sample: Sample) -> str:
    """Key of the row of a sample: of its id, request and answer."""
    return key_of(REVIEW, sample.id, sample.query, sample.reference)


def reviewed(
    samples: Mapping[str, Sequence[Sample]], file: StepFile
) -> tuple[list[Row], dict[str, tuple[Sample, ...]]]:
    """Leave out what people have turned down, or not settled; note in tags who has looked, when, and why.

    Samples that were not given to review stay, with the tag `review` "none".
    """
    rows: list[Row] = []
    kept: dict[str, tuple[Sample, ...]] = {}
    for split, found in samples.items():
        own = [file.latest(review_key(sample)) or Row(review_key(sample)) for sample in found]
        rows += own
        kept[split] = tuple(_tagged(sample, row) for sample, row in zip(found, own, strict=True) if row.is_ok)
    return rows, kept


def _tagged(sample: Sample, row: Row) -> Sample:
    names = {"review": "how", "review_roles": "roles", "review_dates": "dates", "review_reasons": "reasons"}
    said = {tag: str(row.values[name]) for tag, name in names.items() if row.values.get(name)}
    return replace(sample, tags={**sample.tags, "review": "none", **said})
