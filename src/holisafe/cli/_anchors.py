"""Anchors at the command line: checked before anything is judged, told and kept after it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from holisafe.judges.anchors import AnchorCheck

Anchors = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Record of fixed answers, which judges that ask a model judge again: tells whether they have drifted.",
        show_default="none",
    ),
]


def check(
    file: Path | None, names: Sequence[str], judge_model: str | None, fallback_judge: str | None
) -> list[AnchorCheck]:
    """The checks of those of the judges that ask a model; none without a file.

    Raises:
        JudgeError: None of them asks a model.
    """
    if file is None:
        return []
    from holisafe import judges
    from holisafe.bench import check_anchors
    from holisafe.errors import JudgeError

    asked = [name for name in dict.fromkeys(names) if getattr(judges.get(name), "needs_model", False)]
    if not asked:
        raise JudgeError("--anchors is for judges that ask a model, and none of them does; leave it out")
    checks = check_anchors(asked, file, judge_model=judge_model, fallback_judge=fallback_judge)
    for each in checks:
        typer.echo(told(each, file), err=True)
    return checks


def conclude(checks: Sequence[AnchorCheck], folder: Path | None) -> None:
    """Keep the checks in the run, and end with 1 where one is an alarm."""
    if not checks:
        return
    from holisafe.bench import note_anchors

    if folder is not None:
        note_anchors(folder, checks)
    if any(each.alarm for each in checks):
        raise typer.Exit(1)


def told(found: AnchorCheck, file: Path) -> str:
    """One line about a check."""
    from holisafe._printable import printable

    judge = printable(f"judge {found.judge.name}" + (f" ({found.judge.model})" if found.judge.model else ""))
    if found.is_new:
        return f"{judge}: verdicts on {found.n} anchors recorded in {printable(str(file))}"
    said = f"{judge}: {len(found.changed)} of {found.n} anchors have another verdict than on {found.recorded[:10]}"
    if not found.alarm:
        return f"{said}; chance explains up to {found.allowed}"
    return (
        f"alarm: {said}, and chance explains up to {found.allowed}: the judge has drifted, and its figures are not "
        "comparable with those from before"
    )
