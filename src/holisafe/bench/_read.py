"""Read a run back from its folder or from an Inspect log, and judge it again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from holisafe import judges as judging
from holisafe._checks import check_type
from holisafe.bench._folder import RUN_FILE, SAMPLES, read_record, read_samples
from holisafe.bench._journal import (
    GUARD_VERDICTS,
    JUDGEMENTS,
    RESPONSES,
    recorded_guard_verdicts,
    recorded_judgements,
    recorded_responses,
)
from holisafe.benchmarks import benchmark_record
from holisafe.errors import RunError
from holisafe.judges import Ask, Judge
from holisafe.metrics import judges_with_figures
from holisafe.records import (
    MAX_UNJUDGED,
    GuardModelRun,
    GuardModelVerdict,
    JudgeId,
    Judgement,
    Outcome,
    Response,
    Run,
    Sample,
)
from holisafe.records.folder import is_written_run, read_written_run
from holisafe.taxonomy import Combination


def read_run(path: str | Path) -> Run:
    """Read a run from its folder, which needs no log: samples, answers and judgements are files of their own.

    Args:
        path: A run folder, or an Inspect `.eval` log of a holisafe task (then the log is the provenance). Of several
            epochs of a sample, the first answer counts, with the outcome that most of them had.

    Raises:
        RunError: There is no finished run, or the log is incomplete or not one of a holisafe task.
    """
    place = Path(path)
    if place.is_dir() and is_written_run(place):
        return read_written_run(place)
    if place.is_dir():
        return _from_folder(place)
    if not place.is_file():
        raise RunError(f"no run at {place}; expected the --out folder of holisafe bench, or an .eval log")
    from holisafe.bench._log import read_log  # the only one that needs Inspect

    return read_log(place, _run_folder(place))


def _run_folder(log: Path) -> Path | None:
    """The run folder that a log lies in, which keeps the images; None for a log alone."""
    above = log.absolute().parent.parent
    return above if (above / RUN_FILE).is_file() else None


def read_epochs(path: str | Path) -> tuple[Run, ...]:
    """Read a run, or of an Inspect log with several epochs one run for each: all answers count.

    Args:
        path: As for `read_run`.

    Raises:
        RunError: As `read_run`, or an epoch lacks samples.
    """
    place = Path(path)
    if not place.is_file():
        return (read_run(place),)
    from holisafe.bench._log import read_log_epochs

    return read_log_epochs(place, _run_folder(place))


def rejudge(run: Run, judge: str | Judge, *, ask: Ask | None = None) -> Run:
    """The run with the judgements of one more judge, or with new ones if it was judged by it before.

    Args:
        run: The run.
        judge: The judge or its name.
        ask: How a judge reaches a model, where it needs one; `inspect_ask("openai/gpt-4o")`, for example.

    Raises:
        UnknownNameError: There is no such judge.
    """
    check_type(run, Run, "run")
    by = judging.get(judge) if isinstance(judge, str) else judge
    judgements = judging.judge_all(by, run.samples, run.responses, ask)
    versions = {**run.provenance.get("judges", {}), by.id.name: by.id.version}
    judged = {**run.judgements, by.id.name: judgements}
    shown = judges_with_figures(run.responses, judged, run.provenance.get("max_unjudged", MAX_UNJUDGED))
    found = benchmark_record(run.samples, run.responses, shown)
    provenance = {**run.provenance, "judges": versions, "benchmark": found}
    return replace(run, judgements=judged, provenance=provenance)


def recorded_run(folder: Path, record: dict[str, Any], judges: Sequence[JudgeId]) -> Run:
    """The run that a folder's files hold, whether it is finished or not; one response per sample, always.

    Raises:
        RunError: A file is damaged, or the samples were not recorded.
    """
    samples = read_samples(folder)
    if not samples:
        raise RunError(f"{folder / SAMPLES} holds no samples; run the bench again with another --out")
    if len({sample.id for sample in samples}) < len(samples):
        raise RunError(f"{folder / SAMPLES} holds a sample more than once; restore the file, or use another --out")
    found = recorded_responses(folder / RESPONSES)
    missing = "the run recorded no answer; start the same command again"
    responses = tuple(
        found.get(sample.id) or Response(sample.id, "", record["name"], finish_reason="error", error=missing)
        for sample in samples
    )
    judged = recorded_judgements(folder / JUDGEMENTS)
    judgements = {
        judge.name: tuple(
            judged.get((sample.id, judge)) or Judgement(sample.id, judge, Outcome.ERROR, "no judgement was recorded")
            for sample in samples
        )
        for judge in judges
    }
    guards = _recorded_guards(record, recorded_guard_verdicts(folder / GUARD_VERDICTS), samples)
    return Run(record["name"], samples, responses, judgements, record, guards)


def judge_ids(record: Mapping[str, Any]) -> list[JudgeId]:
    """The judges of a finished run.

    Raises:
        RunError: `run.json` does not name them as this version does.
    """
    try:
        return [JudgeId.from_json(each) for each in record["judge_ids"]]
    except (KeyError, TypeError) as error:
        raise RunError(
            f"{RUN_FILE} does not identify its judges ({error!r}); was it written by another version of holisafe? "
            "Run the bench again with another --out"
        ) from error


def _recorded_guards(
    record: Mapping[str, Any], verdicts: Mapping[tuple[str, JudgeId], GuardModelVerdict], samples: Sequence[Sample]
) -> tuple[GuardModelRun, ...]:
    """The guards that a run's record names, with a verdict for each sample.

    Raises:
        RunError: The record does not name them as this version does.
    """
    found = []
    try:
        for each in record.get("guard_models", []):
            guard = JudgeId.from_json(each["guard"])
            expresses = frozenset(Combination(name) for name in each["expresses"])
            of = tuple(
                verdicts.get((sample.id, guard))
                or GuardModelVerdict(sample.id, guard, error="no verdict was recorded; start the same command again")
                for sample in samples
            )
            found.append(GuardModelRun(guard, expresses, of))
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"run.json does not name its guard models as this version does ({error!r})") from error
    return tuple(found)


def _from_folder(folder: Path) -> Run:
    record = read_record(folder)
    if record is None:
        raise RunError(f"{folder} holds no {RUN_FILE}; expected the --out folder of holisafe bench, or an .eval log")
    if record["state"] != "complete":
        raise RunError(f"the run in {folder} is not complete; start the same command again to resume it")
    return recorded_run(folder, record, judge_ids(record))
