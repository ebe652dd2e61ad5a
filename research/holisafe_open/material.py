"""What a set is planned from: the drawings it may show, and the tables with the wordings it may use."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

from research.holisafe_open import texts as _texts
from research.holisafe_open.art import Artwork, split_of
from research.holisafe_open.kinds import EMOJI_COLLECTIONS, Kind, load_kinds, read_table
from research.holisafe_open.twins import Frame, read_frames


@dataclass(frozen=True, slots=True)
class Material:
    """Drawings and words for one set.

    Attributes:
        name: Names the set's pictures and seeds its random choices.
        split: The split that its pictures and documents belong to.
        drawings: Ids of the artworks it may show.
        emoji_collections: Collections that the tables' `emoji` names hold for.
        kinds: Kinds of everyday objects, by name.
        frames: The twins' frames, by name.
        frame_questions: All ways to ask a frame's question, by the frame's name.
        unsafe: The table of unsafe subcategories.
        questions: The table of harmless questions, refusals and answers.
        wordings: The part of a list of wordings that may be used.
        may_ask: Whether a question, as it would be asked, may be.
        benign: Harmless requests that go with any harmless picture, and their answers.
        shared: Requests that are asked of unsafe pictures and of harmless ones, and the answers to choose from there.
    """

    name: str
    split: str
    drawings: Set[str]
    emoji_collections: Sequence[str]
    kinds: Mapping[str, Kind]
    frames: Mapping[str, Frame]
    frame_questions: Mapping[str, Sequence[str]]
    unsafe: Mapping[str, Any]
    questions: Mapping[str, Any]
    wordings: Callable[[Sequence[str]], Sequence[str]]
    may_ask: Callable[[str], bool]
    benign: Sequence[tuple[str, str]] = ()
    shared: Sequence[tuple[str, Sequence[str]]] = ()


def shipped_material(art: Mapping[str, Artwork], split: str) -> Material:
    """What a split of HoliSafe-Open is planned from: the artworks that `split_of` gives it, its share of wordings."""
    frames = read_frames(read_table("frames"))
    return Material(
        name=split,
        split=split,
        drawings={key for key, artwork in art.items() if split_of(artwork) == split},
        emoji_collections=EMOJI_COLLECTIONS,
        kinds=load_kinds(),
        frames=frames,
        frame_questions={name: _texts.frame_questions(frame) for name, frame in frames.items()},
        unsafe=read_table("unsafe"),
        questions=read_table("questions"),
        wordings=lambda options: _texts.wordings(options, split),
        may_ask=lambda query: True,
    )
