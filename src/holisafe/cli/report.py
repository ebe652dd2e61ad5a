"""`holisafe report`: one file to look at, about one or more runs."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Format(StrEnum):
    """Format of the report: a page, or the figures of runs and guards as Markdown or CSV."""

    HTML = "html"
    MD = "md"
    CSV = "csv"


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("report")(report)


def report(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN",
            help="Folders of `holisafe bench` or `holisafe score --out`, or .eval logs; later ones are compared with "
            "the first.",
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(help="File to write.", show_default="report.html, report.md or report.csv")
    ] = None,
    title: Annotated[str | None, typer.Option(help="Heading of the page.")] = None,
    form: Annotated[
        Format, typer.Option("--format", help="html, or only the figures of runs and guards as md or csv.")
    ] = Format.HTML,
    share: Annotated[
        bool, typer.Option("--share", help="Leave images, questions and answers out of the page; html only.")
    ] = False,
) -> None:
    """Write a report about one or more runs.

    The report is one HTML file of at most 5 MB that loads nothing from a network, and a folder of blurred images beside
    it (mine_images beside mine.html). Images are blurred until clicked, and answers are folded. Images are read from
    the run's own folder; a file elsewhere is shown only if its content is what the run recorded.
    """
    from holisafe.bench import read_epochs
    from holisafe.errors import RunError
    from holisafe.report import write_csv, write_markdown, write_report

    if share and form is not Format.HTML:
        raise RunError(f"--share is for html: {form} holds no images, questions or answers; leave --share out")
    found = [run for path in runs for run in read_epochs(path)]
    place = out or Path(f"report.{form}")
    match form:
        case Format.HTML:
            write_report(found, place, title=title, share=share)
        case Format.MD:
            write_markdown(found, place)
        case Format.CSV:
            write_csv(found, place)
    typer.echo(f"{place} ({place.stat().st_size / 2**20:.1f} MiB)")
