"""The families that need an entry: how they group visual tokens, or why they cannot be guarded."""

from __future__ import annotations

from holisafe.guard._family import GuardFamily, register_family

for _family in (
    GuardFamily("gemma3", grouping="runs"),
    GuardFamily("idefics3", grouping="boundaries", first=("<row_1_col_1>",), last=("<global-img>",)),
    GuardFamily("smolvlm", grouping="boundaries", first=("<row_1_col_1>",), last=("<global-img>",)),
    GuardFamily(
        "mllama",
        why_not="it reads images by cross-attention, so no position of the prompt holds their visual tokens",
    ),
):
    register_family(_family)
