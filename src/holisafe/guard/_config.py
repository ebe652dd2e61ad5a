"""What a guard is made of: the configuration that is saved beside its weights."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from holisafe.errors import GuardError, HoliSafeError
from holisafe.taxonomy import HEAD_ORDER, Category, Combination, parse_label

Features = Literal["language", "projector"]
Pooling = Literal["mean", "attention", "last"]
MetaPlace = Literal["language", "encoder"]

JOINT_OUTPUTS = len(Combination) + len(Category)
"""Logits of the joint head: the five combinations, then the seven categories."""


@dataclass(frozen=True, slots=True)
class GuardConfig:
    """A guard's parts. The defaults are the paper's image head and a joint head of ours.

    Attributes:
        features: Where an image's vector comes from: "language" (the language model's last hidden states at the
            image's placeholder positions, as SafeQwen2.5-VL and SafeLLaVA) or "projector" (what is put into the
            language model there, as SafeGem).
        pooling: How an image's visual tokens become one vector: "mean" (the paper), "attention" (a learned query),
            "last" (the last visual token).
        labels: What the image head tells apart, by their ids, in the order of its outputs.
        depth: Linear layers of a head (paper: 2).
        hidden_ratio: Width of a head's hidden layers over that of the language model (paper: 0.5).
        dropout: Share of hidden activations dropped in training, in [0, 1) (paper: 0.1).
        image_head: Whether images get a verdict each.
        joint_head: Whether image and question together get one, from the last prompt position.
        meta_token: Whether a learned token follows each image's visual tokens and is what the image head reads (the
            safety meta token of the paper's first version).
        meta_token_in: Where it joins an image's tokens: "language" (as a token of the prompt; needs
            features="language") or "encoder" (after the patches in the vision encoder, out of which it comes as one
            more visual token; patches see it there too, so their features change with what it learns).
        meta_token_id: Token id that stands for it in a prompt; the last one of the vocabulary that the configuration
            gives no meaning when None. In the encoder it has none: the image's own placeholder stands for it.
        boundary_ids: Ids of the family's boundary tokens (`GuardFamily.first`, then `.last`); found on attaching.
        width: Hidden size of the language model it was made for; set on attaching, checked on loading.
        vision_width: Hidden size of the vision encoder, if the meta token is in it; set on attaching, checked on
            loading.
        base_model: Name of that model; set on attaching, checked on loading.

    Raises:
        GuardError: A value is not one of those above.
    """

    features: Features = "language"
    pooling: Pooling = "mean"
    labels: tuple[str, ...] = tuple(label.value for label in HEAD_ORDER)
    depth: int = 2
    hidden_ratio: float = 0.5
    dropout: float = 0.1
    image_head: bool = True
    joint_head: bool = True
    meta_token: bool = False
    meta_token_in: MetaPlace = "language"
    meta_token_id: int | None = None
    boundary_ids: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())
    width: int | None = None
    vision_width: int | None = None
    base_model: str = ""

    def __post_init__(self) -> None:
        _one_of("features", self.features, get_args(Features))
        _one_of("pooling", self.pooling, get_args(Pooling))
        _one_of("meta_token_in", self.meta_token_in, get_args(MetaPlace))
        try:
            different = {parse_label(label) for label in self.labels}
        except HoliSafeError as error:
            raise GuardError(f"labels: {error}") from None
        if len(different) != len(self.labels) or not self.labels:
            raise GuardError(f"labels: expected different ones, found {', '.join(self.labels) or 'none'}")
        if self.depth < 1:
            raise GuardError(f"depth: expected at least 1, found {self.depth}")
        if not 0 < self.hidden_ratio <= 16:
            raise GuardError(f"hidden_ratio: expected a number in (0, 16], found {self.hidden_ratio}")
        if not 0 <= self.dropout < 1:
            raise GuardError(f"dropout: expected a number in [0, 1), found {self.dropout}")
        if not (self.image_head or self.joint_head):
            raise GuardError("image_head and joint_head are both off; a guard needs at least one")
        if self.meta_token_in == "encoder":
            self._check_encoder_token()
        elif self.meta_token and self.features != "language":
            raise GuardError(
                'meta_token needs features="language": the token has no visual features of its own; with '
                'meta_token_in="encoder" it has'
            )

    def _check_encoder_token(self) -> None:
        if not self.meta_token:
            raise GuardError('meta_token_in="encoder" needs meta_token=True')
        if self.meta_token_id is not None:
            raise GuardError(
                f"meta_token_id: found {self.meta_token_id}, but in the encoder the token has none: leave it out"
            )
        if self.vision_width is not None and not 0 < self.vision_width < 2**31:
            raise GuardError(f"vision_width: expected a hidden size, found {self.vision_width}")

    @classmethod
    def paper(cls, **changes: Any) -> GuardConfig:
        """The visual guard module as published (arXiv 2506.04704 v5): the image head alone."""
        return cls(**({"joint_head": False} | changes))

    @property
    def meta_in_encoder(self) -> bool:
        """Whether the vision encoder sees the meta token."""
        return self.meta_token_in == "encoder"

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
        known = {field.name: field for field in dataclasses.fields(cls)}
        given = dict(values)
        if unknown := sorted(set(given) - set(known)):
            raise GuardError(f"{source}: unknown field {', '.join(unknown)}; expected some of {', '.join(known)}")
        for key, kind in _KINDS.items():
            if key in given and not (isinstance(given[key], kind) and (kind is bool or type(given[key]) is not bool)):
                raise GuardError(f"{source}: {key}: found {json.dumps(given[key])}")
        for key, is_right in (("labels", _are_names), ("boundary_ids", _are_boundaries)):
            if key in given and not is_right(given[key]):
                raise GuardError(f"{source}: {key}: found {json.dumps(given[key])[:80]}")
            if key in given:
                given[key] = _tupled(given[key])
        try:
            return cls(**given)
        except HoliSafeError as error:
            raise GuardError(f"{source}: {error}") from None


_KINDS: dict[str, Any] = {
    "depth": int, "hidden_ratio": (int, float), "dropout": (int, float), "image_head": bool, "joint_head": bool,
    "meta_token": bool, "base_model": str, "features": str, "pooling": str, "width": (int, type(None)),
    "meta_token_id": (int, type(None)), "meta_token_in": str, "vision_width": (int, type(None)),
}  # fmt: skip


def _one_of(field: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise GuardError(f"{field}: expected one of {', '.join(known)}, found {value!r}")


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _are_boundaries(value: Any) -> bool:
    return (
        isinstance(value, list)
        and [type(each) for each in value] == [list, list]
        and all(type(token) is int for ids in value for token in ids)
    )


def _listed(value: Any) -> Any:
    return [_listed(each) for each in value] if isinstance(value, tuple) else value


def _tupled(value: Any) -> Any:
    return tuple(_tupled(each) for each in value) if isinstance(value, list) else value
