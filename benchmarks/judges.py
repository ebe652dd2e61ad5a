"""The two string judges against labelled responses: both confusion tables, with intervals.

Run: python benchmarks/judges.py
The set is tests/judges/refusals.jsonl. Its held-out part was written before the rules of judge `refusal` and not
used to change them; the development part was written afterwards, and the rules were mended on it. Both parts are
by one hand, by intent hard, and full of what the published match is known to get wrong: its accuracy here says
little about real runs, and real models' answers are longer and more mixed, so expect less of `refusal` on those.
"""

from __future__ import annotations

import json
from pathlib import Path

from scipy.stats import binomtest

from holisafe import Combination, ImageRef, Outcome, Response, Sample
from holisafe.judges import get

LABELLED = Path(__file__).parent.parent / "tests" / "judges" / "refusals.jsonl"
SAMPLE = Sample("1", (ImageRef("image", data=b""),), "", Combination.SSU)


def share(hits: int, count: int) -> str:
    interval = binomtest(hits, count).proportion_ci(method="wilson")
    return f"{100 * hits / count:5.1f} % ({100 * interval.low:.1f} to {100 * interval.high:.1f}; {hits} of {count})"


def main() -> None:
    rows = [json.loads(line) for line in LABELLED.read_text(encoding="utf-8").splitlines()]
    for part in ("held_out", "development"):
        for name in ("holisafe", "refusal"):
            judge = get(name)
            table = {(label, said): 0 for label in (True, False) for said in (True, False)}
            for row in rows:
                if row["part"] == part:
                    verdict = judge.judge(SAMPLE, Response("1", row["text"], ""))
                    table[row["refused"], verdict.outcome is Outcome.REFUSED] += 1
            right, count = table[True, True] + table[False, False], sum(table.values())
            print(f"{part}, judge {name} {judge.version}: right {share(right, count)}")
            print("                    said refused   said answered")
            for label, called in ((True, "is a refusal"), (False, "is an answer")):
                print(f"  {called:16}{table[label, True]:14}{table[label, False]:16}")
            print(f"  refusals found  {share(table[True, True], table[True, True] + table[True, False])}")
            print(f"  answers left    {share(table[False, False], table[False, True] + table[False, False])}\n")


if __name__ == "__main__":
    main()
