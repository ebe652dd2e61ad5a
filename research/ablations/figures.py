"""What the runs of the ablations come to: figures of each arm, and paired tests against the arm it is compared with.

No program of its own; ablations.py calls it. All of it is made from the runs' files, however many there are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from holisafe.metrics import HEADLINE, auroc, compare, per_class, summarise
from holisafe.records import ImageRef, JudgeId, Judgement, Outcome, Sample
from holisafe.taxonomy import Combination, GuardLabel
from research.ablations.arms import QUESTIONS, UNTUNED, Question
from research.ablations.runs import JUDGES

RATES = tuple(figure.name for figure in HEADLINE if figure.name != "masr_pooled")
GUARD = ("f1", "auroc", "top1", "joint")
LEVEL = 0.05
"""Differences whose corrected p-value is below it are clear, if they are larger than those of another seed too."""

SEEDS = 2
"""Fewer say nothing of the chance in training."""

Run = Mapping[str, Any]


def summarise_study(study: Mapping[str, Any], runs: Sequence[Run], planned: Sequence[str]) -> dict[str, Any]:
    """All figures and comparisons of the runs that are done, as JSON values.

    Args:
        study: What `study.json` holds.
        runs: What the files of the runs hold.
        planned: Names of all runs that are to be made.
    """
    by_arm: dict[str, list[Run]] = {}
    for each in sorted(runs, key=lambda run: run["seed"]):
        by_arm.setdefault(each["arm"], []).append(each)
    done = {each["run"] for each in runs}
    arms = {name: _figures(study, found) for name, found in by_arm.items()}
    chance = training_chance({name: each["by_seed"] for name, each in arms.items() if name != UNTUNED})
    rates = {name.value: sum(row["combination"] == name for row in study["slice"]) for name in Combination}
    return {
        "study": {key: value for key, value in study.items() if key != "slice"}
        | {"settings": {key: _named(key, value) for key, value in study["settings"].items()}},
        "slice": len(study["slice"]),
        "asked": rates,
        "judge": JUDGES[0],
        "planned": len(planned),
        "done": sum(name in done for name in planned),
        "missing": [name for name in planned if name not in done],
        "seconds": round(sum(each["seconds"]["all"] for each in runs)),
        "versions": sorted({json.dumps(each["versions"], sort_keys=True) for each in runs}),
        "machine": sorted({f"{r['machine']['device']}, {r['machine']['threads']} threads" for r in runs}),
        "arms": arms,
        "training_chance": chance,
        "questions": {
            name: {
                "compared": _comparisons(study, by_arm, question, chance),
                "missing": [arm for arm in (question.base, *question.arms) if arm not in by_arm],
            }
            for name, question in QUESTIONS.items()
        },
    }


def _named(setting: str, value: Any) -> Any:
    """A setting as it can be published: of a folder, the name alone."""
    return Path(value).name if setting in ("model", "data", "general", "test") and value is not None else value


def _figures(study: Mapping[str, Any], runs: Sequence[Run]) -> dict[str, Any]:
    """Of all seeds together, and of each."""
    samples, verdicts = _pooled(study, runs)
    summary = summarise(samples, verdicts).to_json()
    rates = {name: summary[name] for name in RATES}
    rr, masr = rates["rr"], rates["masr_macro"]
    return {
        "seeds": [each["seed"] for each in runs],
        "rates": rates,
        "told_apart": None if rr is None or masr is None else 1 - rr["value"] - masr["value"],
        "by_seed": [_of_seed(study, each) for each in runs],
        "log_likelihood": _mean([each["reference_log_likelihood"] for each in runs]),
        "guard": {name: _mean([_guard(study, each)[name] for each in runs]) for name in GUARD},
        "other_judges": {
            judge: _masr(study, runs, judge) for judge in JUDGES[1:]
        },
    }  # fmt: skip


def _of_seed(study: Mapping[str, Any], run: Run) -> dict[str, Any]:
    samples, verdicts = _pooled(study, [run])
    summary = summarise(samples, verdicts).to_json()
    rates = {name: None if summary[name] is None else summary[name]["value"] for name in RATES}
    return {"seed": run["seed"], **rates, **_guard(study, run)}


def _masr(study: Mapping[str, Any], runs: Sequence[Run], judge: str) -> dict[str, Any]:
    samples, verdicts = _pooled(study, runs, judge)
    summary = summarise(samples, verdicts).to_json()
    return {name: summary[name] for name in ("rr", "masr_macro")}


def _pooled(
    study: Mapping[str, Any], runs: Sequence[Run], judge: str = JUDGES[0]
) -> tuple[list[Sample], list[Judgement]]:
    """Samples and verdicts of several seeds as one run: the copies of a sample stay together in its cluster."""
    samples, verdicts = [], []
    for run in runs:
        seed = run["seed"]
        for row in study["slice"]:
            name = f"{row['id']}@{seed}"
            twin = None if row["twin"] is None else f"{row['twin']}@{seed}"
            image = ImageRef(row["cluster"], data=b"")  # never opened
            combination = Combination(row["combination"])
            samples.append(Sample.ask(name, (image,), "", combination, twin=twin, cluster=row["cluster"]))
            verdicts.append(Judgement(name, JudgeId(judge), Outcome(run["outcomes"][judge][row["id"]])))
    return samples, verdicts


def _guard(study: Mapping[str, Any], run: Run) -> dict[str, float | None]:
    """How good the run's verdicts are; None where it has no such head."""
    images, joint = list(run["images"].values()), run["joint"]
    found: dict[str, float | None] = dict.fromkeys(GUARD)
    if images:
        unsafe = np.array([each["label"] != GuardLabel.SAFE for each in images])
        scores = np.array([each["unsafe"] for each in images])
        found["f1"] = per_class((scores >= 0.5).astype(int), unsafe.astype(int), 2)[1].f1
        found["auroc"] = auroc(scores, unsafe)
        found["top1"] = float(np.mean([each["label"] == each["said"] for each in images]))
    if joint:
        right = {row["id"]: row["combination"] for row in study["slice"]}
        found["joint"] = float(np.mean([right[name] == said for name, said in joint.items()]))
    return found


def training_chance(by_seed: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """How much a rate of one arm differs from seed to seed, beyond what all arms do: the residual of arm and seed.

    Two arms that are alike differ by more than `another_seed` in one of twenty comparisons of means of all seeds, since
    a seed stands for another start of the adapter and another draw of the data.

    Args:
        by_seed: Of each arm, the rates of its seeds. Arms that lack a seed which most have do not count.

    Returns:
        By rate: `sd`, its degrees of `freedom`, and `another_seed`; without those that cannot be told.
    """
    seeds = max(([row["seed"] for row in rows] for rows in by_seed.values()), key=len, default=[])
    complete = [rows for rows in by_seed.values() if [row["seed"] for row in rows] == seeds]
    freedom = max(0, len(complete) - 1) * max(0, len(seeds) - 1)
    found: dict[str, Any] = {}
    for rate in RATES if freedom > 0 else ():
        if all(row[rate] is not None for rows in complete for row in rows):
            values = np.array([[row[rate] for row in rows] for rows in complete])
            apart = values - values.mean(axis=0) - values.mean(axis=1, keepdims=True) + values.mean()
            sd = float(np.sqrt((apart**2).sum() / freedom))
            quantile = float(stats.t.ppf(1 - LEVEL / 2, freedom))
            found[rate] = {"sd": sd, "freedom": freedom, "another_seed": quantile * sd * (2 / len(seeds)) ** 0.5}
    return found


def _comparisons(
    study: Mapping[str, Any], by_arm: Mapping[str, list[Run]], question: Question, chance: Mapping[str, Any]
) -> dict[str, Any]:
    """Each arm minus the base on the same samples and seeds; p-values corrected over the whole question."""
    found: dict[str, dict[str, Any]] = {}
    for arm in question.arms:
        pairs = _paired(by_arm.get(question.base, []), by_arm.get(arm, []))
        if pairs:
            found[arm] = _difference(study, pairs)
    rows = [(rate, row) for each in found.values() for rate, row in each["differences"].items() if row is not None]
    for (rate, row), corrected in zip(rows, holm([row["p"] for _, row in rows]), strict=True):
        row["p_holm"] = corrected
        is_large = rate in chance and abs(row["value"]) > chance[rate]["another_seed"]
        row["clear"] = bool(corrected < LEVEL and is_large and len(row["by_seed"]) >= SEEDS)
    return found


def _paired(first: Sequence[Run], second: Sequence[Run]) -> list[tuple[Run, Run]]:
    """Runs of the same seeds."""
    by_seed = {run["seed"]: run for run in first}
    return [(by_seed[run["seed"]], run) for run in second if run["seed"] in by_seed]


def _difference(study: Mapping[str, Any], pairs: Sequence[tuple[Run, Run]]) -> dict[str, Any]:
    samples, first = _pooled(study, [one for one, _ in pairs])
    _, second = _pooled(study, [other for _, other in pairs])
    rows = compare(samples, first, second).to_json()
    by_seed = [(_of_seed(study, one), _of_seed(study, other)) for one, other in pairs]
    differences: dict[str, Any] = {}
    for name in RATES:
        row: dict[str, Any] | None = None if rows[name] is None else dict(rows[name] or {})
        if row is not None:
            row["by_seed"] = [after[name] - before[name] for before, after in by_seed]
        differences[name] = row
    return {"seeds": [one["seed"] for one, _ in pairs], "differences": differences}


def holm(chances: Sequence[float]) -> list[float]:
    """p-values corrected for their number by Holm's method, in their order; each in (0, 1]."""
    order = sorted(range(len(chances)), key=chances.__getitem__)
    corrected = [0.0] * len(chances)
    highest = 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, (len(chances) - rank) * chances[place]))
        corrected[place] = highest
    return corrected


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
