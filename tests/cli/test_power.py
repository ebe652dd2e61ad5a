"""`holisafe power` prints what it takes to see a difference."""

from __future__ import annotations

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from holisafe.cli import app


def power(*words: str) -> Any:
    return CliRunner().invoke(app, ["power", *words])


def test_the_table_has_a_row_for_each_difference_and_says_what_is_assumed() -> None:
    told = power("--n", "800", "--rate", "0.05", "--effect", "0.03", "--cluster-size", "3", "--icc", "0.1")
    assert told.exit_code == 0, told.output
    (row,) = [line for line in told.stdout.splitlines() if "5 to 8" in line]
    assert [cell.strip() for cell in row.strip("│").split("│")][:4] == ["5 to 8", "+3", "903", "1,271"]
    assert "design effect 1.2 (3 samples per image, ICC 0.1)" in told.stdout
    assert "paired, n = 800: the smallest difference seen is" in told.stdout


def test_json_says_the_same() -> None:
    found = json.loads(power("--n", "800", "--rate", "0.05", "--json").stdout)
    assert [row["effect"] for row in found["rows"]] == [0.01, 0.02, 0.03, 0.05, 0.1]
    assert found["rows"][2]["unpaired"] == 1059 and found["assumed"]["design_effect"] == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [(["--rate", "5"], "rate is 5.0"), (["--rate", "0.5", "--effect", "0.7"], "smaller --effect"),
     (["--rate", "0.5", "--icc", "2"], "icc is 2.0")],
)  # fmt: skip
def test_what_means_nothing_is_refused(words: list[str], said: str) -> None:
    told = power("--n", "10", *words)
    assert told.exit_code == 2 and said in told.stderr
