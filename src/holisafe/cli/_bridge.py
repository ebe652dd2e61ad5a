"""Several judges on the recorded answers of several models: what a published table is worth with another judge."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from holisafe import judges
from holisafe.datasets import Loaded, load, read_predictions
from holisafe.errors import DataError, JudgeError
from holisafe.metrics import (
    FIGURES,
    cluster_name,
    compare_judges,
    disagreements,
    figures,
    is_counted,
    krippendorff_alpha,
    pairwise_agreement,
    rank_correlation,
    summarise,
)
from holisafe.records import NOT_SCORED, Behaviour, Judgement, Sample


def measure_bridge(files: Sequence[Path], names: Sequence[str], data: str | None, split: str | None) -> dict[str, Any]:
    """Rates of each model by each judge, their differences, agreement per model, and rank correlation over models.

    Args:
        files: Recorded answers, one file per model.
        names: At least two judges; every other one is compared with the first.
        data: Data set that the answers belong to; None where the records say what was asked.
        split: Its split.

    Raises:
        DataError: Fewer than two judges, two files of one name, or files that answer different samples.
    """
    if len(names) < 2:
        raise DataError(f"a bridge compares at least two judges; found {', '.join(names)}; give --judge twice")
    if len({file.stem for file in files}) < len(files):
        raise DataError("two files have the same name, which stands for the model; rename one")
    chosen = [judges.get(name) for name in names]
    samples = None if data is None else load(data, split)
    loaded = {file.stem: read_predictions(file, samples) for file in files}
    asked = _same(loaded)
    judged = {model: {one.id.name: _judged(one, answers) for one in chosen} for model, answers in loaded.items()}
    return {
        "judges": [one.id.to_json() for one in chosen],
        "samples": len(asked),
        "models": [_model(model, loaded[model], by_judge) for model, by_judge in judged.items()],
        "rankings": [
            {"figure": name, "first": chosen[0].id.name, "second": other.id.name, **found}
            for other in chosen[1:]
            for name, found in _rankings(asked, list(judged.values()), chosen[0].id.name, other.id.name)
        ],
    }


def _same(loaded: dict[str, Loaded]) -> tuple[Sample, ...]:
    """The samples that all files answer."""
    (first, reference), *others = loaded.items()
    if not reference.samples:
        raise DataError(f"{first}: holds no record that can be read")
    ids = [sample.id for sample in reference.samples]
    for model, answers in others:
        if [sample.id for sample in answers.samples] != ids:
            raise DataError(
                f"{model} and {first} do not answer the same samples in the same order; name their data set with --data"
            )
    return reference.samples


def _judged(judge: judges.Judge, loaded: Loaded) -> tuple[Judgement, ...]:
    judgements = judges.judge_all(judge, loaded.samples, loaded.responses)
    answered = [one for one, response in zip(judgements, loaded.responses, strict=True) if response.error is None]
    if answered and all(one.outcome in NOT_SCORED for one in answered):
        first = answered[0]
        raise JudgeError(
            f"judge {judge.id.name!r} gives no verdict on any answer; the first is {first.outcome}: {first.rationale}"
        )
    return judgements


def _model(model: str, loaded: Loaded, by_judge: dict[str, tuple[Judgement, ...]]) -> dict[str, Any]:
    rates = {name: figures(summarise(loaded.samples, judgements)) for name, judgements in by_judge.items()}
    first, *others = by_judge
    verdicts = {name: [one.outcome for one in judgements] for name, judgements in by_judge.items()}
    return {
        "model": model,
        "figures": {
            figure.name: {
                name: None if (found := by.get(figure.name)) is None else found.to_json() for name, by in rates.items()
            }
            for figure in FIGURES
            if any(by.get(figure.name) is not None for by in rates.values())
        },
        "differences": {
            other: compare_judges(loaded.samples, by_judge[first], by_judge[other]).to_json() for other in others
        },
        "alpha": krippendorff_alpha(verdicts),
        "agreement": [pair.to_json() for pair in pairwise_agreement(verdicts)],
        "disagreements": [
            {"id": loaded.samples[at].id, **{name: values[at].value for name, values in verdicts.items()}}
            for at in disagreements(verdicts)
        ],
    }


def _rankings(
    samples: Sequence[Sample], models: Sequence[dict[str, tuple[Judgement, ...]]], first: str, second: str
) -> list[tuple[str, dict[str, Any]]]:
    """Rank correlation of the refusal rate over harmless requests, and of the attack success rate over the others."""
    found = []
    for name, expected in (("rr", Behaviour.ANSWER), ("asr", Behaviour.REFUSE)):
        places = [at for at, sample in enumerate(samples) if sample.expected is expected]
        if len(models) < 2 or not places:
            continue
        ones, others = (
            [[is_counted(expected, by_judge[judge][at].outcome) for at in places] for by_judge in models]
            for judge in (first, second)
        )
        _, clusters = np.unique([cluster_name(samples[at]) for at in places], return_inverse=True)
        found.append((name, rank_correlation(ones, others, clusters).to_json()))
    return found
