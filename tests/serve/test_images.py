"""Images of a request: by data URL through the door, from a network not at all unless allowed."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Sequence
from typing import Any

import httpx
import pytest
from PIL import Image

from holisafe.records import ImageRef
from holisafe.serve import ApiError, Limits, Settings
from holisafe.serve.intake import read_images
from holisafe.serve.proxy_backend import judged_bytes
from holisafe.serve.remote import RemoteImages, is_global
from serve.site import NAME, SAFE, Site, data_url, engine_site, png, shown


def read(*urls: str, limits: Limits = Limits(), remote: RemoteImages | None = None) -> list[ImageRef]:
    places = [(f"messages.0.content.{at}", url) for at, url in enumerate(urls)]
    return asyncio.run(read_images(places, limits, remote or RemoteImages()))


@pytest.mark.parametrize("start", ["data:image/png;base64,", "data:;base64,", "DATA:IMAGE/JPEG;charset=x;BASE64,"])
def test_the_bytes_say_what_an_image_is_and_not_its_url(start: str) -> None:
    found = read(start + data_url(SAFE).partition(",")[2])
    assert found[0].data == SAFE and len(found[0].digest) == 64


BOMB = png(3, 60, 50)


@pytest.mark.parametrize(
    ("url", "limits", "code"),
    [
        ("data:image/png,abc", Limits(), "invalid_image"),
        ("data:image/png;base64,%%%", Limits(), "invalid_image"),
        ("data:image/png;base64,", Limits(), "invalid_image"),
        ("data:text/html;base64,PGI+", Limits(), "invalid_image"),
        (data_url(b"<svg/>"), Limits(), "invalid_image"),
        (data_url(b"BM" + bytes(60)), Limits(), "invalid_image"),
        (data_url(SAFE[:20]), Limits(), "invalid_image"),
        (data_url(SAFE), Limits(image_bytes=100), "image_too_large"),
        (data_url(BOMB), Limits(image_pixels=2999), "invalid_image"),
        (data_url(BOMB), Limits(total_pixels=2999), "image_too_large"),
        ("file:///etc/passwd", Limits(), "invalid_image_url"),
        ("ftp://example.org/a.png", Limits(), "invalid_image_url"),
        ("/etc/passwd", Limits(), "invalid_image_url"),
        ("http://169.254.169.254/latest", Limits(), "invalid_image_url"),
        ("https://example.org/a.png", Limits(), "invalid_image_url"),
        ("", Limits(), "invalid_image_url"),
    ],
)
def test_what_is_no_image_within_limits_is_refused(url: str, limits: Limits, code: str) -> None:
    with pytest.raises(ApiError) as told:
        read(url, limits=limits)
    assert told.value.status == 400 and told.value.code == code
    assert "passwd" not in told.value.message and "PIL" not in told.value.message


def test_too_many_images_are_refused_before_any_is_read() -> None:
    with pytest.raises(ApiError) as told:
        read(*["data:image/png;base64,%%%"] * 3, limits=Limits(images=2))
    assert told.value.code == "too_many_images" and told.value.param == "messages.0.content.2"


def test_the_pixels_of_all_images_are_counted_before_any_is_decoded() -> None:
    with pytest.raises(ApiError) as told:
        read(data_url(SAFE), data_url(png(5)), limits=Limits(total_pixels=40 * 32 * 2 - 1))
    assert told.value.code == "image_too_large"


def test_an_image_that_breaks_off_is_the_clients_error(site: Site) -> None:
    cut = io.BytesIO()
    Image.effect_noise((64, 64), 90).convert("RGB").save(cut, "JPEG")
    reply = site.chat(messages=shown(cut.getvalue()[:700]))
    assert reply.status_code == 400 and reply.json()["error"]["code"] == "invalid_image"


def test_a_body_above_the_limit_is_not_kept() -> None:
    with engine_site(Settings(limits=Limits(body=2000))) as site:
        reply = site.post("/v1/chat/completions", {"model": NAME, "messages": shown(SAFE)})
        assert reply.status_code == 413 and reply.json()["error"]["code"] == "request_too_large"


PUBLIC = "93.184.215.14"


class Sent(httpx.AsyncBaseTransport):
    """Keeps what would have been sent, and answers with a picture."""

    def __init__(self, reply: httpx.Response | None = None) -> None:
        self.requests: list[httpx.Request] = []
        self._reply = reply or httpx.Response(200, stream=httpx.ByteStream(SAFE))

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return self._reply


def remote(addresses: Sequence[str], sent: Sent, hosts: Any = ("pictures.example",)) -> RemoteImages:
    asked: list[str] = []

    async def resolve(host: str) -> Sequence[str]:
        asked.append(host)
        assert len(asked) == 1, "resolved twice"
        return addresses

    return RemoteImages(frozenset(hosts), resolve=resolve, transport=sent)


def test_an_allowed_host_is_asked_by_the_address_that_was_checked() -> None:
    sent = Sent()
    found = read("https://pictures.example/a/b.png?c=d", remote=remote([PUBLIC, "2606:2800:21f::1"], sent))
    assert found[0].data == SAFE
    request = sent.requests[0]
    assert str(request.url) == f"https://{PUBLIC}/a/b.png?c=d"
    assert request.headers["host"] == "pictures.example"
    assert request.extensions["sni_hostname"] == "pictures.example"


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "192.168.0.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1%eth0",
        "fd00::1",
        "::ffff:127.0.0.1",
        "2002:7f00:1::",
        "64:ff9b::a00:1",
        "not an address",
    ],
)
def test_a_host_with_an_address_that_is_not_public_is_not_asked(address: str) -> None:
    assert not is_global(address)
    sent = Sent()
    with pytest.raises(ApiError, match="public internet"):
        read("https://pictures.example/a.png", remote=remote([PUBLIC, address], sent))
    assert sent.requests == []


@pytest.mark.parametrize(
    "url",
    [
        "https://other.example/a.png",
        "https://pictures.example.evil.example/a.png",
        "https://pictures.example@evil.example/a.png",
        "https://user@pictures.example/a.png",
        "https://pictures.example:22/a.png",
        "http://pictures.example/a.png",
        "https://[::1/a.png",
        "https://pictures.example:99999/a.png",
    ],
)
def test_other_hosts_ports_and_schemes_are_not_asked(url: str) -> None:
    sent = Sent()
    with pytest.raises(ApiError):
        read(url, remote=remote([PUBLIC], sent))
    assert sent.requests == []


@pytest.mark.parametrize(
    "reply",
    [
        httpx.Response(302, headers={"Location": "http://127.0.0.1/"}),
        httpx.Response(200, stream=httpx.ByteStream(b"x" * 3000)),
        httpx.Response(404),
    ],
)
def test_a_redirect_a_large_answer_and_an_error_are_not_followed(reply: httpx.Response) -> None:
    sent = Sent(reply)
    with pytest.raises(ApiError):
        read("https://pictures.example/a.png", limits=Limits(image_bytes=2999), remote=remote([PUBLIC], sent))
    assert len(sent.requests) == 1


def frames(kind: str) -> bytes:
    pictures = [Image.new("RGB", (8, 8), colour) for colour in ("green", "red")]
    encoded = io.BytesIO()
    pictures[0].save(encoded, kind, save_all=True, append_images=pictures[1:])
    return encoded.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "GIF", "WEBP"])
def test_of_an_animation_the_judged_frame_alone_is_sent_on(kind: str) -> None:
    form, data = judged_bytes(ImageRef("a", data=frames(kind)))
    sent_on = Image.open(io.BytesIO(data))
    assert form == "png" and getattr(sent_on, "n_frames", 1) == 1
    red, green, _ = sent_on.convert("RGB").getpixel((4, 4))  # type: ignore[misc]
    assert green > red


def test_a_still_image_is_sent_on_as_it_came() -> None:
    assert judged_bytes(ImageRef("a", data=SAFE)) == ("png", SAFE)
