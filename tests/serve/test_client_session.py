"""The client's session of docs/serving.md runs as written, against a model here and against a guard in front of one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from holisafe.models import Engine
from holisafe.serve import EngineBackend, ImageGuard, ProxyBackend, Settings, Upstream
from serve.site import SAFE, UNSAFE, Site, documented_session, guarded, running

SETTINGS = Settings(decide_by="image")  # type: ignore[arg-type]


@pytest.fixture(scope="module", params=["engine", "proxy"])
def served(request: pytest.FixtureRequest) -> Iterator[Site]:
    tiny = guarded()
    with (
        Engine(tiny.model, tiny.processor, window=0.005) as engine,
        running(EngineBackend(engine, "pocket-safe"), SETTINGS) as behind,
    ):
        if request.param == "engine":
            yield behind
            return
        front = ProxyBackend(Upstream(f"{behind.url}/v1"), ImageGuard(tiny.model, tiny.processor))
        with running(front, SETTINGS) as site:
            yield site


@pytest.mark.parametrize("picture", [SAFE, UNSAFE])
def test_the_session_runs_as_written(served: Site, picture: bytes, tmp_path: Path) -> None:
    lines = documented_session(served.url, picture, tmp_path)
    assert lines[0] == ("content_filter" if picture is UNSAFE else "length")
    assert str(picture is UNSAFE) in lines
