"""Which names are of things one can draw: WordNet's word, where "carrot" is one and "crafting" is not.

A collection of icons names many of its drawings after actions, feelings and ideas ("silenced", "health literacy"). No
eye could tell these apart by name, so neither training nor measuring uses them.
Source: Fellbaum, "WordNet", MIT Press 1998; read from Debian's `wordnet-base`, WordNet 3.0.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from holisafe.errors import DataError

CONCRETE_FILES = {5, 6, 8, 13, 17, 18, 20}
"""Lexicographer files of animals, artefacts, body parts, food, natural objects, people and plants."""

SENSES = 2
"""A noun is a thing where one of its so many commonest senses is."""

_ENDINGS = (("", ""), ("s", ""), ("es", ""), ("ies", "y"), ("ves", "f"), ("men", "man"))


class Things:
    """WordNet's nouns, asked whether they are things.

    Args:
        folder: Folder with WordNet's `index.noun` and `data.noun`.

    Raises:
        DataError: They are not there.
    """

    def __init__(self, folder: Path) -> None:
        if not (folder / "index.noun").is_file():
            raise DataError(f"{folder}: no index.noun; expected WordNet's files, which `make art` fetches")
        file_of = {}
        for line in (folder / "data.noun").read_text(encoding="ascii").splitlines():
            if not line.startswith("  "):
                offset, file, _ = line.split(" ", 2)
                file_of[offset] = int(file)
        self._senses: dict[str, tuple[int, ...]] = {}
        for line in (folder / "index.noun").read_text(encoding="ascii").splitlines():
            if not line.startswith("  "):
                lemma, _, count, *rest = line.split()
                self._senses[lemma] = tuple(file_of[offset] for offset in rest[-int(count) :][:SENSES])

    def __contains__(self, name: str) -> bool:
        """Whether the whole name, or else its last word, is a thing; plurals count as their singular."""
        for words in (name.replace(" ", "_"), name.split()[-1] if name else ""):
            for ending, singular in _ENDINGS:
                lemma = words[: len(words) - len(ending)] + singular
                if words.endswith(ending) and lemma in self._senses:
                    return not CONCRETE_FILES.isdisjoint(self._senses[lemma])
        return False

    def names(self) -> list[str]:
        """All things of one or two words whose commonest sense is one, in lower-case words, sorted."""
        return sorted(
            lemma.replace("_", " ")
            for lemma, files in self._senses.items()
            if files[0] in CONCRETE_FILES and lemma.replace("_", "").isalpha() and lemma.count("_") < 2
        )


@cache
def things(art_dir: Path) -> Things:
    """WordNet as `make art` leaves it below the art folder."""
    return Things(art_dir / "wordnet")
