"""Tables of runs for a paper or a leaderboard."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path

from holisafe._enums import parse_enum
from holisafe.metrics import Figure, PairedTest
from holisafe.records import Run
from holisafe.report._board_tables import leaderboard, markdown_tables
from holisafe.report._file import put
from holisafe.report._latex import latex_tables
from holisafe.report._rows import Board, boards, label_runs


class TableFormat(StrEnum):
    """LaTeX with booktabs, Markdown, or a leaderboard in JSON."""

    TEX = "tex"
    MD = "md"
    JSON = "json"


_WRITERS: dict[TableFormat, Callable[[Sequence[Board]], str]] = {
    TableFormat.TEX: latex_tables,
    TableFormat.MD: markdown_tables,
    TableFormat.JSON: leaderboard,
}


def write_table(
    runs: Sequence[Run],
    out: str | Path,
    *,
    form: TableFormat | str | None = None,
    labels: Sequence[str | None] | None = None,
    judges: Sequence[str] | None = None,
    figure_names: Sequence[str] | None = None,
    against: str | None = None,
    test: PairedTest | str = PairedTest.SCORE,
    utility: Mapping[str, Mapping[str, Figure]] | None = None,
) -> Path:
    """Write a table of runs: one for each judge and each set of samples, since others cannot be compared.

    Args:
        runs: The runs. Those of one label are one row: their mean, its interval, and the standard deviation between
            them.
        out: The file.
        form: "tex", "md" or "json"; what `out` ends in if not given.
        labels: Names to show, one per run; None for a run's own.
        judges: Judges to show; all if not given.
        figure_names: Names of the figures to show; the headline figures if not given.
        against: Label of the row that the others are compared with; p-values are corrected after Holm over the table.
        test: What gives the p-values: "score", "mcnemar" or "permutation".
        utility: Label of a row → name of a column → accuracy, as `holisafe.bench.read_utility` reads them.

    Raises:
        RunError: There is nothing to write, runs of one label differ in their samples, or `out` cannot be written.
        UnknownNameError: There is no such judge, figure, label or test.
    """
    chosen = parse_enum(PairedTest, test)
    found = boards(
        label_runs(runs, labels),
        judges=judges,
        figure_names=figure_names,
        against=against,
        test=chosen,
        utility=utility,
    )
    return put(out, _WRITERS[parse_enum(TableFormat, form or Path(out).suffix.removeprefix("."))](found))
