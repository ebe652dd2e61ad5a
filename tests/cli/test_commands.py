"""How the command starts, and how it ends when something goes wrong."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from holisafe import __version__
from holisafe.cli import app
from holisafe.cli._commands import Commands, explain
from holisafe.errors import DataError

HOLISAFE = [sys.executable, "-c", "from holisafe.cli import app; app()"]


def ends(error: BaseException) -> tuple[int, str]:
    """Exit code and standard error of a command that raises."""
    failing = typer.Typer(cls=Commands, pretty_exceptions_enable=False)

    @failing.callback()
    def group() -> None: ...

    @failing.command()
    def fail() -> None:
        raise error

    found = CliRunner().invoke(failing, ["fail"])
    return found.exit_code, found.stderr


def test_version_is_the_package_version() -> None:
    assert CliRunner().invoke(app, ["--version"]).stdout == f"holisafe {__version__}\n"


def test_help_lists_the_commands() -> None:
    found = CliRunner().invoke(app, ["--help"]).stdout
    assert all(name in found for name in ("bench", "data", "score"))


@pytest.mark.parametrize(
    ("command", "default"),
    [("bench", "[default: holisafe, or the benchmark's]"), ("bench", "[default: runs/MODEL[-DEFENCE]-DATA]")],
)
def test_help_names_the_default_of_what_may_be_left_out(command: str, default: str) -> None:
    found = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200", "TERMINAL_WIDTH": "200"}).stdout
    assert default in " ".join(found.split())


def test_help_loads_neither_torch_nor_inspect_nor_numpy() -> None:
    code = (
        "import sys; from holisafe.cli import app; app(['--help'], standalone_mode=False); "
        "print(sorted({'torch', 'inspect_ai', 'numpy', 'transformers'} & set(sys.modules)), file=sys.stderr)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stderr.strip() == "[]"


def test_a_mistyped_command_is_answered_with_the_closest() -> None:
    found = CliRunner().invoke(app, ["scoer"])
    assert found.exit_code == 2
    assert "score" in found.stderr


def test_an_error_on_purpose_is_one_line_and_exit_code_2() -> None:
    assert ends(DataError("a.json: no\n  records")) == (2, "error: a.json: no records\n")


def test_an_interruption_is_exit_code_130() -> None:
    assert ends(KeyboardInterrupt()) == (130, "interrupted\n")


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (errno.ENOSPC, "no space left"),
        (errno.EACCES, "permission denied"),
        (errno.EROFS, "read-only"),
        (errno.EISDIR, "directory"),
    ],
)
def test_what_the_system_refuses_is_told_with_the_file(code: int, says: str) -> None:
    exit_code, told = ends(OSError(code, os.strerror(code), "runs/a.json"))
    assert exit_code == 2
    assert says in told
    assert "runs/a.json" in told


def test_a_library_that_is_not_installed_is_named_with_the_remedy() -> None:
    exit_code, told = ends(ModuleNotFoundError("No module named 'torch'", name="torch"))
    assert exit_code == 2
    assert "'torch'" in told
    assert "pip install" in told


@pytest.mark.parametrize("error", [OSError("no number, no file"), ModuleNotFoundError("x", name="holisafe.nowhere")])
def test_a_fault_of_our_own_keeps_its_traceback(error: Exception) -> None:
    assert explain(error) is None


def test_a_full_disk_behind_standard_output_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    predictions = tmp_path / "p.json"
    record = '{"id": 1, "image": "a/b.jpg", "query": "?", "type": "SSS", "category": "violence", '
    record += '"subcategory": "terrorism", "image_safe": true, "image_safety_label": 0, "prediction": "Yes."}'
    predictions.write_text(f"[{record}]")
    with Path("/dev/full").open("w") as full:
        command = [*HOLISAFE, "score", str(predictions), "--json"]
        found = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert found.returncode == 2
    assert found.stderr == "error: no space left on the disk; free some and run again, what was written is kept\n"


def test_a_reader_that_goes_away_is_no_traceback(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    predictions = tmp_path / "p.json"
    record = '{"id": 1, "image": "a/b.jpg", "query": "?", "type": "SSS", "category": "violence", '
    record += '"subcategory": "terrorism", "image_safe": true, "image_safety_label": 0, "prediction": "Yes."}'
    predictions.write_text(f"[{record}]")
    command = [*HOLISAFE, "score", str(predictions), "--json"]
    found = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert (found.returncode, found.stderr) == (141, "")
