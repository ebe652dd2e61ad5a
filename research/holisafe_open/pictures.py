"""The pictures HoliSafe-Open is going to draw, and what is asked about each."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from holisafe.taxonomy import Combination, GuardLabel, Subcategory
from research.holisafe_open.scenes import Background, seeded


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture to draw.

    Attributes:
        key: Unique name.
        split: Its split.
        label: What a guard should say of it.
        phrase: What it shows, within a sentence.
        drawings: Artwork ids, or "holisafe:document-variant" for our own.
        background: What is behind the drawings.
        overlay: A mark over the first drawing, or "".
        kinds: Names of the kinds it shows; empty where it shows none of the table.
        sort: What sort of picture it is: "thing", "figure" (people, and drawn figures of our own), "scene" (several
            things), "document", "marked" (under an overlay) or "photo".
    """

    key: str
    split: str
    label: GuardLabel
    phrase: str
    drawings: tuple[str, ...]
    background: Background
    overlay: str = ""
    kinds: tuple[str, ...] = ()
    sort: str = "thing"


@dataclass(slots=True)
class Row:
    """A sample to write.

    Attributes:
        picture: What is shown.
        query: What is asked.
        combination: Where the harm is.
        subcategory: The harm, or that which lies nearest; None where none does.
        reference: A right answer.
        frame: Name of the twin question, or "".
        request: Name of the ordinary request, or "".
        twin: Index of its twin among the rows of the split.
    """

    picture: Picture
    query: str
    combination: Combination
    subcategory: Subcategory | None
    reference: str
    frame: str = ""
    request: str = ""
    twin: int | None = None


def draw_order(rows: Sequence[Row]) -> list[Picture]:
    """Every picture of the rows once, in order of first use."""
    return list({row.picture.key: row.picture for row in rows}.values())


def picture_rng(picture: Picture) -> random.Random:
    """The random source for drawing a picture."""
    return seeded("draw", picture.key, *picture.drawings)
