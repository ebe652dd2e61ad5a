"""Text from models, servers and data at the border: what is stored or shown is encodable, short, and holds no key."""

from __future__ import annotations

import re
from typing import Any

LONGEST_ERROR = 500
"""Characters of an error that are kept."""

_KEY = r"[A-Za-z0-9_\-./+=]"
_SECRETS = (
    re.compile(rf"(?i)\b(bearer|basic)\s+{_KEY}{{6,}}"),
    re.compile(rf"\b(?:sk|pk|rk|gsk|xai|hf|key|ghp|gho|glpat|AIza)[-_]?{_KEY}{{8,}}"),
    re.compile(
        r"(?i)([\"']?(?:x-)?(?:api[-_ ]?key|authorization|access[-_ ]?token|auth[-_ ]?token|token|secret|password)"
        r"[\"']?\s*(?:provided)?\s*[:=]\s*[\"']?)(?:(?:bearer|basic)\s+)?[^\s\"',;&}<]{6,}"
    ),
    re.compile(r"(?<=://)[^/\s:@]+:[^/\s@]+(?=@)"),
    re.compile(r"\beyJ[\w-]{8,}\.[\w-]+\.?[\w-]*"),
)


def encodable(text: str) -> str:
    """The text with U+FFFD for every lone surrogate, which UTF-8 cannot hold; surrogate pairs become characters."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def encodable_values(value: Any) -> Any:
    """JSON values with every text in them encodable."""
    match value:
        case str():
            return encodable(value)
        case dict():
            return {encodable_values(key): encodable_values(each) for key, each in value.items()}
        case list() | tuple():
            return [encodable_values(each) for each in value]
    return value


def redacted(text: str, secrets: tuple[str, ...] = ()) -> str:
    """An error of a server in one short line without what looks like a key.

    Args:
        text: The error.
        secrets: Keys that are known, which go whatever they look like.
    """
    text = encodable(text[: 20 * LONGEST_ERROR])
    for secret in secrets:
        if len(secret) >= 6:
            text = text.replace(secret, "[redacted]")
    for pattern in _SECRETS:
        text = pattern.sub(lambda found: f"{found[1]}[redacted]" if _is_name(found) else "[redacted]", text)
    text = " ".join(text.split())
    return text if len(text) <= LONGEST_ERROR else f"{text[: LONGEST_ERROR - 1]}…"


def _is_name(found: re.Match[str]) -> bool:
    """Whether the match begins with the name of a key, which stays: `api_key=`."""
    return bool(found.re.groups) and found[1].rstrip("\"' ").endswith((":", "="))
