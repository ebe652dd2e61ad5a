"""Are answers and verdicts those of a run that another version of holisafe made?

    python perf/same_answers.py RUN [--samples 20]

RUN is a run folder of any version, with the verdicts of 0.1 (`image_verdicts`, `joint_verdict`) or later. The model,
the data and the settings are those that its `run.json` names. Prints one JSON line; exit code 1 where anything differs.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from holisafe.datasets import load as load_data
from holisafe.models import Engine, GenerationOptions, Prompt, load
from holisafe.records import GuardVerdict

TOLERANCE = 1e-5
"""Largest difference of a probability that counts as the same: rounding of float32 in another batch."""


def main() -> int:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="run folder, with run.json and responses.jsonl")
    parser.add_argument("--samples", type=int, default=20, help="how many of its samples to ask again")
    options = parser.parse_args()
    settings = json.loads((options.run / "run.json").read_text("utf-8"))["settings"]
    with (options.run / "responses.jsonl").open(encoding="utf-8") as file:
        recorded = [json.loads(line) for line, _ in zip(file, range(options.samples), strict=False)]
    samples = {sample.id: sample for sample in load_data(settings["data"], settings["split"])}
    wanted = [samples[each["sample_id"]] for each in recorded]
    loaded = load(settings["model"], guard=settings["guard"])
    with Engine(*loaded, batch_size=settings["batch_size"]) as engine:
        generation = GenerationOptions(max_new_tokens=settings["max_tokens"])
        answers = engine.answer([Prompt.of(sample) for sample in wanted], generation)
    pairs = list(zip(recorded, answers, strict=True))
    found = {
        "run": options.run.name,
        "model": settings["model"],
        "samples": len(pairs),
        "same_texts": sum(old["text"] == answer.text for old, answer in pairs),
        "with_verdicts": sum(answer.verdict != GuardVerdict() for answer in answers),
        "largest_difference_of_a_probability": max(_difference(old, answer.verdict) for old, answer in pairs),
    }
    print(json.dumps(found))
    is_same = found["same_texts"] == len(pairs) and found["largest_difference_of_a_probability"] <= TOLERANCE
    return 0 if is_same else 1


def _difference(old: Mapping[str, Any], verdict: GuardVerdict) -> float:
    """Largest difference between the probabilities of two verdicts on one prompt; infinite for other heads."""
    new = verdict.to_json()
    given = old.get("verdict") or {"images": old.get("image_verdicts") or [], "request": old.get("joint_verdict")}
    before = [each["distribution"] for each in [*given["images"], given["request"]] if each]
    after = [each["distribution"] for each in [*new["images"], new["request"]] if each]
    if [one.keys() for one in before] != [other.keys() for other in after]:
        return float("inf")
    differences = [abs(one[name] - other[name]) for one, other in zip(before, after, strict=True) for name in one]
    return max(differences, default=0.0)


if __name__ == "__main__":
    sys.exit(main())
