"""Putting a guard on the Hub and taking it from there: a server on loopback that speaks the endpoints it needs."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import tiny_models


class Hub(ThreadingHTTPServer):
    """Repositories of one commit after another, in memory.

    Attributes:
        repositories: The files of each.
        commits: First lines of all commit messages.
        fetched: What was downloaded.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories: dict[str, dict[str, bytes]] = {"me/empty": {"notes.txt": b"nothing"}}
        self.private: set[str] = set()
        self.commits: list[str] = []
        self.fetched: list[str] = []

    def sha(self, name: str) -> str:
        files = self.repositories[name]
        return hashlib.sha1(b"".join(key.encode() + files[key] for key in sorted(files))).hexdigest()


class Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = self.path.split("/")
        if self.path == "/api/repos/create":
            self._create(json.loads(body))
        elif self.path == "/api/validate-yaml":
            self._answer({"errors": [], "warnings": []})
        elif "preupload" in parts:
            files = json.loads(body)["files"]
            self._answer(
                {"files": [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files]}
            )
        elif "commit" in parts:
            self._commit("/".join(parts[3:5]), [json.loads(line) for line in body.splitlines()])
        else:
            self._answer({}, 404)

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        parts = path.strip("/").split("/")
        name = "/".join(parts[2:4] if parts[0] == "api" else parts[:2])
        if name not in self.server.repositories:
            self._answer({}, 404, {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"})
            return
        files, sha = self.server.repositories[name], self.server.sha(name)
        revision = parts[5] if parts[0] == "api" and len(parts) > 5 else parts[3] if parts[0] != "api" else "main"
        if revision not in ("main", sha):
            self._answer({}, 404, {"X-Error-Code": "RevisionNotFound", "X-Error-Message": "Revision not found"})
        elif parts[0] != "api":
            self._file(name, "/".join(parts[4:]), sha)
        elif len(parts) > 4 and parts[4] == "tree":
            rows = [{"type": "file", "path": key, "size": len(files[key]), "oid": "0" * 40} for key in sorted(files)]
            self._answer(rows)
        else:
            siblings = [{"rfilename": key} for key in sorted(files)]
            self._answer({"id": name, "sha": sha, "siblings": siblings, "private": name in self.server.private})

    do_HEAD = do_GET

    def _create(self, asked: dict[str, Any]) -> None:
        name = asked["name"] if "/" in asked["name"] else f"{asked.get('organization', 'me')}/{asked['name']}"
        if not name.startswith("me/"):
            self._answer({"error": "You don't have the rights to create a model under them"}, 403)
            return
        if name in self.server.repositories:
            self._answer({"url": self._url(name)}, 409)
            return
        self.server.repositories[name] = {}
        if asked.get("private") or asked.get("visibility") == "private":  # older and newer huggingface_hub
            self.server.private.add(name)
        self._answer({"url": self._url(name), "name": name})

    def _commit(self, name: str, lines: list[dict[str, Any]]) -> None:
        for line in lines:
            if line["key"] == "header":
                self.server.commits.append(f"{name}: {line['value']['summary']}")
            else:
                self.server.repositories[name][line["value"]["path"]] = base64.b64decode(line["value"]["content"])
        sha = self.server.sha(name)
        self._answer({"success": True, "commitOid": sha, "commitUrl": f"{self._url(name)}/commit/{sha}"})

    def _file(self, name: str, path: str, sha: str) -> None:
        content = self.server.repositories[name].get(path)
        if content is None:
            self._answer({}, 404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": sha})
            return
        if self.command == "GET":
            self.server.fetched.append(f"{name}/{path}")
        self._send(200, content, {"X-Repo-Commit": sha, "ETag": f'"{hashlib.sha1(content).hexdigest()}"'})

    def _url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/{name}"

    def _answer(self, values: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self._send(status, json.dumps(values).encode(), {"Content-Type": "application/json", **(headers or {})})

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_guard_goes_to_the_hub_and_comes_back(hub: Hub, tmp_path: Path) -> None:
    base = tiny_models.save(tiny_models.llava(), tmp_path / "tiny-llava")
    environment = {
        **{key: value for key, value in os.environ.items() if key not in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")},
        "HF_ENDPOINT": f"http://127.0.0.1:{hub.server_port}",
        "HF_HOME": str(tmp_path / "home"),
        "HF_TOKEN": "hf_nobody",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "no_proxy": "127.0.0.1",
    }
    program = [sys.executable, str(Path(__file__).with_name("hub_program.py")), str(base)]
    ended = subprocess.run(program, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr
    pushed, same, whole, nothing, revision, empty, rights = ended.stdout.strip().splitlines()
    assert pushed.startswith(f"http://127.0.0.1:{hub.server_port}/me/guard/commit/")
    assert same == whole == "same True"
    assert set(hub.repositories["me/guard"]) == {"guard_config.json", "guard.safetensors", "README.md"}
    assert hub.private == {"me/guard"} and hub.commits[0] == "me/guard: First"
    assert hub.repositories["me/guard"]["README.md"] == b"# Mine"
    assert {path for path in hub.fetched if path.startswith("me/guard")} == {
        "me/guard/guard_config.json",
        "me/guard/guard.safetensors",
    }
    assert {"model.safetensors", "config.json", "guard.safetensors"} < set(hub.repositories["me/whole"])
    assert b"library_name: transformers" in hub.repositories["me/whole"]["README.md"]  # the model's card stays
    assert nothing.startswith("refused me/nothing: no folder here, and not had from the Hub (")
    assert revision.startswith("refused me/guard: no folder here, and not had from the Hub (RevisionNotFoundError")
    assert empty.startswith("refused ") and empty.endswith("guard_config.json is missing")
    assert rights.startswith("refused them/guard: the Hub did not take the guard (")
