"""A recorded run put to judges: the model is not asked, only what is missing is judged, a kill loses one judgement."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from holisafe._files import hold
from holisafe.bench._folder import RUN_FILE, read_record
from holisafe.bench._journal import JUDGEMENTS, Judgements, stands
from holisafe.bench._judging import judge_answers, spending_beside
from holisafe.bench._plan import Plan, plan_judging
from holisafe.bench._read import judge_ids, read_run, recorded_run
from holisafe.bench._record import finish, judges_record
from holisafe.bench._request import chosen_judges
from holisafe.bench._spending import (
    JUDGE,
    SPENDING,
    Prices,
    Spending,
    check_budget,
    recorded_calls,
    spent_to_json,
    stopped_by_budget,
    totals_of,
)
from holisafe.benchmarks import benchmark_record
from holisafe.errors import BudgetError, ImageError, RunError
from holisafe.images import read_bytes
from holisafe.judges import Judge, asks_model
from holisafe.metrics import checked_summary, summarise
from holisafe.records import MAX_UNJUDGED, RUN_FOLDER, JudgeId, Judgement, Response, Run
from holisafe.records.as_json import response_to_json
from holisafe.records.folder import is_written_run, write_judgements, write_run

Progress = Callable[[int, int], None]
"""Called with the number of answers judged and the number to judge."""


@dataclass(frozen=True, slots=True)
class _Work:
    """Which judges judge, and how they reach their model."""

    judges: Sequence[Judge]
    judge_model: str | None
    max_retries: int
    timeout: int
    progress: Progress | None
    prices: Prices
    budget: float | None

    @property
    def ids(self) -> list[JudgeId]:
        return [each.id for each in self.judges]

    def do(
        self,
        run: Run,
        found: Callable[[Response, JudgeId], Judgement | None],
        keep: Callable[[Judgement], None],
        calls: Path | None,
    ) -> None:
        """Judge what is not found, and keep each judgement as it comes.

        Args:
            run: The run.
            found: The judgement on a response that need not be made again.
            keep: Called with each judgement.
            calls: File that keeps the calls of the judges' model; None where nothing is kept.

        Raises:
            BudgetError: The budget is spent; what was judged is kept.
        """
        asked = [
            (judge, sample, response)
            for judge in self.judges
            for sample, response in zip(run.samples, run.responses, strict=True)
            if found(response, judge.id) is None
        ]
        done = 0

        def kept(judgement: Judgement) -> None:
            nonlocal done
            keep(judgement)
            done += 1
            if self.progress is not None:
                self.progress(done, len(asked))

        if not asked:
            return
        counted = contextlib.nullcontext() if calls is None else Spending(calls, self.prices, self.budget)
        with counted as spending:
            try:
                judge_answers(
                    asked, self.judge_model, kept, spending, max_retries=self.max_retries, timeout=self.timeout
                )
            except BudgetError as error:
                assert spending is not None and calls is not None
                raise stopped_by_budget(spending, str(calls.parent)) from error

    def cost(self, calls: Path) -> dict[str, Any]:
        """What the calls have cost, as the record of a run has it; empty where there are none."""
        totals = totals_of(recorded_calls(calls))
        return {"spending": spent_to_json(totals, self.prices)} if totals else {}


def score_run(
    place: str | Path,
    judges: Sequence[str | Judge] = ("holisafe",),
    *,
    judge_model: str | None = None,
    fallback_judge: str | Judge | None = None,
    out: str | Path | None = None,
    max_retries: int = 5,
    timeout: int = 300,
    prices: Prices | None = None,
    budget: float | None = None,
    progress: Progress | None = None,
) -> Run:
    """Judge the recorded answers of a run; the model that gave them is not asked.

    A judgement that a judge of the same identity made before is kept, unless it was an error; a judge whose identity
    has changed judges anew. Judgements of other judges stay. Each judgement is on the disk before the next counts, so
    that a call that ended early is finished by the same call.

    Args:
        place: Folder of `measure` or of `holisafe score --out`, or an Inspect log (`.eval`) of a holisafe task.
        judges: The judges, or their names.
        judge_model: Inspect's name of the model that judges ask, where they need one.
        fallback_judge: As for `measure`.
        out: Folder for the judged run, where `place` is to stay as it is; what is there of these answers is kept. A log
            is never written to: without a folder, nothing is kept.
        max_retries: Retries of a failed request.
        timeout: Seconds that one attempt may take.
        prices: Prices of tokens of the judges' model.
        budget: Money at which no further call is made; the same call with a larger one resumes.
        progress: Called after every judgement.

    Raises:
        BudgetError: The budget is spent; what was judged is kept.
        RunError: There is no complete run, the log has several epochs, or `out` holds another run or cannot be
            written.
        JudgeError: A judge asks a model and there is none.
        ModelError: The judges' model cannot be loaded.
        UnknownNameError: There is no such judge.
    """
    source = Path(place)
    chosen, prices = chosen_judges(judges, judge_model, fallback_judge), prices or Prices()
    asks = judge_model is not None and any(asks_model(each) for each in chosen)
    check_budget(prices, budget, {JUDGE: str(judge_model)} if asks else {})
    work = _Work(chosen, judge_model, max_retries, timeout, progress, prices, budget)
    target = None if out is None else Path(out)
    if target is None and source.is_dir():
        target = source
    if target is None:
        if budget is not None:
            raise RunError("a budget stops the judging before its end, and what was judged would be lost; give --out")
        return _in_memory(source, work)
    if source.is_dir() and target.exists() and target.samefile(source):
        read_run(source)  # before a lock is left where no run is
        with hold(source, RunError):
            return _in_written(source, source, work) if is_written_run(source) else _in_bench(source, work)
    run = _read(source)
    _check_free(target, run)
    with hold(target, RunError):
        return _in_written(source, target, work)


def plan_score(
    place: str | Path,
    judges: Sequence[str | Judge] = ("holisafe",),
    *,
    judge_model: str | None = None,
    fallback_judge: str | Judge | None = None,
    out: str | Path | None = None,
    prices: Prices | None = None,
    budget: float | None = None,
) -> Plan:
    """What `score_run` with the same arguments would ask; nothing is asked or written.

    Raises:
        RunError, JudgeError, UnknownNameError: As `score_run`.
    """
    chosen = chosen_judges(judges, judge_model, fallback_judge)
    run = _read(Path(place))
    target = Path(out) if out is not None else Path(place)
    places = [run] if out is None or not is_written_run(target) else [run, read_run(target)]
    made = [each for there in places for found in there.judgements.values() for each in found]
    is_bench = target.is_dir() and not is_written_run(target) and (target / RUN_FILE).exists()
    journal = target / JUDGEMENTS if is_bench else judging_journal(target, run) if target.is_dir() else None
    return plan_judging(
        chosen, run.samples, run.responses, judge_model, journal=journal, prices=prices, budget=budget, made=made
    )


def _in_bench(folder: Path, work: _Work) -> Run:
    """In a folder of `measure`, whose journal takes the judgements."""
    run, record = read_run(folder), read_record(folder)
    assert record is not None
    before = judge_ids(record)
    identities = _merged(before, work.ids)
    with Judgements(folder / JUDGEMENTS) as journal:
        work.do(run, journal.get, journal.append, folder / SPENDING)
    judged = recorded_run(folder, record, identities)
    if identities == before and _is_told(judged, record):
        return judged
    return finish(folder, {**record, **judges_record(identities), **work.cost(folder / SPENDING)}, identities)


def _in_written(source: Path, target: Path, work: _Work) -> Run:
    """In a folder of `write_run`, which is put in place whole once everything is judged."""
    run = _read(source)
    places = [source] if source == target or not is_written_run(target) else [source, target]
    known = [read_run(place).judgements for place in places]
    made = {key: each for judgements in known for key, each in _made(judgements).items()}
    before = _merged([], [found[0].judge for judgements in known for found in judgements.values()])
    ids = _merged(before, work.ids)
    path = judging_journal(target, run)
    with Judgements(path) as journal:
        work.do(
            run, lambda response, judge: _found(made, journal, response, judge), journal.append, spending_beside(path)
        )
        judgements = {judge.name: tuple(_all_of(run, made, journal, judge)) for judge in ids}
    done = _judged(run, judgements, source if source != target else None, work.cost(spending_beside(path)))
    if source == target and done.provenance == run.provenance and done.judgements == run.judgements:
        return run  # nothing is new, and the record says all of it
    if source == target:
        write_judgements(done, target)
    else:
        write_run(done, target, _images(run))
    return read_run(target)


def _in_memory(log: Path, work: _Work) -> Run:
    run = _read(log)
    made = _made(run.judgements)
    work.do(
        run,
        lambda response, judge: _usable(made.get((response.sample_id, judge)), response),
        lambda judgement: made.update({(judgement.sample_id, judgement.judge): judgement}),
        None,
    )
    ids = _merged([found[0].judge for found in run.judgements.values()], work.ids)
    judgements = {judge.name: tuple(made[sample.id, judge] for sample in run.samples) for judge in ids}
    return _judged(run, judgements, None, {})


def answers_digest(run: Run) -> str:
    """Digest of what was asked and answered, in hex: judgements of other answers do not count."""
    asked = [[sample.id, sample.query, [image.digest for image in sample.images]] for sample in run.samples]
    text = json.dumps([asked, [response_to_json(response) for response in run.responses]])
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]


def _read(source: Path) -> Run:
    run = read_run(source)
    epochs = run.provenance.get("epochs", 1)
    if isinstance(epochs, int) and epochs > 1:
        raise RunError(
            f"{source} holds {epochs} answers to each sample, and a run one; judge all of them with `inspect score "
            f"{source} --scorer holisafe/NAME`"
        )
    return run


def _check_free(target: Path, run: Run) -> None:
    """Refuse, before anything is judged, a folder that holds other answers."""
    if (target / RUN_FILE).exists() and not is_written_run(target):
        raise RunError(f"{target} holds a run of holisafe bench; choose another --out")
    if is_written_run(target) and answers_digest(read_run(target)) != answers_digest(run):
        raise RunError(f"{target} holds a run with other questions or answers; choose another --out")


_Made = dict[tuple[str, JudgeId], Judgement]


def _made(judgements: Mapping[str, Sequence[Judgement]]) -> _Made:
    return {(each.sample_id, each.judge): each for found in judgements.values() for each in found}


def _usable(judgement: Judgement | None, response: Response) -> Judgement | None:
    """The judgement, unless it is one on a failure that does not stand for the answer."""
    return judgement if judgement is not None and stands(judgement, response) else None


def _found(made: _Made, journal: Judgements, response: Response, judge: JudgeId) -> Judgement | None:
    return _usable(made.get((response.sample_id, judge)), response) or journal.get(response, judge)


def _all_of(run: Run, made: _Made, journal: Judgements, judge: JudgeId) -> Iterator[Judgement]:
    """One judgement per sample: what counts, else the failure."""
    for response in run.responses:
        found = _found(made, journal, response, judge) or journal.last(response, judge)
        yield found or made[response.sample_id, judge]


def _merged(before: Sequence[JudgeId], now: Sequence[JudgeId]) -> list[JudgeId]:
    """The judges of a run: earlier ones keep their place, a changed one takes that of its name, new ones follow."""
    by_name = {each.name: each for each in before} | {each.name: each for each in now}
    return list(by_name.values())


def judging_journal(target: Path, run: Run) -> Path:
    """The file that keeps judgements of these answers in a folder that `write_run` writes."""
    return target / f"judging-{answers_digest(run)}.jsonl"


def _judged(
    run: Run, judgements: Mapping[str, tuple[Judgement, ...]], source: Path | None, cost: Mapping[str, Any]
) -> Run:
    """The run with these judgements, and what its record says of them."""
    ids = [found[0].judge for found in judgements.values()]
    provenance: dict[str, Any] = {name: value for name, value in run.provenance.items() if name != RUN_FOLDER}
    provenance |= {**judges_record(ids), **cost}
    judged = replace(run, judgements=judgements)
    provenance["summaries"] = _summaries(judged, provenance)
    most = provenance.get("max_unjudged", MAX_UNJUDGED)
    provenance["benchmark"] = benchmark_record(run.samples, run.responses, judgements, most)
    if source is not None:
        provenance["scored_from"] = str(source)
    return replace(judged, provenance=provenance)


def _is_told(run: Run, record: Mapping[str, Any]) -> bool:
    """Whether a run's record has the figures of its judgements: a call may have ended before it was written."""
    return bool(record.get("summaries") == _summaries(run, record))


def _summaries(run: Run, record: Mapping[str, Any]) -> dict[str, Any]:
    most = record.get("max_unjudged", MAX_UNJUDGED)
    return {
        name: checked_summary(summarise(run.samples, found), run.responses, found, most).to_json()
        for name, found in run.judgements.items()
    }


def _images(run: Run) -> dict[str, bytes]:
    """Those of the images that can be read, by digest."""
    found: dict[str, bytes] = {}
    for ref in (ref for sample in run.samples for ref in sample.images):
        if ref.digest and ref.digest not in found:
            with contextlib.suppress(ImageError):
                found[ref.digest] = read_bytes(ref)
    return found
