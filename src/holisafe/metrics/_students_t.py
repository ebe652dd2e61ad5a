"""Student's distribution, of any degrees of freedom, infinity included; `scipy.stats` takes long to be imported."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import special

Floats = npt.NDArray[np.float64]


def normal_quantile(probability: float) -> float:
    """The value below which a standard normal variable stays with this probability."""
    return float(special.ndtri(probability))


def normal_share(value: float) -> float:
    """The probability that a standard normal variable stays below a value."""
    return float(special.ndtr(value))


def student_quantile(probability: float, freedom: npt.ArrayLike) -> Floats:
    """The value below which Student's t stays with this probability, of the shape of `freedom`."""
    given = np.asarray(freedom, dtype=np.float64)
    found = special.stdtrit(np.where(np.isinf(given), 1, given), probability)
    return np.asarray(np.where(np.isinf(given), special.ndtri(probability), found), dtype=np.float64)


def student_tail(values: npt.ArrayLike, freedom: npt.ArrayLike) -> Floats:
    """The probability that Student's t is above each value."""
    given, below = np.asarray(freedom, dtype=np.float64), -np.asarray(values, dtype=np.float64)
    found: Any = special.stdtr(np.where(np.isinf(given), 1, given), below)
    return np.asarray(np.where(np.isinf(given), special.ndtr(below), found), dtype=np.float64)
