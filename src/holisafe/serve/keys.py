"""API keys: kept as hashes, compared in constant time, each with its own rate and concurrency."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from holisafe.errors import RunError
from holisafe.serve.errors import ApiError

PREFIX = "hs-"
MOST = 10**6
"""Requests a minute, or at once, that a key may be allowed."""
_NAME = re.compile(r"[\w.-]{1,64}", re.ASCII)
_HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class ApiKey:
    """One key.

    Attributes:
        name: What the log and metrics call it.
        sha256: Of the key, in hex. Keys are 256 random bits, so a fast hash is enough.
        per_minute: Requests a minute.
        concurrency: Requests at once.
    """

    name: str
    sha256: str
    per_minute: int = 600
    concurrency: int = 16

    def __post_init__(self) -> None:
        """Check every field."""
        checks = (
            ("name", bool(_NAME.fullmatch(self.name)), "1 to 64 letters, digits, '.', '_' or '-'"),
            ("sha256", bool(_HASH.fullmatch(self.sha256)), "64 hexadecimal digits"),
            ("per_minute", _is_count(self.per_minute), f"an integer from 1 to {MOST}"),
            ("concurrency", _is_count(self.concurrency), f"an integer from 1 to {MOST}"),
        )
        for name, is_right, expected in checks:
            if not is_right:
                raise RunError(f"API key {self.name!r}: {name}: expected {expected}")


def new_key(name: str) -> tuple[str, ApiKey]:
    """A new random key and the entry that stands for it; the key itself is kept nowhere.

    Raises:
        RunError: The name has other characters than allowed.
    """
    key = PREFIX + secrets.token_urlsafe(32)
    return key, ApiKey(name, digest(key))


def digest(key: str) -> str:
    """SHA-256 of a key, in hex."""
    return hashlib.sha256(key.encode()).hexdigest()


def read_keys(path: Path) -> tuple[ApiKey, ...]:
    """The keys of a file with one JSON object per line: `name`, `sha256`, and `per_minute` and `concurrency` if wanted.

    Raises:
        RunError: The file cannot be read, holds no key, or one that is malformed or there twice.
    """
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"{path}: cannot be read ({type(error).__name__}); expected a file of API keys") from error
    keys = [_key(line, f"{path}: line {number}") for number, line in enumerate(lines, 1) if line.strip()]
    if not keys:
        raise RunError(f"{path}: no keys; make one with `holisafe serve --new-key NAME`")
    for what in ("name", "sha256"):
        values = [getattr(key, what) for key in keys]
        if len(set(values)) < len(values):
            raise RunError(f"{path}: two keys have the same {what}; keep one of them")
    return tuple(keys)


def _key(line: str, where: str) -> ApiKey:
    try:
        fields: Any = json.loads(line)
        return ApiKey(**fields)
    except RunError as error:
        raise RunError(f"{where}: {error}") from error
    except (ValueError, TypeError, RecursionError) as error:
        raise RunError(
            f"{where}: expected a JSON object with name and sha256, as `holisafe serve --new-key NAME` prints it"
        ) from error


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MOST


ANONYMOUS = ApiKey("anonymous", "0" * 64, per_minute=MOST, concurrency=MOST)
"""Stands for everybody where no key is asked for: the limits of the server hold alone."""


@dataclass(slots=True)
class _Usage:
    """What one key has used.

    Attributes:
        allowance: Requests that it may send now.
        at: When that was reckoned, in seconds.
        running: Requests that are answered now.
    """

    allowance: float
    at: float
    running: int = 0


@dataclass
class KeyRing:
    """Who may ask, how often, and how much at once.

    Args:
        keys: Empty where no key is asked for, on loopback.
        clock: Seconds that only grow.
    """

    keys: Sequence[ApiKey] = ()
    clock: Callable[[], float] = time.monotonic
    _used: dict[str, _Usage] = field(default_factory=dict)

    def find(self, authorization: str | None) -> ApiKey:
        """The key of an `Authorization` header.

        Raises:
            ApiError: There is none, or it is unknown.
        """
        if not self.keys:
            return ANONYMOUS
        scheme, _, given = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not given.strip():
            raise _unauthorised("an API key is needed, as the header Authorization: Bearer KEY")
        hashed = digest(given.strip())
        found = [key for key in self.keys if hmac.compare_digest(key.sha256, hashed)]  # all are compared
        if not found:
            raise _unauthorised("the API key is not known here")
        return found[0]

    def enter(self, key: ApiKey) -> None:
        """Count a request in; `leave` counts it out.

        Raises:
            ApiError: The key has used up its rate, or has too many requests running.
        """
        now = self.clock()
        used = self._used.setdefault(key.name, _Usage(float(key.per_minute), now))
        rate = key.per_minute / 60
        used.allowance = min(float(key.per_minute), used.allowance + (now - used.at) * rate)
        used.at = now
        if used.running >= key.concurrency:
            raise _too_many(f"the key has {key.concurrency} requests running, the most allowed", 1, "concurrency")
        if used.allowance < 1:
            wait = (1 - used.allowance) / rate
            raise _too_many(f"the key may send {key.per_minute} requests a minute", wait, "rate")
        used.allowance -= 1
        used.running += 1

    def leave(self, key: ApiKey) -> None:
        """Count a request out."""
        self._used[key.name].running -= 1


def _unauthorised(message: str) -> ApiError:
    return ApiError(401, message, kind="authentication_error", code="invalid_api_key")


def _too_many(message: str, wait: float, what: str) -> ApiError:
    return ApiError(429, message, kind="rate_limit_error", code=f"{what}_limit_exceeded", retry_after=wait)
