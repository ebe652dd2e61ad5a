"""What a guard is made of, and what it found of the model it was attached to: both are saved beside its weights."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from holisafe._enums import parse_enum
from holisafe.errors import GuardError, HoliSafeError
from holisafe.taxonomy import HEAD_ORDER, Category, Combination, GuardLabel, parse_label


class Features(StrEnum):
    """Where an image's vector comes from."""

    LANGUAGE = "language"
    """The language model's last hidden states at the image's placeholders, as SafeQwen2.5-VL and SafeLLaVA."""
    PROJECTOR = "projector"
    """What is put into the language model there, as SafeGem."""


class Pooling(StrEnum):
    """How an image's visual tokens become one vector."""

    MEAN = "mean"
    """Their mean (the paper)."""
    ATTENTION = "attention"
    """Weighted by a learned query."""
    LAST = "last"
    """The last visual token."""


class MetaPlace(StrEnum):
    """Where the meta token joins an image's tokens."""

    LANGUAGE = "language"
    """As a token of the prompt; needs features="language"."""
    ENCODER = "encoder"
    """After the patches in the vision encoder, out of which it comes as one more visual token."""


JOINT_OUTPUTS = len(Combination) + len(Category)
"""Logits of the joint head: the five combinations, then the seven categories."""

ANSWER_OUTPUTS = 2 + len(Category)
"""Logits of the output head: harmless and harmful, then the seven categories."""


@dataclass(frozen=True, slots=True)
class GuardConfig:
    """What is chosen of a guard: its parts. The defaults are the paper's image head and a joint head of ours.

    Attributes:
        features: Where an image's vector comes from: "language" (the language model's last hidden states at the
            image's placeholder positions, as SafeQwen2.5-VL and SafeLLaVA) or "projector" (what is put into the
            language model there, as SafeGem).
        pooling: How an image's visual tokens become one vector: "mean" (the paper), "attention" (a learned query),
            "last" (the last visual token).
        labels: What the image head distinguishes, by their ids, in the order of its outputs; "safe" is one of them.
        depth: Linear layers of a head (paper: 2).
        hidden_ratio: Width of a head's hidden layers over that of the language model (paper: 0.5).
        dropout: Share of hidden activations dropped in training, in [0, 1) (paper: 0.1).
        image_head: Whether images get a verdict each.
        joint_head: Whether image and question together get one, from the last prompt position.
        output_head: Whether answers get a verdict while they are generated, from the hidden states of their tokens.
        meta_token: Whether a learned token follows each image's visual tokens and is what the image head reads (the
            safety meta token of the paper's first version).
        meta_token_in: Where it joins an image's tokens: "language" (as a token of the prompt; needs
            features="language") or "encoder" (after the patches in the vision encoder, out of which it comes as one
            more visual token; patches see it there too, so their features change with what it learns).

    Raises:
        UnknownNameError: `features`, `pooling` or `meta_token_in` is not one of those above.
        GuardError: Another value is not, or does not go with the others.
    """

    features: Features | str = Features.LANGUAGE
    pooling: Pooling | str = Pooling.MEAN
    labels: tuple[str, ...] = tuple(label.value for label in HEAD_ORDER)
    depth: int = 2
    hidden_ratio: float = 0.5
    dropout: float = 0.1
    image_head: bool = True
    joint_head: bool = True
    output_head: bool = False
    meta_token: bool = False
    meta_token_in: MetaPlace | str = MetaPlace.LANGUAGE

    def __post_init__(self) -> None:
        for field, kind in _ENUMS.items():
            object.__setattr__(self, field, parse_enum(kind, getattr(self, field)))
        try:
            different = {parse_label(label) for label in self.labels}
        except HoliSafeError as error:
            raise GuardError(f"labels: {error}") from None
        if len(different) != len(self.labels) or not self.labels:
            raise GuardError(f"labels: expected different ones, found {', '.join(self.labels) or 'none'}")
        if self.image_head and GuardLabel.SAFE not in different:
            raise GuardError(
                f"labels: {GuardLabel.SAFE.value!r} is missing; images are flagged by 1 - P(safe), so the image head "
                "needs it"
            )
        if self.depth < 1:
            raise GuardError(f"depth: expected at least 1, found {self.depth}")
        if not 0 < self.hidden_ratio <= 16:
            raise GuardError(f"hidden_ratio: expected a number in (0, 16], found {self.hidden_ratio}")
        if not 0 <= self.dropout < 1:
            raise GuardError(f"dropout: expected a number in [0, 1), found {self.dropout}")
        if not (self.image_head or self.joint_head or self.output_head):
            raise GuardError("image_head, joint_head and output_head are all off; a guard needs at least one")
        if self.meta_in_encoder and not self.meta_token:
            raise GuardError('meta_token_in="encoder" needs meta_token=True')
        if self.meta_token and not self.meta_in_encoder and self.features is not Features.LANGUAGE:
            raise GuardError(
                'meta_token needs features="language": the token has no visual features of its own; with '
                'meta_token_in="encoder" it has'
            )

    @classmethod
    def paper(cls, **changes: Any) -> GuardConfig:
        """The visual guard module as published (arXiv 2506.04704 v5): the image head alone."""
        return cls(**({"joint_head": False} | changes))

    @property
    def meta_in_encoder(self) -> bool:
        """Whether the vision encoder sees the meta token."""
        return self.meta_token_in is MetaPlace.ENCODER

    def head_parameters(self, width: int) -> int:
        """Parameters of the image head at a hidden size: h²/2 + h/2 + 10h + 20 as published."""
        sizes = [width, *[self.hidden_width(width)] * (self.depth - 1), len(self.labels)]
        return sum(a * b + b for a, b in itertools.pairwise(sizes))

    def hidden_width(self, width: int) -> int:
        """Width of a head's hidden layers."""
        return max(1, int(width * self.hidden_ratio))

    def to_json(self) -> dict[str, Any]:
        """JSON values; `from_json` reads them."""
        return {key: _listed(value) for key, value in dataclasses.asdict(self).items()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any], source: str = "guard_config.json") -> GuardConfig:
        """Read what `to_json` wrote.

        Raises:
            GuardError: A field is unknown or its value is of another kind.
        """
        given = _checked(cls, values, _CHOICES, source)
        try:
            return cls(**given)
        except HoliSafeError as error:
            raise GuardError(f"{source}: {error}") from None


@dataclass(frozen=True, slots=True)
class GuardSite:
    """What attaching finds of the model that a guard is in; saved with the guard, and checked when it is loaded.

    Attributes:
        model_type: transformers' name of the model's family.
        base_model: Name of the model.
        width: Hidden size of its language model.
        vision_width: Hidden size of its vision encoder, where the meta token is in it; else None.
        boundary_ids: Ids of the family's boundary tokens (`Family.first`, then `.last`).
        meta_token_id: Token id that stands for the meta token in a prompt: the last one of the vocabulary to which the
            model's configuration gives no meaning. None without a meta token, and in the vision encoder, where the
            image's own placeholder stands for it.

    Raises:
        GuardError: A width is no hidden size.
    """

    model_type: str
    base_model: str
    width: int
    vision_width: int | None = None
    boundary_ids: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())
    meta_token_id: int | None = None

    def __post_init__(self) -> None:
        for field, width in (("width", self.width), ("vision_width", self.vision_width)):
            if width is not None and not 0 < width < 2**31:
                raise GuardError(f"{field}: expected a hidden size, found {width}")

    def to_json(self) -> dict[str, Any]:
        """JSON values; `from_json` reads them."""
        return {key: _listed(value) for key, value in dataclasses.asdict(self).items()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any], source: str = "guard_config.json") -> GuardSite:
        """Read what `to_json` wrote.

        Raises:
            GuardError: A field is missing, unknown, or of another kind.
        """
        given = _checked(cls, values, _FOUND, source)
        if missing := [field for field in _FOUND if field not in given]:
            raise GuardError(f"{source}: {missing[0]} is missing; expected a file written by save_guard")
        try:
            return cls(**given)
        except HoliSafeError as error:
            raise GuardError(f"{source}: {error}") from None


_ENUMS: dict[str, type[StrEnum]] = {"features": Features, "pooling": Pooling, "meta_token_in": MetaPlace}
_CHOICES: dict[str, Any] = {
    "features": str, "pooling": str, "depth": int, "hidden_ratio": (int, float), "dropout": (int, float),
    "image_head": bool, "joint_head": bool, "output_head": bool, "meta_token": bool, "meta_token_in": str,
    "labels": list,
}  # fmt: skip
_FOUND: dict[str, Any] = {
    "model_type": str, "base_model": str, "width": int, "vision_width": (int, type(None)), "boundary_ids": list,
    "meta_token_id": (int, type(None)),
}  # fmt: skip


def _checked(cls: Any, values: object, kinds: Mapping[str, Any], source: str) -> dict[str, Any]:
    """The fields of a JSON object, lists as tuples."""
    if not isinstance(values, Mapping):
        raise GuardError(f"{source}: expected an object, found {json.dumps(values)[:60]}")
    given = dict(values)
    known = [field.name for field in dataclasses.fields(cls)]
    if unknown := sorted(map(str, set(given) - set(known))):
        raise GuardError(f"{source}: unknown field {', '.join(unknown)}; expected some of {', '.join(known)}")
    for key, value in given.items():
        kind = kinds[key]
        if not (isinstance(value, kind) and (kind is bool or type(value) is not bool)):
            raise GuardError(f"{source}: {key}: found {json.dumps(value)[:80]}")
    for key, is_right in (("labels", _are_names), ("boundary_ids", _are_boundaries)):
        if key in given and not is_right(given[key]):
            raise GuardError(f"{source}: {key}: found {json.dumps(given[key])[:80]}")
        if key in given:
            given[key] = _tupled(given[key])
    return given


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _are_boundaries(value: Any) -> bool:
    return (
        isinstance(value, list)
        and [type(each) for each in value] == [list, list]
        and all(type(token) is int for ids in value for token in ids)
    )


def _listed(value: Any) -> Any:
    if isinstance(value, StrEnum):
        return value.value
    return [_listed(each) for each in value] if isinstance(value, tuple) else value


def _tupled(value: Any) -> Any:
    return tuple(_tupled(each) for each in value) if isinstance(value, list) else value
