"""What a set is planned from: the drawings it may show, and the tables with the wordings it may use."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

from research.holisafe_open import texts as _texts
from research.holisafe_open.art import Artwork, split_of
from research.holisafe_open.kinds import EMOJI_COLLECTIONS, Kind, load_kinds, read_table
from research.holisafe_open.requests import Request, read_requests
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
        requests: Ordinary requests, asked of unsafe pictures and of harmless ones.
        references: Templates of right answers: refusals by combination, and those of twins.
        wordings: The part of a list of wordings that may be used.
        may_ask: Whether a question, as it would be asked, may be.
        benign: Harmless requests that have nothing to do with the picture, and their answers.
        photographs: Photographs by name.
    """

    name: str
    split: str
    drawings: Set[str]
    emoji_collections: Sequence[str]
    kinds: Mapping[str, Kind]
    frames: Mapping[str, Frame]
    frame_questions: Mapping[str, Sequence[str]]
    unsafe: Mapping[str, Any]
    requests: Sequence[Request]
    references: Mapping[str, Sequence[str]]
    wordings: Callable[[Sequence[str]], Sequence[str]]
    may_ask: Callable[[str], bool]
    benign: Sequence[tuple[str, str]] = ()
    photographs: Mapping[str, Any] = field(default_factory=dict)


def shipped_material(art: Mapping[str, Artwork], split: str) -> Material:
    """What a split of HoliSafe-Open is planned from: the artworks that `split_of` gives it, its share of wordings."""
    frames = read_frames(read_table("frames"))
    benign = [(row["ask"], row["answer"]) for row in read_table("benign")["benign"]]
    return Material(
        name=split,
        split=split,
        drawings={key for key, artwork in art.items() if split_of(artwork) == split},
        emoji_collections=EMOJI_COLLECTIONS,
        kinds=load_kinds(),
        frames=frames,
        frame_questions={name: _texts.frame_questions(frame) for name, frame in frames.items()},
        unsafe=unsafe_table(),
        requests=read_requests(read_table("ordinary")["request"]),
        references={name: row["answer"] for name, row in read_table("references").items()},
        wordings=lambda options: _texts.wordings(options, split),
        may_ask=lambda query: True,
        benign=[each for each in benign if each[0] in set(_texts.wordings([ask for ask, _ in benign], split))],
        photographs=read_table("photographs") if split == "photo" else {},
    )


def unsafe_table() -> dict[str, Any]:
    """The unsafe subcategories with all requests of the measured set."""
    requests = read_table("requests")
    return {
        name: row | {sort: [*row[sort], *requests[name][sort]] for sort in ("uuu", "suu")}
        for name, row in read_table("unsafe").items()
    }
