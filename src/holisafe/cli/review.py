"""`holisafe review`: built data and servers' samples to people in Label Studio, and back."""

from __future__ import annotations

import json
from collections import Counter
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from holisafe.cli._options import AsJson

if TYPE_CHECKING:
    from holisafe.building import Review
    from holisafe.metrics import Figure
    from holisafe.review import SampleReview


class Tool(StrEnum):
    """Where people review."""

    LABEL_STUDIO = "label-studio"


_DIR = typer.Argument(metavar="DIR", help="Data of holisafe build, or a server's review.jsonl or its folder.")

_review = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="Have people review data and verdicts.")


def register(app: typer.Typer) -> None:
    """Add `review` and its commands."""
    app.add_typer(_review, name="review")


@_review.command()
def export(
    source: Annotated[Path, _DIR],
    to: Annotated[Tool, typer.Option(help="Tool in which people review.")] = Tool.LABEL_STUDIO,
    images: Annotated[
        str | None,
        typer.Option(
            metavar="PREFIX",
            help="Address of the folder review for the tool, such as http://HOST/review/.",
            show_default="its local files",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write tasks, pictures and a labelling configuration to DIR/review.

    What is most in doubt comes first. Pictures are blurred until the mouse button is held down on them. Nothing is sent
    anywhere.
    """
    from holisafe.building import export_review
    from holisafe.review import export_sample, is_sample

    made = export_sample(source, images=images) if is_sample(source) else export_review(source, images=images)
    if as_json:
        typer.echo(json.dumps(made.to_json()))
        return
    typer.echo(f"tasks for {to.value}: {made.tasks}, in {made.folder}")
    for kind, count in sorted(Counter(each.partition(":")[0] for each in made.left_out).items()):
        typer.echo(f"left out, {kind}: {count}")
    for each in made.left_out[:5]:
        _say(each)


@_review.command("import")
def import_(
    source: Annotated[Path, _DIR],
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="JSON exports of the tool.")],
    adjudicator: Annotated[
        str | None,
        typer.Option(help="Annotator who decides where others differ: id or e-mail.", show_default="none"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Read what people say: agreement, what to adjudicate, and a row with the reason for every task.

    Of built data, samples that people see otherwise are left out by the next `holisafe build`. Of a server's sample,
    reviewed.jsonl and labels.csv are written beside it.
    """
    from holisafe.building import import_review
    from holisafe.review import import_sample, is_sample

    found: Review | SampleReview
    found = (
        import_sample(source, files, adjudicator) if is_sample(source) else import_review(source, files, adjudicator)
    )
    told = found.to_json()
    if as_json:
        typer.echo(json.dumps(told))
        return
    _show(told)
    if found.to_adjudicate:
        typer.echo(f"to adjudicate: {len(found.to_adjudicate)} tasks, in {found.adjudicate}")
    if not is_sample(source):
        typer.echo("the same holisafe build leaves out what is not kept")


def _show(told: dict[str, Any]) -> None:
    from holisafe.metrics import Figure

    def figure(name: str) -> Figure | None:
        return None if told.get(name) is None else Figure(**told[name])

    alpha = figure("alpha")
    shown = "not defined" if alpha is None else f"{alpha.value:.3f} ({alpha.low:.3f} to {alpha.high:.3f})"
    typer.echo(f"review: {told['kept']} of {told['tasks']} kept, {told['annotators']} annotators")
    typer.echo(f"Krippendorff's alpha (95 % interval): {shown}")
    for kind, count in told["reasons"].items():
        typer.echo(f"left out, {kind}: {count}")
    for name, what in (("false_alarms", "flagged, seen as safe"), ("missed", "not flagged, seen as unsafe")):
        if (share := figure(name)) is not None:
            typer.echo(f"{what}: {_percent(share)}")
    for each in told["strange"]:
        _say(each)


def _percent(share: Figure) -> str:
    low, high = 100 * share.low, 100 * share.high
    return f"{100 * share.value:.1f} % ({low:.1f} to {high:.1f}) of {share.n}"


def _say(text: str) -> None:
    from holisafe.cli._terminal import plain_line

    typer.echo(plain_line(text))
