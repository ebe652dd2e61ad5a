"""The kinds of everyday objects that HoliSafe-Open shows: words for them, and the drawings that show them."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from holisafe.taxonomy import Subcategory

EMOJI_COLLECTIONS = ("noto", "twemoji", "fluent-emoji-flat", "emojione", "streamline-emojis")
"""Collections that name their drawings alike; a kind's `emoji` names hold for each of them."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of object.

    Attributes:
        name: Its usual name, e.g. "rubber duck"; unique.
        synonyms: Other names that are as right.
        phrase: The name within a sentence, e.g. "a rubber duck".
        topic: What sort of thing it is: food, animal, tool, ...
        artworks: Ids of the drawings that show it, each chosen by eye.
        use: What it is for, as a sentence.
        fact: Something true about it, as a sentence.
        near: The harm that it is a near miss of, or None.
    """

    name: str
    synonyms: tuple[str, ...]
    phrase: str
    topic: str
    artworks: tuple[str, ...]
    use: str
    fact: str
    near: Subcategory | None = None

    @property
    def plural(self) -> bool:
        """Whether its name takes a plural verb ("scissors are")."""
        return not self.phrase.startswith(("a ", "an ", "the ")) and self.phrase.endswith("s")


def load_kinds(emoji_collections: Sequence[str] = EMOJI_COLLECTIONS) -> dict[str, Kind]:
    """Every kind by its name, in the order of the table, with its drawings in these emoji collections."""
    return {
        name: Kind(
            name,
            tuple(row["synonyms"]),
            row["phrase"],
            row["topic"],
            artwork_ids(row, emoji_collections),
            row["use"],
            row["fact"],
            Subcategory(row["near"]) if "near" in row else None,
        )
        for name, row in read_table("kinds").items()
    }


def artwork_ids(row: Mapping[str, Any], emoji_collections: Sequence[str] = EMOJI_COLLECTIONS) -> tuple[str, ...]:
    """Ids of the drawings that a row of a table lists under `emoji`, under collection names and, whole, under `ids`."""
    ids = [f"{collection}:{name}" for name in row.get("emoji", ()) for collection in emoji_collections]
    for collection in ("game-icons", "healthicons", "openclipart", "mdi", *emoji_collections):
        ids += [f"{collection}:{name}" for name in row.get(collection, ())]
    return tuple(dict.fromkeys([*ids, *row.get("ids", ())]))


@cache
def read_table(name: str) -> dict[str, Any]:
    """A table of the content folder, by its file name without ".toml"."""
    text = files(__package__).joinpath("content", f"{name}.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)
