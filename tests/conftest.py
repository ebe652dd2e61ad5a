"""What all tests share: the modules beside this file can be imported by name."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent))


settings.register_profile("holisafe", deadline=None)  # machines are shared, and nothing is timed in a test
settings.load_profile("holisafe")


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    """A test that sets torch's number of threads sets it for itself: other tests compare sums to the last bit."""
    torch = sys.modules.get("torch")
    threads = torch.get_num_threads() if torch else None
    yield
    if torch and threads is not None:
        torch.set_num_threads(threads)
