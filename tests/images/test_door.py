import functools
import io
import os
import threading
import warnings
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from holisafe.errors import ImageError
from holisafe.images import ImageLimits, content_hash, open_image, read_bytes
from holisafe.records import ImageRef


@functools.cache
def encode(mode: str = "RGB", colour: Any = "red", size: tuple[int, int] = (6, 4), format: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.new(mode, size, colour).save(file, format)
    return file.getvalue()


def in_memory(data: bytes) -> ImageRef:
    return ImageRef("picture", data=data)


def save(image: Image.Image, format: str, **options: Any) -> ImageRef:
    file = io.BytesIO()
    image.save(file, format, **options)
    return in_memory(file.getvalue())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    data = tmp_path / "data"
    data.mkdir()
    (data / "good.png").write_bytes(encode())
    (tmp_path / "secret.png").write_bytes(encode())
    return data


def below(folder: Path, name: str) -> ImageRef:
    return ImageRef(name, path=folder / name, root=folder)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    hits = 0


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], str]]:
    """A real server on this machine; gives the address of a page."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")

    class Pages(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            assert isinstance(self.server, Server)
            self.server.hits += 1
            target = {"/to-file": "file:///etc/hostname", "/to-good": "/good.png"}.get(self.path)
            if target:
                self.send_response(302)
                self.send_header("Location", target)
                self.end_headers()
            elif self.path == "/good.png":
                self.send_response(200)
                self.end_headers()
                self.wfile.write(encode())
            elif self.path == "/endless":
                self.send_response(200)
                self.end_headers()
                try:
                    while True:
                        self.wfile.write(bytes(65536))
                except OSError:
                    pass
            elif self.path == "/silent":
                threading.Event().wait(5)
            else:
                self.send_error(404)

        def log_message(self, *args: Any) -> None:
            pass

    running = Server(("127.0.0.1", 0), Pages)
    thread = threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield lambda page: f"http://127.0.0.1:{running.server_port}{page}"
    running.shutdown()
    running.server_close()
    thread.join()


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "GIF"])
def test_the_four_allowed_formats_are_decoded_to_rgb(format: str) -> None:
    image = open_image(in_memory(encode(format=format)))
    assert (image.mode, image.size) == ("RGB", (6, 4))
    red, green, blue = np.asarray(image)[0, 0]
    assert red > 240 and green < 15 and blue < 15


@pytest.mark.parametrize("format", ["BMP", "TIFF", "ICO", "PPM"])
def test_other_formats_are_refused_by_their_content(format: str) -> None:
    with pytest.raises(ImageError, match="expected a JPEG, PNG, WebP or GIF"):
        open_image(in_memory(encode(format=format, size=(16, 16))))


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("L", 128, (128, 128, 128)),
        ("1", 1, (255, 255, 255)),
        ("P", 0, (0, 0, 0)),
        ("LA", (0, 0), (255, 255, 255)),
        ("RGBA", (255, 0, 0, 0), (255, 255, 255)),
        ("RGBA", (0, 0, 0, 255), (0, 0, 0)),
        ("I;16", 65535, (255, 255, 255)),
        ("I;16", 32896, (128, 128, 128)),
    ],
)
def test_every_png_mode_becomes_rgb(mode: str, colour: Any, expected: tuple[int, ...]) -> None:
    image = open_image(in_memory(encode(mode, colour)))
    assert image.mode == "RGB"
    assert image.getpixel((0, 0)) == expected


def test_cmyk_becomes_rgb() -> None:
    image = open_image(in_memory(encode("CMYK", (0, 0, 0, 0), format="JPEG")))
    assert image.mode == "RGB"
    assert min(np.asarray(image).flat) > 250


def test_a_transparent_palette_colour_becomes_white() -> None:
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 200, 0, 0])
    assert open_image(save(image, "PNG", transparency=1)).getpixel((0, 0)) == (255, 255, 255)


def test_a_transparent_16_bit_grey_becomes_white() -> None:
    image = Image.new("I;16", (4, 4), 7)
    assert open_image(save(image, "PNG", transparency=7)).getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG"])
def test_an_animation_gives_its_first_frame(format: str) -> None:
    first, second = Image.new("RGB", (8, 8), (255, 0, 0)), Image.new("RGB", (8, 8), (0, 0, 255))
    ref = save(first, format, save_all=True, append_images=[second], duration=100)
    red, _, blue = np.asarray(open_image(ref))[0, 0]
    assert red > 240 and blue < 15


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int) -> None:
    pixels = np.arange(6, dtype=np.uint8).reshape(2, 3) * 40
    upright = Image.fromarray(pixels).convert("RGB")
    undo = {5: 5, 6: 8, 7: 7, 8: 6}.get(orientation, orientation)
    turns = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }
    stored = upright.transpose(turns[undo]) if undo in turns else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    opened = open_image(save(stored, "PNG", exif=exif))
    assert np.array_equal(np.asarray(opened), np.asarray(upright))


def test_metadata_are_dropped() -> None:
    exif = Image.Exif()
    exif[0x010F] = "a camera"
    opened = open_image(save(Image.new("RGB", (4, 4)), "JPEG", exif=exif, comment=b"where I live", dpi=(300, 300)))
    assert opened.info == {}
    assert dict(opened.getexif()) == {}


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")  # Pillow says so while it opens a JPEG
def test_damaged_exif_does_not_cost_the_image() -> None:
    ref = save(Image.new("RGB", (4, 4)), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff nonsense")
    assert open_image(ref).size == (4, 4)


def test_more_pixels_than_allowed_are_refused_before_decoding() -> None:
    header_only = encode(size=(400, 300))[:40]
    with pytest.raises(ImageError, match="400 × 300 pixels are more than the 100000 allowed"):
        open_image(in_memory(header_only + encode()[40:]), limits=ImageLimits(max_pixels=100_000))


def test_a_decompression_bomb_is_an_error_and_not_a_warning() -> None:
    bomb = encode("1", 0, (20_000, 20_000))
    assert len(bomb) < 2**20
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        with pytest.raises(ImageError, match="decompression bomb"):
            open_image(in_memory(bomb))
    assert seen == []


def test_an_image_above_pillows_own_limit_opens_without_a_warning_where_the_limits_allow_it() -> None:
    large = encode("1", 0, (10_000, 9_000))
    assert Image.MAX_IMAGE_PIXELS is not None and Image.MAX_IMAGE_PIXELS < 90_000_000
    assert open_image(in_memory(large), limits=ImageLimits(max_pixels=100_000_000)).size == (10_000, 9_000)


def test_more_bytes_than_allowed_are_refused(folder: Path) -> None:
    for ref in (below(folder, "good.png"), in_memory(encode())):
        with pytest.raises(ImageError, match="more than the 10 bytes allowed"):
            read_bytes(ref, limits=ImageLimits(max_bytes=10))


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
def test_a_truncated_image_is_refused(format: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    ref = save(Image.fromarray(noise), format)
    assert ref.data is not None
    with pytest.raises(ImageError, match="truncated or damaged"):
        open_image(in_memory(ref.data[: len(ref.data) // 2]))


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "empty, 0 bytes"),
        (b"hello, I am a note", "found text, expected a JPEG"),
        ("Grüße\n".encode(), "found text"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "found text"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "run `git lfs pull`"),
        (b"\x00\x01\x02\x03", "found bytes starting with 00 01 02 03"),
    ],
)
def test_what_is_no_image_is_named_for_what_it_is(folder: Path, content: bytes, complaint: str) -> None:
    (folder / "odd.png").write_bytes(content)
    with pytest.raises(ImageError, match=complaint) as raised:
        open_image(below(folder, "odd.png"))
    assert "odd.png" in str(raised.value)


def test_a_file_below_its_folder_is_read(folder: Path) -> None:
    assert read_bytes(below(folder, "good.png")) == encode()


def test_a_missing_file_is_named(folder: Path) -> None:
    with pytest.raises(ImageError, match=r"gone\.png: no such file"):
        read_bytes(below(folder, "gone.png"))


def test_a_directory_is_refused(folder: Path) -> None:
    (folder / "sub.png").mkdir()
    with pytest.raises(ImageError, match=r"sub\.png: a directory"):
        read_bytes(below(folder, "sub.png"))


def test_a_pipe_is_refused_and_not_waited_for(folder: Path) -> None:
    os.mkfifo(folder / "pipe.png")
    with pytest.raises(ImageError, match="not a regular file"):
        read_bytes(below(folder, "pipe.png"))


def test_dots_out_of_the_folder_are_refused(folder: Path) -> None:
    with pytest.raises(ImageError, match=r"'\.\.' may not occur"):
        read_bytes(below(folder, "../secret.png"))


def test_an_absolute_path_outside_is_refused(folder: Path) -> None:
    with pytest.raises(ImageError, match="outside its data folder"):
        read_bytes(below(folder, str(folder.parent / "secret.png")))


def test_a_link_out_of_the_folder_is_refused(folder: Path) -> None:
    (folder / "link.png").symlink_to(folder.parent / "secret.png")
    with pytest.raises(ImageError, match="links out of it are not followed"):
        read_bytes(below(folder, "link.png"))


def test_a_linked_folder_that_leads_out_is_refused(folder: Path) -> None:
    (folder / "sub").symlink_to(folder.parent, target_is_directory=True)
    with pytest.raises(ImageError, match="outside its data folder"):
        read_bytes(below(folder, "sub/secret.png"))


def test_a_link_that_stays_inside_is_followed(folder: Path) -> None:
    (folder / "link.png").symlink_to(folder / "good.png")
    assert read_bytes(below(folder, "link.png")) == encode()


def test_links_in_a_circle_are_refused(folder: Path) -> None:
    (folder / "a.png").symlink_to(folder / "b.png")
    (folder / "b.png").symlink_to(folder / "a.png")
    with pytest.raises(ImageError, match=r"a\.png"):
        read_bytes(below(folder, "a.png"))


@pytest.mark.parametrize("name", ["x" * 5000, "nul\0.png"])
def test_a_path_that_no_file_can_have_is_refused(folder: Path, name: str) -> None:
    with pytest.raises(ImageError):
        read_bytes(below(folder, name))


def test_a_folder_given_relative_to_the_working_directory_works(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    assert read_bytes(ImageRef("good", path=Path("data/good.png"), root=Path("data"))) == encode()


def test_a_reference_to_nothing_is_refused() -> None:
    with pytest.raises(ImageError, match="holds no path, bytes or address"):
        read_bytes(ImageRef("nothing"))


def test_the_network_is_not_used_unless_asked_for(server: Callable[[str], str]) -> None:
    with pytest.raises(ImageError, match="allow_network=True"):
        open_image(ImageRef("web", url=server("/good.png")))


def test_an_image_from_the_network_is_read_when_asked_for(server: Callable[[str], str]) -> None:
    assert open_image(ImageRef("web", url=server("/good.png")), allow_network=True).size == (6, 4)


def test_a_redirect_on_the_web_is_followed(server: Callable[[str], str]) -> None:
    assert read_bytes(ImageRef("web", url=server("/to-good")), allow_network=True) == encode()


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://127.0.0.1/x.png", "data:image/png;base64,AA"])
def test_other_addresses_than_the_webs_are_refused(url: str) -> None:
    with pytest.raises(ImageError, match="expected an http or https address"):
        read_bytes(ImageRef("web", url=url), allow_network=True)


def test_a_redirect_to_a_local_file_is_refused(server: Callable[[str], str]) -> None:
    with pytest.raises(ImageError, match="cannot be fetched"):
        read_bytes(ImageRef("web", url=server("/to-file")), allow_network=True)


def test_a_page_that_is_not_there_is_an_image_error(server: Callable[[str], str]) -> None:
    with pytest.raises(ImageError, match="404"):
        read_bytes(ImageRef("web", url=server("/nothing")), allow_network=True)


def test_an_endless_page_ends_at_the_size_limit(server: Callable[[str], str]) -> None:
    with pytest.raises(ImageError, match="more than the 100000 bytes"):
        read_bytes(ImageRef("web", url=server("/endless")), limits=ImageLimits(100_000), allow_network=True)


def test_a_silent_server_ends_at_the_time_limit(server: Callable[[str], str]) -> None:
    with pytest.raises(ImageError, match="cannot be fetched"):
        read_bytes(ImageRef("web", url=server("/silent")), limits=ImageLimits(network_timeout=0.1), allow_network=True)


def test_the_same_bytes_have_the_same_hash_and_others_another() -> None:
    assert content_hash(encode()) == content_hash(bytes(bytearray(encode())))
    assert content_hash(encode()) != content_hash(encode(colour="blue"))


@settings(max_examples=200)
@given(st.binary(max_size=300))
def test_random_bytes_raise_nothing_but_an_image_error(data: bytes) -> None:
    with pytest.raises(ImageError):
        open_image(in_memory(data))


@settings(max_examples=300)
@given(
    st.sampled_from(["PNG", "JPEG", "WEBP", "GIF"]),
    st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=6),
)
def test_damaged_images_are_decoded_or_raise_an_image_error(format: str, damage: list[tuple[int, int]]) -> None:
    data = bytearray(encode(format=format, size=(40, 30)))
    for position, byte in damage:
        data[position % len(data)] = byte
    try:
        image = open_image(in_memory(bytes(data)), limits=ImageLimits(max_pixels=1_000_000))
    except ImageError:
        return
    assert image.mode == "RGB"


@settings(max_examples=100)
@given(st.text(max_size=60))
def test_random_paths_raise_nothing_but_an_image_error(name: str) -> None:
    here = Path(__file__).parent
    with pytest.raises(ImageError):
        read_bytes(ImageRef("odd", path=here / f"no-such-{name}", root=here))


@pytest.mark.parametrize("kind", [str, Path])
def test_a_path_opens_as_a_reference_does(folder: Path, kind: type) -> None:
    Image.new("RGB", (3, 2), "red").save(folder / "plain.png")
    assert open_image(kind(folder / "plain.png")).size == (3, 2)
