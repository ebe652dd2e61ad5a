"""CI tries the lower bounds that pyproject.toml gives (make oldest)."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXTRAS = ("models", "bench", "report", "serve", "scan", "datasets", "art")


def bounds() -> dict[str, str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = [*project["dependencies"], *(each for name in EXTRAS for each in project["optional-dependencies"][name])]
    return dict(each.split(">=") for each in needed)


@pytest.mark.parametrize(("name", "version"), bounds().items())
def test_the_lower_bound_is_the_version_that_is_tried(name: str, version: str) -> None:
    tried = (ROOT / "constraints-oldest.txt").read_text() + (ROOT / "tools/oldest.sh").read_text()
    found = re.findall(rf"(?:^|\s){re.escape(name)}==([\d.]+)", tried)
    assert found and {_numbers(each) for each in found} == {_numbers(version)}


def _numbers(version: str) -> tuple[int, ...]:
    """Without zeros at the end: 3.8 is 3.8.0."""
    return tuple(map(int, re.sub(r"(\.0)+$", "", version).split(".")))
