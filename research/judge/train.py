"""Logistic regression on the features of judge `learned`, each scaled by how rare it is.

No program of its own; research.judge trains with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.sparse import csr_array

from holisafe.judges.strings._features import SIZE, features

Signs = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Fit:
    """Weights, of shape [SIZE], and the bias beside them."""

    values: NDArray[np.float64]
    bias: float

    def scores(self, table: csr_array) -> NDArray[np.float64]:
        """Log odds of each row of a table of features, of shape [rows]."""
        return np.asarray(table @ self.values + self.bias)


def table_of(said: Sequence[Sequence[str]]) -> csr_array:
    """Features of texts, given by their sentences, of shape [texts, SIZE]."""
    found = [features(sentences) for sentences in said]
    ends = np.cumsum([0, *(len(each.places) for each in found)])
    places = np.concatenate([each.places for each in found])
    values = np.concatenate([each.values for each in found])
    return csr_array((values, places, ends), shape=(len(found), SIZE))


def rarity(table: csr_array) -> NDArray[np.float64]:
    """Smoothed inverse document frequency of each feature, of shape [SIZE]."""
    count = np.bincount(table.indices, minlength=SIZE)
    return np.asarray(np.log((1 + table.shape[0]) / (1 + count)) + 1)


def fit(table: csr_array, refused: NDArray[np.bool_], strength: float) -> Fit:
    """The weights of least log loss with a ridge penalty on features times their rarity.

    Args:
        table: Features of the texts.
        refused: Whether each text refuses, of shape [texts].
        strength: What the log loss counts for against the penalty.
    """
    scale = rarity(table)
    scaled = csr_array(table.multiply(scale))
    signs = np.where(refused, 1.0, -1.0)

    def loss(flat: Signs) -> tuple[float, Signs]:
        weights, margin = flat[:-1], signs * (scaled @ flat[:-1] + flat[-1])
        pull = -signs / (1 + np.exp(margin))
        penalty = float(weights @ weights) / (2 * strength)
        gradient = np.append(scaled.T @ pull + weights / strength, pull.sum())
        return float(np.logaddexp(0, -margin).sum()) + penalty, gradient

    found = minimize(loss, np.zeros(SIZE + 1), jac=True, method="L-BFGS-B", options={"maxiter": 500})
    return Fit(found.x[:-1] * scale, float(found.x[-1]))
