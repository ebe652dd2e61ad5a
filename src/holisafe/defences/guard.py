"""`guard`: the policy of the model's own guard, from the prefill that the answer needs anyway."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from holisafe.defences._contract import DEFENCES, Defence, DefenceConfig, Steps
from holisafe.errors import DefenceError
from holisafe.guard.attach import find_observer
from holisafe.guard.policy import DecideBy, Policy
from holisafe.models import LoadedModel, PolicyIntervention, Request


@dataclass(frozen=True, kw_only=True)
class GuardPolicyConfig(DefenceConfig):
    """What a flag leads to, and which verdict flags."""

    policy: Policy = field(default=Policy.REFUSE, metadata={"help": "refuse, warn or observe."})
    decide_by: DecideBy = field(default=DecideBy.REQUEST, metadata={"help": "request, image or either."})


class GuardPolicy(Defence):
    """Refuse or warn where the guard flags."""

    name = "guard"
    about = "the model's guard: a refusal in place of the answer, or a note before it, where it flags"
    cost = "at most 1 answer per request; a refusal costs the prefill alone"
    config = GuardPolicyConfig
    positional = "policy"
    source = "arXiv 2506.04704"

    def check(self, loaded: LoadedModel) -> None:
        """The model has a guard.

        Raises:
            DefenceError: It has none.
        """
        if find_observer(loaded.model) is None:
            raise DefenceError("guard: the model has no guard; load it with one (--guard own, or a folder)")

    def answer(self, request: Request) -> Steps:
        """The answer under the policy."""
        policy = PolicyIntervention(self.settings.policy, self.settings.decide_by)
        return (yield replace(request, interventions=(policy, *request.interventions)))


DEFENCES.add(GuardPolicy.name, GuardPolicy)
