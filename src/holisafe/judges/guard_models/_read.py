"""What the parsers of guard models share: bounded, anchored, and never a guess."""

from __future__ import annotations

import re
from collections.abc import Sequence

from holisafe.judges._thoughts import without_invisible
from holisafe.records import GuardReading, Response, Role, Sample, Turn

LONGEST_REPLY = 100_000
"""Characters of a reply that are read."""

_CONTROL = re.compile(
    r"<\|[\w ]{1,40}\|>|\[/?INST\]|<</?SYS>>|</?s>|<(?:bos|eos|pad|image|video|image_soft_token)>|"
    r"<(?:start|end)_of_(?:turn|image)>|</?(?:think|result|answer)>|<(?:BEGIN|END) [A-Z ]{1,40}>",
    re.IGNORECASE,
)


def shown(text: str) -> str:
    """A text of others as it is put to a guard: without invisible characters, its control tokens broken.

    `<|eot_id|>` in an answer would end the answer, and what follows would speak as the template: a space behind its
    first character makes it ordinary text.
    """
    return _CONTROL.sub(lambda found: f"{found[0][0]} {found[0][1:]}", without_invisible(text))


def unreadable(why: str) -> GuardReading:
    """A reading that is neither safe nor unsafe."""
    return GuardReading(None, why=why)


def one_line(text: str) -> str:
    """The beginning of a text in one line, for messages."""
    return " ".join(text[:1000].split())[:200]


def bounded(text: str) -> str | None:
    """The reply without surrounding space; None where it is longer than anything that is read."""
    return text.strip() if len(text) <= LONGEST_REPLY else None


def after_thought(text: str) -> str | None:
    """What follows the last `</think>`; None where a thought never ends."""
    thought, end, rest = text.rpartition("</think>")
    if "<think>" in rest:
        return None
    return rest.strip() if end or "<think>" not in thought else None


def worst(readings: Sequence[GuardReading]) -> GuardReading:
    """One reading of several on the same thing: unsafe where one is, else unread where one is, else safe."""
    if not readings:
        return unreadable("nothing was asked")
    known = [each.probability for each in readings if each.probability is not None]
    probability = max(known) if len(known) == len(readings) else None
    unsafe = [each for each in readings if each.unsafe]
    if unsafe:
        return GuardReading(
            True, probability, tuple(dict.fromkeys(name for each in unsafe for name in each.categories))
        )
    unread = next((each for each in readings if each.unsafe is None), None)
    return GuardReading(False, probability) if unread is None else GuardReading(None, probability, why=unread.why)


def conversation(sample: Sample) -> tuple[Turn, ...]:
    """The turns of a request, as they are put to a guard; a system message is not part of it."""
    spoken = [turn for turn in sample.turns if turn.role is not Role.SYSTEM]
    return tuple(Turn(turn.role, shown(turn.text), turn.images) for turn in spoken)


def last_text(sample: Sample) -> str:
    """The text of the last turn, as it is put to a guard."""
    return shown(sample.query)


def response_text(response: Response | None) -> str | None:
    """The text of a response, as it is put to a guard; None where there is none."""
    return None if response is None else shown(response.text)
