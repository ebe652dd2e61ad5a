"""Defences: ways to answer more safely that leave the weights as they are.

`wrap(model, "ecso")` answers with one. A new defence is one more file whose class is registered; other packages add
theirs by an entry point of the group "holisafe.defences", whose name is the defence's and whose value is its class.
"""

from __future__ import annotations

from holisafe.defences._contract import (
    DEFENCES,
    Defence,
    DefenceConfig,
    FittedConfig,
    FittedDefence,
    Fork,
    Look,
    Progress,
    Steps,
)
from holisafe.defences._directions import FewSamplesWarning
from holisafe.defences._fit import Fitted, fit, fitted_kind
from holisafe.defences._fitted import base_identity, read_fitted, save_fitted, take_fitted
from holisafe.defences._names import defence_names, parse, parse_all
from holisafe.defences._wrap import Defended, DefendedAnswer, wrap

from . import adashield, agents, coca, ecso, guard, mars, output_guard, prompt, refusal_direction, sapt, shiftdc, tsdi

__all__ = [
    "DEFENCES",
    "Defence",
    "DefenceConfig",
    "Defended",
    "DefendedAnswer",
    "FewSamplesWarning",
    "Fitted",
    "FittedConfig",
    "FittedDefence",
    "Fork",
    "Look",
    "Progress",
    "Steps",
    "adashield",
    "agents",
    "base_identity",
    "coca",
    "defence_names",
    "ecso",
    "fit",
    "fitted_kind",
    "guard",
    "mars",
    "output_guard",
    "parse",
    "parse_all",
    "prompt",
    "read_fitted",
    "refusal_direction",
    "sapt",
    "save_fitted",
    "shiftdc",
    "take_fitted",
    "tsdi",
    "wrap",
]
