"""Label Studio: the JSON of its documentation as schemas, exports as it writes them, and a real one on loopback."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TASKS_SCHEMA: dict[str, Any] = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["data"],
        "properties": {"data": {"type": "object"}, "predictions": {"type": "array"}, "annotations": {"type": "array"}},
        "additionalProperties": False,
    },
}
"""What may be imported (labelstud.io/guide/tasks)."""

EXPORT_SCHEMA: dict[str, Any] = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["id", "data", "annotations"],
        "properties": {
            "annotations": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["id", "completed_by", "result", "was_cancelled", "created_at"],
                    "properties": {
                        "result": {
                            "type": "array",
                            "items": {"type": "object", "required": ["from_name", "to_name", "type", "value"]},
                        }
                    },
                },
            }
        },
    },
}
"""What an export as JSON holds (labelstud.io/guide/export)."""


def annotation(number: int, who: Any, name: str, choice: str, reason: str = "", **more: Any) -> dict[str, Any]:
    """An annotation as an export has it."""
    result = [{"from_name": name, "to_name": "image", "type": "choices", "value": {"choices": [choice]}}]
    if reason:
        result.append({"from_name": "reason", "to_name": "image", "type": "textarea", "value": {"text": [reason]}})
    given = {"id": number, "completed_by": who, "created_at": "2026-11-28T10:00:00.000000Z", "was_cancelled": False}
    return {**given, "result": result, **more}


def exported(folder: Path, said: Any) -> list[dict[str, Any]]:
    """An export of a project; `said` gives the annotations of a task from its number and data."""
    tasks = json.loads((folder / "tasks.json").read_text("utf-8"))
    return [{"id": at, **task, "annotations": said(at, task["data"])} for at, task in enumerate(tasks)]


@dataclass(frozen=True)
class LabelStudio:
    """A running Label Studio.

    Attributes:
        address: Where it is.
        email: Of its first person.
        password: Of its first person.
        token: Of its first person, for the API.
    """

    address: str
    email: str
    password: str
    token: str

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """What the API says."""
        request = urllib.request.Request(
            self.address + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Token {self.token}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as reply:
            return json.loads(reply.read() or "null")


@contextmanager
def label_studio(program: str, place: Path, served: Path) -> Iterator[LabelStudio]:
    """A Label Studio whose data lie in `place`, which serves the files of `served` and sends nothing anywhere."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    found = LabelStudio(f"http://127.0.0.1:{port}", "one@example.org", "holisafe-local", "0123456789abcdef" * 2)
    names = {
        "BASE_DATA_DIR": str(place),
        "USERNAME": found.email,
        "PASSWORD": found.password,
        "USER_TOKEN": found.token,
        "ENABLE_LEGACY_API_TOKEN": "true",
        "LOCAL_FILES_SERVING_ENABLED": "true",
        "LOCAL_FILES_DOCUMENT_ROOT": str(served),
        "COLLECT_ANALYTICS": "false",
        "LATEST_VERSION_CHECK": "false",
        "SENTRY_DSN": "",
        "FRONTEND_SENTRY_DSN": "",
    }
    own = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "LABEL_STUDIO", "DJANGO"))}
    place.mkdir()
    command = [program, "start", "--no-browser", "--internal-host", "127.0.0.1", "--port", str(port)]
    with (place / "log").open("wb") as log:
        server = subprocess.Popen(
            command,
            env={**own, **{f"LABEL_STUDIO_{key}": value for key, value in names.items()}},
            stdout=log,
            stderr=log,
        )
        try:
            _wait(found, server, place / "log")
            yield found
        finally:
            server.terminate()
            server.wait(30)


def _wait(found: LabelStudio, server: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(600):
        assert server.poll() is None, log.read_text("utf-8", "replace")[-2000:]
        try:
            found.call("GET", "/api/current-user/whoami")
            return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.5)
    raise AssertionError("Label Studio does not answer")
