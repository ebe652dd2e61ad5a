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
        typer.Argument(help="Run folders of holisafe bench, or .eval logs; later ones are compared with the first."),
    ],
    out: Annotated[
        Path | None, typer.Option(help="The file.", show_default="report.html, report.md or report.csv")
    ] = None,
    title: Annotated[str | None, typer.Option(help="Heading of the page.")] = None,
    form: Annotated[
        Format, typer.Option("--format", help="html, or the figures of runs and guards only, as md or csv.")
    ] = Format.HTML,
) -> None:
    """Write one self-contained HTML page about one or more runs.

    Images are blurred until clicked and answers are folded; the page runs no script and fetches nothing. Pictures are
    shown from the run's own folder, and from elsewhere only if their content is what the run recorded.
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
