"""A real vLLM on the CPU, with Safe Pocket: behind the proxy, as what gives it hidden states, and around the guard.

Run by `make vllm`. vLLM's interpreter is named by HOLISAFE_VLLM_PYTHON.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

import holisafe
from holisafe.bench import VllmOptions, measure
from holisafe.bench import _vllm_server as server
from holisafe.datasets import load
from holisafe.images import read_bytes
from holisafe.models import Engine, GenerationOptions, Prompt, Request
from holisafe.records import Sample
from holisafe.serve import ImageGuard, PoolingStates, ProxyBackend, RequestGuard, Settings, Upstream
from holisafe.taxonomy import Combination
from serve.site import BLOCK, Site, documented_session, running, shown

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(not os.environ.get(server.PYTHON), reason=f"{server.PYTHON} names no interpreter with vLLM"),
    # Inspect's and vLLM's clients leave connections to the garbage collector
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

MODEL = "pocket-safe"
OPTIONS = VllmOptions(args={"enforce-eager": True, "max-model-len": 1024, "max-num-seqs": 4})
AS_SAVED = ("--dtype", "float32", "--model-impl", "transformers")
IMAGES = Settings(decide_by="image")  # type: ignore[arg-type]


@dataclass
class Behind:
    """A running vLLM."""

    base_url: str
    api_key: str

    @property
    def answered(self) -> float:
        """How many requests it has answered."""
        text = httpx.get(self.base_url.removesuffix("/v1") + "/metrics", trust_env=False, timeout=60).text
        return sum(float(line.rpartition(" ")[2]) for line in re.findall(r"^vllm:request_success_total.*$", text, re.M))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Safe Pocket as `save_pretrained` writes it."""
    model, processor = holisafe.load(MODEL)
    place = tmp_path_factory.mktemp("vllm") / "checkpoint"
    model.save_pretrained(place)
    processor.save_pretrained(place)
    return place


@pytest.fixture(scope="module")
def behind(checkpoint: Path) -> Iterator[Behind]:
    with server.vllm_server(str(checkpoint), MODEL, OPTIONS, AS_SAVED, checkpoint.parent / "answers.log") as address:
        yield Behind(address.base_url, address.api_key)


@pytest.fixture(scope="module")
def loaded() -> holisafe.models.LoadedModel:
    return holisafe.load(MODEL, guard="own")


@pytest.fixture(scope="module")
def picture() -> bytes:
    """One that the guard flags."""
    sample = next(each for each in load("open", "test") if each.combination is Combination.UUU)
    return read_bytes(sample.images[0])


def samples(count: int) -> list[Sample]:
    return list(load("open", "test")[:count])


def test_the_session_runs_in_front_of_vllm(behind: Behind, loaded: object, picture: bytes, tmp_path: Path) -> None:
    upstream = Upstream(behind.base_url, api_key=behind.api_key)
    with running(ProxyBackend(upstream, ImageGuard(*loaded)), IMAGES) as site:  # type: ignore[misc]
        assert documented_session(site.url, picture, tmp_path)[0] == "content_filter"
        before = behind.answered
        for stream in (False, True):
            reply = site.chat(model=MODEL, messages=shown(picture), moderation=BLOCK, stream=stream)
            assert "content_filter" in reply.text
        assert behind.answered == before  # nothing of a flagged request reaches vLLM


def test_answers_of_a_run_are_those_of_the_engine_transformers(
    behind: Behind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOLISAFE_VLLM_KEY", behind.api_key)
    asked = {"limit": 10, "max_new_tokens": 16, "guard": "own"}
    there = measure(MODEL, engine="vllm", vllm=VllmOptions(base_url=behind.base_url), out=tmp_path / "a", **asked)  # type: ignore[arg-type]
    here = measure(MODEL, out=tmp_path / "b", **asked)  # type: ignore[arg-type]
    pairs = list(zip(here.responses, there.responses, strict=True))
    assert sum(one.text == other.text for one, other in pairs) >= 9  # another order of sums may change one
    for one, other in pairs:
        unsafe = [[image.unsafe for image in each.verdict.images] for each in (one, other)]
        assert unsafe[0] and unsafe[0] == pytest.approx(unsafe[1], abs=1e-4)


def test_request_verdicts_by_vllms_hidden_states_are_the_engines_own(
    behind: Behind, checkpoint: Path, loaded: object
) -> None:
    arguments = (*AS_SAVED, "--runner", "pooling", "--convert", "embed")
    with ExitStack() as stack:
        log = checkpoint.parent / "states.log"
        states = stack.enter_context(server.vllm_server(str(checkpoint), MODEL, OPTIONS, arguments, log))
        model, processor = loaded  # type: ignore[misc]
        requests = RequestGuard(model, processor, PoolingStates(Upstream(states.base_url, api_key=states.api_key)))
        upstream = Upstream(behind.base_url, api_key=behind.api_key)
        proxy = ProxyBackend(upstream, ImageGuard(model, processor), requests=requests)
        site = stack.enter_context(running(proxy, Settings()))
        with Engine(model, processor) as engine:
            for sample in samples(4):
                own = engine.submit(Request(Prompt.of(sample), GenerationOptions(max_new_tokens=1))).result().verdict
                messages = shown(*map(read_bytes, sample.images), text=sample.query)
                found = site.chat(model=MODEL, messages=messages).json()["request_safety"]
                assert own.request is not None and found["unsafe"] == pytest.approx(own.request.unsafe, abs=1e-3)


def test_the_session_runs_inside_vllm(checkpoint: Path, picture: bytes, tmp_path: Path) -> None:
    with inside(checkpoint, VLLM_PLUGINS="holisafe", HOLISAFE_GUARD=MODEL, HOLISAFE_DECIDE_BY="image") as site:
        assert documented_session(site.url, picture, tmp_path)[0] == "content_filter"
        before = Behind(f"{site.url}/v1", "").answered
        assert "content_filter" in site.chat(model=MODEL, messages=shown(picture), moderation=BLOCK).text
        assert Behind(f"{site.url}/v1", "").answered == before
        assert site.post("/v1/completions", {"model": MODEL, "prompt": "Hi"}).status_code == 403


@contextmanager
def inside(checkpoint: Path, **environment: str) -> Iterator[Site]:
    """A vLLM with the plug-in."""
    port, log = server._free_port(), checkpoint.parent / "inside.log"
    command = [OPTIONS.interpreter, "-m", "vllm.entrypoints.openai.api_server", "--model", str(checkpoint)]
    command += ["--served-model-name", MODEL, "--host", "127.0.0.1", "--port", str(port), *AS_SAVED]
    command += server._as_arguments(OPTIONS.args)
    given = {**os.environ, "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", **environment}
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=given, start_new_session=True)
        try:
            server._wait(process, port, 1800, log, server._silent)
            yield Site(f"http://127.0.0.1:{port}", None, None)  # type: ignore[arg-type]
        finally:
            server._stop(process)
