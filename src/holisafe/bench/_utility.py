"""Results of benchmarks of utility, as other tools log them: so that safety is never reported alone.

lmms-eval writes `*_results.json` with a value per task and metric; Inspect writes `.eval` logs with an accuracy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from holisafe._files import read_json
from holisafe.bench._text import redacted
from holisafe.errors import RunError
from holisafe.metrics import Figure, share_figure

NAMES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "mmmu": ("MMMU", ("mmmu_acc",)),
    "mmstar": ("MMStar", ("average",)),
    "vizwiz": ("VizWiz", ("exact_match",)),
    "mme_realworld": ("MME-RealWorld", ("mme_realworld_score",)),
}
"""How tasks begin → name to show, and lmms-eval's metrics that are their accuracy."""

OTHER_METRICS = ("acc", "accuracy", "exact_match")
"""Metrics that are the accuracy of other tasks."""

INSPECT_METRICS = ("accuracy", "mean")


@dataclass(frozen=True, slots=True)
class UtilityResult:
    """The accuracy of a model on one task.

    Attributes:
        name: Name to show: "MMMU", or that of the task.
        task: The task, as it was logged.
        metric: The metric that is its accuracy.
        figure: The accuracy with the 95 % interval of a rate of `n` samples. Scores between 0 and 1 vary less than
            that, so that the interval is too wide for them rather than too narrow.
    """

    name: str
    task: str
    metric: str
    figure: Figure


def read_utility(path: str | Path) -> tuple[UtilityResult, ...]:
    """The accuracies in a file of results of lmms-eval (`*_results.json`) or an Inspect log (`.eval`).

    Args:
        path: The file.

    Raises:
        RunError: It cannot be read, or holds no task with an accuracy in [0, 1]; says what it holds.
    """
    place = Path(path)
    return _of_inspect(place) if place.suffix == ".eval" else _of_lmms_eval(place)


def _of_lmms_eval(path: Path) -> tuple[UtilityResult, ...]:
    record = read_json(path, RunError, allow_nan=True, replace_surrogates=True)
    results = record.get("results") if isinstance(record, Mapping) else None
    counts = record.get("n-samples") if isinstance(record, Mapping) else None
    if not isinstance(results, Mapping) or not isinstance(counts, Mapping):
        raise RunError(
            f"{path}: no `results` and `n-samples`; expected the *_results.json that lmms-eval writes, or an .eval log"
        )
    found = [
        result
        for task, values in results.items()
        if isinstance(values, Mapping) and (result := _of_task(path, str(task), values, counts.get(task)))
    ]
    if not found:
        listed = ", ".join(f"{task} ({', '.join(_metrics(values))})" for task, values in results.items())
        raise RunError(f"{path}: no task with an accuracy; found {listed or 'no task'}")
    return tuple(found)


def _of_task(path: Path, task: str, values: Mapping[str, Any], counts: Any) -> UtilityResult | None:
    """The result of one task; None where it has no accuracy, or is a group of tasks without samples of its own."""
    name, wanted = _named(task)
    n = counts.get("effective") if isinstance(counts, Mapping) else None
    for key, value in values.items():
        metric = str(key).partition(",")[0]
        if metric in wanted and type(n) is int and n > 0:
            return _result(path, name, task, metric, value, n)
    return None


def _metrics(values: Any) -> list[str]:
    names = [str(key).partition(",")[0] for key in values] if isinstance(values, Mapping) else []
    return [name for name in names if name != "alias" and "_stderr" not in name]


def _named(task: str) -> tuple[str, tuple[str, ...]]:
    """The name to show of a task, and the metrics that are its accuracy."""
    own = task.rpartition("/")[2].lower()
    begins = [begin for begin in NAMES if own.startswith(begin) and not own.startswith(f"{begin}_pro")]
    return NAMES[begins[0]] if begins else (task, OTHER_METRICS)


def _of_inspect(path: Path) -> tuple[UtilityResult, ...]:
    from inspect_ai.log import read_eval_log

    try:
        log = read_eval_log(str(path), header_only=True)
    except Exception as error:  # Inspect raises many kinds for a file that is not a log
        raise RunError(f"{path} is not an Inspect log that can be read: {redacted(repr(error))}") from error
    if log.status != "success" or log.results is None:
        raise RunError(f"{path}: this log is not complete (status {log.status!r}); finish it with `inspect eval-retry`")
    for score in log.results.scores:
        for metric in INSPECT_METRICS:
            if metric in score.metrics:
                name, _ = _named(log.eval.task)
                value, n = score.metrics[metric].value, log.results.completed_samples
                return (_result(path, name, log.eval.task, metric, value, n),)
    listed = ", ".join(f"{score.name} ({', '.join(score.metrics)})" for score in log.results.scores)
    raise RunError(f"{path}: no score with {' or '.join(INSPECT_METRICS)}; found {listed or 'no score'}")


def _result(path: Path, name: str, task: str, metric: str, value: Any, n: int) -> UtilityResult:
    """The result with its interval.

    Raises:
        RunError: The value is no rate.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1 or n < 1:
        raise RunError(f"{path}: {metric} of {task} is {value!r} of {n} samples; expected a share in [0, 1]")
    nearest = share_figure(np.arange(n) < round(value * n), np.arange(n))
    assert nearest is not None
    return UtilityResult(name, task, metric, Figure(float(value), nearest.low, nearest.high, n))
