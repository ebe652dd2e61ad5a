"""`holisafe export`: judgements, tables, figures and references of runs, in files for other programs."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from holisafe.cli._options import Test

if TYPE_CHECKING:
    from holisafe.metrics import Figure
    from holisafe.records import Run


class Format(StrEnum):
    """What is written; the suffix of --out names it otherwise."""

    PARQUET = "parquet"
    CSV = "csv"
    TEX = "tex"
    MD = "md"
    JSON = "json"
    BIB = "bib"
    SVG = "svg"
    PDF = "pdf"


class FigureKind(StrEnum):
    """Kind of figure."""

    SCATTER = "scatter"
    FOREST = "forest"


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("export")(export)


def export(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN", help="Folders of `holisafe bench` or `holisafe score --out`, or .eval logs."),
    ],
    out: Annotated[Path, typer.Option(help="File to write; its suffix says what.")],
    form: Annotated[
        Format | None,
        typer.Option(
            "--format",
            help="parquet or csv: every judgement. tex, md or json: a table of the runs. bib: references of data and "
            "judges. svg or pdf: a figure.",
            show_default="the suffix of --out",
        ),
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(
            metavar="RUN=NAME",
            help="Name of a run in the output; runs of one name are one row.",
            show_default="its own",
        ),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Row that the others are compared with: its --label, or else its model.",
            show_default="none",
        ),
    ] = None,
    test: Annotated[Test, typer.Option(help="Test of --against: score, mcnemar or permutation.")] = Test.SCORE,
    judge: Annotated[
        list[str] | None,
        typer.Option("--judge", metavar="NAME", help="Judge; may be given more than once.", show_default="all"),
    ] = None,
    figure: Annotated[FigureKind, typer.Option(help="What svg and pdf show: scatter or forest.")] = FigureKind.SCATTER,
    columns: Annotated[
        str | None,
        typer.Option(help="Figures in tables and forest plots, such as rr,masr_macro.", show_default="the headline"),
    ] = None,
    utility: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=FILE",
            help="Accuracies of a row in tables, from lmms-eval (*_results.json) or Inspect (.eval); may be given more "
            "than once.",
            show_default="none",
        ),
    ] = None,
    share: Annotated[bool, typer.Option("--share", help="Leave questions and answers out of csv and parquet.")] = False,
) -> None:
    """Write judgements, tables, figures or references of runs.

    Tables and figures hold rates with 95 % intervals; docs/tables.md describes each file.
    """
    from holisafe.bench import read_epochs
    from holisafe.report import write_bibliography, write_figure, write_judgements, write_table

    chosen = form or _from_suffix(out)
    read = [
        (name, run) for name, path in zip(_labels(runs, label or []), runs, strict=True) for run in read_epochs(path)
    ]
    labels = [name for name, _ in read]
    found: Sequence[Run] = [run for _, run in read]
    names = [name.strip() for name in columns.split(",")] if columns else None
    match chosen:
        case Format.CSV | Format.PARQUET:
            write_judgements(found, out, labels=labels, share=share, form=chosen.value)
        case Format.TEX | Format.MD | Format.JSON:
            write_table(
                found,
                out,
                form=chosen.value,
                labels=labels,
                judges=judge,
                figure_names=names,
                against=against,
                test=test.value,
                utility=_utility(utility or []),
            )
        case Format.BIB:
            write_bibliography(found, out)
        case Format.SVG | Format.PDF:
            one = judge[0] if judge else None
            write_figure(found, out, kind=figure.value, labels=labels, judge=one, figure_names=names, form=chosen.value)
    typer.echo(f"{out} ({out.stat().st_size / 1024:.1f} KiB)")


def _from_suffix(out: Path) -> Format:
    from holisafe.errors import RunError

    suffix = out.suffix.lower().removeprefix(".")
    if suffix not in {each.value for each in Format}:
        known = ", ".join(f".{each.value}" for each in Format)
        raise RunError(f"{out}: the suffix names no format; end --out in one of {known}, or give --format")
    return Format(suffix)


def _utility(given: Sequence[str]) -> dict[str, dict[str, Figure]]:
    """Label → name of a column → accuracy.

    Raises:
        RunError: One names no file, a file cannot be read, or a row has a column twice.
    """
    from holisafe.bench import read_utility
    from holisafe.errors import RunError

    found: dict[str, dict[str, Figure]] = {}
    for each in given:
        cuts = [at for at, character in enumerate(each) if character == "="]
        cut = next((at for at in cuts if Path(each[at + 1 :]).is_file()), None)
        if cut is None:
            raise RunError(f"--utility {each!r} names no file; give NAME=FILE, NAME as the table has it")
        row = found.setdefault(each[:cut], {})
        for result in read_utility(each[cut + 1 :]):
            if result.name in row:
                raise RunError(f"--utility {each!r}: the row has {result.name} already; name each task once")
            row[result.name] = result.figure
    return found


def _labels(runs: Sequence[Path], given: Sequence[str]) -> list[str | None]:
    """The name of each run, None for its own.

    Raises:
        RunError: A label names no run of the command, or a run is named twice.
    """
    from holisafe.errors import RunError

    if len({run.resolve() for run in runs}) < len(runs):
        raise RunError("a run is named twice, and would count as two; name each once")
    places: dict[str, Path] = {}
    for run in runs:
        places |= {str(run): run, str(run).rstrip("/"): run, run.name: run}
    by_run: dict[Path, str] = {}
    for each in given:
        cuts = [at for at, character in enumerate(each) if character == "="]
        cut = next((at for at in cuts if each[:at].rstrip("/") in places), None)
        if cut is None:
            listed = ", ".join(str(run) for run in runs)
            raise RunError(f"--label {each!r} names no run of this command; give RUN=NAME with one of {listed}")
        by_run[places[each[:cut].rstrip("/")]] = each[cut + 1 :]
    return [by_run.get(run) for run in runs]
