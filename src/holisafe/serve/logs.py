"""One JSON object per line on standard error. Nothing of a prompt, an image or an answer, unless asked."""

from __future__ import annotations

import json
import logging
import sys
import traceback
from typing import Any, TextIO

_STANDARD = frozenset({"time", "level", "event"})


class JsonFormatter(logging.Formatter):
    """Writes a record and its `facts` as one JSON object; control characters are escaped, so a line stays a line."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        facts: dict[str, Any] = record.__dict__.get("facts", {})
        line = {"time": round(record.created, 3), "level": record.levelname.lower(), "event": record.getMessage()}
        line.update({key: value for key, value in facts.items() if key not in _STANDARD})
        return json.dumps(line, ensure_ascii=True, default=str)


def configure(stream: TextIO | None = None) -> None:
    """Have the server's log written as JSON lines, to standard error unless another stream is given."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter())
    for name in ("holisafe.serve", "uvicorn.error"):
        log = logging.getLogger(name)
        log.handlers[:] = [handler]
        log.propagate = False
        log.setLevel(logging.INFO)


def log_failure(log: logging.Logger, error: BaseException, facts: dict[str, Any]) -> None:
    """Log an error that nobody expected: where it was raised and its kind; its message may hold a prompt."""
    frames = traceback.extract_tb(error.__traceback__)[-4:]
    places = [f"{frame.name}:{frame.lineno}" for frame in frames]
    log.error("failure", extra={"facts": {**facts, "kind": type(error).__name__, "places": places}})
