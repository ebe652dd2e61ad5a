"""The recipes of docs/serving.md run as written, each against a server with a tiny model.

The tools are no part of this package's environment. Set HOLISAFE_RECIPES to a folder with one environment for each,
such as `python -m venv litellm && litellm/bin/pip install 'litellm[proxy]'`; the others are skipped. Run
`npm install promptfoo` in a folder `promptfoo`.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from holisafe.models import Engine
from holisafe.serve import EngineBackend
from serve.site import PICTURES, SAFE, UNSAFE, Site, guarded, running, shown

PAGE = (Path(__file__).parents[2] / "docs/serving.md").read_text("utf-8")
SOURCE = Path(__file__).parents[2] / "src"


@pytest.fixture(scope="module")
def served() -> Iterator[Site]:
    tiny = guarded()
    with (
        Engine(tiny.model, tiny.processor, window=0.005) as engine,
        running(EngineBackend(engine, "pocket-safe"), PICTURES) as site,
    ):
        yield site


def tool(name: str, program: str) -> str:
    """A program of a tool's environment."""
    found = Path(os.environ.get("HOLISAFE_RECIPES", "/nowhere")) / name / program
    if not found.is_file():
        pytest.skip(f"{name} is not installed; HOLISAFE_RECIPES names a folder with its environment")
    return str(found)


def section(title: str) -> str:
    found = re.search(rf"^#+ {re.escape(title)}\n(.*?)(?=^## |^### |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found
    return found[1]


def block(title: str, language: str) -> str:
    """The last block of this language."""
    found: list[str] = re.findall(rf"^```{language}\n(.*?)^```", section(title), re.MULTILINE | re.DOTALL)
    return found[-1]


def write_files(title: str, folder: Path, url: str) -> None:
    """The files that a recipe names, for this server."""
    pattern = r"^`([\w./]+)`:\n(?:<!--.*?-->\n)?```\w+\n(.*?)^```"
    files: list[tuple[str, str]] = re.findall(pattern, section(title), re.MULTILINE | re.DOTALL)
    assert files
    for name, text in files:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text.replace("http://127.0.0.1:8000", url), "utf-8")


def told(words: list[str], folder: Path, **environment: str) -> str:
    """What a program prints."""
    found = subprocess.run(
        words,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(SOURCE), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert found.returncode == 0, found.stdout[-2000:] + found.stderr[-2000:]
    return found.stdout


def run_python(served: Site, title: str, folder: Path, python: str) -> str:
    text = block(title, "python").replace("http://127.0.0.1:8000", served.url)
    (folder / "recipe.py").write_text(text, "utf-8")
    return told([python, "recipe.py"], folder, HOLISAFE_URL=served.url)


def test_curl(served: Site, tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    command = block("From a shell", "sh").replace("http://127.0.0.1:8000", served.url)
    assert '"flagged":' in told(["sh", "-c", command], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("picture", "reason"), [(SAFE, "length"), (UNSAFE, "content_filter")])
def test_langchain(served: Site, tmp_path: Path, picture: bytes, reason: str) -> None:
    (tmp_path / "photo.png").write_bytes(picture)
    assert run_python(served, "LangChain", tmp_path, tool("langchain", "bin/python")).startswith(reason)


@pytest.mark.slow
@pytest.mark.parametrize(("picture", "refused"), [(SAFE, "refused: False"), (UNSAFE, "refused: True")])
def test_nemo_guardrails(served: Site, tmp_path: Path, picture: bytes, refused: str) -> None:
    (tmp_path / "photo.png").write_bytes(picture)
    write_files("NeMo Guardrails", tmp_path, served.url)
    assert refused in run_python(served, "NeMo Guardrails", tmp_path, tool("nemo", "bin/python"))


@pytest.mark.slow
@pytest.mark.parametrize(("picture", "valid"), [(SAFE, "True"), (UNSAFE, "False")])
def test_any_guardrail(served: Site, tmp_path: Path, picture: bytes, valid: str) -> None:
    (tmp_path / "photo.png").write_bytes(picture)
    assert run_python(served, "any-guardrail", tmp_path, tool("anyg", "bin/python")).startswith(valid)


@pytest.mark.slow
def test_promptfoo(served: Site, tmp_path: Path) -> None:
    program = tool("promptfoo", "node_modules/.bin/promptfoo")
    for name, picture in (("safe", SAFE), ("unsafe", UNSAFE)):
        (tmp_path / f"{name}.png").write_bytes(picture)
    write_files("promptfoo", tmp_path, served.url)
    words = [program, *block("promptfoo", "sh").split()[1:]]
    quiet = {"PROMPTFOO_DISABLE_TELEMETRY": "1", "PROMPTFOO_DISABLE_UPDATE": "1"}
    assert "2 passed" in told(words, tmp_path, PROMPTFOO_CONFIG_DIR=str(tmp_path / "own"), **quiet)


@pytest.mark.slow
def test_litellm(served: Site, tmp_path: Path) -> None:
    program = tool("litellm", "bin/litellm")
    write_files("LiteLLM", tmp_path, served.url)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    words = [program, *block("LiteLLM", "sh").replace("4000", port).split()[1:]]
    key = "sk-0123456789abcdef0123456789abcdef-of-a-test"
    environment = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_MASTER_KEY": key}
    proxy = subprocess.Popen(words, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        url = f"http://127.0.0.1:{port}"
        for _ in range(600):
            assert proxy.poll() is None, "LiteLLM ended"
            try:
                if httpx.get(f"{url}/health/liveliness", timeout=5, trust_env=False).status_code == 200:
                    break
            except httpx.HTTPError:
                pass
            time.sleep(0.5)
        with httpx.Client(headers={"Authorization": f"Bearer {key}"}, timeout=120, trust_env=False) as client:

            def ask(picture: bytes) -> httpx.Response:
                body = {"model": "pocket-safe", "max_tokens": 3, "messages": shown(picture)}
                return client.post(f"{url}/v1/chat/completions", json=body)

            assert ask(SAFE).status_code == 200
            answered = served.count("generation_tokens_total")
            blocked = ask(UNSAFE)
        assert blocked.status_code == 400 and "can't help" in blocked.text
        assert served.count("generation_tokens_total") == answered  # the model was not asked
    finally:
        proxy.terminate()
        proxy.wait(30)


def test_the_filter_of_open_webui(served: Site) -> None:
    names: dict[str, Any] = {}
    exec(compile(block("Open WebUI", "python"), "docs/serving.md", "exec"), names)
    judged = names["Filter"]()
    judged.valves.url = served.url
    body = {"messages": shown(SAFE)}
    assert asyncio.run(judged.inlet(body)) is body
    assert asyncio.run(judged.inlet({"messages": [{"role": "user", "content": "A title, please."}]}))
    with pytest.raises(Exception, match="refuses"):
        asyncio.run(judged.inlet({"messages": shown(UNSAFE)}))


def test_the_adapters_say_what_is_missing() -> None:
    script = "import sys; sys.modules['nemoguardrails'] = None\nimport holisafe.integrations.nemo"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert "MissingDependencyError" in found.stderr and "pip install nemoguardrails" in found.stderr
