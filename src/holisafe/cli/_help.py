"""How `--help` is laid out: plain text for 80 columns, in which no option's name is broken at a hyphen."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from typer.core import TyperGroup

UNBROKEN = "\N{NON-BREAKING HYPHEN}"

_Context: Any = TyperGroup.context_class  # typer brings its own click, or uses the installed one
_Formatter: Any = _Context.formatter_class


class _HelpFormatter(_Formatter):  # type: ignore[misc]
    def write_usage(self, prog: str, args: str = "", prefix: str | None = None) -> None:
        super().write_usage(prog, re.sub(r"[{}]", "", args), prefix)

    def write_text(self, text: str) -> None:
        super().write_text(_whole_names(text.replace("\\b\n", "\b\n")))  # click's mark of lines to keep

    def write_dl(self, rows: Sequence[tuple[str, str]], *args: Any, **kwargs: Any) -> None:
        plain = [(name, re.sub(r"\[default: \((.*?)\)", r"[default: \1", text)) for name, text in rows]
        super().write_dl([(name, _whole_names(text)) for name, text in plain], *args, **kwargs)

    def getvalue(self) -> str:
        return str(super().getvalue()).replace(UNBROKEN, "-")


def _whole_names(text: str) -> str:
    return re.sub(r"(?<=\w)-(?=\w)|--(?=\w)", lambda found: UNBROKEN * len(found[0]), text)


class HelpContext(_Context):  # type: ignore[misc]
    """Context of a command whose help is laid out so."""

    formatter_class = _HelpFormatter


def lay_out(command: Any) -> Any:
    """Have a command, and those of a group, laid out so."""
    command.context_class = HelpContext
    for each in getattr(command, "commands", {}).values():
        lay_out(each)
    return command
