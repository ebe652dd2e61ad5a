"""The group of commands: finds them, imports one when asked for, and says what went wrong in one line."""

from __future__ import annotations

import errno
import importlib
import os
import pkgutil
import sys
from collections.abc import Sequence
from typing import Any

import typer
from typer.core import TyperGroup
from typer.main import get_group

from holisafe._lazy import missing
from holisafe._printable import printable
from holisafe.cli._help import HelpContext, lay_out
from holisafe.errors import BudgetError, HoliSafeError

ERROR = 2
BUDGET = 3
INTERRUPTED = 128 + 2  # as a shell reports SIGINT
READER_GONE = 128 + 13  # as a shell reports SIGPIPE


class Commands(TyperGroup):
    """The commands of `holisafe`, one per public module of this package, each imported on first use."""

    context_class = HelpContext

    def list_commands(self, ctx: Any) -> list[str]:
        """Names of all commands, found without importing any."""
        modules = pkgutil.iter_modules(importlib.import_module("holisafe.cli").__path__)
        return sorted(module.name.replace("_", "-") for module in modules if not module.name.startswith("_"))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of that name; for a wrong name import all, so that close ones can be offered."""
        names = self.list_commands(ctx)
        for name in [cmd_name] if cmd_name in names else names:
            if name not in self.commands:
                self.commands.update(_load(name))
        return self.commands.get(cmd_name)

    def invoke(self, ctx: Any) -> Any:
        """Run a command; what it raises on purpose ends as one line on standard error and an exit code."""
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        os.environ.setdefault("TQDM_DISABLE", "1")  # bars of other libraries would tear our line of progress
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except KeyboardInterrupt:
            typer.echo("interrupted", err=True)
            raise typer.Exit(INTERRUPTED) from None
        except BrokenPipeError:
            _abandon_stdout()
            raise typer.Exit(READER_GONE) from None
        except (HoliSafeError, OSError, ModuleNotFoundError) as error:
            explanation = explain(error)
            if explanation is None:
                raise
            _abandon_stdout_if_broken()
            typer.echo(f"error: {explanation}", err=True)
            raise typer.Exit(BUDGET if isinstance(error, BudgetError) else ERROR) from error
        return result


def explain(error: BaseException) -> str | None:
    """What a person can do about an error, in one line; None when only its traceback would help."""
    match error:
        case HoliSafeError():
            return printable(" ".join(str(error).split()))
        case ModuleNotFoundError() if (needed := missing(error, "this command")) is not None:
            return str(needed)
        case OSError(errno=errno.ENOSPC | errno.EDQUOT):
            return f"no space left on the disk{_where(error)}; free some and run again, what was written is kept"
        case OSError(errno=errno.EACCES | errno.EPERM):
            return f"permission denied{_where(error)}; choose a place you may read and write"
        case OSError(errno=errno.EROFS):
            return f"the file system is read-only{_where(error)}; choose another place with --out"
        case OSError(filename=str() | bytes() | os.PathLike()):
            return f"{error.strerror or 'cannot open'}{_where(error)}"
        case _:
            return None


def _load(name: str) -> dict[str, Any]:
    alone = typer.Typer(rich_markup_mode=None)
    importlib.import_module(f"holisafe.cli.{name.replace('-', '_')}").register(alone)
    return dict(lay_out(get_group(alone)).commands)


def _where(error: OSError) -> str:
    names: Sequence[Any] = [name for name in (error.filename, error.filename2) if name is not None]
    return f": {' -> '.join(os.fsdecode(name) for name in names)}" if names else ""


def _abandon_stdout_if_broken() -> None:
    try:
        sys.stdout.flush()
    except OSError:
        _abandon_stdout()


def _abandon_stdout() -> None:
    """Point standard output at nothing, so that the interpreter's last flush does not fail again."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, sys.stdout.fileno())
