"""A report to look at, and a real browser to open reports in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from chromium import Browser, chromium
from holisafe.records import Run
from holisafe.report import write_report
from report_runs import ANSWER, REFUSAL, make_run


@pytest.fixture(scope="session")
def two_runs() -> tuple[Run, Run]:
    """Two runs on the same samples, judged by both string judges."""
    return make_run("cautious"), make_run("candid", answer=lambda index, _: REFUSAL if index % 7 == 0 else ANSWER)


@pytest.fixture(scope="session")
def page(two_runs: tuple[Run, Run], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of both runs."""
    return write_report(two_runs, tmp_path_factory.mktemp("report") / "report.html")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One Chromium for all tests."""
    with chromium() as running:
        yield running
