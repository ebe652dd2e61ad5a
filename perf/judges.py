"""The string judges against the labelled answers: right, precision and recall of refusals, with intervals.

Run: python perf/judges.py --out docs/results
The set is src/holisafe/judges/data/answers.jsonl: texts written for it, with label, kind, language and half. The
rules of judge `refusal` were written on one half, and the weights of `learned` are learned from it. The other has
four batches. Batch 1 was written before the rules, by the same hand, which remembered it: its figures are too good.
Batch 2 was written after the last rule of version 2 of `refusal`. Batch 3 was written before the rules of version 3
and the weights; one answer in two was kept apart. Batch 5 was written after the last rule, and measured with weights
that had seen fewer references of HoliSafe-Open (`learned` 95 of 108 right), then with the last ones. Batches like it
were measured once each, then moved to the half to learn from: version 2 got 61 of 116, 79 of 105 and 63 of 95 right;
in a fourth an earlier version 3 got 71 and earlier weights 94 of 109. Version 4 of `refusal` was written on the
written-on half alone and measured here once. Version 2 of `learned` asks its rules too where an answer is longer than
an opening; a first form, which asked them always, got 89.2 % of the hard set right, but under 60 % of its refusals that
the thing itself follows. The hard set is what is held out of batches 2, 3, 5.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from holisafe import Combination, ImageRef, Response, Sample
from holisafe.datasets.open import load_open
from holisafe.judges import get, judge_all
from holisafe.metrics import share_figure

LABELLED = Path(__file__).parent.parent / "src" / "holisafe" / "judges" / "data" / "answers.jsonl"
SAMPLE = Sample.ask("1", (ImageRef("image", data=b""),), "", Combination.SSU)
JUDGES = ("refusal", "learned", "holisafe", "vlguard", "sapt")
ERROR = LABELLED.with_name("error.json")
SUMMARY = Path(__file__).parent.parent / "docs" / "judge-quality.md"
MARKS = ("<!-- written by perf/judges.py -->", "<!-- end of what perf/judges.py writes -->")
HARD, LAST, ORDINARY = "hard set (batches 2, 3, 5)", "held-out, batch 5", "held-out, ordinary answers"
RESAMPLES, REFERENCES = 10_000, 500


def held_out_batch(batch: int) -> Callable[[dict[str, Any]], bool]:
    """Whether a row is of a batch and held out."""
    return lambda row: row["half"] == "held-out" and row["batch"] == batch


PARTS: dict[str, Callable[[dict[str, Any]], bool]] = {
    "written-on half": lambda row: row["half"] == "written-on",
    "held-out half": lambda row: row["half"] == "held-out",
    **{f"held-out, batch {batch}": held_out_batch(batch) for batch in (1, 2, 3, 5)},
    HARD: lambda row: row["half"] == "held-out" and row["batch"] > 1,
    ORDINARY: lambda row: row["half"] == "held-out" and row["kind"] == "ordinary",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--out", type=Path, help="folder to write judges.md and judges.json to; the package's error.json too"
    )
    args = parser.parse_args()
    rows = [json.loads(line) for line in LABELLED.read_text(encoding="utf-8").splitlines()]
    said = {name: outcomes(name, [row["text"] for row in rows]) for name in JUDGES}
    found = {
        "judges": {name: get(name).id.version for name in JUDGES},
        "parts": {
            part: {name: measured(rows, said[name], belongs) for name in JUDGES} for part, belongs in PARTS.items()
        },
        "kinds": {kind: by_kind(rows, said, kind) for kind in sorted({row["kind"] for row in rows})},
        "references": references(),
        "learned less refusal": {part: gain(rows, said, PARTS[part]) for part in (HARD, LAST)},
    }
    page = as_markdown(found)
    print(page)
    if args.out is not None:
        (args.out / "judges.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        (args.out / "judges.md").write_text(page, encoding="utf-8")
        of_package = {
            name: {"version": version, "hard": found["parts"][HARD][name]} for name, version in found["judges"].items()
        }
        ERROR.write_text(json.dumps(of_package, indent=1) + "\n", encoding="utf-8")
        SUMMARY.write_text(with_summary(SUMMARY.read_text(encoding="utf-8"), found), encoding="utf-8")


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


def references() -> dict[str, Any]:
    """Shares right on reference answers of HoliSafe-Open's test split, of safe and unsafe combinations apart."""
    each = {one.reference: one.combination for one in load_open("test", version=2) if one.reference}
    texts = random.Random(0).sample(sorted(each), REFERENCES)
    safe = [each[text] is Combination.SSS for text in texts]
    found = {}
    for name in JUDGES:
        said = outcomes(name, texts)
        found[name] = {
            "answered": share([outcome == "answered" for outcome, is_safe in zip(said, safe, strict=True) if is_safe]),
            "refused": share(
                [outcome == "refused" for outcome, is_safe in zip(said, safe, strict=True) if not is_safe]
            ),
        }
    return found


def gain(
    rows: list[dict[str, Any]], said: dict[str, list[str]], belongs: Callable[[dict[str, Any]], bool]
) -> dict[str, float]:
    """Share right of `learned` less that of `refusal` on the same answers, with a paired 95 % bootstrap interval."""
    right = {
        name: np.array([row["label"] == outcome for row, outcome in zip(rows, said[name], strict=True) if belongs(row)])
        for name in ("learned", "refusal")
    }
    each = right["learned"].astype(float) - right["refusal"].astype(float)
    drawn = np.random.default_rng(0).integers(0, len(each), (RESAMPLES, len(each)))
    low, high = np.percentile(each[drawn].mean(axis=1), [2.5, 97.5])
    return {"value": float(each.mean()), "low": float(low), "high": float(high), "count": len(each)}


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
        "were written on one half, and `learned` is learned from it. Batch 1 of the other was written before the",
        "rules by the same hand, which remembered it: its figures are too good. Batch 2 was written after the rules of",
        "version 2, batch 3 before those of version 3, and batch 5 after the last rule.",
        "",
        "| part | judge | right | precision | recall | answers |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for part, judges in found["parts"].items():
        for name, figures in judges.items():
            cells = [percent(figures[figure]) for figure in ("right", "precision", "recall")]
            lines.append(f"| {part} | `{name}` | {' | '.join(cells)} | {figures['right']['count']} |")
    names = " | ".join(f"`{name}`" for name in JUDGES)
    lines += [
        "",
        "Right on the held-out half, by kind:",
        "",
        f"| kind | {names} | answers |",
        "| --- " * (2 + len(JUDGES)) + "|",
    ]
    for kind, judges in found["kinds"].items():
        if judges["refusal"] is not None:
            cells = [percent(judges[name]) for name in JUDGES]
            lines.append(f"| {kind} | {' | '.join(cells)} | {judges['refusal']['count']} |")
    lines += [
        "",
        f"Right on {REFERENCES} reference answers of HoliSafe-Open's test split, synthetic ones, some of whose",
    ]
    lines += ["training split `learned` has learned from:", ""]
    lines += ["| judge | safe combination, answered | unsafe, refused |", "| --- " * 3 + "|"]
    for name, figures in found["references"].items():
        lines.append(f"| `{name}` | {percent(figures['answered'])} | {percent(figures['refused'])} |")
    lines += ["", "Right on the same answers, `learned` less `refusal`, in points with paired bootstrap intervals:", ""]
    for part, figure in found["learned less refusal"].items():
        lines.append(f"- {part}: {percent(figure)}, {figure['count']} answers")
    versions = ", ".join(f"`{name}` {version}" for name, version in found["judges"].items())
    return "\n".join([*lines, "", f"Versions: {versions}.", ""])


def with_summary(page: str, found: dict[str, Any]) -> str:
    """The page of judges' quality with these figures between its marks."""
    before, rest = page.split(MARKS[0])
    after = rest.split(MARKS[1])[1]
    lines = ["| judge | hard set | precision | recall | last batch | ordinary answers |", "| --- " * 6 + "|"]
    for name in JUDGES:
        cells = [percent(found["parts"][HARD][name][figure]) for figure in ("right", "precision", "recall")]
        cells += [percent(found["parts"][part][name]["right"]) for part in (LAST, ORDINARY)]
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    gained = found["learned less refusal"][HARD]
    ahead = f"`learned` is ahead of `refusal` by {percent(gained)} points, paired."
    lines += ["", f"On the hard set ({gained['count']} answers) {ahead}"]
    return "\n".join([f"{before}{MARKS[0]}", *lines, f"{MARKS[1]}{after}"])


def percent(figure: dict[str, float] | None) -> str:
    if figure is None:
        return "–"
    return f"{100 * figure['value']:.1f} [{100 * figure['low']:.1f}, {100 * figure['high']:.1f}]"


if __name__ == "__main__":
    main()
