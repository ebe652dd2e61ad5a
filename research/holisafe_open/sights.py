"""Which pictures a split has: things, scenes, documents and marked things, harmless and unsafe ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from holisafe.taxonomy import GuardLabel, Subcategory
from research.holisafe_open import documents as _documents
from research.holisafe_open import texts as _texts
from research.holisafe_open.kinds import artwork_ids, read_table
from research.holisafe_open.material import Material
from research.holisafe_open.pictures import Picture
from research.holisafe_open.scenes import choose_background, seeded

_HARMLESS_PER_UNSAFE = {"document": 1.5, "figure": 1.0, "scene": 1.5, "marked": 1.0}
"""How many harmless pictures there are of a sort, per unsafe one: a mark tells nothing."""

_FIGURES = ("fight", "gesture", "figures", "window", "censored", "banner")
"""Our own drawings of unsafe pictures that are no documents, and one that looks like one of them."""

_IN_COMPANY = 0.2
"""Share of the unsafe things that are shown beside harmless ones."""


class Sights:
    """Plans the pictures of one split, and hands out drawings in turn, so that none is used twice before all are.

    Attributes:
        texts: What our own documents say, by the picture's key.
    """

    def __init__(self, material: Material) -> None:
        self.material = material
        self.rng = seeded("plan", material.name)
        self.texts: dict[str, str] = {}
        self._used: Counter[str] = Counter()
        self._in_pairs: set[str] = set()
        here = material.drawings
        drawings = {name: [i for i in kind.artworks if i in here] for name, kind in material.kinds.items()}
        self.art_of = {name: ids for name, ids in drawings.items() if ids}

    def of_kind(self, name: str) -> Picture:
        """A picture of one thing."""
        return self._picture([self._pick(self.art_of[name])], self.material.kinds[name].phrase, kinds=[name])

    def singles(self, count: int) -> list[Picture]:
        """Pictures of one thing: every second one a near miss of harm, the others of kinds seen least."""
        near = [name for name in self.art_of if self.material.kinds[name].near is not None]
        return [self.of_kind(self._rarest(near if near and i % 2 else list(self.art_of))) for i in range(count)]

    def unsafe(self, count: int) -> list[Picture]:
        """Unsafe pictures, as many of each subcategory."""
        table = self.material.unsafe
        found: list[Picture] = []
        for number, (name, row) in enumerate(table.items()):
            choices = [(show, drawing) for show in row["show"] for drawing in self._drawings(show)]
            self.rng.shuffle(choices)
            pairs = sorted({drawing for show, drawing in choices if "pair" in show})
            self._in_pairs = set(self.rng.sample(pairs, len(pairs) // 4))
            for _ in range(count // len(table) + (number < count % len(table)) if choices else 0):
                show, drawing = min(choices, key=lambda choice: self._turn(name, *choice))
                self._used[f"{name}:{drawing}:{show['phrase']}"] += 1
                picture = self._unsafe(Subcategory(name), show, drawing)
                if picture is not None:
                    found.append(picture)
        return found

    def harmless_like(self, unsafe: Sequence[Picture]) -> list[Picture]:
        """Harmless documents, scenes and marked things beside these unsafe pictures."""
        counts = Counter(picture.sort for picture in unsafe)
        wanted = {sort: round(counts[sort] * times) for sort, times in _HARMLESS_PER_UNSAFE.items()}
        marks = [picture.overlay for picture in unsafe if picture.overlay]
        return [
            *self._documents("document", wanted["document"]),
            *self._documents("figure", wanted["figure"]),
            *(self._scene(2 + i % 3) for i in range(wanted["scene"])),
            *(found for mark in marks if (found := self._marked(mark)) is not None),
        ]

    def photographs(self) -> list[Picture]:
        """The photographs of the split `photo`."""
        return [
            self._picture([f"photo:{name}"], row["phrase"], kinds=row.get("kinds", ()))
            for name, row in self.material.photographs.items()
        ]

    def _unsafe(self, subcategory: Subcategory, show: Mapping[str, Any], drawing: str) -> Picture | None:
        drawings, phrase, overlay = [drawing], show["phrase"], show.get("overlay", "")
        if "pair" in show:
            second = [i for i in self._artworks(read_table("pairs")[show["pair"]]) if i != drawing]
            if not second:
                return None
            drawings.append(self._pick(second))
        elif not overlay and "document" not in show and self.rng.random() < _IN_COMPANY:
            beside = self.rng.sample(sorted(self.art_of), min(len(self.art_of), self.rng.randint(1, 2)))
            drawings += [self._pick(self.art_of[name]) for name in beside]
            phrase = _texts.enumerate_phrases([phrase, *(self.material.kinds[name].phrase for name in beside)])
        return self._picture(drawings, phrase, GuardLabel(subcategory.value), overlay)

    def _documents(self, sort: str, count: int) -> list[Picture]:
        """Harmless documents or figures of our own; none in the split whose art collection occurs nowhere else."""
        documents = [
            (name, row, variant)
            for name, row in read_table("signs").items()
            if _sort_of_own(name, row.get("text")) == sort
            for i, variant in enumerate(row["variants"])
            if _documents.document_split(i) == self.material.split
        ]
        self.rng.shuffle(documents)
        found = []
        for i in range(count if documents else 0):
            name, row, variant = documents[i % len(documents)]
            phrase = row["phrase"].replace("{variant}", variant)
            found.append(self._picture([f"holisafe:{name}-{variant}"], phrase))
            self.texts[found[-1].key] = row.get("text") or _documents.document_text(name, variant)[0]
        return found

    def _scene(self, count: int) -> Picture:
        names = self.rng.sample(sorted(self.art_of), min(count, len(self.art_of)))
        phrase = _texts.enumerate_phrases([self.material.kinds[name].phrase for name in names])
        return self._picture([self._pick(self.art_of[name]) for name in names], phrase, kinds=names)

    def _marked(self, mark: str) -> Picture | None:
        """A harmless thing under a mark that unsafe pictures carry."""
        row = read_table("marks")[mark]
        names = [name for name in row["kinds"] if name in self.art_of]
        if not names:
            return None
        name = self._rarest(names)
        phrase = row["phrase"].replace("{phrase}", self.material.kinds[name].phrase)
        return self._picture([self._pick(self.art_of[name])], phrase, overlay=mark, kinds=[name])

    def _picture(
        self,
        drawings: Sequence[str],
        phrase: str,
        label: GuardLabel = GuardLabel.SAFE,
        overlay: str = "",
        kinds: Sequence[str] = (),
    ) -> Picture:
        self._used["pictures"] += 1
        key = f"{self.material.name}-{self._used['pictures']:04d}"
        background = choose_background(seeded("background", key))
        sort = self._sort(drawings, overlay, kinds)
        return Picture(
            key, self.material.split, label, phrase, tuple(drawings), background, overlay, tuple(kinds), sort
        )

    def _sort(self, drawings: Sequence[str], overlay: str, kinds: Sequence[str]) -> str:
        collection, _, name = drawings[0].partition(":")
        if overlay:
            return "marked"
        if collection == "photo":
            return "photo"
        if collection == "holisafe":
            own = name.split("-", 1)[0]
            return _sort_of_own(own, read_table("signs").get(own, {}).get("text"))
        if len(drawings) > 1:
            return "scene"
        is_person = any(self.material.kinds[kind].topic == "person" for kind in kinds)
        return "figure" if is_person else "thing"

    def _pick(self, ids: Sequence[str]) -> str:
        chosen = min(ids, key=lambda i: (self._used[i], self.rng.random()))
        self._used[chosen] += 1
        return chosen

    def _rarest(self, names: Sequence[str]) -> str:
        """The kind whose drawings were used least."""
        return min(
            names,
            key=lambda name: (
                sum(self._used[i] for i in self.art_of[name]) / len(self.art_of[name]),
                self.rng.random(),
            ),
        )

    def _turn(self, name: str, show: Mapping[str, object], drawing: str) -> int:
        """When a drawing is due.

        One collection that has little else waits a turn, so as not to stand for harm, and so do pairs, of which there
        are more than of single things.
        """
        waits = drawing.startswith("healthicons:") + ("pair" in show and drawing not in self._in_pairs)
        return self._used[f"{name}:{drawing}:{show['phrase']}"] + waits

    def _drawings(self, show: Mapping[str, Any]) -> list[str]:
        """Artworks of a row of the table in this split, or our own documents where it names one."""
        if "document" not in show:
            return self._artworks(show)
        return [
            f"holisafe:{show['document']}-{variant}"
            for i, variant in enumerate(show["text"])
            if _documents.document_split(i) == self.material.split
        ]

    def _artworks(self, row: Mapping[str, object]) -> list[str]:
        """The drawings that a row of a table lists, as far as they may be used."""
        return [i for i in artwork_ids(row, self.material.emoji_collections) if i in self.material.drawings]


def _sort_of_own(name: str, text: str | None) -> str:
    """Whether a drawing of our own is a document or a figure, which has nothing to read."""
    return "figure" if name in _FIGURES or text == "" else "document"
