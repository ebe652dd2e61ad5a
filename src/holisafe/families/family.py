"""What differs by family: where the visual tokens are, which of them belong to one image, which modules are what.

Most families need no entry: transformers gives `get_image_features`, whose output lists one tensor per image, and
the id of the placeholder that marks its tokens in a prompt.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from holisafe._enums import parse_enum
from holisafe._registry import Registry
from holisafe.errors import DataError


class Grouping(StrEnum):
    """Which placeholders of a prompt are one image."""

    FEATURES = "features"
    """As many as each entry of `get_image_features` has."""
    RUNS = "runs"
    """An unbroken run."""
    BOUNDARIES = "boundaries"
    """Several runs, between boundary tokens: see `Family.first` and `Family.last`."""


@dataclass(frozen=True, slots=True)
class Family:
    """What one family has of its own.

    Attributes:
        model_type: transformers' name of the family.
        image_token: Attribute of the model's configuration that holds the placeholder's id.
        grouping: Which placeholders are one image.
        first: Tokens after which a new image begins, where one image has several runs (tiles, rows): attribute
            names of the configuration ("config.eoi_token_index") or the tokens themselves ("<|image_start|>").
        last: Tokens whose following run is an image's last.
        language_model: Path from the model to its language model, where `get_decoder()` does not give it.
        vision_tower: Path from the model to a vision encoder of which every token becomes one visual token, in their
            order, so that a meta token can go through it; empty where tokens are merged, reordered or resampled.
        projector_modules: Names of modules inside the vision encoder that are the projector.
        language_only: Why the projector's output cannot be used; empty where it can.
        why_not: Why models of the family cannot be guarded; empty where they can.

    Raises:
        UnknownNameError: The grouping is unknown.
    """

    model_type: str
    image_token: str = "image_token_id"
    grouping: Grouping | str = Grouping.FEATURES
    first: tuple[str, ...] = ()
    last: tuple[str, ...] = ()
    language_model: str = ""
    vision_tower: str = ""
    projector_modules: tuple[str, ...] = ()
    language_only: str = ""
    why_not: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "grouping", parse_enum(Grouping, self.grouping))

    @classmethod
    def from_json(cls, model_type: str, values: Mapping[str, Any], source: str) -> Family:
        """Read one family; fields that are missing have their defaults.

        Raises:
            DataError: A field is unknown or of another kind.
            UnknownNameError: The grouping is unknown.
        """
        known = {field.name: field.default for field in dataclasses.fields(cls) if field.name != "model_type"}
        given: dict[str, Any] = {}
        for key, value in values.items():
            if key not in known:
                raise DataError(f"{source}: {model_type}: unknown field {key}; expected some of {', '.join(known)}")
            is_list = isinstance(known[key], tuple)
            if not isinstance(value, list if is_list else str) or not all(isinstance(each, str) for each in value):
                expected = "a list of strings" if is_list else "a string"
                raise DataError(f"{source}: {model_type}: {key}: expected {expected}, found {json.dumps(value)[:60]}")
            given[key] = tuple(value) if is_list else value
        return cls(model_type, **given)


FAMILIES: Registry[Family] = Registry(
    "family", "holisafe.families", expected="a Family", accepts=lambda part: isinstance(part, Family)
)
"""Families that have an entry, by transformers' name."""


def register_family(family: Family) -> Family:
    """Make a family known.

    Raises:
        RegistryError: There is one of that name.
    """
    return FAMILIES.add(family.model_type, family)


def registered_families() -> dict[str, Family]:
    """All families that have an entry, by name, those of installed packages included."""
    return {name: FAMILIES.get(name) for name in FAMILIES}


def family_of(model: Any) -> Family:
    """The family of a transformers model; one without an entry has the defaults."""
    name = str(model.config.model_type)
    return FAMILIES.get(name) if name in FAMILIES else Family(name)


def _read(path: Path) -> None:
    for name, values in json.loads(path.read_text("utf-8")).items():
        register_family(Family.from_json(name, values, path.name))


_read(Path(__file__).with_name("families.json"))
