"""What differs by family: where the visual tokens are, and which of them belong to one image.

Most families need no entry: transformers gives `get_image_features`, whose output lists one tensor per image, and
the id of the placeholder that marks its tokens in a prompt.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from holisafe.errors import GuardError

Grouping = Literal["features", "runs", "boundaries"]


@dataclass(frozen=True, slots=True)
class GuardFamily:
    """How one family writes images into a prompt.

    Attributes:
        model_type: transformers' name of the family.
        image_token: Attribute of the model's configuration that holds the placeholder's id.
        grouping: Which placeholders are one image: "features" (as many as each entry of `get_image_features` has),
            "runs" (an unbroken run is one image), "boundaries" (see `first` and `last`).
        first: Tokens after which a new image begins, where one image has several runs (tiles, rows): attribute
            names of the configuration ("config.eoi_token_index") or the tokens themselves ("<|image_start|>").
        last: Tokens whose following run is an image's last.
        language_model: Path from the model to its language model, where `get_decoder()` does not give it.
        vision_tower: Path from the model to a vision encoder of which every token becomes one visual token, in their
            order, so that a meta token can go through it; empty where tokens are merged, reordered or resampled.
        language_only: Why the projector's output cannot be used; empty where it can.
        why_not: Why models of the family cannot be guarded; empty where they can.
    """

    model_type: str
    image_token: str = "image_token_id"
    grouping: Grouping = "features"
    first: tuple[str, ...] = ()
    last: tuple[str, ...] = ()
    language_model: str = ""
    vision_tower: str = ""
    language_only: str = ""
    why_not: str = ""


_FAMILIES: dict[str, GuardFamily] = {}


def register_family(family: GuardFamily) -> GuardFamily:
    """Make a family known; a later one of the same name takes its place."""
    _FAMILIES[family.model_type] = family
    return family


def registered_families() -> dict[str, GuardFamily]:
    """All families that have an entry, by name."""
    import holisafe.guard._families  # noqa: F401  registers ours

    return dict(sorted(_FAMILIES.items()))


def family_of(model: Any) -> GuardFamily:
    """The family of a transformers model.

    Raises:
        GuardError: Its models cannot be guarded; the message says why.
    """
    config = model.config
    name = str(config.model_type)
    family = registered_families().get(name, GuardFamily(name))
    why = family.why_not
    if not why and config.is_encoder_decoder:
        why = "its images are read by an encoder, and no position of the answering decoder stands for them"
    if not why and not isinstance(getattr(config, family.image_token, None), int):
        why = (
            f"its configuration has no {family.image_token}, so no position of a prompt is known to stand for an image"
        )
    if why:
        raise GuardError(f"{name} models cannot be guarded: {why}")
    return family
