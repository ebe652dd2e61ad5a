"""`mars`: steers towards refusal along a direction learned from text, re-centred for pictures (arXiv 2606.31876)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor

from holisafe._fields import ABOVE_ZERO, Range
from holisafe.defences._contract import DEFENCES, FittedConfig, FittedDefence, Progress, Steps
from holisafe.defences._directions import LATEST, beside_colours, read_ends, stacked, texts_alone
from holisafe.defences._fitted import take_fitted
from holisafe.defences._steering import ChangeLast
from holisafe.errors import DefenceError
from holisafe.models import Answer, Engine, LoadedModel, Prompt, Request
from holisafe.records import Sample

Kind = tuple[Tensor, Tensor]
"""States of the texts of one kind, those learned from and those of validation."""


@dataclass(frozen=True, kw_only=True)
class MarsConfig(FittedConfig):
    """How strongly it steers, and how far."""

    strength: float = field(
        default=1.0, metadata={"help": "How far it steers, for each unit on the harmful side.", "range": Range(0)}
    )
    radius: float = field(
        default=1.0,
        metadata={"help": "Where it stops, in distances between the two centres.", "range": ABOVE_ZERO},
    )


class Mars(FittedDefence):
    """Moves the state of a request that lies on the harmful side further towards the harmful texts, which are refused.

    The publication's formulas were not at hand. This is how its description is read here, in one layer and at the last
    token of the prompt, from which the first token of the answer follows:

    - direction: d = mean state of harmful texts - mean state of harmless texts, without pictures;
    - re-centring: the origin o is the mean state of harmless texts beside neutral pictures, each of one random colour;
      for a request without pictures, the mean state of harmless texts;
    - gate: t = max(0, (x - o)·d/|d|), how far the state lies on the harmful side; at 0 nothing is changed;
    - adaptive strength in a trust region: the state moves by min(strength t, max(0, radius |d| - t)) along d, so never
      beyond `radius` times the distance of the two centres, and by at most radius |d|;
    - layer: where validation texts of the two kinds are furthest apart along d, in standard deviations, not in the last
      20 % of the layers.
    """

    name = "mars"
    needs: ClassVar[Mapping[str, tuple[str | int, ...]]] = {
        "direction": ("hidden",),
        "text": ("hidden",),
        "neutral": ("hidden",),
        "layer": (),
    }
    about = "steers what looks harmful towards refusal, along a direction of texts re-centred with neutral pictures"
    cost = "1 answer per request; fitted first"
    config = MarsConfig
    source = "arXiv 2606.31876"

    @classmethod
    def fit(
        cls, engine: Engine, samples: Sequence[Sample], config: MarsConfig, progress: Progress
    ) -> Mapping[str, Tensor]:
        """`direction`, `text` and `neutral` (the two origins), each (hidden,), the `layer`, and its `separation`.

        Raises:
            DefenceError: There are too few texts of a kind, or no layer tells them apart.
        """
        classes = texts_alone(samples)

        def states(what: str, prompts: Sequence[Prompt]) -> Tensor:
            readings = read_ends(engine, prompts, progress, f"reading {what}")
            return stacked(readings)[:, :, 0]  # (prompts, layers, hidden)

        harmless = states("harmless texts", classes.harmless), states("validation", classes.harmless_validation)
        harmful = states("harmful texts", classes.harmful), states("validation", classes.harmful_validation)
        layer, separation = _best_layer(harmless, harmful)
        centre = harmless[0].mean(0)
        neutral = states("neutral pictures", beside_colours(classes.harmless))
        return {
            "direction": (harmful[0].mean(0) - centre)[layer].float(),
            "text": centre[layer].float(),
            "neutral": neutral.mean(0)[layer].float(),
            "layer": torch.tensor(layer),
            "separation": torch.tensor(separation),
        }

    def check(self, loaded: LoadedModel) -> None:
        """Read what it learned of this model."""
        take_fitted(self, loaded)

    def answer(self, request: Request) -> Steps:
        """The steered answer."""
        steer = self.steering(shows_pictures=bool(request.prompt.images))
        answer: Answer = yield replace(request, interventions=(steer, *request.interventions))
        return answer

    def steering(self, *, shows_pictures: bool) -> Steer:
        """What changes the state of a request with or without pictures."""
        origin = self.parts["neutral" if shows_pictures else "text"]
        layers = frozenset({int(self.parts["layer"])})
        return Steer(layers, self.parts["direction"], origin, self.settings.strength, self.settings.radius)


@dataclass(frozen=True)
class Steer(ChangeLast):
    """Moves a state along a direction, as `Mars` describes.

    Attributes:
        direction: From the harmless to the harmful centre, (hidden,).
        origin: The harmless centre, (hidden,).
        strength: How far, for each unit on the harmful side.
        radius: Where it stops, in lengths of `direction`.
    """

    direction: Tensor
    origin: Tensor
    strength: float
    radius: float

    def change(self, layer: int, state: Tensor) -> Tensor:
        """The moved state."""
        length = self.direction.norm().to(state)
        along = self.direction.to(state) / length
        beyond = ((state - self.origin.to(state)) @ along).relu()
        room = (self.radius * length - beyond).relu()
        moved: Tensor = state + torch.minimum(self.strength * beyond, room) * along
        return moved


def _best_layer(harmless: Kind, harmful: Kind) -> tuple[int, float]:
    """The layer at which validation texts of two kinds are furthest apart along the direction, and how far.

    The states are (texts, layers, hidden).
    """
    direction = harmful[0].mean(0) - harmless[0].mean(0)  # (layers, hidden)
    lengths = direction.norm(dim=-1)
    along = direction / lengths.clamp_min(1e-30)[:, None]
    learned, held_out = (
        [torch.einsum("tlh,lh->tl", kind[part], along) for kind in (harmless, harmful)] for part in (0, 1)
    )
    spread = ((learned[0].var(0, correction=0) + learned[1].var(0, correction=0)) / 2).sqrt()  # (layers,)
    apart = (held_out[1].mean(0) - held_out[0].mean(0)) / spread
    apart[lengths <= 1e-6 * harmless[0].norm(dim=-1).mean()] = -torch.inf  # what all texts read alike
    early = apart[: math.ceil(LATEST * len(apart))]
    best = int(early.argmax())
    if not early[best] > 0:
        raise DefenceError("no layer tells harmless from harmful texts; give more samples, or other data")
    return best, float(early[best])


DEFENCES.add(Mars.name, Mars)
