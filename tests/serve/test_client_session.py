"""The client's session of docs/serving.md runs as written, against a model here and against a guard in front of one."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from holisafe.models import Engine
from holisafe.serve import EngineBackend, ImageGuard, ProxyBackend, Settings, Upstream
from serve.site import SAFE, UNSAFE, Site, guarded, running

PAGE = Path(__file__).parents[2] / "docs/serving.md"
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
def test_the_session_runs_as_written(
    served: Site, picture: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "photo.png").write_bytes(picture)
    monkeypatch.chdir(tmp_path)
    found = re.search(r"```python\n(import base64.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert found
    written = found[1].replace("http://127.0.0.1:8000", served.url)
    written = written.replace("messages=[{", "max_tokens=6, messages=[{")
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(compile(written, "docs/serving.md", "exec"), {})
    lines = said.getvalue().splitlines()
    assert lines[0] == ("content_filter" if picture is UNSAFE else "length")
    assert str(picture is UNSAFE) in lines
