"""Listening: on loopback, or elsewhere with API keys."""

from __future__ import annotations

import ctypes
import ipaddress
import sys
from contextlib import suppress

import uvicorn
from fastapi import FastAPI

from holisafe.errors import RunError
from holisafe.serve.connections import bounded
from holisafe.serve.keys import KeyRing
from holisafe.serve.metrics import Metrics
from holisafe.serve.settings import Limits


def is_loopback(host: str) -> bool:
    """Whether a bind address is reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_bind(host: str, keys: KeyRing) -> None:
    """Refuse to be reached from elsewhere without keys.

    Raises:
        RunError: The address is not loopback and there are no keys.
    """
    if not is_loopback(host) and not keys.keys:
        raise RunError(
            f"--host {host} can be reached from other machines, so API keys are needed; make one with `holisafe serve "
            "--new-key NAME >> keys.jsonl` and give --api-keys keys.jsonl, or leave --host out"
        )


def make_server(
    app: FastAPI, host: str, port: int, *, limits: Limits = Limits(), metrics: Metrics | None = None
) -> uvicorn.Server:
    """A server that writes no access log of its own, trusts no proxy's headers and speaks no WebSocket.

    Args:
        app: What it serves.
        host: The address to listen on.
        port: The port; 0 for a free one.
        limits: How long and how many connections are kept.
        metrics: Where connections that it closes are counted.
    """
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        http=bounded(limits, metrics),
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=20,  # longer than clients keep idle connections, so that none is closed as it is used again
        timeout_graceful_shutdown=10,
        h11_max_incomplete_event_size=64 * 1024,
    )
    return uvicorn.Server(config)


_M_ARENA_MAX = -8
"""glibc's name for the number of arenas, in malloc.h."""


def share_memory() -> None:
    """Let all threads of this process share two pools of memory, where glibc would give every few threads their own.

    Each pool keeps the most it has ever held, so that a server that runs for long would grow. Call it first.
    """
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # another libc has no such setting
            ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 2)
