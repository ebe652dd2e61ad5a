"""Epochs of one run: the same samples put to the same model again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

from holisafe.errors import RunError
from holisafe.metrics import judge_of
from holisafe.records import Run
from holisafe.report._provenance import mapping
from holisafe.report._same import same_sample


def first_epochs(runs: Sequence[Run]) -> list[int]:
    """For each run, the place of the first of its epochs; its own where it is no further epoch of another."""
    places: dict[str, list[int]] = {}
    for at, run in enumerate(runs):
        settings = {key: value for key, value in mapping(run.provenance.get("settings")).items() if key != "epoch"}
        model = mapping(run.provenance.get("model"))
        weights = [model.get(key) for key in ("revision", "weights_sha256")]
        key = json.dumps([settings, weights], sort_keys=True, default=str) if settings else f"run {at}"
        places.setdefault(key, []).append(at)
    first = list(range(len(runs)))
    for alike in places.values():
        epochs = [mapping(runs[at].provenance.get("settings")).get("epoch") for at in alike]
        if len({str(epoch) for epoch in epochs}) == len(alike):  # the same epoch twice is no further one
            first = [alike[0] if at in alike else found for at, found in enumerate(first)]
    return first


def join_epochs(runs: Sequence[Run]) -> list[tuple[Run, ...]]:
    """The epochs of each run together, their samples in the order of the first, epochs in the order of their numbers.

    An epoch with other samples (one that has not finished), or other judges, stands alone.
    """
    joined: dict[int, list[Run]] = {}
    found: list[list[Run]] = []
    for first, run in zip(first_epochs(runs), runs, strict=True):
        if first in joined and _is_like(joined[first][0], run):
            joined[first].append(in_order(run, joined[first][0]))
        else:
            found.append([run])
            joined.setdefault(first, found[-1])
    return [tuple(sorted(epochs, key=epoch_number)) for epochs in found]


def epoch_number(run: Run) -> int:
    """Which time the samples are asked in a run, from 1."""
    found = mapping(run.provenance.get("settings")).get("epoch")
    return found if isinstance(found, int) else 1


def in_order(run: Run, first: Run) -> Run:
    """A run with its samples in the order of another's.

    Raises:
        RunError: They were asked different samples.
    """
    places = {same_sample(sample): at for at, sample in enumerate(run.samples)}
    keys = [same_sample(sample) for sample in first.samples]
    if places.keys() != set(keys):
        raise RunError(
            f"runs labelled {run.name!r} were asked different samples ({len(keys)} and {len(places)}, "
            f"{len(places.keys() & set(keys))} of them the same); give them different labels"
        )
    order = [places[key] for key in keys]
    return replace(
        run,
        samples=first.samples,
        responses=tuple(run.responses[at] for at in order),
        judgements={judge: tuple(found[at] for at in order) for judge, found in run.judgements.items()},
    )


def _is_like(one: Run, other: Run) -> bool:
    """Whether two epochs have the same samples and the same judges."""
    judges = [{name: judge_of(found) for name, found in run.judgements.items()} for run in (one, other)]
    asked = [frozenset(map(same_sample, run.samples)) for run in (one, other)]
    return judges[0] == judges[1] and asked[0] == asked[1] and _is_whole(one) and _is_whole(other)


def _is_whole(run: Run) -> bool:
    """Whether each sample has its response and its judgements at its own place."""
    ids = [sample.id for sample in run.samples]
    answered = [[each.sample_id for each in run.responses]]
    judged = [[each.sample_id for each in found] for found in run.judgements.values()]
    return all(found == ids for found in answered + judged)
