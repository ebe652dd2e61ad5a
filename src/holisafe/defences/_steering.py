"""What changes states along a direction: at the prompt's last token, at every token of one layer, or everywhere."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from holisafe.models import Intervention, Place, Stream


def unit(direction: Tensor) -> Tensor:
    """A direction (..., hidden) of length 1, float32; one without length stays zero."""
    length = direction.float().norm(dim=-1, keepdim=True)
    return torch.where(length > 0, direction.float() / length.clamp_min(1e-30), 0.0)


@dataclass(frozen=True)
class ChangeLast(Intervention):
    """Changes what layers read at the last token of the prompt, from which the first token of the answer follows.

    Attributes:
        layers: Where it acts.
    """

    layers: frozenset[int]

    def on_hidden(self, place: Place, step: int, states: Tensor) -> Tensor:
        """The states with the last one changed, once, while the prompt is read."""
        if step or place.stream is not Stream.INPUT or place.layer not in self.layers:
            return states
        changed = self.change(place.layer, states[-1].float())
        return torch.cat([states[:-1], changed[None].to(states)])

    def change(self, layer: int, state: Tensor) -> Tensor:
        """Another state for the last token; both (hidden,), float32."""
        raise NotImplementedError


@dataclass(frozen=True)
class Add(Intervention):
    """Adds a vector to what one layer reads, at every token.

    Attributes:
        layer: Which.
        vector: (hidden,).
    """

    layer: int
    vector: Tensor

    def on_hidden(self, place: Place, step: int, states: Tensor) -> Tensor:
        """The sum, (tokens, hidden)."""
        if place != Place(self.layer, Stream.INPUT):
            return states
        return (states.float() + self.vector.to(states.device)).to(states)


@dataclass(frozen=True)
class Ablate(Intervention):
    """Removes a direction from all that layers read, and that attention and feed-forward parts add.

    Attributes:
        direction: Of length 1, (hidden,).
    """

    direction: Tensor

    @classmethod
    def of(cls, direction: Tensor) -> Ablate:
        """For a direction of any length."""
        return cls(unit(direction))

    def on_hidden(self, place: Place, step: int, states: Tensor) -> Tensor:
        """What is orthogonal to the direction, (tokens, hidden)."""
        along = self.direction.to(states.device)
        seen = states.float()
        return (seen - (seen @ along)[:, None] * along).to(states)
