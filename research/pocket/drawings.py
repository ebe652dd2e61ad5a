"""Drawings as training pictures: which are used, what they are called, and random renderings of them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from holisafe.errors import DataError
from research.holisafe_open.art import Artwork, load_art, render, split_of
from research.pocket.things import things

ICONS = ("mdi", "ph", "tabler", "fa6-solid")
"""Collections of interface icons that Pocket itself learned from."""

ONLY_FOR_TRAINING = (
    "fluent-emoji-flat", "twemoji", "fluent-emoji-high-contrast", "emojione", "streamline-emojis", *ICONS,
)  # fmt: skip
"""Collections all of whose art is named in training, whatever split it is in (docs/decisions/0002)."""

TRAINING_COLLECTIONS = ("openclipart", "game-icons", "healthicons", *ONLY_FOR_TRAINING)
"""Noto is never trained on: it is the collection that tests of transfer use."""

_AUTHORS = re.compile(r"\b(nicu buculei|benji park|jurgen|mauro olivo|iconset|various|cliparts?|rcoc|kuba|xbill)\b")
_GENERIC = {
    "card", "cards", "road signs", "road sign", "icons", "icon", "user", "users", "people", "map symbols", "roadsign",
    "computer", "sign", "signs", "symbol", "stick man", "stickman", "stickmen", "blueman", "male", "female", "clip",
    "tools", "object", "picture", "image", "drawing", "shape", "figure", "weather", "education", "office", "misc",
    "chess pieces", "warning", "food", "animal", "animals", "logo", "art", "design", "character", "toon", "cartoons",
    "nuclear explosion", "icd", "map", "emoticon", "smiley", "jazz", "kexi", "theme", "weather symbols", "traffic sign",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Drawing:
    """An artwork with the name to learn and its pixels: (height, width, 4) uint8, longer side `PIXELS`."""

    artwork: Artwork
    name: str
    pixels: NDArray[np.uint8]


PIXELS = 192


def load_drawings(art_dir: Path, splits: Iterable[str], collections: Iterable[str]) -> list[Drawing]:
    """Render the artworks of some splits once; those that cannot be rendered or show no named thing are left out."""
    return render_drawings(named_artworks(art_dir, splits, collections))


def render_drawings(artworks: Iterable[tuple[Artwork, str]]) -> list[Drawing]:
    """Render artworks with the names to learn; those that cannot be rendered are left out."""
    drawings = []
    for artwork, name in artworks:
        try:
            pixels = np.asarray(render(artwork, PIXELS))
        except DataError:
            continue
        if min(pixels.shape[:2]) >= 8:
            drawings.append(Drawing(artwork, name, pixels))
    return drawings


def named_artworks(art_dir: Path, splits: Iterable[str], collections: Iterable[str]) -> list[tuple[Artwork, str]]:
    """The artworks of some splits that show a thing, with the name to learn."""
    wanted = set(splits)
    art = load_art(art_dir, collections)
    words = {word for a in art.values() if a.collection != "openclipart" for word in a.name.split()}
    kept = [
        artwork
        for artwork in art.values()
        if split_of(artwork) in wanted or ("train" in wanted and artwork.collection in ONLY_FOR_TRAINING)
    ]
    named = [(artwork, training_name(artwork, words)) for artwork in kept]
    return [(artwork, name) for artwork, name in named if name in things(art_dir)]


def training_name(artwork: Artwork, known_words: set[str]) -> str:
    """The name to teach; empty where the title is generic, foreign or a person's."""
    name = artwork.name
    if artwork.collection == "openclipart":
        name = " ".join(_AUTHORS.sub(" ", name).split())
        words = name.split()
        if name in _GENERIC or not words or not all(w in known_words or w.rstrip("s") in known_words for w in words):
            return ""
    name = re.sub(r"\b(with|of|the|a|an|in|on|and|facing|flat|dotted|alt)$", "", name).strip()
    if artwork.collection in ICONS and (_STYLES.search(artwork.id) or _INTERFACE.match(name)):
        return ""
    return "" if name in _GENERIC or len(name) < 2 else name


_STYLES = re.compile(
    r"-(light|thin|bold|duotone|off|variant|slash|plus|minus|check|cancel|x|up|down|left|right|lock|open|circle|square"
    r"|remove|edit|cog|heart|star|code|dollar|question|exclamation|pin|search|share|pause|play|bolt|alert|clock|arrow"
    r"|multiple|box|boxed|sync|refresh|key|account|network|wireless|marker|import|export|download|upload|settings"
    r"|network|export|badge|file|logo)\b"
)
"""Marks that icon sets put on a drawing to say what is done with it."""

_INTERFACE = re.compile(r"(number|letter|alpha|numeric|file|text|layout|align|format|brand|columns?|border|arrange)\b")
"""What buttons show."""


class Painter:
    """Random renderings of drawings: ground, size, place, mirror image, colour of one-colour art, brightness."""

    def __init__(self, side: int, rng: np.random.Generator) -> None:
        self.side = side
        self.rng = rng

    def one(self, drawing: Drawing) -> NDArray[np.uint8]:
        """A picture of one drawing: (side, side, 3) uint8."""
        canvas = self._ground()
        self._place(canvas, drawing, self.rng.uniform(0.5, 1.0) * self.side, None)
        return self._light(canvas)

    def scene(self, drawings: list[Drawing], cells: list[tuple[float, float]]) -> NDArray[np.uint8]:
        """A picture of several, each centred near a cell (x, y in [0, 1]): (side, side, 3) uint8."""
        canvas = self._ground()
        for drawing, cell in zip(drawings, cells, strict=True):
            self._place(canvas, drawing, self.rng.uniform(0.36, 0.48) * self.side, cell)
        return self._light(canvas)

    def plain(self, drawing: Drawing) -> NDArray[np.uint8]:
        """The drawing in the middle on white, dark if of one colour: what tests of naming show."""
        canvas = Image.new("RGB", (self.side, self.side), "white")
        self._paste(canvas, drawing, 0.84 * self.side, (0.5, 0.5), (32, 32, 32), mirrored=False)
        return np.asarray(canvas)

    def _ground(self) -> Image.Image:
        kind = self.rng.random()
        if kind < 0.3:
            return Image.new("RGB", (self.side, self.side), "white")
        light = self.rng.integers(150, 256, (2, 3))
        if kind < 0.65:
            return Image.new("RGB", (self.side, self.side), tuple(int(v) for v in light[0]))
        ramp = np.linspace(0, 1, self.side)[:, None, None]
        ground = np.broadcast_to(light[0] * (1 - ramp) + light[1] * ramp, (self.side, self.side, 3))
        return Image.fromarray((ground if kind < 0.85 else ground.transpose(1, 0, 2)).astype(np.uint8))

    def _place(self, canvas: Image.Image, drawing: Drawing, size: float, cell: tuple[float, float] | None) -> None:
        room = 1 - size / self.side
        if cell is None:
            centre = tuple(0.5 + room * self.rng.uniform(-0.5, 0.5, 2))
        else:
            centre = tuple(np.clip(np.array(cell) + self.rng.uniform(-0.04, 0.04, 2), 0.5 - room / 2, 0.5 + room / 2))
        colour = tuple(int(v) for v in self.rng.integers(0, 110, 3)) if self.rng.random() < 0.7 else (20, 20, 20)
        self._paste(
            canvas, drawing, size, centre, colour,
            mirrored=self.rng.random() < 0.5,
            turn=self.rng.normal(0, 10) if self.rng.random() < 0.5 else 0,
        )  # fmt: skip

    def _paste(
        self,
        canvas: Image.Image,
        drawing: Drawing,
        size: float,
        centre: tuple[float, ...],
        colour: tuple[int, ...],
        *,
        mirrored: bool,
        turn: float = 0,
    ) -> None:
        pixels = drawing.pixels[:, ::-1] if mirrored else drawing.pixels
        image = Image.fromarray(np.ascontiguousarray(pixels))
        if turn:
            image = image.rotate(turn, Image.Resampling.BILINEAR, expand=True)
        scale = size / max(image.size)
        image = image.resize(
            (max(1, round(image.width * scale)), max(1, round(image.height * scale))), Image.Resampling.BILINEAR
        )
        place = (
            round(centre[0] * self.side - image.width / 2),
            round(centre[1] * self.side - image.height / 2),
        )
        if drawing.artwork.monochrome:
            canvas.paste(Image.new("RGB", image.size, colour), place, image.getchannel("A"))
        else:
            canvas.paste(image, place, image.getchannel("A"))

    def _light(self, canvas: Image.Image) -> NDArray[np.uint8]:
        pixels = np.asarray(canvas, np.float32) * self.rng.uniform(0.8, 1.1) + self.rng.uniform(-12, 12)
        light: NDArray[np.uint8] = np.clip(pixels, 0, 255).astype(np.uint8)
        return light
