"""What all tests share: the modules beside this file can be imported by name."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


FROM_INSPECT = (
    "ignore:Unclosed <MemoryObject:ResourceWarning",  # streams it leaves to the garbage collector, in any later test
    "ignore:The 'initial' parameter is deprecated:DeprecationWarning",  # how it calls tenacity
)


def pytest_configure(config: pytest.Config) -> None:
    """Warnings are errors, but for those that Inspect gives about itself."""
    for line in FROM_INSPECT:
        config.addinivalue_line("filterwarnings", line)
