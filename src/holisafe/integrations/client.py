"""What the adapters share: a message in OpenAI's form goes to `/v1/moderations`, a decision comes back."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx

from holisafe.errors import GuardError

PREFIX = "holisafe/"
"""Before the guard's own labels among the categories."""

Content = str | Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class GuardReply:
    """What the guard says of one message.

    Attributes:
        flagged: Whether its policy flags the message.
        reasons: The guard's labels that are reasons for the flag, such as "terrorism".
        score: The highest P(unsafe) of the request and its images, in [0, 1]; None where nothing was judged.
        judged: Whether there was anything that the guard judges: one in front of a server judges images alone.
    """

    flagged: bool
    reasons: tuple[str, ...] = ()
    score: float | None = None
    judged: bool = True


class GuardClient:
    """Asks a running `holisafe serve`.

    Args:
        url: Its address, such as "http://127.0.0.1:8000"; the environment variable HOLISAFE_URL when None.
        api_key: Its key; the environment variable HOLISAFE_API_KEY when None.
        seconds: Longest wait.

    Raises:
        GuardError: There is no address.
    """

    def __init__(self, url: str | None = None, api_key: str | None = None, *, seconds: float = 30.0) -> None:
        url = url or os.environ.get("HOLISAFE_URL", "")
        if urlsplit(url).scheme not in ("http", "https"):
            raise GuardError(f"the guard's address is {url!r}; set HOLISAFE_URL to one such as http://127.0.0.1:8000")
        api_key = api_key or os.environ.get("HOLISAFE_API_KEY")
        self._headers = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
        self._url = f"{url.rstrip('/').removesuffix('/v1')}/v1/moderations"
        self._seconds = seconds

    def check(self, content: Content) -> GuardReply:
        """Judge a message: a text, or parts of the types `text` and `image_url`.

        Raises:
            GuardError: The guard does not answer, or not with a verdict.
        """
        with httpx.Client(timeout=self._seconds) as http:
            try:
                reply = http.post(self._url, json=_body(content), headers=self._headers)
            except httpx.HTTPError as error:
                raise _silent(error) from error
        return _read(reply)

    async def acheck(self, content: Content) -> GuardReply:
        """The same in an event loop.

        Raises:
            GuardError: The guard does not answer, or not with a verdict.
        """
        async with httpx.AsyncClient(timeout=self._seconds) as http:
            try:
                reply = await http.post(self._url, json=_body(content), headers=self._headers)
            except httpx.HTTPError as error:
                raise _silent(error) from error
        return _read(reply)


def _body(content: Content) -> dict[str, Any]:
    return {"input": content if isinstance(content, str) else [list(content)]}


def _silent(error: httpx.HTTPError) -> GuardError:
    return GuardError(f"the guard did not answer ({type(error).__name__}); is `holisafe serve` running?")


def _read(reply: httpx.Response) -> GuardReply:
    try:
        found = reply.json()
        if reply.status_code == 400 and found["error"]["code"] == "unsupported_value":
            return GuardReply(False, judged=False)  # a text for a guard that judges images alone
        if reply.status_code != 200:
            raise GuardError(f"the guard answered with status {reply.status_code}: {found['error']['message']}")
        (result,) = found["results"]
        labels = [name for name, is_reason in result["categories"].items() if is_reason and name.startswith(PREFIX)]
        whole = result["request_safety"]
        scores = [each["unsafe"] for each in (*result["image_safety"], *([] if whole is None else [whole]))]
        reasons = tuple(name.removeprefix(PREFIX) for name in labels)
        return GuardReply(bool(result["flagged"]), reasons, max(scores, default=None))
    except (ValueError, KeyError, TypeError) as error:
        raise GuardError(f"the guard answered with status {reply.status_code} and no verdict") from error
