"""Images from addresses, where the operator allows their host: nothing else of a network can be reached this way.

A host is resolved once, every address it has must be globally routable, and the connection goes to that address, with
the host's name in TLS and in the request. Redirects are not followed.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Sequence
from urllib.parse import urlsplit

import httpx

from holisafe.serve.errors import ApiError

Resolve = Callable[[str], Awaitable[Sequence[str]]]
"""Gives the addresses of a host."""

_NAT64 = ipaddress.ip_network("64:ff9b::/96")


async def resolve(host: str) -> list[str]:
    """All addresses of a host."""
    found = await asyncio.get_running_loop().getaddrinfo(host, 443, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


class RemoteImages:
    """Fetches images over https from allowed hosts.

    Args:
        hosts: Names of hosts, lower case; empty for none.
        seconds: Time for one image, from the first to the last byte.
        resolve: Gives the addresses of a host.
        transport: How connections are made; httpx's own when None.
    """

    def __init__(
        self,
        hosts: frozenset[str] = frozenset(),
        *,
        seconds: float = 10.0,
        resolve: Resolve = resolve,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._hosts = hosts
        self._seconds = seconds
        self._resolve = resolve
        self._transport = transport

    async def fetch(self, url: str, place: str, max_bytes: int) -> bytes:
        """The bytes behind an address.

        Raises:
            ApiError: It may not be fetched, or could not be.
        """
        host = self._allowed_host(url, place)
        try:
            async with asyncio.timeout(self._seconds):
                address = _routable(await self._resolve(host), place)
                return await self._get(url, host, address, place, max_bytes)
        except (OSError, httpx.HTTPError, httpx.InvalidURL, TimeoutError, UnicodeError):
            raise _refused(place, "it could not be fetched; send it as a data URL") from None

    def _allowed_host(self, url: str, place: str) -> str:
        if not self._hosts:
            raise _refused(place, "this server fetches no images; send it as a data URL: data:image/png;base64,…")
        try:
            parts = urlsplit(url)
            host, port = (parts.hostname or "").lower(), parts.port
        except ValueError:
            raise _refused(place, "its address is malformed") from None
        if parts.scheme.lower() != "https" or port not in (None, 443) or parts.username or parts.password:
            raise _refused(place, "expected a data URL, or an https address without port and credentials")
        if host not in self._hosts:
            raise _refused(place, "this server does not fetch images from that host; send it as a data URL")
        return host

    async def _get(self, url: str, host: str, address: str, place: str, max_bytes: int) -> bytes:
        parts = urlsplit(url)
        shown = f"[{address}]" if ":" in address else address
        target = httpx.URL(f"https://{shown}{parts.path or '/'}{'?' + parts.query if parts.query else ''}")
        async with httpx.AsyncClient(
            transport=self._transport, trust_env=False, follow_redirects=False, timeout=self._seconds
        ) as client:
            headers = {"Host": host, "User-Agent": "holisafe", "Accept": "image/*", "Accept-Encoding": "identity"}
            extensions = {"sni_hostname": host}
            async with client.stream("GET", target, headers=headers, extensions=extensions) as reply:
                if reply.status_code != 200:
                    raise _refused(place, "its host answered with something else than the image")
                data = b""
                async for chunk in reply.aiter_raw():
                    data += chunk
                    if len(data) > max_bytes:
                        raise _refused(place, f"it has more than the {max_bytes} bytes allowed")
        return data


def _routable(addresses: Sequence[str], place: str) -> str:
    """The first address, if the whole internet could connect to every one of them."""
    if not addresses or not all(map(is_global, addresses)):
        raise _refused(place, "its host has an address that is not on the public internet")
    return addresses[0]


def is_global(address: str) -> bool:
    """Whether an address is globally routable, also the IPv4 address inside an IPv6 one."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address):
        inner = [found.ipv4_mapped, found.sixtofour, *(found.teredo or ())]
        if found in _NAT64:
            inner.append(ipaddress.IPv4Address(int(found) & 0xFFFFFFFF))
        if any(each is not None and not each.is_global for each in inner):
            return False
    return found.is_global and not found.is_multicast and not found.is_reserved


def _refused(place: str, why: str) -> ApiError:
    return ApiError(400, f"the image cannot be read: {why}", param=place, code="invalid_image_url")
