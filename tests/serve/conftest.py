"""One server for all tests that need no settings of their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from serve.site import Site, engine_site


@pytest.fixture(scope="session")
def site() -> Iterator[Site]:
    with engine_site() as running:
        yield running
