"""What the rows of each step hold, since anybody may have written in its file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from holisafe.errors import RunError
from holisafe.taxonomy import GuardLabel, Subcategory


class _Values(BaseModel):
    model_config = ConfigDict(extra="ignore")


class _Pixels(_Values):
    dhash: str = Field(pattern="^[0-9a-f]{64}$")
    colours: Annotated[list[int], Field(min_length=48, max_length=48)]


class _Picture(_Pixels):
    picture: str


class _Edit(_Pixels):
    edited: str
    edited_digest: str


class _Label(_Values):
    label: GuardLabel
    shows: str
    by: str


class _Group(_Values):
    group: str


class _Split(_Group):
    split: Literal["train", "test"]


class _Request(_Values):
    text: str
    subcategory: Subcategory | None
    reason: str


class _Requests(_Values):
    requests: list[_Request]


class _Answer(_Values):
    answer: str


class _Vote(_Values):
    picture_safe: bool
    request_safe: bool
    together_safe: bool
    has_method: bool
    answer_right: bool


class _Judged(_Values):
    outcome: str


class _Check(_Values):
    against: int


class _Twin(_Values):
    twin_digest: str


class _Distribution(_Values):
    distribution: dict[GuardLabel, float] = Field(min_length=len(GuardLabel))


class _Doubt(_Values):
    digest: str
    doubt: str = ""


_TYPES: Mapping[str, Any] = {
    "pictures": _Picture,
    "labels": _Label,
    "dedup": _Group,
    "questions": _Requests,
    "answers": _Answer,
    "votes": _Vote | _Judged,
    "check": _Check,
    "split": _Split,
    "twins": _Twin,
    "edits": _Edit,
    "probabilities": _Distribution,
    "doubts": _Doubt,
}
_KINDS: Mapping[str, TypeAdapter[Any]] = {name: TypeAdapter(kind) for name, kind in _TYPES.items()}


def check_values(step: str, values: Mapping[str, Any]) -> None:
    """Refuse values of a row that is ok and that its step cannot have written.

    Raises:
        RunError: They are not of its kind; names the field.
    """
    try:
        if step in _KINDS:
            _KINDS[step].validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        raise RunError(f"field {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
