"""How each family of vision-language models writes images into a prompt: data, and one reader of it.

`family_of(model)` is what the guard, the engine and tuning know of a family. `families.json` holds the families that
need an entry, `tried.json` those that the guard's conformance suite has passed. Other packages add theirs under the
entry-point group `holisafe.families`, or with `register_family`.
"""

from __future__ import annotations

from holisafe.families.family import FAMILIES, Family, Grouping, family_of, register_family, registered_families

__all__ = ["FAMILIES", "Family", "Grouping", "family_of", "register_family", "registered_families"]
