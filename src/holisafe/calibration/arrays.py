"""Logits and labels as callers have them: NumPy arrays, lists, and torch tensors of any dtype and device."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from holisafe._enums import parse_enum
from holisafe.errors import DataError, HoliSafeError
from holisafe.taxonomy import Combination, parse_label


def as_logits(name: str, values: Any) -> npt.NDArray[np.float64]:
    """Logits in double precision.

    Args:
        name: Of the argument, for messages.
        values: An array, tensor, or sequences of numbers, arrays or tensors.

    Raises:
        DataError: They are no numbers, or rows differ in length.
    """
    try:
        return np.asarray(_off_torch(values), dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{name}: expected numbers, one row per record ({error})") from None


def as_image_labels(values: Any) -> npt.NDArray[Any]:
    """Indices in `HEAD_ORDER`, of indices or names of labels."""
    return _as_labels("image_labels", values, lambda name: parse_label(name).index)


def as_joint_labels(values: Any) -> npt.NDArray[Any]:
    """Indices in `Combination`, of indices or names of combinations."""
    return _as_labels("joint_labels", values, lambda name: _COMBINATIONS.index(parse_enum(Combination, name)))


def _as_labels(name: str, values: Any, parse: Any) -> npt.NDArray[Any]:
    try:
        found = np.asarray(_off_torch(values))
    except (TypeError, ValueError) as error:
        raise DataError(f"{name}: expected one label per record ({error})") from None
    if found.dtype.kind not in "UO" or found.ndim != 1 or not found.size:
        return found
    try:
        return np.array([parse(each) for each in found.tolist()], dtype=np.int64)
    except (HoliSafeError, AttributeError, TypeError, ValueError) as error:
        raise DataError(f"{name}: {error}") from None


def _off_torch(values: Any) -> Any:
    """The same without tensors: NumPy has no bfloat16, and reads no tensor with gradients or of a GPU."""
    torch = sys.modules.get("torch")
    if torch is None:
        return values  # nothing can be a tensor
    if isinstance(values, torch.Tensor):
        found = values.detach().cpu()
        return (found.double() if found.is_floating_point() else found).numpy()
    if isinstance(values, list | tuple) and any(isinstance(each, torch.Tensor | list | tuple) for each in values):
        return [_off_torch(each) for each in values]
    return values


_COMBINATIONS: Sequence[StrEnum] = tuple(Combination)
