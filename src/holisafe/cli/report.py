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
) -> None:
    """Write a report about one or more runs.

    The report is one HTML file that runs no script and loads nothing from a network. Images are blurred until clicked,
    and answers are folded. Images are read from the run's own folder; a file elsewhere is shown only if its content is
    what the run recorded.
    """
    from holisafe.bench import read_run
    from holisafe.report import write_csv, write_markdown, write_report

    found = [read_run(path) for path in runs]
    place = out or Path(f"report.{form}")
    match form:
        case Format.HTML:
            write_report(found, place, title=title)
        case Format.MD:
            write_markdown(found, place)
        case Format.CSV:
            write_csv(found, place)
    typer.echo(f"{place} ({place.stat().st_size / 2**20:.1f} MiB)")
