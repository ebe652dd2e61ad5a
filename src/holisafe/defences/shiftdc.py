"""`shiftdc`: undoes what the picture moves along the direction of harmlessness (arXiv 2502.13095)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

from torch import Tensor

from holisafe._fields import Range
from holisafe.defences._captions import ask_caption, in_words
from holisafe.defences._contract import DEFENCES, FittedConfig, FittedDefence, Look, Progress, Steps
from holisafe.defences._directions import last_states, read_ends, stacked, texts_alone
from holisafe.defences._fitted import take_fitted
from holisafe.defences._steering import ChangeLast, unit
from holisafe.models import Answer, Engine, LoadedModel, Request
from holisafe.records import Sample


@dataclass(frozen=True, kw_only=True)
class ShiftDcConfig(FittedConfig):
    """How much is undone, and where."""

    alpha: float = field(default=1.0, metadata={"help": "Share of the shift that is undone.", "range": Range(0)})
    start: float = field(
        default=0.5,
        metadata={
            "help": "Share of the layers before the first that acts; 0.31 is layer 10 of 32.",
            "range": Range(0, below=1),
        },
    )
    caption_tokens: int = field(default=256, metadata={"help": "Tokens of the caption.", "range": Range(1)})


class ShiftDc(FittedDefence):
    """Reads the request with the picture's caption in its place, and takes the difference along one direction away.

    In layer l, x is what it reads at the last token of the prompt, c the same of the prompt with the caption, and s the
    mean of c over harmless texts minus that over harmful ones. With m = x - c, the layer reads x - alpha (m·s/|s|²) s:
    at alpha = 1 it differs from c only across s. x is taken on the way, behind the corrections of the layers below, so
    that this holds in every layer at once.
    """

    name = "shiftdc"
    needs: ClassVar[Mapping[str, tuple[str | int, ...]]] = {"direction": ("layers", "hidden")}
    about = "the picture is described in words, and what it moves along the direction of harmless texts is undone"
    cost = "2 answers (a caption, the answer) and 1 forward pass per request; fitted first"
    config = ShiftDcConfig
    source = "arXiv 2502.13095"

    @classmethod
    def fit(
        cls, engine: Engine, samples: Sequence[Sample], config: ShiftDcConfig, progress: Progress
    ) -> Mapping[str, Tensor]:
        """`direction`, (layers, hidden): mean state of harmless texts minus that of harmful ones, at their last token.

        Raises:
            DefenceError: There are too few texts of a kind.
        """
        classes = texts_alone(samples)
        means = [
            stacked(read_ends(engine, prompts, progress, f"reading {what} texts"))[:, :, 0].mean(0)  # (layers, hidden)
            for what, prompts in (("harmless", classes.harmless), ("harmful", classes.harmful))
        ]
        return {"direction": (means[0] - means[1]).float()}

    def check(self, loaded: LoadedModel) -> None:
        """Read what it learned of this model."""
        take_fitted(self, loaded)

    def answer(self, request: Request) -> Steps:
        """The corrected answer; a request without pictures is answered as it is."""
        if request.prompt.images:
            caption: Answer = yield ask_caption(request, self.settings.caption_tokens)
            states: Tensor = yield Look(in_words(request.prompt, caption.text), last_states)
            request = replace(request, interventions=(self.shift_to(states), *request.interventions))
        answer: Answer = yield request
        return answer

    def shift_to(self, states: Tensor) -> Shift:
        """What corrects an answer, from the states (layers, hidden) of the prompt with the caption."""
        direction = unit(self.parts["direction"])
        first = self.settings.start * len(direction)
        acting = frozenset(layer for layer in range(len(direction)) if layer >= first)
        return Shift(acting, direction, states, self.settings.alpha)


@dataclass(frozen=True)
class Shift(ChangeLast):
    """Takes away what a state differs in from another one along a direction.

    Attributes:
        direction: Of each layer, of length 1, (layers, hidden).
        states: The other states, (layers, hidden).
        alpha: Which share of it.
    """

    direction: Tensor
    states: Tensor
    alpha: float

    def change(self, layer: int, state: Tensor) -> Tensor:
        """The corrected state."""
        along = self.direction[layer].to(state)
        moved = state - self.states[layer].to(state)
        return state - self.alpha * (moved @ along) * along


DEFENCES.add(ShiftDc.name, ShiftDc)
