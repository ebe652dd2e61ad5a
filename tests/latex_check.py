"""A strict reader of the LaTeX that tables are written in: anything it does not know is an error."""

from __future__ import annotations

import re

TOKEN = re.compile(
    r"\\begin\{(\w+)\}(?:\[t\]|\{[lr]+\})?|\\end\{(\w+)\}|\\\\|\\([A-Za-z]+)|\\(.)|%[^\n]*\n|.", re.DOTALL
)
WORDS = {
    "begin", "end", "centering", "caption", "label", "toprule", "midrule", "bottomrule", "textbf", "scriptsize",
    "textendash", "textemdash", "textbackslash", "textasciitilde", "textasciicircum", "textless", "textgreater",
    "textbar", "textasciigrave", "ldots", "textperiodcentered", "circ", "times", "pm", "ss", "o", "O", "ae", "AE",
    "r", "v", "c", "footnotesize", "setlength", "tabcolsep",
}  # fmt: skip
"""Commands that a table may use; none of them reads or writes a file."""

SYMBOLS = set("{}$&#_%,`'^~\"")


def check_latex(text: str) -> list[list[str]]:
    """The cells of every row of a text's tables.

    Raises:
        AssertionError: It is not balanced, a row has not the columns of its table, or it uses what no table needs.
    """
    assert text.isascii()
    rows: list[list[str]] = []
    environments: list[str] = []
    braces, is_math = 0, False
    row: list[str] | None = None
    width = 0
    for token in TOKEN.finditer(text):
        began, ended, word, symbol = token.groups()
        found = token.group()
        if began:
            environments.append(began)
            if began == "tabular":
                width = len(re.sub(r".*\{([lr]+)\}$", r"\1", found))
                row = [""]
            continue
        if ended:
            assert environments.pop() == ended and not braces and not is_math, found
            if ended == "tabular":
                assert row == [""], row
                row = None
            continue
        if word:
            assert word in WORDS, found
        elif symbol:
            assert symbol in SYMBOLS or found == "\\\\", found
        if found in ("\\toprule", "\\midrule", "\\bottomrule", "\n") and row is not None:
            continue
        if found == "{":
            braces += 1
        elif found == "}":
            braces -= 1
            assert braces >= 0
        elif found == "$":
            is_math = not is_math
        elif found in "^_~#" and found:
            assert is_math and found == "^", found
        elif found == "&" and row is not None:
            assert not braces and not is_math
            row.append("")
            continue
        elif found == "\\\\":
            assert row is not None and not braces and not is_math
            assert len(row) == width, row
            rows.append([cell.strip() for cell in row])
            row = [""]
            continue
        elif found == "&":
            raise AssertionError("& outside of a table")
        if row is not None:
            assert row != [""] or found not in "[*", "a row begins with what a line break takes for its argument"
            row[-1] += found
    assert not environments and not braces and not is_math
    return rows
