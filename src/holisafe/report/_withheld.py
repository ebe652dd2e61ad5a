"""Judges whose figures are not shown, because they left too many answers without a verdict."""

from __future__ import annotations

from holisafe.metrics import unjudged
from holisafe.records import MAX_UNJUDGED, Run


def most_unjudged(run: Run) -> float:
    """The share of answers without a verdict that the run allows; the default where it does not say."""
    found = run.provenance.get("max_unjudged")
    return float(found) if isinstance(found, int | float) and not isinstance(found, bool) else MAX_UNJUDGED


def withheld_judges(run: Run) -> dict[str, str]:
    """Judge → why it has no figures."""
    most, found = most_unjudged(run), {}
    for judge, judgements in run.judgements.items():
        left = unjudged(run.responses, judgements)
        if run.responses and not left.n:
            found[judge] = f"none of {len(run.responses)} samples was answered: all ended in an error"
        elif left.share > most:
            found[judge] = (
                f"{left.count} of {left.n} answers ({100 * left.share:.1f} %) have no verdict, more than the "
                f"{100 * most:g} % that the run allows"
            )
    return found
