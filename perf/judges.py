"""The string judges against the labelled answers: right, precision and recall of refusals, with intervals.

Run: python perf/judges.py --out docs/results
The set is src/holisafe/judges/data/answers.jsonl: texts written for it, with label, kind, language and half. The rules
of judge `refusal` were written on one half. The other has two batches. Batch 1 was written before the rules, by the
same hand, which remembered it: its figures are too good. Batch 2 was written after the last rule and measured once:
it says what to expect of phrasings that the rules have not met. Three earlier batches like it were measured once,
then moved to the half the rules were written on; of these the rules got 61 of 116, 79 of 105 and 63 of 95 right.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from holisafe import Combination, ImageRef, Response, Sample
from holisafe.judges import get, judge_all
from holisafe.metrics import share_figure

LABELLED = Path(__file__).parent.parent / "src" / "holisafe" / "judges" / "data" / "answers.jsonl"
SAMPLE = Sample.ask("1", (ImageRef("image", data=b""),), "", Combination.SSU)
JUDGES = ("refusal", "holisafe", "vlguard", "sapt")
PARTS: dict[str, Callable[[dict[str, Any]], bool]] = {
    "written-on half": lambda row: row["half"] == "written-on",
    "held-out half": lambda row: row["half"] == "held-out",
    "held-out, batch 1": lambda row: row["half"] == "held-out" and row["batch"] == 1,
    "held-out, batch 2": lambda row: row["half"] == "held-out" and row["batch"] == 2,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="folder to write judges.md and judges.json to")
    args = parser.parse_args()
    rows = [json.loads(line) for line in LABELLED.read_text(encoding="utf-8").splitlines()]
    said = {name: outcomes(name, [row["text"] for row in rows]) for name in JUDGES}
    found = {
        "judges": {name: get(name).id.version for name in JUDGES},
        "parts": {
            part: {name: measured(rows, said[name], belongs) for name in JUDGES} for part, belongs in PARTS.items()
        },
        "kinds": {kind: by_kind(rows, said, kind) for kind in sorted({row["kind"] for row in rows})},
    }
    page = as_markdown(found)
    print(page)
    if args.out is not None:
        (args.out / "judges.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        (args.out / "judges.md").write_text(page, encoding="utf-8")


def outcomes(name: str, texts: Sequence[str]) -> list[str]:
    """What a judge says of each text."""
    responses = [Response("1", text, "") for text in texts]
    return [str(judgement.outcome) for judgement in judge_all(get(name), [SAMPLE] * len(texts), responses)]


def measured(rows: list[dict[str, Any]], said: list[str], belongs: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Right outcomes, and precision and recall of `refused`, over the rows that belong."""
    pairs = [(row["label"], outcome) for row, outcome in zip(rows, said, strict=True) if belongs(row)]
    return {
        "right": share([label == outcome for label, outcome in pairs]),
        "precision": share([label == "refused" for label, outcome in pairs if outcome == "refused"]),
        "recall": share([outcome == "refused" for label, outcome in pairs if label == "refused"]),
    }


def by_kind(rows: list[dict[str, Any]], said: dict[str, list[str]], kind: str) -> dict[str, Any]:
    """Share of right outcomes of each judge on a kind's held-out answers."""
    held_out = {
        name: [row["label"] == outcome for row, outcome in zip(rows, listed, strict=True)
               if row["kind"] == kind and row["half"] == "held-out"]
        for name, listed in said.items()
    }  # fmt: skip
    return {name: share(right) for name, right in held_out.items()}


def share(holds: list[bool]) -> dict[str, float] | None:
    """A share with Wilson's 95 % interval and the count; None of nothing."""
    figure = share_figure(holds, np.arange(len(holds)))
    if figure is None:
        return None
    return {"value": figure.value, "low": figure.low, "high": figure.high, "count": len(holds)}


def as_markdown(found: dict[str, Any]) -> str:
    """The page of results."""
    lines = [
        "# String judges on labelled answers",
        "",
        "`perf/judges.py` writes this page; [Judges](../judges.md) says what each judge is. In percent with",
        "Wilson's 95 % intervals. An outcome is right when it equals the label; precision and recall are those of",
        "`refused`. The published judges know no `no_answer`, `unhelpful` or `unparsable`. The rules of `refusal`",
        "were written on one half. Batch 1 of the other was written before them by the same hand, which remembered",
        "it: its figures are too good. Batch 2 was written after the last rule and measured once.",
        "",
        "| part | judge | right | precision | recall | answers |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for part, judges in found["parts"].items():
        for name, figures in judges.items():
            cells = [percent(figures[figure]) for figure in ("right", "precision", "recall")]
            lines.append(f"| {part} | `{name}` | {' | '.join(cells)} | {figures['right']['count']} |")
    names = " | ".join(f"`{name}`" for name in JUDGES)
    lines += ["", "Right on the held-out half, by kind:", "", f"| kind | {names} | answers |", "| --- " * 6 + "|"]
    for kind, judges in found["kinds"].items():
        if judges["refusal"] is not None:
            cells = [percent(judges[name]) for name in JUDGES]
            lines.append(f"| {kind} | {' | '.join(cells)} | {judges['refusal']['count']} |")
    versions = ", ".join(f"`{name}` {version}" for name, version in found["judges"].items())
    return "\n".join([*lines, "", f"Versions: {versions}.", ""])


def percent(figure: dict[str, float] | None) -> str:
    if figure is None:
        return "–"
    return f"{100 * figure['value']:.1f} [{100 * figure['low']:.1f}, {100 * figure['high']:.1f}]"


if __name__ == "__main__":
    main()
