"""Further drawings for training alone, found by their names: more hands that draw a carrot, and more that draw a bomb.

The tables list drawings that were chosen by eye, a handful of each thing. Who learns from a handful learns these, and
not the thing. Icon collections hold many more whose names say what they show; nobody looked at each, so no split to
measure on has any of them.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from research.holisafe_open.art import Artwork
from research.holisafe_open.kinds import Kind
from research.holisafe_open.scenes import seeded

ICONS = (
    "mdi", "ph", "tabler", "fa6-solid", "bi", "carbon", "fluent", "fluent-color", "fxemoji", "hugeicons", "icon-park",
    "icon-park-solid", "iconoir", "ion", "lets-icons", "lucide", "maki", "material-symbols", "mingcute", "mynaui",
    "ri", "solar", "streamline", "streamline-color", "streamline-cyber-color", "streamline-flex",
    "streamline-flex-color", "streamline-kameleon-color", "streamline-plump", "streamline-plump-color",
    "streamline-sharp-color", "tdesign", "temaki", "emojione-monotone",
)  # fmt: skip
"""Collections that HoliSafe-Open has nothing of, and whose names tell what most of their drawings show."""

STYLES = 2
"""Variants of one icon, such as its outline and its filled form, that are taken of a collection."""

MOST_OF_A_KIND = 8
MOST_OF_A_HARM = 60
"""Further drawings that the larger set for training takes for each everyday thing, and for each sight of harm."""

_STYLE = re.compile(
    r"\b(outlined?|line|linear|bold|fill|filled|duotone|twotone|broken|regular|light|thin|solid|colou?r|flat|rounded"
    r"|sharp|remix|alt|free|duo|emoji|emoticon|icon|food|animals?|symbols?|style|sharp outline|flex|plump|core)\b"
)
"""Words by which icon sets tell variants and shelves apart."""

_MODIFIED = re.compile(
    r"-(off|variant|slash|plus|minus|check|cancel|x|up|down|left|right|lock|open|circle|square|remove|edit|cog|heart"
    r"|star|code|dollar|question|exclamation|pin|search|share|pause|play|bolt|alert|clock|arrow|multiple|box|boxed"
    r"|sync|refresh|key|account|network|wireless|marker|import|export|download|upload|settings|badge|file|logo|add"
    r"|delete|disabled|dismiss|warning|error|sparkle|person|link|list|text|checkmark|prohibited|shield|ban|none)\b"
    r"|^[\w-]+:(file|logo|brand|text|no|add|remove|align|layout|border|sort|user)-"
)
"""Marks that icon sets put on a drawing to say what is done with it, and drawings of what a program does."""

_OTHER_MEANING = {
    "apple", "mouse", "bat", "letter", "radio", "watch", "ring", "painting", "candle", "tower", "matches", "feather",
    "mirror", "label", "lock", "safe", "brain", "knot", "drop of water", "temple", "lungs", "rope", "dancer",
}  # fmt: skip
"""Kinds whose names mean something else in icon sets: a maker, a pointer, a button."""

_EMPTY = {"openclipart:electronics/bulb/light_bulb_karl_bartel_01"}
"""Drawings that draw nothing by themselves."""


def bare_name(artwork: Artwork) -> str:
    """An icon's name without the words that tell variants apart; another drawing's name as it is."""
    if artwork.collection not in ICONS:
        return artwork.name
    return " ".join(_STYLE.sub(" ", artwork.name).split())


def is_plain(artwork: Artwork) -> bool:
    """Whether a drawing shows a thing, without a mark of what is done with it."""
    return artwork.id not in _EMPTY and (artwork.collection not in ICONS or not _MODIFIED.search(artwork.id))


def named_like_kinds(art: Mapping[str, Artwork], kinds: Mapping[str, Kind]) -> dict[str, list[str]]:
    """Ids of the drawings that carry a kind's name and that no kind lists, by kind, in the order of the art."""
    listed = {artwork for kind in kinds.values() for artwork in kind.artworks}
    kind_of = {word: name for name, kind in reversed(list(kinds.items())) for word in (*kind.synonyms, name)}
    found: dict[str, list[Artwork]] = defaultdict(list)
    for key, artwork in art.items():
        kind = kind_of.get(bare_name(artwork))
        means_other = artwork.collection in ICONS and kind in _OTHER_MEANING
        if kind is not None and key not in listed and is_plain(artwork) and not means_other:
            found[kind].append(artwork)
    return {kind: _few_styles(artworks) for kind, artworks in found.items()}


def with_further(kinds: Mapping[str, Kind], art: Mapping[str, Artwork]) -> dict[str, Kind]:
    """The kinds with up to `MOST_OF_A_KIND` further drawings each."""
    further = named_like_kinds(art, kinds)
    return {
        name: replace(kind, artworks=(*kind.artworks, *_some(further.get(name, ()), MOST_OF_A_KIND, name)))
        for name, kind in kinds.items()
    }


def named_like_harm(
    art: Mapping[str, Artwork], sights: Sequence[Mapping[str, Any]], kinds: Mapping[str, Kind]
) -> list[dict[str, Any]]:
    """Sights of harm with the drawings that are named so.

    Args:
        art: Artworks by id.
        sights: Each with a `phrase`, a regular expression `names` of whole names, and an `overlay` or a `pair` or
            neither.
        kinds: Everyday things, which stand for no harm unless a mark or a second drawing makes it of them.

    Returns:
        For each: its phrase, its overlay or pair, and up to `MOST_OF_A_HARM` `ids`.
    """
    harmless = {artwork for kind in kinds.values() for artwork in kind.artworks}
    harmless_names = {word for kind in kinds.values() for word in (*kind.synonyms, kind.name)}
    found = []
    for sight in sights:
        means, alone = re.compile(sight["names"]), not sight.keys() & {"overlay", "pair"}
        ids = _few_styles(
            artwork
            for key, artwork in art.items()
            if means.fullmatch(name := bare_name(artwork))
            and not (alone and (key in harmless or name in harmless_names))
            and is_plain(artwork)
        )
        row = {name: sight[name] for name in ("phrase", "overlay", "pair") if name in sight}
        found.append(row | {"ids": _some(ids, MOST_OF_A_HARM, sight["phrase"])})
    return found


def _few_styles(artworks: Iterable[Artwork]) -> list[str]:
    """Their ids; of one name in one collection no more than `STYLES`, and each size once."""
    seen: dict[tuple[str, str], set[str]] = defaultdict(set)
    kept = []
    for artwork in artworks:
        styles = seen[artwork.collection, bare_name(artwork)]
        if artwork.name not in styles and len(styles) < STYLES:
            styles.add(artwork.name)
            kept.append(artwork.id)
    return kept


def _some(ids: Sequence[str], most: int, name: str) -> list[str]:
    """Up to so many, drawn in turn from each collection, so that none stands for the thing."""
    by_collection: dict[str, list[str]] = defaultdict(list)
    for key in ids:
        by_collection[key.split(":")[0]].append(key)
    rng = seeded("further", name)
    shelves = [rng.sample(shelf, len(shelf)) for shelf in by_collection.values()]
    rng.shuffle(shelves)
    turns = [shelf[turn] for turn in range(max(map(len, shelves), default=0)) for shelf in shelves if turn < len(shelf)]
    return turns[:most]
