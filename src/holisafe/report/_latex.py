"""A table for a paper, in LaTeX with booktabs: compiles as it stands, whatever models and data are called."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from holisafe.metrics import HOLM, TEST_NAMES, Figure, HeadlineFigure
from holisafe.metrics.display import FEW_NOTE
from holisafe.report._rows import Board, Row
from holisafe.report.text import plain

HEAD = """% Written by holisafe export. Needs \\usepackage{booktabs}.
"""


def latex_tables(boards: Sequence[Board]) -> str:
    """One table environment for each board."""
    return HEAD + "\n".join(_table(board, at) for at, board in enumerate(boards, start=1))


def escape(text: str) -> str:
    """The text as LaTeX prints it, character by character: no command, no ligature, nothing that ends a cell.

    Letters with an accent become accent commands; what pdfLaTeX cannot print is written as its code point.
    """
    return "".join(map(_escaped, plain(text, 200)))


_SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "`": r"\textasciigrave{}",
    "'": "{'}",
    "-": "{-}",  # two would be a dash
    ",": "{,}",
    "?": "{?}",  # ?` would be another character
    "!": "{!}",
    "[": "{[}",  # after a line break it would be a length
    "]": "{]}",
    "*": "{*}",
    "–": r"\textendash{}",
    "—": r"\textemdash{}",
    "…": r"\ldots{}",
    "·": r"\textperiodcentered{}",
    "×": r"$\times$",
    "±": r"$\pm$",
    "°": r"$^{\circ}$",
    "’": "{'}",
    "“": "``{}",
    "”": "''{}",
    "ß": r"\ss{}",
    "ø": r"\o{}",
    "Ø": r"\O{}",
    "æ": r"\ae{}",
    "Æ": r"\AE{}",
}
_SPECIAL |= {character: f"\\{character}" for character in "{}$&#_%"}
_SPECIAL['"'] = "{''}"  # \textquotedbl needs another font encoding

_ACCENTS = {
    "\u0300": "`",
    "\u0301": "'",
    "\u0302": "^",
    "\u0303": "~",
    "\u0308": '"',
    "\u030a": "r",
    "\u030c": "v",
    "\u0327": "c",
}


def _escaped(character: str) -> str:
    if character in _SPECIAL:
        return _SPECIAL[character]
    if character.isascii():
        return character
    parts = unicodedata.normalize("NFD", character)
    if len(parts) == 2 and parts[0].isascii() and parts[0].isalpha() and parts[1] in _ACCENTS:
        return f"\\{_ACCENTS[parts[1]]}{{{parts[0]}}}"
    return f"[U+{ord(character):04X}]".replace("[", "{[}").replace("]", "{]}")


def _table(board: Board, number: int) -> str:
    width = len(board.columns)
    lines = [
        r"\begin{table}[t]",
        r"\centering\footnotesize\setlength{\tabcolsep}{3pt}",
        f"\\caption{{{_caption(board)}}}",
        f"\\label{{tab:holisafe-{number}}}",
        f"\\begin{{tabular}}{{l{'r' * width}}}",
        r"\toprule",
        *_head(board.columns),
        r"\midrule",
    ]
    for row in board.rows:
        lines += [_values(board, row), _intervals(row, board.columns)]
        if row.repeats.runs > 1:
            lines.append(_spreads(row, board.columns))
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""])


def _head(columns: Sequence[HeadlineFigure]) -> list[str]:
    """The labels in two lines, so that columns stay narrow."""
    words = [figure.label.split(" ", 1) for figure in columns]
    firsts = ["", *(escape(each[0]) if len(each) > 1 else "" for each in words)]
    seconds = ["Model", *(escape(each[-1]) for each in words)]
    return [" & ".join(line) + r" \\" for line in (firsts, seconds)]


def _values(board: Board, row: Row) -> str:
    name = escape(row.label) + (f" ({row.repeats.runs} runs)" if row.repeats.runs > 1 else "")
    return " & ".join([name, *(_value(board, row, figure) for figure in board.columns)]) + r" \\"


def _value(board: Board, row: Row, column: HeadlineFigure) -> str:
    figure = row.figures[column.name]
    if figure is None:
        return r"\textendash{}"
    shown = f"{100 * figure.value:.1f}"
    if board.is_best(row, column):
        shown = f"\\textbf{{{shown}}}"
    found = board.found.get((row.label, column.name))
    marks = r"\circ" * figure.is_few + "*" * (found is not None and found.is_significant)
    return shown + (f"$^{{{marks}}}$" if marks else "")


def _intervals(row: Row, columns: Sequence[HeadlineFigure]) -> str:
    return " & ".join(["", *(_interval(row.figures[column.name]) for column in columns)]) + r" \\"


def _interval(figure: Figure | None) -> str:
    return "" if figure is None else f"{{\\scriptsize {100 * figure.low:.1f}\\textendash{{}}{100 * figure.high:.1f}}}"


def _spreads(row: Row, columns: Sequence[HeadlineFigure]) -> str:
    found = (row.between(column.name) for column in columns)
    return (
        " & ".join(["", *("" if each is None else f"{{\\scriptsize $\\pm$ {100 * each:.1f}}}" for each in found)])
        + r" \\"
    )


def _caption(board: Board) -> str:
    """Data, judge, n, token limit, and what the signs mean."""
    sentences = [
        f"Rates in \\% on {escape(board.data)} ({board.samples} samples; {board.tokens})",
        f"judge {escape(board.judge_words)}",
        "small print: 95\\,\\% intervals that allow for shared images",
    ]
    better = [figure.label for figure in board.columns if figure.higher_is_better]
    if better:
        sentences.append(f"lower is better, except for {escape(' and '.join(better))}; bold: best of a column")
    else:
        sentences.append("lower is better; bold: best of a column")
    if any(row.repeats.runs > 1 for row in board.rows):
        sentences.append("$\\pm$: standard deviation between runs of one model (the interval is of their mean)")
    if board.against is not None:
        sentences.append(
            f"$^{{*}}$: differs from {escape(board.against)} with $p < 0.05$ ({TEST_NAMES[board.test]}; "
            f"corrected after {HOLM} over {board.comparisons} comparisons)"
        )
    if _has_few(board):
        sentences.append(escape(FEW_NOTE.removesuffix(".")))
    sentences += [escape(note.removesuffix(".")) for note in board.notes]
    return ". ".join(each[0].upper() + each[1:] for each in sentences) + "."


def _has_few(board: Board) -> bool:
    shown = (row.figures[column.name] for row in board.rows for column in board.columns)
    return any(figure is not None and figure.is_few for figure in shown)
