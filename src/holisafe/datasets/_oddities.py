"""What looks odd in a sample but breaks nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from holisafe.errors import UnknownNameError
from holisafe.records import Sample
from holisafe.taxonomy import Category, GuardLabel, Subcategory, parse_category, parse_subcategory

Oddity = tuple[str, str, str, str]
"""Field, what was found, what was expected, and what to do."""


def oddities(sample: Sample) -> Iterator[Oddity]:
    """Topics and labels that differ from each other: released records do so here and there."""
    yield from _folders(sample)
    unsafe = [label for label in sample.image_labels if label is not GuardLabel.SAFE]
    if unsafe and sample.subcategory and all(label.subcategory is not sample.subcategory for label in unsafe):
        expected = f"{sample.subcategory}, the record's subcategory"
        remedy = "nothing: an image may show something else than its question is about"
        yield "image_safety_label", ", ".join(unsafe), expected, remedy
    if sample.subcategory and sample.category not in (None, sample.subcategory.category):
        expected = f"{sample.subcategory.category} for subcategory {sample.subcategory}"
        yield "category", str(sample.category), expected, "check which of the two is meant"


def _folders(sample: Sample) -> Iterator[Oddity]:
    """Topics that the folders of the first image name otherwise."""
    folders = sample.images[0].key.split("/")[:-1][-2:] if sample.images else []
    topics: tuple[tuple[str, Category | Subcategory | None, Callable[[str], object]], ...] = (
        ("category", sample.category, parse_category),
        ("subcategory", sample.subcategory, parse_subcategory),
    )
    if len(folders) == 2:
        for (name, value, parse), folder in zip(topics, folders, strict=True):
            if value is not None and _parse_or_none(parse, folder) not in (None, value):
                yield f"{name} (folder of the image)", folder, value, "nothing: the record's own field counts"


def _parse_or_none(parse: Callable[[str], object], name: str) -> object:
    try:
        return parse(name)
    except UnknownNameError:
        return None
