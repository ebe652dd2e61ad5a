"""`--engine vllm`, with a program in vLLM's place: real processes and real HTTP, without vLLM's weight.

tests/serve/test_real_vllm.py has the real one.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import tiny_models
from endpoint import serve
from holisafe.bench import VllmOptions, measure
from holisafe.bench._vllm_server import vllm_server
from holisafe.errors import MissingDependencyError, ModelError, RunError
from holisafe.guard import GuardConfig, attach_guard, save_guard

SERVER = """
import http.server, json, os, sys

arguments = dict(zip(sys.argv[1::2], sys.argv[2::2]))
if "--fail" in arguments:
    print("loading"); print("ValueError: no such model"); print("bye"); sys.exit(3)
print(os.getpid(), os.environ.get("VLLM_PLUGINS"), flush=True)
key = "Bearer " + os.environ["VLLM_API_KEY"]

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer({"data": [{"id": arguments["--served-model-name"]}]})

    def do_POST(self):
        length = int(self.headers["Content-Length"])
        body = json.loads(self.rfile.read(length))
        assert self.headers["Authorization"] == key
        parts = [part["type"] for part in body["messages"][-1]["content"]]
        message = {"role": "assistant", "content": f"{' '.join(parts)} {body['max_tokens']} {body['temperature']:g}"}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        usage = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}
        about = {"id": "x", "object": "chat.completion", "created": 0, "model": body["model"]}
        self.answer({**about, "choices": [choice], "usage": usage})

    def answer(self, found):
        data = json.dumps(found).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass

http.server.ThreadingHTTPServer((arguments["--host"], int(arguments["--port"])), Handler).serve_forever()
"""


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Python finds SERVER as vLLM's."""
    package = tmp_path / "path" / "vllm" / "entrypoints" / "openai"
    package.mkdir(parents=True)
    for folder in (package, package.parent, package.parent.parent):
        (folder / "__init__.py").touch()
    (package / "api_server.py").write_text(SERVER)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "path"), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("VLLM_PLUGINS", "holisafe")
    return tmp_path


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A folder that looks like a checkpoint."""
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


def test_a_server_is_started_asked_and_stopped(stand_in: Path, weights: Path, data: Path) -> None:
    told: list[str] = []
    out = stand_in / "run"
    run = measure(weights, data=data, engine="vllm", out=out, max_new_tokens=7, on_engine=told.append)
    assert {response.text for response in run.responses} == {"image_url text 7 0"}
    pid, plugins = (out / "logs" / "vllm.log").read_text().split()[:2]
    assert plugins == "None"  # no guard inside the server that is measured
    assert not is_running(int(pid)) and told[-1].startswith("vLLM is ready")
    model = run.provenance["model"]
    assert (model["engine"], model["guard"]) == ("vllm", None) and model["weights_sha256"]


@pytest.mark.slow
def test_a_finished_run_is_given_back_unless_its_weights_changed(stand_in: Path, weights: Path, data: Path) -> None:
    options = {"data": data, "engine": "vllm", "out": stand_in / "run"}
    first = measure(weights, **options)  # type: ignore[arg-type]
    (stand_in / "path" / "vllm" / "entrypoints" / "openai" / "api_server.py").write_text("raise SystemExit(9)")
    assert measure(weights, **options).responses == first.responses  # type: ignore[arg-type]
    (weights / "model.safetensors").write_bytes(b"other")
    with pytest.raises(RunError, match="weights_sha256"):
        measure(weights, **options)  # type: ignore[arg-type]


def test_a_server_that_does_not_start_is_told_by_its_own_reason(stand_in: Path, weights: Path, data: Path) -> None:
    options = VllmOptions(args={"fail": True, "x": "1"})
    with pytest.raises(RunError, match=r"status 3 before it was ready: ValueError: no such model; see .*vllm\.log"):
        measure(weights, data=data, engine="vllm", vllm=options, out=stand_in / "run")


@pytest.mark.slow
def test_a_guard_judges_the_pictures_beside_the_server(stand_in: Path, checkpoint: Path, data: Path) -> None:
    tiny = tiny_models.llava()
    attach_guard(tiny.model, GuardConfig(features="projector", joint_head=False), processor=tiny.processor)
    save_guard(tiny.model, stand_in / "guard")
    here = measure(checkpoint, data=data, limit=5, guard=str(stand_in / "guard"), out=stand_in / "here")
    there = measure(
        checkpoint, data=data, limit=5, guard=str(stand_in / "guard"), engine="vllm", out=stand_in / "there"
    )
    for one, other in zip(here.responses, there.responses, strict=True):
        (own,), (beside,) = one.verdict.images, other.verdict.images
        assert own.label is beside.label and own.unsafe == pytest.approx(beside.unsafe, abs=1e-5)
    assert there.provenance["model"]["guard"]["weights_sha256"] == here.provenance["model"]["guard"]["weights_sha256"]


PROGRAM = """
import signal
import sys
import time
from pathlib import Path
from holisafe.bench import VllmOptions
from holisafe.bench._vllm_server import vllm_server

signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job's is to ignore it
with vllm_server("m", "m", VllmOptions(), [], Path(sys.argv[1])):
    print("ready", flush=True)
    for _ in range(1200):  # a signal just before a call that blocks would not be seen
        time.sleep(0.05)
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_the_server_ends_with_the_run_that_started_it(stand_in: Path, how: signal.Signals) -> None:
    if how is signal.SIGKILL and sys.platform != "linux":
        pytest.skip("only Linux tells a process that its parent was killed")
    log = stand_in / "log"
    command = [sys.executable, "-c", PROGRAM, str(log)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as program:
        assert program.stdout is not None and program.stdout.readline() == b"ready\n"
        server = int(log.read_text().split()[0])
        assert is_running(server)
        program.send_signal(how)
        program.wait(60)
    end = time.monotonic() + 60
    while is_running(server) and time.monotonic() < end:
        time.sleep(0.05)
    assert not is_running(server)


def test_an_interpreter_without_vllm_is_named(tmp_path: Path) -> None:
    with (
        pytest.raises(MissingDependencyError, match="cannot be run"),
        vllm_server("m", "m", VllmOptions(python=str(tmp_path / "none")), [], tmp_path / "log"),
    ):
        raise AssertionError("nothing was started")


def test_a_server_that_runs_already_has_to_serve_the_model(tmp_path: Path, weights: Path, data: Path) -> None:
    with serve({}) as behind:
        options = VllmOptions(base_url=behind.url)
        with pytest.raises(RunError, match=r"serves served, not .*--served-model-name"):
            measure(weights, data=data, engine="vllm", vllm=options, out=tmp_path / "run")
    with pytest.raises(RunError, match="cannot be reached"):
        measure(weights, data=data, engine="vllm", vllm=options, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"engine": "vllm", "model": "mockllm/model"}, ModelError, "local checkpoints"),
        ({"engine": "vllm", "attention": "eager"}, ModelError, "attention"),
        ({"engine": "vllm", "defence": "ecso"}, ModelError, "defence"),
        ({"engine": "vllm", "model_args": {"x": 1}}, ModelError, "--vllm-args"),
        ({"engine": "vlm"}, Exception, "vllm"),
        ({"vllm": VllmOptions(python="x")}, RunError, "--engine vllm"),
    ],
)
def test_what_vllm_has_no_counterpart_of_is_refused(
    tmp_path: Path, weights: Path, data: Path, options: dict[str, object], error: type[Exception], message: str
) -> None:
    given = {"model": weights, "data": data, "out": tmp_path / "run", **options}
    with pytest.raises(error, match=message):
        measure(**given)  # type: ignore[arg-type]


def test_options_of_a_server_that_runs_already_are_refused() -> None:
    with pytest.raises(RunError, match="runs already"):
        VllmOptions(base_url="http://127.0.0.1:1/v1", args={"seed": 1})
    for address in ("127.0.0.1:1", "http://127.0.0.1:99999/v1", "http://127.0.0.1:x/v1", "http://[::1/v1"):
        with pytest.raises(RunError, match="address"):
            VllmOptions(base_url=address)
    with pytest.raises(RunError, match="port"):
        VllmOptions(args={"port": 1})


def is_running(pid: int) -> bool:
    """Whether a process runs; one that has ended and that nobody has asked about does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
