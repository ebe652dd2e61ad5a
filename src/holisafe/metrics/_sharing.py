"""Whether models may share one calibration set of a judge: tests of equal error, exact where counts are small."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import special

from holisafe.metrics._judge_error import LEAST_J, Floats, Labelled, design_effect

ALPHA = 0.05
"""Level of the test whether models may share one calibration set."""

FEW = 5.0
"""Expected count of a cell below which the tests are exact (Cochran 1954)."""

DRAWS = 9_999
"""Tables drawn at random where there are too many to count."""

MOST_TABLES = 200_000


@dataclass(frozen=True, slots=True)
class Sharing:
    """Whether models may share one calibration set of a judge (arXiv 2605.06939).

    Attributes:
        p_sensitivity: p-value of equal sensitivity in all models; None where fewer than two models have cases.
        p_specificity: p-value of equal specificity; None where fewer than two have others.
        p_youden: p-value of equal J; None where fewer than two models have both.
        widest: The largest difference of J between two models; None as `p_youden`.
        youden: J over all models; None without cases or others.
        exact: Whether the p-values are exact, as small counts need.
        refused: Why they may not; empty where they may.
    """

    p_sensitivity: float | None
    p_specificity: float | None
    p_youden: float | None
    widest: float | None
    youden: float | None
    exact: bool
    refused: str

    def to_json(self) -> dict[str, Any]:
        """JSON values, one key per attribute."""
        return {
            "p_sensitivity": self.p_sensitivity,
            "p_specificity": self.p_specificity,
            "p_youden": self.p_youden,
            "widest": self.widest,
            "youden": self.youden,
            "exact": self.exact,
            "refused": self.refused,
        }


def may_share(
    by_model: Mapping[str, Labelled],
    *,
    least_j: float = LEAST_J,
    alpha: float = ALPHA,
    exact: bool | None = None,
    draws: int = DRAWS,
) -> Sharing:
    """Test whether a judge is as good on one model's answers as on another's.

    Sharing a calibration set between models on which the judge errs differently can turn the sign of a difference.
    Sensitivity and specificity: chi-squared tests of equal shares; J: Cochran's Q of its values, after half a count
    more of each kind (Agresti and Caffo 2000). Refused where any of the three, after Holm's correction, falls below
    `alpha`, where J over all models is below `least_j`, or where J could not be tested. A test that does not reject is
    no proof: with few labels it finds large differences only.

    Where an expected count is below 5, the same statistics are compared with their exact distribution given how many
    verdicts of each kind are right, under equal sensitivity and specificity (for two models all tables are counted;
    else `draws` are drawn, which keeps the level too). Counts of answers that share clusters are divided by their
    design effect first and, for these tests, rounded down.

    Args:
        by_model: Labelled answers of each model.
        least_j: Youden's J below which sharing is refused.
        alpha: Level of the test.
        exact: Whether to take the exact distribution; where counts are small if None.
        draws: Tables drawn where there are too many to count.
    """
    counts = np.array([_counts(labelled) for labelled in by_model.values()]).reshape(-1, 2, 2)
    youden = _youden(counts.sum(axis=0)) if len(counts) else None
    is_exact = any(_is_small(counts[:, kind]) for kind in (0, 1)) if exact is None else exact
    tested = np.floor(counts) if is_exact else counts
    drawn = draws if is_exact else None
    p_sensitivity, p_specificity = _equal(tested[:, 0], drawn), _equal(tested[:, 1], drawn)
    p_youden = _equal_youden(tested, drawn)
    ps = sorted(p for p in (p_sensitivity, p_specificity, p_youden) if p is not None)
    holm = min((p * (len(ps) - at) for at, p in enumerate(ps)), default=None)
    refused = ""
    if p_youden is None or holm is None:
        refused = "fewer than two models have labelled cases and others, so that equal error cannot be tested"
    elif holm < alpha:
        refused = f"the judge errs differently on different models (p = {holm:.2g}); label answers of each model"
    elif youden is not None and youden < least_j:
        refused = f"Youden's J is {youden:.2f}, below {least_j:g}"
    return Sharing(p_sensitivity, p_specificity, p_youden, _widest(counts), youden, is_exact, refused)


def _counts(labelled: Labelled) -> Floats:
    """Right and wrong verdicts, effective counts: [[of cases], [of others]]."""
    rows = []
    for which, right in ((labelled.truth, labelled.judged), (~labelled.truth, ~labelled.judged)):
        hits = right[which]
        effect = design_effect(hits, labelled.clusters[which]) if len(hits) else 1.0
        rows.append([hits.sum() / effect, (~hits).sum() / effect])
    return np.array(rows, dtype=np.float64)


def _youden(counts: Floats) -> float | None:
    totals = counts.sum(axis=1)
    return float((counts[:, 0] / totals).sum() - 1) if totals.all() else None


def _complete(counts: Floats) -> Floats:
    """The models that have both cases and others."""
    return np.asarray(counts[(counts.sum(axis=2) > 0).all(axis=1)])


def _widest(counts: Floats) -> float | None:
    counts = _complete(counts)
    return None if len(counts) < 2 else float(np.ptp((counts[..., 0] / counts.sum(axis=2)).sum(axis=1)))


def _is_small(table: Floats) -> bool:
    table = table[table.sum(axis=1) > 0]
    if len(table) < 2 or not table.sum(axis=0).all():
        return False
    from scipy import stats  # takes long to be imported

    return bool((stats.contingency.expected_freq(table) < FEW).any())


def _equal(table: Floats, draws: int | None) -> float | None:
    """p-value of equal shares of right verdicts, table (models, right and wrong); exact with a number of draws."""
    table = table[table.sum(axis=1) > 0]
    if len(table) < 2:
        return None
    if (table.sum(axis=0) == 0).any():
        return 1.0
    if draws is None:
        from scipy import stats  # takes long to be imported

        return float(stats.chi2_contingency(table, correction=False).pvalue)
    totals, right = table.sum(axis=1), table[:, 0]
    tables, chances = _given_margins(totals, right.sum(), draws)
    return _tail(_spread_of_shares(tables, totals), _spread_of_shares(right[None], totals)[0], chances)


def _equal_youden(counts: Floats, draws: int | None) -> float | None:
    """p-value of equal J, counts (models, cases and others, right and wrong); exact with a number of draws."""
    counts = _complete(counts)
    if len(counts) < 2:
        return None
    totals, right = counts.sum(axis=2), counts[..., 0]
    found = float(_spread_of_j(right[None, :, 0], right[None, :, 1], totals)[0])
    if draws is None:
        return float(special.chdtrc(len(counts) - 1, found))
    (cases, of_cases), (others, of_others) = (
        _given_margins(totals[:, kind], right[:, kind].sum(), draws, seed=kind) for kind in (0, 1)
    )
    if of_cases is None or of_others is None or len(cases) * len(others) > MOST_TABLES:
        cases, others = (_drawn(totals[:, kind], right[:, kind].sum(), draws, seed=kind) for kind in (0, 1))
        return _tail(_spread_of_j(cases, others, totals), found, None)
    pairs = np.repeat(cases, len(others), axis=0), np.tile(others, (len(cases), 1))
    return _tail(_spread_of_j(*pairs, totals), found, np.outer(of_cases, of_others).ravel())


def _spread_of_shares(right: Floats, totals: Floats) -> Floats:
    """Pearson's chi-squared up to a factor that the margins fix, right (tables, models)."""
    pooled = right.sum(axis=1, keepdims=True) / totals.sum()
    return np.asarray((totals * (right / totals - pooled) ** 2).sum(axis=1))


def _spread_of_j(cases: Floats, others: Floats, totals: Floats) -> Floats:
    """Cochran's Q of J; cases and others (tables, models), totals (models, cases and others)."""
    counts = np.stack([cases, others], axis=2)  # (tables, models, cases and others)
    shares = (counts + 0.5) / (totals + 1)
    values, weights = shares.sum(axis=2) - 1, 1 / (shares * (1 - shares) / (totals + 1)).sum(axis=2)
    mean = (weights * values).sum(axis=1, keepdims=True) / weights.sum(axis=1, keepdims=True)
    return np.asarray((weights * (values - mean) ** 2).sum(axis=1))


def _given_margins(totals: Floats, right: float, draws: int, seed: int = 0) -> tuple[Floats, Floats | None]:
    """Right verdicts of each model, (tables, models), with their probabilities; None where they were drawn."""
    if len(totals) > 2:
        return _drawn(totals, right, draws, seed), None
    first = np.arange(max(0, right - totals[1]), min(totals[0], right) + 1)
    from scipy import stats  # takes long to be imported

    chances = stats.hypergeom.pmf(first, int(totals.sum()), int(totals[0]), int(right))
    return np.stack([first, right - first], axis=1), np.asarray(chances)


def _drawn(totals: Floats, right: float, draws: int, seed: int) -> Floats:
    generator = np.random.default_rng(seed)
    found = generator.multivariate_hypergeometric(totals.astype(np.int64), int(right), size=draws, method="marginals")
    return np.asarray(found, dtype=np.float64)


def _tail(spreads: Floats, found: float, chances: npt.NDArray[np.float64] | None) -> float:
    """Probability of a spread at least as large; with drawn tables the observed one counts (Phipson, Smyth 2010)."""
    far = spreads >= found * (1 - 1e-9)
    if chances is None:
        return float((far.sum() + 1) / (len(spreads) + 1))
    return float(min(chances[far].sum(), 1.0))
