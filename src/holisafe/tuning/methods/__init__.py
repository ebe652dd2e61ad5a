"""Tuning methods: a folder each, with its settings (`config`), batches (`data`) and loss terms (`loss`).

A new method is one more folder whose `__init__` registers it. Other packages add theirs by an entry point of the group
"holisafe.tuning_methods", whose name is the method's and whose value is a `Method`.
"""

from __future__ import annotations

from holisafe.tuning.methods._method import METHODS, Method, MethodConfig, method_names

from . import dpo, meta_token, mirage, safekey, sft, star_dss, vgm, vlguard

__all__ = [
    "METHODS", "Method", "MethodConfig", "dpo", "meta_token", "method_names", "mirage", "safekey", "sft", "star_dss",
    "vgm", "vlguard",
]  # fmt: skip
