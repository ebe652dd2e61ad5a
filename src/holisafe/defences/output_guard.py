"""`output-guard`: the model's own guard stops an answer that it finds harmful while it is generated."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from holisafe._fields import Range
from holisafe.defences._contract import DEFENCES, Defence, DefenceConfig, Steps
from holisafe.errors import DefenceError
from holisafe.guard import judges_answers
from holisafe.models import LoadedModel, OutputGuard, OutputMode, Request
from holisafe.records import CHECK_EVERY


@dataclass(frozen=True, kw_only=True)
class OutputGuardConfig(DefenceConfig):
    """How often an answer is checked."""

    every: int = field(default=CHECK_EVERY, metadata={"help": "Tokens between two checks.", "range": Range(1)})


class OutputGuardDefence(Defence):
    """Refuse once the guard flags what has been generated."""

    name = "output-guard"
    about = "the model's guard on the answer while it is generated: a refusal in its place where it flags"
    cost = "at most 1 answer per request; the guard reads states that decoding has anyway"
    config = OutputGuardConfig

    def check(self, loaded: LoadedModel) -> None:
        """The model's guard has an output head.

        Raises:
            DefenceError: It has none.
        """
        if not judges_answers(loaded.model):
            raise DefenceError(
                "output-guard: the model has no guard with an output head; load it with one (--guard own, or a "
                "folder), or add the head with `holisafe guard train-output`"
            )

    def answer(self, request: Request) -> Steps:
        """The answer, or a refusal."""
        return (yield replace(request, output=OutputGuard(OutputMode.BLOCK, self.settings.every)))


DEFENCES.add(OutputGuardDefence.name, OutputGuardDefence)
