"""What in safety tuning matters? Many small runs, each of which differs from one reference in one thing.

    python -m research.ablations --list                                  # the plan and what is done
    python -m research.ablations --estimate                              # what it would take, from a few steps
    python -m research.ablations --general FOLDER --results docs/results # make what is missing, then the page
    python -m research.ablations --page-only --results docs/results      # the page from what is done

The questions are in arms.py: the guard's module, its heads and λ, general data, which of the five combinations
are learned from, and how much data. Every run tunes the model for the same number of steps, lets it answer the same
slice of held-out samples, and writes one file under --out; runs that are there are skipped, so that the study can be
stopped and killed at any moment and goes on with the same command. General data are made by
`python -m research.pocket.general`; without them, the runs that need them are left out.
The figures go to --results as `ablations.json`, `ablations.md` and a plot for each question.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, fields
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from holisafe.errors import HoliSafeError, RunError
from research.ablations.arms import ARMS, QUESTIONS, REFERENCE, UNTUNED, Arm, planned, run_name
from research.ablations.figures import summarise_study
from research.ablations.page import write_page
from research.ablations.runs import Material, Settings, describe_study, read_material, run, write_json
from research.ablations.timing import measure

STUDY_FILE = "study.json"


def main(arguments: Sequence[str] | None = None) -> int:
    """List, estimate, run, or write the page; 0 when all that was asked for is done."""
    options = _options(arguments)
    try:
        return _main(options)
    except HoliSafeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _main(options: argparse.Namespace) -> int:
    torch.set_num_threads(options.threads)
    questions = tuple(options.question or QUESTIONS)
    plan = [(arm, seed) for arm, seed in planned(options.seeds, questions) if _is_wanted(options, arm, seed)]
    if not plan:
        raise RunError(f"--only {' '.join(options.only)}: no run has such a name; --list shows them")
    if options.list:
        for arm, seed in plan:
            print(f"{'done' if _file(options.out, arm, seed).is_file() else '-':5}{run_name(arm, seed):26}{arm.about}")
        return 0
    if options.page_only:
        return _write_page(options)
    settings = Settings(**{field.name: getattr(options, field.name) for field in fields(Settings)})
    material = read_material(settings)
    if options.estimate:
        return _estimate(settings, material, plan, options)
    _own(options.out, settings, material)
    left_out = [arm.name for arm, _ in plan if arm.general_share and not material.general]
    if left_out:
        print(f"left out, for want of --general: {', '.join(dict.fromkeys(left_out))}", file=sys.stderr)
    wanted = [each for each in plan if each[0].name not in left_out]
    todo = [each for each in wanted if not _file(options.out, *each).is_file()]
    print(f"{len(wanted) - len(todo)} of {len(wanted)} runs are there", file=sys.stderr, flush=True)
    started, failed = time.monotonic(), 0
    for count, (name, error) in enumerate(_make(settings, material, todo, options), 1):
        failed += error is not None
        each = (time.monotonic() - started) / count
        print(
            f"{name}: {error or 'done'}; {len(todo) - count} left, about {each * (len(todo) - count) / 60:.0f} min",
            file=sys.stderr,
            flush=True,
        )
    _write_page(options)
    return 1 if failed else 0


def _is_wanted(options: argparse.Namespace, arm: Arm, seed: int) -> bool:
    return not options.only or arm.name in options.only or run_name(arm, seed) in options.only


def _file(out: Path, arm: Arm, seed: int) -> Path:
    return out / "runs" / f"{run_name(arm, seed)}.json"


def _own(out: Path, settings: Settings, material: Material) -> None:
    """Write down what the folder's runs have in common, or hold it against what was written.

    Raises:
        RunError: The folder is of another study; names what differs.
    """
    study = describe_study(settings, material)
    path = out / STUDY_FILE
    if path.is_file():
        there = _read(path)
        different = _differences(there, study)
        if different:
            raise RunError(f"{out} holds runs of another study: {'; '.join(different)}. Use the same, or another --out")
    write_json(path, study)


def _differences(there: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs between two studies; general data may come later, but not change."""
    found = []
    for name, value in now["settings"].items():
        before = there["settings"].get(name)
        if before != value and name not in ("general", "data", "test", "model"):  # compared by their content
            found.append(f"{name} is {before!r} there, {value!r} now")
    if there["general"]["samples"] and there["general"] != now["general"]:
        found.append("the general data are others, or missing now")
    for name, what in (("train", "training data"), ("slice", "slice to answer"), ("weights_sha256", "model's weights")):
        if there[name] != now[name]:
            found.append(f"the {what} changed")
    return found


def _make(
    settings: Settings, material: Material, todo: Sequence[tuple[Arm, int]], options: argparse.Namespace
) -> Iterator[tuple[str, str | None]]:
    """Make the runs; gives the name of each and why it failed, if it did. What fails does not end the others."""
    if options.jobs == 1:
        for arm, seed in todo:
            yield run_name(arm, seed), _one(settings, material, arm, seed, options.out)
        return
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as workers:
        waiting = {
            workers.submit(_alone, asdict(settings), run_name(*each), each[1], options.out, options.threads): each
            for each in todo
        }
        for future in as_completed(waiting):
            yield run_name(*waiting[future]), future.result()


def _alone(settings: dict[str, Any], name: str, seed: int, out: Path, threads: int) -> str | None:
    """One run in a process of its own."""
    torch.set_num_threads(threads)
    given = Settings(**settings)
    arm = planned(1)[0][0] if name == UNTUNED else ARMS[name.rsplit("-seed", 1)[0]]
    return _one(given, read_material(given), arm, seed, out)


def _one(settings: Settings, material: Material, arm: Arm, seed: int, out: Path) -> str | None:
    """Make one run and write its file; why it failed, if it did."""
    try:
        write_json(_file(out, arm, seed), run(settings, material, arm, seed))
    except Exception as error:  # whatever it was, the other runs go on
        return f"failed: {type(error).__name__}: {error}"
    return None


def _estimate(
    settings: Settings, material: Material, plan: Sequence[tuple[Arm, int]], options: argparse.Namespace
) -> int:
    """Print what the runs that are missing would take, from a few steps and answers."""
    todo = [each for each in plan if not _file(options.out, *each).is_file()]
    for clock, found in measure(settings, material, ARMS[REFERENCE]).items():
        tuned, answered = settings.steps * found["step"], len(material.slice) * found["answer"]
        total = len(todo) * (tuned + answered + found["beside"])
        print(
            f"by {clock} time: a step of {settings.batch} samples {found['step']:.2f} s, an answer "
            f"{found['answer']:.2f} s; a run {(tuned + found['beside']) / 60:.1f} min to tune and {answered / 60:.1f} "
            f"min to answer; {len(todo)} of {len(plan)} runs to make: {total / 3600:.1f} h"
        )
    return 0


def _write_page(options: argparse.Namespace) -> int:
    path = options.out / STUDY_FILE
    if not path.is_file():
        raise RunError(f"{options.out} holds no {STUDY_FILE}, so no runs; make some first")
    runs = [_read(each) for each in sorted((options.out / "runs").glob("*.json"))]
    if not runs:
        raise RunError(f"{options.out} holds no finished run yet; make some first")
    names = [run_name(arm, seed) for arm, seed in planned(options.seeds)]
    page = write_page(summarise_study(_read(path), runs, names), options.results or options.out)
    print(f"{len(runs)} runs: {page}", file=sys.stderr)
    return 0


def _read(path: Path) -> dict[str, Any]:
    """What a file of ours holds.

    Raises:
        RunError: It cannot be read.
    """
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be read ({error}); remove it, and the same command makes it again") from None
    return found


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known = Settings()
    parser.add_argument("--out", type=Path, default=Path("build/ablations"), help="files of the runs")
    parser.add_argument("--results", type=Path, help="where the page, its plots and JSON go; --out when left out")
    parser.add_argument("--list", action="store_true", help="show the runs and which are done")
    parser.add_argument("--estimate", action="store_true", help="say what it would take, and train nothing")
    parser.add_argument("--page-only", action="store_true", help="write the page from the runs that are done")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="an arm or a run; can be repeated")
    parser.add_argument("--question", action="append", choices=tuple(QUESTIONS), help="its runs; can be repeated")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time, each in a process of its own if several")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of each run")
    parser.add_argument("--model", default=known.model, help="short name, folder or Hub id")
    parser.add_argument("--data", default=known.data, help="what is learned from: a name or folder")
    parser.add_argument("--split", default=known.split, help="its split")
    parser.add_argument("--general", help="folder of general instruction data")
    parser.add_argument("--test", default=known.test, help="what is answered: a name or folder")
    parser.add_argument("--test-split", default=known.test_split, help="its split")
    parser.add_argument("--limit", type=int, default=known.limit, help="samples to answer")
    parser.add_argument("--budget-steps", dest="steps", type=int, default=known.steps, help="steps of a run")
    parser.add_argument("--batch", type=int, default=known.batch, help="samples of a step")
    parser.add_argument("--rank", type=int, default=known.rank, help="of the adapter")
    parser.add_argument("--language-rate", type=float, default=known.language_rate)
    parser.add_argument("--projector-rate", type=float, default=known.projector_rate)
    parser.add_argument("--guard-rate", type=float, default=known.guard_rate)
    parser.add_argument("--precision", choices=("bfloat16", "float32"), default=known.precision, help="of all passes")
    parser.add_argument("--answer-batch", type=int, default=known.answer_batch, help="samples answered at a time")
    parser.add_argument("--max-new-tokens", type=int, default=known.max_new_tokens, help="of an answer")
    parser.add_argument("--attention", help='a transformers implementation; "eager" may be quicker on a CPU')
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
