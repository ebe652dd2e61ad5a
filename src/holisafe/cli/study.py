"""`holisafe study`: many methods on the same models, data and judge, in one table."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from holisafe.cli._options import AsJson, Device
from holisafe.cli._progress import progress_line
from holisafe.errors import MissingDependencyError, RunError

if TYPE_CHECKING:
    from holisafe.study import StudyPlan

SOME_FAILED = 1
"""Exit code where a method could not be measured."""


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("study")(study)


def study(
    plan: Annotated[
        str, typer.Argument(metavar="STUDY", help="safety-methods, or a JSON file with methods (docs/study.md).")
    ] = "safety-methods",
    model: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[NAME=]MODEL", help="Model; may be given more than once.", show_default="pocket, pocket-safe"
        ),
    ] = None,
    data: Annotated[str, typer.Option(help="Name of a data set, a path, or a Hub id.")] = "open",
    split: Annotated[str, typer.Option(help="Split that is asked.")] = "test",
    train_split: Annotated[str, typer.Option(help="Split that defences and tuning learn from.")] = "train",
    limit: Annotated[int, typer.Option(min=1, help="Number of samples; each combination keeps its share.")] = 100,
    judge: Annotated[str, typer.Option(help="Judge of all methods.")] = "holisafe",
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Maximum number of new tokens per answer.")] = 64,
    batch_size: Annotated[int, typer.Option(min=1, help="Maximum number of prompts in a batch.")] = 16,
    seed: Annotated[int, typer.Option(min=0, help="Seed of --limit.")] = 0,
    attack: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=DATA",
            help="Unsafe requests that were changed to get past a defence; all methods are measured on them too. May "
            "be given more than once.",
            show_default="none",
        ),
    ] = None,
    device: Device = None,
    out: Annotated[Path, typer.Option(help="Folder of the study.")] = Path("study"),
    as_json: AsJson = False,
) -> None:
    """Measure every method of a study and write one table.

    Defences are fitted and models tuned or edited first where a method asks for it. The same command resumes, and
    does only what is new. A method that cannot be measured is named in the table, and the exit code is 1.
    """
    from holisafe.study import read_plan, run_study, write_study

    if find_spec("matplotlib") is None:  # before hours of measuring, not after
        raise MissingDependencyError("a study's plot needs matplotlib: pip install 'holisafe[report]'")
    chosen = read_plan(plan)
    models = _named("--model", "[NAME=]MODEL", model or ["pocket", "pocket-safe"], bare=True)
    with progress_line("reading the study", "answer") as line:
        measured = run_study(
            chosen,
            models,
            out,
            data=data,
            split=split,
            train_split=train_split,
            limit=limit,
            judge=judge,
            max_new_tokens=max_new_tokens,
            batch_size=batch_size,
            seed=seed,
            device=device,
            attacks=_named("--attack", "NAME=DATA", attack or [], bare=False),
            on_part=lambda name, label, done, total: line.stage(f"{name}: {label}", done, total),
        )
    written = write_study(measured, out, judge=judge, about=_about(chosen, models))
    if as_json:
        typer.echo((out / "study.json").read_text(encoding="utf-8"))
    else:
        typer.echo((out / "study.md").read_text(encoding="utf-8"))
        typer.echo("written: " + ", ".join(map(str, written)), err=True)
    if any(each.run is None for each in measured):
        raise typer.Exit(SOME_FAILED)


def _named(option: str, expected: str, given: list[str], *, bare: bool) -> dict[str, str]:
    """Names and what they stand for; with `bare`, what has no name is its own."""
    found: dict[str, str] = {}
    for each in given:
        name, equals, source = each.partition("=")
        if not equals and bare:
            source = name
        if not name or not source or name in found:
            raise RunError(f"{option} {each!r}: expected {expected}, each name once")
        found[name] = source
    return found


def _about(plan: StudyPlan, models: dict[str, str]) -> str:
    """What the study compares, and for which models nothing is tuned or edited."""
    left = [name for name, source in models.items() if not plan.changes({name, source})]
    if not left or not any(each.changes_weights for each in plan.methods):
        return plan.about
    return f"{plan.about} Tuning and editing are not measured on {', '.join(left)}: changes_weights does not name it."
