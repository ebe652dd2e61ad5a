"""`coca`: the effect of a safety principle on each token is made stronger (CoCA, arXiv 2409.11365).

The answer is read twice, with the principle before the question and without it, and its logits are
with + alpha * (with - without).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from torch import Tensor

from holisafe._fields import Range
from holisafe.defences._contract import DEFENCES, Defence, DefenceConfig, Fork, Steps
from holisafe.defences.prompt import around
from holisafe.models import Branch, Intervention, Request

PRINCIPLE = "Look at the picture and the request together. If they ask for anything harmful, refuse and say why."


@dataclass(frozen=True, kw_only=True)
class CocaConfig(DefenceConfig):
    """The principle, and how strong it is made; the published strength is 4."""

    alpha: float = field(
        default=4.0, metadata={"help": "How much stronger; 0 is the principle alone.", "range": Range()}
    )
    principle: str = field(default=PRINCIPLE, metadata={"help": "Text before the last question."})


class Coca(Defence):
    """Constitutional calibration."""

    name = "coca"
    about = "the logits' difference that a safety principle makes, made stronger"
    cost = "1 answer per request, each token of it computed twice and the second time alone"
    config = CocaConfig
    source = "arXiv 2409.11365"

    def answer(self, request: Request) -> Steps:
        """The answer with the principle, its effect made stronger."""
        settings = self.settings
        branch: Branch = yield Fork(request.prompt, request.options)
        calibrated = Calibrated(branch, settings.alpha)
        prompt = around(request.prompt, settings.principle, "")
        return (yield replace(request, prompt=prompt, interventions=(*request.interventions, calibrated)))


class Calibrated(Intervention):
    """Logits of one answer moved away from those of a branch.

    Args:
        branch: The answer without the principle.
        alpha: How far.
    """

    def __init__(self, branch: Branch, alpha: float) -> None:
        self._branch = branch
        self._alpha = alpha
        self._token: int | None = None

    def on_logits(self, step: int, logits: Tensor) -> Tensor:
        """With + alpha * (with - without); where a logit is no number, or infinite, it stays as it is."""
        without = self._branch.logits(self._token if step else None).to(logits)
        changed = logits + self._alpha * (logits - without)
        return changed.where(logits.isfinite() & without.isfinite(), logits)

    def on_token(self, step: int, token: int) -> None:
        """Keep the token for the branch."""
        self._token = token


DEFENCES.add(Coca.name, Coca)
