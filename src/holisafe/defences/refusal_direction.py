"""`refusal-direction`: one direction that refusal hangs on, added or removed (Arditi et al., arXiv 2406.11717)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import ClassVar

import torch
from torch import Tensor

from holisafe._fields import Range
from holisafe.defences._contract import DEFENCES, FittedConfig, FittedDefence, Progress, Steps
from holisafe.defences._directions import read_ends, stacked, whole_requests
from holisafe.defences._fitted import take_fitted
from holisafe.defences._refusal_choice import Candidate, Limits, as_answered, choose, end_in_common
from holisafe.defences._steering import Ablate, Add
from holisafe.models import Answer, Engine, Intervention, LoadedModel, Request
from holisafe.records import Sample


class Mode(StrEnum):
    """What is done with the direction."""

    ADD = "add"
    """Add it where it was learned: more is refused."""
    ABLATE = "ablate"
    """Remove it everywhere. A diagnosis of how much refusal hangs on it, never a protection: less is refused."""


@dataclass(frozen=True, kw_only=True)
class RefusalDirectionConfig(FittedConfig):
    """What is done with the direction, and how it is chosen when it is fitted."""

    mode: Mode = field(default=Mode.ADD, metadata={"help": "add, or ablate: a diagnosis, never a protection."})
    strength: float = field(
        default=1.0, metadata={"help": "How often the direction is added (mode add).", "range": Range(0)}
    )
    refusals: str = field(
        default="I", metadata={"help": "How refusals begin, separated by |; the first token of each counts (fit)."}
    )
    own_answers: bool = field(
        default=True, metadata={"help": "Learn only from requests that the model itself refuses or answers (fit)."}
    )
    positions: int = field(
        default=5, metadata={"help": "Last tokens of the prompt that are tried (fit).", "range": Range(1)}
    )
    max_kl: float = field(
        default=0.1,
        metadata={"help": "Largest change of harmless answers when it is removed, nats (fit).", "range": Range(0)},
    )
    min_induced: float = field(
        default=0.0,
        metadata={"help": "Least log-odds of refusal when it is added to harmless requests (fit)."},
    )


class RefusalDirection(FittedDefence):
    """Adds the refusal direction at its layer, or removes it from everything that the layers read and write.

    The direction is the mean state of harmful requests minus that of harmless ones, at one token and one layer. Fitting
    tries every layer and the last tokens that all prompts share, and chooses as published (`_refusal_choice`).
    Unlike in the publication, requests are shown with their pictures.
    """

    name = "refusal-direction"
    needs: ClassVar[Mapping[str, tuple[str | int, ...]]] = {"direction": ("hidden",), "layer": ()}
    about = (
        "adds the direction of refusal at one layer; mode=ablate removes it, to measure how much refusal hangs on it "
        "(a diagnosis, never a protection)"
    )
    cost = "1 answer per request; fitted first"
    config = RefusalDirectionConfig
    source = "arXiv 2406.11717"

    @classmethod
    def fit(
        cls, engine: Engine, samples: Sequence[Sample], config: RefusalDirectionConfig, progress: Progress
    ) -> Mapping[str, Tensor]:
        """`direction` (hidden,), its `layer` and `position` (from the end), and the three figures it was chosen by.

        Raises:
            DefenceError: There are too few requests of a kind, or no direction passes the rule.
        """
        classes = whole_requests(samples)
        begin = config.refusals.split("|")
        if config.own_answers:
            classes = as_answered(engine, classes, begin, progress)
        harmless = read_ends(engine, classes.harmless, progress, "reading harmless requests", tokens=config.positions)
        harmful = read_ends(engine, classes.harmful, progress, "reading harmful requests", tokens=config.positions)
        shared = end_in_common([each.ids for each in (*harmless, *harmful)])
        difference = stacked(harmful).mean(0) - stacked(harmless).mean(0)  # (layers, tokens, hidden)
        size = stacked(harmless).norm(dim=-1).mean()
        candidates = [
            Candidate(layer, position, difference[layer, position].float())
            for layer in range(len(difference))
            for position in range(-shared, 0)
            if difference[layer, position].norm() > 1e-6 * size
        ]
        limits = Limits(config.max_kl, config.min_induced)
        chosen = choose(engine, candidates, len(difference), classes, limits, begin, progress)
        found = chosen.candidate
        numbers = {
            "layer": found.layer, "position": found.position, "kl": chosen.kl, "induced": chosen.induced,
            "bypassed": chosen.bypassed,
        }  # fmt: skip
        return {"direction": found.direction, **{key: torch.tensor(value) for key, value in numbers.items()}}

    def check(self, loaded: LoadedModel) -> None:
        """Read what it learned of this model."""
        take_fitted(self, loaded)

    def answer(self, request: Request) -> Steps:
        """The answer with the direction added or removed."""
        answer: Answer = yield replace(request, interventions=(self.steering(), *request.interventions))
        return answer

    def steering(self) -> Intervention:
        """What changes the states."""
        direction = self.parts["direction"].float()
        if self.settings.mode is Mode.ABLATE:
            return Ablate.of(direction)
        return Add(int(self.parts["layer"]), self.settings.strength * direction)


DEFENCES.add(RefusalDirection.name, RefusalDirection)
