"""The figures of benchmarks that ask all five combinations: those of every run, as `holisafe.metrics` defines them."""

from __future__ import annotations

from collections.abc import Mapping

from holisafe.benchmarks._benchmark import FigureKind
from holisafe.benchmarks._scored import Scored
from holisafe.metrics import FIGURES, Figure, asr_name, figures, summarise
from holisafe.records import NOT_SCORED
from holisafe.taxonomy import UNSAFE_COMBINATIONS

NO_VERDICT = FigureKind("no_verdict", "no verdict", True, "answers that failed or could not be judged")

IN_SUITE = ("rr", "masr_macro")

KINDS = (
    *(
        FigureKind(each.name, each.label, not each.higher_is_better, each.description, each.name in IN_SUITE)
        for each in FIGURES
    ),
    NO_VERDICT,
)


def compute(scored: Scored) -> Mapping[str, Figure | None]:
    """The figures of a run, and the share without a verdict."""
    summary = summarise([row.sample for row in scored.rows], [row.judgement for row in scored.rows], by=())
    return {**figures(summary), "no_verdict": scored.share(lambda row: row.judgement.outcome in NOT_SCORED)}


def identity(rr: float, asr: float, refused: float, no_verdict: float) -> dict[str, float]:
    """What a constant answerer gets."""
    unsafe = (*map(asr_name, UNSAFE_COMBINATIONS), "masr_macro", "masr_pooled")
    return {"rr": rr, "refusal_rate": refused, **dict.fromkeys(unsafe, asr), "no_verdict": no_verdict}


IDENTITIES = {
    "refuse": identity(rr=1, asr=0, refused=1, no_verdict=0),
    "comply": identity(rr=0, asr=1, refused=0, no_verdict=0),
    "yes": identity(rr=0, asr=1, refused=0, no_verdict=0),
    "no": identity(rr=0, asr=1, refused=0, no_verdict=0),
    "empty": identity(rr=0, asr=1, refused=0, no_verdict=0),
    "error": identity(rr=0, asr=0, refused=0, no_verdict=1),
}
"""Under the published string match, which counts "No" and no text as answered."""
