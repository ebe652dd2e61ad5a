"""What HoliSafe-Open asks about each picture, before anything is drawn."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from holisafe.taxonomy import Combination, Subcategory
from research.holisafe_open import texts as _texts
from research.holisafe_open.art import Artwork
from research.holisafe_open.material import Material, shipped_material
from research.holisafe_open.pictures import Picture, Row
from research.holisafe_open.requests import Request, deal, wordings_of
from research.holisafe_open.scenes import seeded
from research.holisafe_open.sights import Sights
from research.holisafe_open.sizes import Sizes
from research.holisafe_open.twins import Edge, closed_walks, weigh_facts

_NO_PHOTOGRAPH = re.compile(
    r"draw|paint|sketch|cartoon|colou?r|ink|line|\{where\}|things|all of|each|several|both", re.I
)

_SORTS = ("thing", "figure", "scene", "document", "marked", "photo")
_ASKED_AGAIN = 0.4
"""Share of the pictures that are asked two ordinary requests."""

_BELONGS = 0.65
"""Share of the unsafe requests that are asked beside something that belongs to them, where the split shows it."""


def plan_split(art: Mapping[str, Artwork], split: str, sizes: Sizes) -> list[Row]:
    """Everything asked in a split, in a fixed order.

    Args:
        art: Artworks by id; the split takes those that `split_of` gives it.
        split: Name of the split.
        sizes: How much to make.
    """
    return plan(shipped_material(art, split), sizes)


def plan(material: Material, sizes: Sizes) -> list[Row]:
    """Everything asked in a set of these sizes that is made of the material, in a fixed order."""
    return _Planner(material, sizes).rows()


class _Planner:
    """Plans one split.

    Pictures and words have a random source each, so that another wording leaves the pictures as they are.
    """

    def __init__(self, material: Material, sizes: Sizes) -> None:
        self.material, self.sizes = material, sizes
        self.sights = Sights(material)
        self.rng = seeded("words", material.name)
        self.used: Counter[str] = Counter()
        self.asked: set[tuple[str, str]] = set()
        self.written: list[Row] = []

    def rows(self) -> list[Row]:
        of_twins = self._twins()
        unsafe = self.sights.unsafe(self.sizes.unsafe)
        harmless = [
            *self.sights.singles(self.sizes.singles),
            *self.sights.harmless_like(unsafe),
            *self.sights.photographs(),
        ]
        self._ordinary(of_twins, harmless, unsafe)
        for picture in unsafe:
            subcategory = Subcategory(picture.label.value)
            self._refuse(picture, self.material.unsafe[subcategory.value]["uuu"], Combination.UUU, subcategory)
        self._unsafe_requests([*of_twins, *harmless])
        self._unrelated([*of_twins, *harmless])
        if self.sizes.further_pairs:
            self._further_twins([*of_twins, *harmless])
        return self.written

    def _ordinary(self, of_twins: Sequence[Picture], harmless: Sequence[Picture], unsafe: Sequence[Picture]) -> None:
        """The same ordinary requests of harmless and of unsafe pictures of a sort: only the picture decides."""
        again = [picture for picture in of_twins if self.rng.random() < _ASKED_AGAIN]
        asked = self._some_twice(unsafe), [*self._some_twice(harmless), *again]
        for sort in _SORTS:
            texts = [each for each in self._wordings_of(sort) if self.material.may_ask(each[0])]
            of_harm, of_none = ([each for each in pictures if each.sort == sort] for pictures in asked)
            beside_harm, beside_none = deal(texts, of_harm, of_none, self.rng)
            for picture, text, _ in beside_harm:
                self._refuse(picture, [text], Combination.USU, Subcategory(picture.label.value))
            for picture, text, request in beside_none:
                self._answer(picture, text, request)

    def _wordings_of(self, sort: str) -> list[tuple[str, Request]]:
        """What pictures of a sort may be asked; of figures and photographs, what fits things as well as scenes."""
        requests, fits_any = self.material.requests, {"thing", "scene", "marked"}
        if sort in ("figure", "photo"):
            requests = [each for each in requests if fits_any <= set(each.of)]
        if sort == "photo":
            requests = [
                each for each in requests if not _NO_PHOTOGRAPH.search(" ".join([each.sort, *each.ask, *each.answers]))
            ]
        return wordings_of(requests, "scene" if sort in ("figure", "photo") else sort, self.material.wordings)

    def _some_twice(self, pictures: Sequence[Picture]) -> list[Picture]:
        return [*pictures, *(picture for picture in pictures if self.rng.random() < _ASKED_AGAIN)]

    def _answer(self, picture: Picture, text: str, request: Request) -> None:
        words = {
            "phrase": picture.phrase,
            "Phrase": picture.phrase[0].upper() + picture.phrase[1:],
            "colour": picture.background.colour,
            "where": picture.background.where,
            "text": self.sights.texts.get(picture.key, ""),
        }
        if picture.sort == "thing":
            words |= _texts.thing(self.material.kinds[picture.kinds[0]])
        words.setdefault("This", "This is")
        words.setdefault("this", "this is")
        reference = _texts.fill(self.rng.choice(request.answers), words)
        self._add(picture, text, Combination.SSS, self._near(picture), reference, request=request.sort)

    def _near(self, picture: Picture) -> Subcategory | None:
        """The harm that lies nearest to a harmless picture: what it nearly shows, or what a frame says of it."""
        if picture.sort == "photo":
            near = self.material.photographs[picture.drawings[0].removeprefix("photo:")].get("near")
            return near and Subcategory(near)
        for name in picture.kinds:
            kind = self.material.kinds[name]
            near = [frame.subcategory for frame in self.material.frames.values() if name in frame.unsafe]
            if kind.near is not None or near:
                return kind.near or self.rng.choice(near)
        return None

    def _refuse(
        self, picture: Picture, options: Sequence[str], combination: Combination, subcategory: Subcategory
    ) -> None:
        """Ask one of these, where there are any, and refuse it."""
        if not options:
            return
        row = self.material.unsafe[subcategory.value]
        template = self.rng.choice(self.material.references[combination.value.lower()])
        words = {"phrase": picture.phrase, "reason": row["reason"], "instead": row["instead"]}
        self._add(picture, self._wording(options), combination, subcategory, _texts.fill(template, words))

    def _unsafe_requests(self, pictures: Sequence[Picture]) -> None:
        """Requests that are unsafe by themselves, mostly beside something that belongs to them."""
        table = self.material.unsafe
        for i in range(self.sizes.suu if pictures else 0):
            name = list(table)[i % len(table)]
            belonging = [picture for picture in pictures if set(picture.kinds) & set(table[name]["beside"])]
            options = belonging if belonging and self.rng.random() < _BELONGS else pictures
            picture = min(options, key=lambda each: (self.used[f"suu:{each.key}"], self.rng.random()))
            self.used[f"suu:{picture.key}"] += 1
            self._refuse(picture, table[name]["suu"], Combination.SUU, Subcategory(name))

    def _unrelated(self, pictures: Sequence[Picture]) -> None:
        """Harmless requests that have nothing to do with the picture: one in ten helpful answers."""
        answered = sum(row.combination is Combination.SSS for row in self.written)
        things = [picture for picture in pictures if picture.sort == "thing"]
        count = min(round(answered / 9), len(things)) if self.material.benign else 0
        for i, picture in enumerate(self.rng.sample(things, count)):
            ask, answer = self.material.benign[i % len(self.material.benign)]
            self._add(picture, ask, Combination.SSS, None, answer, request="unrelated")

    # Twins

    def _twins(self) -> list[Picture]:
        """Twin pairs as closed walks; returns their pictures."""
        frames, sights = self.material.frames, self.sights
        shown: list[Picture] = []
        for walk in closed_walks(frames, sights.art_of.keys(), self.sizes.pairs, sights.rng):
            pictures = [sights.of_kind(edge.safe) for edge in walk]
            questions = [self._wording(self.material.frame_questions[edge.frame]) for edge in walk]
            right = [self._twin_row(pictures[i], edge, questions[i], safe=True) for i, edge in enumerate(walk)]
            wrong = [
                self._twin_row(pictures[(i + 1) % len(walk)], edge, questions[i], safe=False)
                for i, edge in enumerate(walk)
            ]
            by_image = len(walk) == 2 and self.rng.random() < 0.6
            for i in range(len(walk)):
                j = (i + 1) % 2 if by_image else i
                self.written[right[i]].twin, self.written[wrong[j]].twin = wrong[j], right[i]
            shown += pictures
        return shown

    def _twin_row(self, picture: Picture, edge: Edge, question: str, *, safe: bool) -> int:
        frame = self.material.frames[edge.frame]
        kind = self.material.kinds[edge.safe if safe else edge.unsafe]
        templates = self.material.references["frame_safe" if safe else "frame_unsafe"]
        answer = _texts.frame_answer(frame, kind, safe, templates, self.rng)
        combination = Combination.SSS if safe else Combination.SSU
        index = self._add(picture, question, combination, frame.subcategory, answer, frame=frame.name)
        assert index is not None, "a closed walk asks each picture two different questions"
        return index

    def _further_twins(self, pictures: Sequence[Picture]) -> None:
        """Pairs about pictures that are there, each frame as often as the others, and each fact as often as it weighs.

        Closed walks leave out what none of them comes back from. The weights make a kind about as often right as wrong:
        else it would be learned which kinds are mostly wrong, and not for what.
        """
        shown: dict[str, dict[str, Picture]] = defaultdict(dict)
        for picture in pictures:
            if picture.sort in ("thing", "figure") and picture.kinds:
                shown[picture.kinds[0]][picture.key] = picture
        weights = weigh_facts(self.material.frames, shown)
        frames = list(dict.fromkeys(name for name, _ in weights))
        for i in range(self.sizes.further_pairs if frames else 0):
            name = frames[i % len(frames)]
            question = self._wording(self.material.frame_questions[name])
            kinds = [
                self._turn_of(name, {kind: weights[name, kind] for kind in side if (name, kind) in weights})
                for side in (self.material.frames[name].safe, self.material.frames[name].unsafe)
            ]
            two = [shown[kind][self._turn_of(name, dict.fromkeys(shown[kind], 1.0))] for kind in kinds]
            if not any((picture.key, question) in self.asked for picture in two):
                edge = Edge(name, *kinds)
                right, wrong = (self._twin_row(two[j], edge, question, safe=j == 0) for j in range(2))
                self.written[right].twin, self.written[wrong].twin = wrong, right

    def _turn_of(self, among: str, weights: Mapping[str, float]) -> str:
        """The option that was least often taken for its weight; chance decides between equals."""
        chosen = min(weights, key=lambda each: ((self.used[f"{among}:{each}"] + 1) / weights[each], self.rng.random()))
        self.used[f"{among}:{chosen}"] += 1
        return chosen

    # Rows

    def _wording(self, options: Sequence[str]) -> str:
        """A wording that may be used, rarely used ones first."""
        chosen = min(self.material.wordings(options), key=lambda text: (self.used[f"q:{text}"], self.rng.random()))
        self.used[f"q:{chosen}"] += 1
        return chosen

    def _add(
        self,
        picture: Picture,
        query: str,
        combination: Combination,
        subcategory: Subcategory | None,
        reference: str,
        *,
        frame: str = "",
        request: str = "",
    ) -> int | None:
        """Append a row; None, and nothing, where this picture was already asked this or nobody may be."""
        if (picture.key, query) in self.asked or not self.material.may_ask(query):
            return None
        self.asked.add((picture.key, query))
        self.written.append(Row(picture, query, combination, subcategory, reference, frame, request))
        return len(self.written) - 1


def _names_a_drawing(request: Request) -> bool:
    return _NO_PHOTOGRAPH.search(" ".join([request.sort, *request.ask, *request.answers])) is not None
