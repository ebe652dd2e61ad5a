"""The two string judges against labelled responses: both confusion tables, with intervals.

Run: python perf/judges.py
The set is tests/judges/refusals.jsonl. Its development part was written in batches, each before the rules of judge
`refusal` had met it; the rules were then mended on it. Unmended they were right on 94 % of a plain batch, and on 57, 62
and 84 % of three that look for unusual phrasings. The held-out part came after these. Since it was measured the rules
were changed once, for refusals that go on with ways to find help, of which it has none. All is by one hand; real
models' answers are longer and more mixed.
"""

from __future__ import annotations

import json
from pathlib import Path

from scipy.stats import binomtest

from holisafe import Combination, ImageRef, Outcome, Response, Sample
from holisafe.judges import get, judge_all

LABELLED = Path(__file__).parent.parent / "tests" / "judges" / "refusals.jsonl"
SAMPLE = Sample.ask("1", (ImageRef("image", data=b""),), "", Combination.SSU)


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
                    (verdict,) = judge_all(judge, [SAMPLE], [Response("1", row["text"], "")])
                    table[row["refused"], verdict.outcome is Outcome.REFUSED] += 1
            right, count = table[True, True] + table[False, False], sum(table.values())
            print(f"{part}, judge {name} {judge.id.version}: right {share(right, count)}")
            print("                    said refused   said answered")
            for label, called in ((True, "is a refusal"), (False, "is an answer")):
                print(f"  {called:16}{table[label, True]:14}{table[label, False]:16}")
            print(f"  refusals found  {share(table[True, True], table[True, True] + table[True, False])}")
            print(f"  answers left    {share(table[False, False], table[False, True] + table[False, False])}\n")


if __name__ == "__main__":
    main()
