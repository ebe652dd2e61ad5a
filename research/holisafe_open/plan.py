"""What HoliSafe-Open holds: which pictures there are, and what is asked about each, before anything is drawn."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from holisafe.taxonomy import Combination, GuardLabel, Subcategory
from research.holisafe_open import documents as _documents
from research.holisafe_open import texts as _texts
from research.holisafe_open.art import Artwork
from research.holisafe_open.kinds import Kind, artwork_ids, read_table
from research.holisafe_open.material import Material, shipped_material
from research.holisafe_open.pictures import Picture, Row, draw_order
from research.holisafe_open.scenes import choose_background, seeded
from research.holisafe_open.sizes import Sizes
from research.holisafe_open.twins import Edge, closed_walks, weigh_facts

_SORTS = (  # of harmless questions about one thing, as often as they are to be asked
    *("naming",) * 3, *("describe",) * 2, *("use",) * 2, *("fact",) * 2, *("caption",) * 2, "colour", "no", "yes",
)  # fmt: skip


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
    """Plans one split; `_pick` hands out artworks of a kind in turn, so that none is used twice before all are.

    Pictures and words have a random source each, so that another wording leaves the pictures as they are.
    """

    def __init__(self, material: Material, sizes: Sizes) -> None:
        self.material, self.sizes = material, sizes
        self.rng = seeded("plan", material.name)
        self.words_rng = seeded("words", material.name)
        self.kinds: Mapping[str, Kind] = material.kinds
        here = material.drawings
        self.art_of = {name: [i for i in kind.artworks if i in here] for name, kind in self.kinds.items()}
        self.art_of = {name: ids for name, ids in self.art_of.items() if ids}
        self.frames = material.frames
        self.used: Counter[str] = Counter()
        self.asked: set[tuple[str, str]] = set()
        self.written: list[Row] = []

    def rows(self) -> list[Row]:
        self._twins()
        self._singles()
        self._marked()
        self._scenes()
        self._signs()
        self._unsafe()
        self._benign()
        self._shared()
        self._further_twins()
        return self.written

    # Pictures

    def _pick(self, ids: Sequence[str]) -> str:
        chosen = min(ids, key=lambda i: (self.used[i], self.rng.random()))
        self.used[chosen] += 1
        return chosen

    def _picture(
        self,
        drawings: Sequence[str],
        phrase: str,
        label: GuardLabel = GuardLabel.SAFE,
        overlay: str = "",
        kinds: Sequence[str] = (),
    ) -> Picture:
        self.used["pictures"] += 1
        key = f"{self.material.name}-{self.used['pictures']:04d}"
        background = choose_background(seeded("background", key))
        return Picture(key, self.material.split, label, phrase, tuple(drawings), background, overlay, tuple(kinds))

    def _of_kind(self, name: str) -> Picture:
        return self._picture([self._pick(self.art_of[name])], self.kinds[name].phrase, kinds=[name])

    # Rows

    def _add(
        self,
        picture: Picture,
        query: str,
        combination: Combination,
        subcategory: Subcategory,
        reference: str,
        frame: str = "",
    ) -> int | None:
        """Append a row; None, and nothing, where this picture was already asked this or nobody may be."""
        if (picture.key, query) in self.asked or not self.material.may_ask(query):
            return None
        self.asked.add((picture.key, query))
        self.written.append(Row(picture, query, combination, subcategory, reference, frame))
        return len(self.written) - 1

    def _wording(self, options: Sequence[str]) -> str:
        """A wording that may be used, rarely used ones first."""
        allowed = self.material.wordings(options)
        chosen = min(allowed, key=lambda text: (self.used[f"q:{text}"], self.words_rng.random()))
        self.used[f"q:{chosen}"] += 1
        return chosen

    def _twins(self) -> None:
        walks = closed_walks(self.frames, self.art_of.keys(), self.sizes.pairs, self.rng)
        for walk in walks:
            pictures = [self._of_kind(edge.safe) for edge in walk]
            questions = [self._wording(self.material.frame_questions[edge.frame]) for edge in walk]
            right = [self._twin_row(pictures[i], edge, questions[i], safe=True) for i, edge in enumerate(walk)]
            wrong = [
                self._twin_row(pictures[(i + 1) % len(walk)], edge, questions[i], safe=False)
                for i, edge in enumerate(walk)
            ]
            by_image = len(walk) == 2 and self.words_rng.random() < 0.6
            for i in range(len(walk)):
                j = (i + 1) % 2 if by_image else i
                self.written[right[i]].twin, self.written[wrong[j]].twin = wrong[j], right[i]
            for picture, edge in zip(pictures, walk, strict=True):
                subcategory = self.frames[edge.frame].subcategory
                if self.words_rng.random() < 0.55:
                    self._ask_general(picture, subcategory)
                else:
                    self._ask_suu(picture)

    def _twin_row(self, picture: Picture, edge: Edge, question: str, *, safe: bool) -> int:
        frame = self.frames[edge.frame]
        kind = self.kinds[edge.safe if safe else edge.unsafe]
        combination = Combination.SSS if safe else Combination.SSU
        answer = _texts.frame_answer(frame, kind, safe, self.material.questions["wrappers"], self.words_rng)
        index = self._add(picture, question, combination, frame.subcategory, answer, frame.name)
        assert index is not None, "a closed walk asks each picture two different questions"
        return index

    def _further_twins(self) -> None:
        """Pairs about pictures that are there, each frame as often as the others, and each fact as often as it weighs.

        Closed walks leave out what none of them comes back from. The weights make a kind about as often right as wrong:
        else it would be learned which kinds are mostly wrong, and not for what.
        """
        shown: dict[str, dict[str, Picture]] = defaultdict(dict)
        for picture in draw_order(self.written):
            if picture.label is GuardLabel.SAFE and len(picture.kinds) == 1 and not picture.overlay:
                shown[picture.kinds[0]][picture.key] = picture
        weights = weigh_facts(self.frames, shown)
        frames = list(dict.fromkeys(name for name, _ in weights))
        for i in range(self.sizes.further_pairs if frames else 0):
            name = frames[i % len(frames)]
            question = self._wording(self.material.frame_questions[name])
            kinds = [
                self._turn_of(name, {kind: weights[name, kind] for kind in side if (name, kind) in weights})
                for side in (self.frames[name].safe, self.frames[name].unsafe)
            ]
            pictures = [shown[kind][self._turn_of(name, dict.fromkeys(shown[kind], 1.0))] for kind in kinds]
            if not any((picture.key, question) in self.asked for picture in pictures):
                edge = Edge(name, *kinds)
                right, wrong = (self._twin_row(pictures[j], edge, question, safe=j == 0) for j in range(2))
                self.written[right].twin, self.written[wrong].twin = wrong, right

    def _turn_of(self, among: str, weights: Mapping[str, float]) -> str:
        """The option that was least often taken for its weight; chance decides between equals."""
        chosen = min(
            weights, key=lambda each: ((self.used[f"{among}:{each}"] + 1) / weights[each], self.words_rng.random())
        )
        self.used[f"{among}:{chosen}"] += 1
        return chosen

    def _singles(self) -> None:
        """Pictures of one thing: those that make an innocent question harmful, then the kinds seen least."""
        unsafe = self.material.unsafe
        openings = [
            (Subcategory(name), entry["ask"], kind)
            for name, row in unsafe.items()
            for entry in row["ssu"]
            for kind in entry["kinds"]
            if kind in self.art_of
        ]
        self.rng.shuffle(openings)
        done: Counter[str] = Counter()
        for i in range(self.sizes.singles):
            if openings and i % 10 < 7:
                subcategory, ask, kind = min(openings, key=lambda o: (done[f"{o[0]}"], done[f"{o[0]}{o[2]}"]))
                done[f"{subcategory}"] += 1
                done[f"{subcategory}{kind}"] += 1
                picture = self._of_kind(kind)
                self._refuse(picture, ask, Combination.SSU, subcategory)
                self._ask_general(picture, subcategory)
            else:
                kind = min(
                    self.art_of,
                    key=lambda k: (sum(self.used[a] for a in self.art_of[k]) / len(self.art_of[k]), self.rng.random()),
                )
                picture = self._of_kind(kind)
                subcategory = self._near(kind)
                self._ask_general(picture, subcategory)
                self._ask_general(picture, subcategory)
            if self.words_rng.random() < 0.6:
                self._ask_suu(picture)

    def _near(self, kind: str) -> Subcategory:
        """The harm that lies nearest to a harmless thing: that of a frame which is wrong about it, else any."""
        near = [frame.subcategory for frame in self.frames.values() if kind in frame.unsafe]
        return self.words_rng.choice(near or sorted(Subcategory))

    def _marked(self) -> None:
        """Harmless things under the same marks that unsafe pictures carry."""
        marks = list(read_table("marks").items())
        for i in range(self.sizes.marked):
            mark, row = marks[i % len(marks)]
            names = [name for name in row["kinds"] if name in self.art_of]
            if not names:
                continue
            kind = self.kinds[self.rng.choice(names)]
            phrase = row["phrase"].replace("{phrase}", kind.phrase)
            picture = self._picture([self._pick(self.art_of[kind.name])], phrase, overlay=mark, kinds=[kind.name])
            words = {
                "phrase": phrase,
                "This": "This is",
                "this": "this is",
                "colour": picture.background.colour,
                "where": picture.background.where,
            }
            for sort in ("naming", "describe", "colour"):
                if sort != "colour" or picture.background.is_one_colour:
                    self._answer(picture, sort, words, self._near(kind.name))
            self._ask_suu(picture)

    def _scenes(self) -> None:
        names = sorted(name for name in self.art_of if self.kinds[name].topic != "sky")
        for i in range(self.sizes.scenes):
            count = 2 + i % 3
            chosen = self.rng.sample(names, min(count, len(names)))
            phrases = [self.kinds[name].phrase for name in chosen]
            listed = _texts.enumerate_phrases(phrases)
            picture = self._picture([self._pick(self.art_of[n]) for n in chosen], listed, kinds=chosen)
            words = {"count": _texts.NUMBERS[len(chosen)], "list": listed}
            subcategory = self._near(chosen[0])
            for sort in self.words_rng.sample(["scene_count", "scene_list", "scene_story"], 2):
                if sort == "scene_count" and any(self.kinds[n].plural for n in chosen):
                    continue
                self._answer(picture, sort, words, subcategory)
            self._ask_suu(picture)

    def _signs(self) -> None:
        """Harmless documents; none in the split whose art collection occurs nowhere else."""
        documents = [
            (name, row, variant)
            for name, row in read_table("signs").items()
            for i, variant in enumerate(row["variants"])
            if _documents.document_split(i) == self.material.split
        ]
        for name, row, variant in documents * self.sizes.copies:
            phrase = row["phrase"].replace("{variant}", variant)
            text, entries = _documents.document_text(name, variant)
            picture = self._picture([f"holisafe:{name}-{variant}"], phrase)
            words = {"phrase": phrase, "This": "This is", "text": row.get("text", text), "entries": entries}
            sorts = ["doc_name", self.words_rng.choice(["doc_read", "doc_count"] if entries else ["doc_read"])]
            for sort in sorts:
                self._answer(picture, sort, words, Subcategory(row["subcategory"]))
            self._ask_suu(picture)

    def _ask_general(self, picture: Picture, subcategory: Subcategory) -> None:
        """One harmless question about a picture of one thing, of a sort chosen at random."""
        kind = self.kinds[picture.kinds[0]]
        fitting = [
            sort
            for sort in _SORTS
            if not (kind.topic == "person" and sort in ("use", "fact"))
            and (sort != "colour" or picture.background.is_one_colour)
        ]
        sort = self.words_rng.choice(fitting)
        others = sorted(
            k.phrase for k in self.kinds.values() if k.topic != kind.topic and not k.plural and k.phrase[:2] == "a "
        )
        words = _texts.thing(kind) | {
            "colour": picture.background.colour,
            "where": picture.background.where,
            "other": self.words_rng.choice(others),
        }
        self._answer(picture, sort, words, subcategory)

    def _answer(self, picture: Picture, sort: str, words: Mapping[str, str], subcategory: Subcategory) -> None:
        table = self.material.questions[sort]
        if not table["ask"]:
            return
        query = self._wording(table["ask"])
        self._add(
            picture,
            _texts.fill(query, words) if "{" in query else query,
            Combination.SSS,
            subcategory,
            _texts.fill(self.words_rng.choice(table["answer"]), words),
        )

    def _ask_suu(self, picture: Picture) -> None:
        """A request that is unsafe by itself, of a topic that goes with the picture where there is one."""
        table = self.material.unsafe
        beside = [name for name, row in table.items() if set(picture.kinds) & set(row["beside"])]
        options = beside if beside and self.words_rng.random() < 0.7 else list(table)
        name = min(options, key=lambda n: (self.used[f"suu:{n}"], self.words_rng.random()))
        self.used[f"suu:{name}"] += 1
        self._refuse(picture, table[name]["suu"], Combination.SUU, Subcategory(name))

    def _refuse(
        self, picture: Picture, options: Sequence[str], combination: Combination, subcategory: Subcategory
    ) -> None:
        """Ask one of these, where there are any, and refuse it."""
        if not options:
            return
        query = self._wording(options)
        row = self.material.unsafe[subcategory.value]
        template = self.words_rng.choice(self.material.questions["refusals"][combination.value.lower()])
        words = {"phrase": picture.phrase, "reason": row["reason"], "instead": row["instead"]}
        self._add(picture, query, combination, subcategory, _texts.fill(template, words))

    def _unsafe(self) -> None:
        table = self.material.unsafe
        pairs = read_table("pairs")
        for number, (name, row) in enumerate(table.items()):
            wanted = self.sizes.unsafe // len(table) + (number < self.sizes.unsafe % len(table))
            choices = [(show, drawing) for show in row["show"] for drawing in self._drawings(show)]
            self.rng.shuffle(choices)
            for _ in range(wanted if choices else 0):
                show, drawing = min(choices, key=lambda c: self._turn(name, *c))
                self.used[f"{name}:{drawing}:{show['phrase']}"] += 1
                drawings = [drawing]
                if "pair" in show:
                    second = [i for i in self._artworks(pairs[show["pair"]]) if i != drawing]
                    if not second:
                        continue
                    drawings.append(self._pick(second))
                picture = self._picture(drawings, show["phrase"], GuardLabel(name), show.get("overlay", ""))
                subcategory = Subcategory(name)
                self._refuse(picture, row["usu"], Combination.USU, subcategory)
                self._refuse(picture, [*row["uuu"], *row["suu"]], Combination.UUU, subcategory)
                if self.words_rng.random() < 0.6:
                    self._refuse(picture, row["usu"], Combination.USU, subcategory)

    def _benign(self) -> None:
        """Requests that have nothing to do with the picture, beside harmless things: one in ten helpful answers."""
        benign = self.material.benign
        pictures = [p for p in draw_order(self.written) if p.label is GuardLabel.SAFE and len(p.kinds) == 1]
        answered = sum(row.combination is Combination.SSS for row in self.written)
        wanted = min(round(answered / 9), len(pictures)) if benign else 0
        for i, picture in enumerate(self.words_rng.sample(pictures, wanted)):
            ask, answer = benign[i % len(benign)]
            self._add(picture, ask, Combination.SSS, self._near(picture.kinds[0]), answer)

    def _shared(self) -> None:
        """What unsafe pictures are asked, asked of harmless things: each request about as often as beside harm."""
        pictures = [p for p in draw_order(self.written) if p.label is GuardLabel.SAFE and len(p.kinds) == 1]
        beside_harm = Counter(row.query for row in self.written if row.combination is Combination.USU)
        for ask, answers in self.material.shared:
            for picture in self.words_rng.sample(pictures, min(beside_harm[ask], len(pictures))):
                words = _texts.thing(self.kinds[picture.kinds[0]]) | {
                    "phrase": picture.phrase,
                    "Phrase": picture.phrase[0].upper() + picture.phrase[1:],
                    "colour": picture.background.colour.split()[-1],
                }
                reference = _texts.fill(self.words_rng.choice(answers), words)
                self._add(picture, ask, Combination.SSS, self._near(picture.kinds[0]), reference)

    def _turn(self, name: str, show: Mapping[str, object], drawing: str) -> int:
        """When a drawing is due; one collection that has little else waits a turn, so as not to stand for harm."""
        return self.used[f"{name}:{drawing}:{show['phrase']}"] + drawing.startswith("healthicons:")

    def _drawings(self, show: Mapping[str, object]) -> list[str]:
        """Artworks of a row of the table in this split, or our own documents where it names one."""
        if "document" not in show:
            return self._artworks(show)
        variants = show["text"]
        assert isinstance(variants, list)
        return [
            f"holisafe:{show['document']}-{variant}"
            for i, variant in enumerate(variants)
            if _documents.document_split(i) == self.material.split
        ]

    def _artworks(self, row: Mapping[str, object]) -> list[str]:
        """The drawings that a row of a table lists, as far as they may be used."""
        return [i for i in artwork_ids(row, self.material.emoji_collections) if i in self.material.drawings]
