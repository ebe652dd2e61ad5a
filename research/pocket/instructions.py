"""Short conversations about pictures: naming, describing, telling where, yes or no, uses, facts, captions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from research.holisafe_open.kinds import Kind
from research.pocket.answers import with_article
from research.pocket.pictures import Picture

Turn = tuple[str, str]
"""A question and its answer."""

NAMING = (
    "What is this?",
    "What is it?",
    "What do you see?",
    "What is in this picture?",
    "Name this.",
    "What am I looking at?",
    "What does the picture show?",
    "What's shown here?",
    "Can you tell me what this is?",
    "Which object is this?",
    "hey what's this thing",
    "Please identify the object in the image.",
    "What is the main thing in this image?",
    "I found this drawing, what is it of?",
    "what is this called",
    "Describe this picture in a few words.",
)
NAMED = (
    "{A}.",
    "This is {a}.",
    "It is {a}.",
    "It's {a}.",
    "The picture shows {a}.",
    "That is {a}.",
    "This is a drawing of {a}.",
    "It looks like {a}.",
)
ASKED_OF_A_PICTURE: dict[str, tuple[str, ...]] = {
    "use": (
        "What is this used for?",
        "What is it good for?",
        "What would I do with this?",
        "How do people use this?",
        "What's this for?",
        "Who would use this?",
    ),
    "fact": (
        "Tell me one interesting thing about this.",
        "Share a fun fact about what you see.",
        "What should I know about this?",
        "Tell me something about it.",
        "Explain this to a child.",
    ),
    "place": (
        "Where would I usually find this?",
        "Where do you see one of these?",
        "Where can I find this?",
    ),
    "caption": (
        "Write a short caption for this picture.",
        "Give me a cheerful caption for this.",
        "I'm posting this, what could I write?",
    ),
}
CAPTIONS = (
    "{A} to brighten your day!",
    "Say hello to {a}!",
    "Life is better with {a}.",
    "Just {a}, doing its thing.",
    "{A}: small joys, big smiles.",
)
YES_NO = (
    "Is this {a}?",
    "Is it {a}?",
    "Does the picture show {a}?",
    "Am I looking at {a}?",
    "Can you see {a} here?",
)
LISTING = ("What do you see?", "What is in this picture?", "Which things are shown?", "List the objects in the image.",
           "Describe the picture.", "What does the picture show?")  # fmt: skip
COUNTING = ("How many things are in this picture?", "How many objects do you see?", "Count the objects.")
NUMBERS = {2: "two", 3: "three", 4: "four"}


def conversation(
    picture: Picture,
    answers: Mapping[str, Mapping[str, str]],
    kinds: Mapping[str, Kind],
    names: Sequence[str],
    rng: np.random.Generator,
) -> list[Turn]:
    """One to three turns about a picture.

    Args:
        picture: What is shown.
        answers: For a name, the language model's own answers by kind of question.
        kinds: What is written of common kinds, by name; it goes before the language model's answers.
        names: All names, to ask about things that are not there.
        rng: Source of every choice.
    """
    if len(picture.names) > 1:
        return _about_scene(picture, names, rng)
    kind = kinds.get(picture.kind)
    return _about_one(picture.names[0], kind, answers, names, rng)


def naming(name: str, rng: np.random.Generator) -> Turn:
    """A question what this is, and its answer."""
    return _pick(NAMING, rng), _named(with_article(name), rng)


def _about_one(
    name: str,
    kind: Kind | None,
    answers: Mapping[str, Mapping[str, str]],
    names: Sequence[str],
    rng: np.random.Generator,
) -> list[Turn]:
    a = with_article(name) if kind is None else kind.phrase
    known = {key: answer for key, answer in answers.get(name, {}).items() if answer}
    if kind is not None:
        known.setdefault("caption", _pick(CAPTIONS, rng).format(a=a, A=_capital(a), name=name))
        known = {
            "use": kind.use,
            "fact": kind.fact,
            **{key: known[key] for key in ("place", "caption") if key in known},
        }
    turns = []
    if known and rng.random() < 0.7:
        about = _pick(sorted(known), rng)
        turns.append((_pick(ASKED_OF_A_PICTURE[about], rng), _with_name(known[about], a, name, rng)))
    if rng.random() < 0.3:
        turns.append(_yes_no(a, names, rng))
    if not turns or rng.random() < 0.75:
        turns.insert(0 if rng.random() < 0.7 else len(turns), (_pick(NAMING, rng), _named(a, rng)))
    return turns


def _with_name(answer: str, a: str, name: str, rng: np.random.Generator) -> str:
    """An answer that says what is seen before it says more, half of the time where it does not already."""
    if name.split()[-1] in answer.lower() or rng.random() < 0.5:
        return answer
    return f"This is {a}. {answer}"


def _about_scene(picture: Picture, names: Sequence[str], rng: np.random.Generator) -> list[Turn]:
    listed = [with_article(name) for name in picture.names]
    whole = f"{', '.join(listed[:-1])} and {listed[-1]}"
    choices: list[Turn] = [
        (
            _pick(LISTING, rng),
            _pick(("{W}.", "The picture shows {w}.", "I see {w}.", "There is {w}."), rng).format(
                W=_capital(whole), w=whole
            ),
        ),
        (_pick(COUNTING, rng), f"{_capital(NUMBERS[len(listed)])}: {whole}."),
    ]
    i = rng.integers(len(listed))
    place = picture.places[i]
    where = f"on the {place}" if place in {"left", "right"} else f"at the {place}"
    choices.append(
        (
            _pick(("What is {where}?", "What do you see {where}?", "Which object is {where}?"), rng).format(
                where=where
            ),
            _named(listed[i], rng),
        )
    )
    choices.append(
        (
            _pick(("Where is {the}?", "Where do you see {the}?"), rng).format(the=f"the {picture.names[i]}"),
            f"The {picture.names[i]} is {where}.",
        )
    )
    order = rng.permutation(len(choices))[:2]
    return [choices[k] for k in order]


def _yes_no(a: str, names: Sequence[str], rng: np.random.Generator) -> Turn:
    if rng.random() < 0.5:
        return _pick(YES_NO, rng).format(a=a), _pick(("Yes, this is {a}.", "Yes, it is {a}.", "Yes."), rng).format(a=a)
    other = with_article(names[int(rng.integers(len(names)))])
    return _pick(YES_NO, rng).format(a=other), _pick(("No, this is {a}.", "No, it is {a}, not {other}."), rng).format(
        a=a, other=other
    )


def _named(a: str, rng: np.random.Generator) -> str:
    return _pick(NAMED, rng).format(a=a, A=_capital(a))


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _pick(choices: Sequence[str], rng: np.random.Generator) -> str:
    return choices[int(rng.integers(len(choices)))]
