"""The published table: 21 models under 4 judges on HoliSafe-Bench.

Source: Lee et al., HoliSafe, arXiv 2506.04704. Its mASR is the macro mean, as in version 4 and later.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

JUDGE_NAMES = {
    "string-match": "String match",
    "claude-3.5-sonnet": "Claude 3.5 Sonnet",
    "gpt-4o": "GPT-4o",
    "gemini-2.0-flash": "Gemini 2.0 Flash",
}
"""The judges of the published table by id, in the order they are offered: first the one that our judges are like."""

GROUP_NAMES = {"open": "open weights", "closed": "closed weights", "safety-tuned": "safety-tuned"}


@dataclass(frozen=True, slots=True)
class PublishedRow:
    """One model under one judge; rates in percent, as printed.

    Attributes:
        judge: Id of the judge.
        model: The model's name as printed.
        group: Kind of model.
        rr: Refusal rate on SSS.
        asr: Attack success rates on SSU, USU, UUU, SUU, in this order.
        masr: Unweighted mean of the four.
    """

    judge: str
    model: str
    group: str
    rr: str
    asr: tuple[str, ...]
    masr: str


@cache
def by_judge() -> dict[str, tuple[PublishedRow, ...]]:
    """All rows of each judge, in the order of `JUDGE_NAMES`."""
    text = (files("holisafe.report") / "data" / "holisafe_bench_published.csv").read_text(encoding="utf-8")
    rows = [
        PublishedRow(
            row["judge"],
            row["model"],
            GROUP_NAMES[row["group"]],
            row["rr"],
            tuple(row[f"asr_{kind}"] for kind in ("ssu", "usu", "uuu", "suu")),
            row["masr"],
        )
        for row in csv.DictReader(text.splitlines())
    ]
    return {judge: tuple(row for row in rows if row.judge == judge) for judge in JUDGE_NAMES}
