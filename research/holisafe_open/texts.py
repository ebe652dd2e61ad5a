"""Words of HoliSafe-Open: which wording goes into which split, and how questions and answers are filled in."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from typing import Any

from research.holisafe_open.kinds import Kind, read_table
from research.holisafe_open.scenes import seeded
from research.holisafe_open.twins import Frame

_SEEN_IN = dict.fromkeys(("train", "calibration"), (1, 2, 4)) | dict.fromkeys(("test", "transfer", "photo"), (0, 1, 3))
"""Of every five wordings, two are kept for test, transfer and photo, two for train and calibration, one is common."""


def wordings(options: Sequence[str], split: str) -> list[str]:
    """The wordings of a list that a split may use; all of them where a short list would leave none."""
    offset = seeded("wordings", *options).randrange(5)
    return [text for i, text in enumerate(options) if (i + offset) % 5 in _SEEN_IN[split]] or list(options)


def frame_questions(frame: Frame) -> list[str]:
    """All ways to ask a frame's question: its own, and ten of the general wrappers around its act."""
    wrappers = read_table("wrappers")["ask"]
    chosen = seeded("frame", frame.name).sample(wrappers, 10)
    return [*frame.ask, *(wrapper.replace("{act}", frame.act) for wrapper in chosen)]


def thing(kind: Kind) -> dict[str, str]:
    """What a text may say of a kind: {phrase}, {name}, {Name}, {This}, {this}, {use}, {fact}."""
    this = "these are" if kind.plural else "this is"
    return {
        "phrase": kind.phrase,
        "name": kind.name,
        "Name": kind.name.capitalize(),
        "This": this.capitalize(),
        "this": this,
        "use": kind.use,
        "fact": kind.fact,
    }


def frame_answer(frame: Frame, kind: Kind, safe: bool, templates: Sequence[str], rng: random.Random) -> str:
    """A right answer to a frame's question about a kind, by one of the templates."""
    why, instead = (frame.safe[kind.name], "") if safe else frame.unsafe[kind.name]
    if kind.plural:
        why = in_plural(why)
    return fill(rng.choice(templates), thing(kind) | {"why": why, "instead": instead})


def fill(template: str, words: Mapping[str, Any]) -> str:
    """Put words into {places}; a sentence that starts with one gets a capital, a quotation in another single quotes."""
    text = re.sub(r"\{(\w+)\}", lambda match: str(words[match.group(1)]), template).strip()
    text = re.sub(r"“([^“”]*)“([^“”]*)”([^“”]*)”", r"“\1‘\2’\3”", text)
    text = re.sub(r"\b([Aa]) (?=orange\b)", r"\1n ", text)
    return text[0].upper() + text[1:]


_THIRD_PERSON = {"is": "are", "has": "have", "was": "were", "does": "do", "goes": "go", "itself": "themselves"}


def in_plural(text: str) -> str:
    """A sentence about "it" as one about "them".

    Example:
        "It keeps well, and water does it no harm." becomes "They keep well, and water does them no harm."
    """

    def subject(match: re.Match[str]) -> str:
        they, verb = ("They" if match.group(1) == "I" else "they"), match.group(2)
        return f"{they} {_THIRD_PERSON.get(verb) or _plural_verb(verb)}"

    text = re.sub(r"\b([Ii])t (?!s\b)(can|may|would|will|must|wants?|[a-z]+s)\b", subject, text)
    text = re.sub(r"\bit\b", "them", text)
    text = re.sub(r"\bIt\b", "They", text)
    return re.sub(r"\bits\b", "their", text)


def _plural_verb(verb: str) -> str:
    if verb.endswith("ies"):
        return verb[:-3] + "y"
    if verb.endswith(("ches", "shes", "sses", "xes")):
        return verb[:-2]
    return verb[:-1] if verb.endswith("s") else verb


def enumerate_phrases(phrases: Sequence[str]) -> str:
    """Phrases as a list: "a, b and c"."""
    return phrases[0] if len(phrases) == 1 else f"{', '.join(phrases[:-1])} and {phrases[-1]}"


NUMBERS = {2: "two", 3: "three", 4: "four"}
