"""Openly licensed drawings: reading local copies of art collections, cleaning their names, rendering them.

A collection is a folder below the art folder, named as in `COLLECTIONS`: an unpacked `@iconify-json` package or a
tree of SVG files with RDF metadata (Debian's `openclipart-svg`). Nothing is fetched.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from holisafe.errors import DataError, MissingDependencyError


@dataclass(frozen=True, slots=True)
class Collection:
    """An art collection: its folder's name, SPDX licence, kind of files, whether it has one colour."""

    name: str
    title: str
    licence: str
    is_iconify: bool
    monochrome: bool


COLLECTIONS: dict[str, Collection] = {
    collection.name: collection
    for collection in (
        Collection("openclipart", "Open Clip Art Library 0.18", "CC0-1.0", False, False),
        Collection("noto", "Noto Emoji", "Apache-2.0", True, False),
        Collection("game-icons", "Game-icons.net", "CC-BY-3.0", True, True),
        Collection("healthicons", "Health Icons", "MIT", True, True),
        Collection("fluent-emoji-flat", "Fluent Emoji Flat", "MIT", True, False),
        Collection("twemoji", "Twitter Emoji", "CC-BY-4.0", True, False),
        Collection("emojione", "EmojiOne 2", "CC-BY-4.0", True, False),
        Collection("streamline-emojis", "Streamline Emojis", "CC-BY-4.0", True, False),
        Collection("mdi", "Material Design Icons", "Apache-2.0", True, True),
        # only the embedded model's training reads these
        Collection("fluent-emoji-high-contrast", "Fluent Emoji High Contrast", "MIT", True, True),
        Collection("ph", "Phosphor", "MIT", True, True),
        Collection("tabler", "Tabler Icons", "MIT", True, True),
        Collection("fa6-solid", "Font Awesome 6 Solid", "CC-BY-4.0", True, True),
        Collection("bi", "Bootstrap Icons", "MIT", True, True),
        Collection("carbon", "Carbon", "Apache-2.0", True, True),
        Collection("fluent", "Fluent UI System Icons", "MIT", True, True),
        Collection("fluent-color", "Fluent UI System Color Icons", "MIT", True, False),
        Collection("fxemoji", "Firefox OS Emoji", "Apache-2.0", True, False),
        Collection("hugeicons", "Huge Icons", "MIT", True, True),
        Collection("icon-park", "IconPark", "Apache-2.0", True, False),
        Collection("icon-park-solid", "IconPark Solid", "Apache-2.0", True, True),
        Collection("iconoir", "Iconoir", "MIT", True, True),
        Collection("ion", "IonIcons", "MIT", True, True),
        Collection("lets-icons", "Lets Icons", "CC-BY-4.0", True, True),
        Collection("lucide", "Lucide", "ISC", True, True),
        Collection("maki", "Maki", "CC0-1.0", True, True),
        Collection("material-symbols", "Material Symbols", "Apache-2.0", True, True),
        Collection("mingcute", "MingCute", "Apache-2.0", True, True),
        Collection("mynaui", "Myna UI", "MIT", True, True),
        Collection("ri", "Remix Icon", "Apache-2.0", True, True),
        Collection("solar", "Solar", "CC-BY-4.0", True, True),
        Collection("streamline", "Streamline", "CC-BY-4.0", True, True),
        Collection("streamline-color", "Streamline Color", "CC-BY-4.0", True, False),
        Collection("streamline-cyber-color", "Streamline Cyber Color", "CC-BY-4.0", True, False),
        Collection("streamline-flex", "Streamline Flex", "CC-BY-4.0", True, True),
        Collection("streamline-flex-color", "Streamline Flex Color", "CC-BY-4.0", True, False),
        Collection("streamline-kameleon-color", "Streamline Kameleon Color", "CC-BY-4.0", True, False),
        Collection("streamline-plump", "Streamline Plump", "CC-BY-4.0", True, True),
        Collection("streamline-plump-color", "Streamline Plump Color", "CC-BY-4.0", True, False),
        Collection("streamline-sharp-color", "Streamline Sharp Color", "CC-BY-4.0", True, False),
        Collection("tdesign", "TDesign", "MIT", True, True),
        Collection("temaki", "Temaki", "CC0-1.0", True, True),
        Collection("emojione-monotone", "EmojiOne 2 Monotone", "CC-BY-4.0", True, True),
    )
}

TRANSFER_COLLECTION = "noto"
"""The collection that no training split and no training of the embedded model ever sees."""

SEEN_IN_TRAINING = ("emojione", "streamline-emojis", "mdi")
"""Collections that the embedded model's training took all of: no split to measure on shows them."""


@dataclass(frozen=True, slots=True)
class Artwork:
    """One drawing.

    Attributes:
        id: "collection:file name", unique.
        collection: Name of its collection.
        name: What it shows, as lower-case words.
        group: Variants of one drawing share it; splits never separate a group.
        topics: Folder or category names that the collection files it under, lower case.
        svg: The drawing; one-colour art draws in `currentColor`.
    """

    id: str
    collection: str
    name: str
    group: str
    topics: tuple[str, ...]
    svg: str

    @property
    def licence(self) -> str:
        """SPDX id of its collection's licence."""
        return COLLECTIONS[self.collection].licence

    @property
    def monochrome(self) -> bool:
        """Whether it is drawn in one colour, chosen at rendering."""
        return COLLECTIONS[self.collection].monochrome


def load_art(art_dir: Path, collections: Iterable[str] | None = None) -> dict[str, Artwork]:
    """Read the usable drawings of the named collections (all of `COLLECTIONS` that are there when None).

    Left out: interface icons, flags, letters, abstract shapes, outline variants and most skin-tone variants.

    Args:
        art_dir: Folder with one folder per collection.
        collections: Names from `COLLECTIONS`.

    Returns:
        Artworks by id, sorted by id.

    Raises:
        DataError: A named collection is not there.
    """
    names = [name for name in COLLECTIONS if (art_dir / name).is_dir()] if collections is None else list(collections)
    art: dict[str, Artwork] = {}
    for name in names:
        folder = art_dir / name
        if not folder.is_dir():
            raise DataError(f"{folder}: no such art collection; expected a folder with {COLLECTIONS[name].title}")
        found = _iconify(folder, name) if COLLECTIONS[name].is_iconify else _openclipart(folder)
        art.update((artwork.id, artwork) for artwork in found)
    return dict(sorted(art.items()))


def split_of(artwork: Artwork) -> str:
    """The split a drawing belongs to, the same in every data set and training built on the art.

    Returns:
        "transfer" for the transfer collection, "train" for `SEEN_IN_TRAINING`; else by hash of its group "train"
        (64 %), "calibration" (14 %) or "test" (22 %).
    """
    if artwork.collection == TRANSFER_COLLECTION:
        return "transfer"
    if artwork.collection in SEEN_IN_TRAINING:
        return "train"
    digest = hashlib.sha256(f"{artwork.collection}:{artwork.group}".encode()).digest()
    share = int.from_bytes(digest[:4], "big") / 2**32
    return "train" if share < 0.64 else "calibration" if share < 0.78 else "test"


def render(artwork: Artwork, size: int, *, colour: str | None = None) -> Image.Image:
    """Draw an artwork.

    Args:
        artwork: What to draw.
        size: Longer side in pixels.
        colour: "#rrggbb" for one-colour art (default black); no effect on the rest.

    Returns:
        RGBA image on a transparent ground, `size` pixels at its longer side, cropped to the drawing.

    Raises:
        MissingDependencyError: resvg is not installed.
        DataError: The drawing cannot be rendered.
    """
    try:
        import resvg_py
    except ImportError:
        raise MissingDependencyError("drawing art needs resvg: pip install 'holisafe[art]'") from None
    svg = _with_view_box(artwork.svg).replace("currentColor", colour or "#000000")
    try:
        png = resvg_py.svg_to_bytes(svg_string=svg, width=size)
        image = Image.open(io.BytesIO(bytes(png))).convert("RGBA")
    except (ValueError, OSError) as error:
        raise DataError(f"{artwork.id}: cannot be rendered ({error})") from None
    box = image.getchannel("A").getbbox()
    if box is None:
        raise DataError(f"{artwork.id}: draws nothing")
    image = image.crop(box)
    scale = size / max(image.size)
    return image.resize(
        (max(1, round(image.width * scale)), max(1, round(image.height * scale))), Image.Resampling.LANCZOS
    )


_PIXELS = {"": 1.0, "px": 1.0, "pt": 1.25, "pc": 15.0, "mm": 3.543307, "cm": 35.43307, "in": 90.0}
"""Pixels per unit at the 90 dpi that old drawing programs wrote."""


def _with_view_box(svg: str) -> str:
    """The drawing with a view box and without width and height, which are often missing, in % or at another dpi."""
    match = re.search(r"<svg\b[^>]*>", svg)
    if match is None:
        return svg
    tag = match.group(0)
    if "viewBox" not in tag:
        sizes = [re.search(rf'\b{side}="([\d.]+)\s*([a-z]*)"', tag) for side in ("width", "height")]
        if None in sizes or any(size and size.group(2) not in _PIXELS for size in sizes):
            return svg
        width, height = (float(size.group(1)) * _PIXELS[size.group(2)] for size in sizes if size)
        tag = tag.replace("<svg", f'<svg viewBox="0 0 {width:g} {height:g}"', 1)
    tag = re.sub(r'\s(width|height)="[^"]*"', "", tag)
    return svg[: match.start()] + tag + svg[match.end() :]


_SKIN_TONE = re.compile(r"-(medium-light|medium-dark|medium|light|dark)(-skin-tone)?($|-)|tone[1-5]|-skin-tone")
_SKIN_TONES_KEPT = {"man", "woman", "boy", "girl", "old-man", "old-woman", "middle-finger"}
"""Drawings whose skin-tone variants are read too; a variant is of its drawing's group."""
_VARIANT = re.compile(r"(-outline|-24px|-negative|-alt|-fill|-filled)+$")
_ICONIFY_SKIP_TOPICS = {"flags", "shapes", "typography"}
_ICONIFY_SKIP = re.compile(
    r"^(abstract-\d+|ui-|flag-|keycap|digit-|input-|regional|\d+$|[a-z]$|.*-button$|button-|squared|circled|negative-"
    r"|japanese-|.*-negative$|.*-24px$|.*-outline$|card-(\d+|jack|queen|king|ace)-|dice-|tarot-|rank-\d|.*-oclock.*"
    r"|.*thirty.*|a-button|b-button|o-button|ab-button|empty-chessboard|rdt-result|\d+-|.*-(arrow|triangle)$|.*arrow.*"
    r"|.*meeple|cancer$|aries|libra|leo$|virgo|pisces|taurus|gemini|scorpio|sagittarius|capricorn|aquarius|ophiuchus"
    r"|.*-symbol$|.*-square$|.*-mark$|.*-diamond$)"
)


def _iconify(folder: Path, collection: str) -> list[Artwork]:
    icons = json.loads((folder / "icons.json").read_text(encoding="utf-8"))
    metadata = json.loads((folder / "metadata.json").read_text(encoding="utf-8"))
    topics: dict[str, list[str]] = {}
    for topic, members in metadata.get("categories", {}).items():
        for member in members:
            topics.setdefault(member, []).append(topic.lower())
    art = []
    for key, icon in icons["icons"].items():
        filed = tuple(topics.get(key, ()))
        if icon.get("hidden") or _ICONIFY_SKIP.match(key) or _ICONIFY_SKIP_TOPICS & set(filed):
            continue
        base = key if COLLECTIONS[collection].monochrome else _SKIN_TONE.sub("", key)
        if base != key and base not in _SKIN_TONES_KEPT:
            continue
        width, height = (icon.get(side, icons.get(side, 16)) for side in ("width", "height"))
        left, top = icon.get("left", 0), icon.get("top", 0)
        svg = (
            '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
            f'viewBox="{left} {top} {width} {height}" width="{width}" height="{height}">{icon["body"]}</svg>'
        )
        group = re.sub(r"-?\d+$", "", _VARIANT.sub("", base))
        words = group if base == key else key
        name = re.sub(r"\b0?\d+\b", "", words.replace("-", " ")).strip()
        if name:
            art.append(Artwork(f"{collection}:{key}", collection, name, group, filed, svg))
    return art


_OPENCLIPART_SKIP_FOLDERS = {
    "icons", "shapes", "flags", "logos", "buttons", "gradients", "patterns", "diagrams", "special", "led",
    "callouts", "arrows", "map_symbols", "connectors", "aiga-symbols", "duplicates", "flowchart", "examples",
    "smilies",
}  # fmt: skip
_DC = "{http://purl.org/dc/elements/1.1/}"
_RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
_MAX_SVG_BYTES = 400_000


def _openclipart(folder: Path) -> list[Artwork]:
    art = []
    for path in sorted(folder.rglob("*.svg")):
        parts = path.relative_to(folder).parts
        if _OPENCLIPART_SKIP_FOLDERS & set(parts[:-1]) or path.stat().st_size > _MAX_SVG_BYTES:
            continue
        svg = path.read_text(encoding="utf-8", errors="replace")
        title, keywords = _rdf_title(svg)
        name = clean_title(title)
        if not name:
            continue
        group = re.sub(r"[^a-z]+", "-", name)
        topics = (*parts[:-1], *keywords)
        art.append(Artwork(f"openclipart:{'/'.join(parts)[:-4]}", "openclipart", name, group, topics, svg))
    return art


def _rdf_title(svg: str) -> tuple[str, tuple[str, ...]]:
    """Title and keywords of the RDF metadata; empty where it has none or is not well formed."""
    match = re.search(r"<rdf:RDF.*?</rdf:RDF>", svg, re.DOTALL)
    if match is None:
        return "", ()
    try:
        root = ET.fromstring(f'<x xmlns:xlink="http://www.w3.org/1999/xlink">{match.group(0)}</x>')
    except ET.ParseError:
        return "", ()
    title = root.findtext(f".//{_DC}title") or ""
    subject = root.find(f".//{_DC}subject")
    keywords = () if subject is None else tuple((item.text or "").strip().lower() for item in subject.iter(f"{_RDF}li"))
    return title, keywords


_TITLE_NOISE = re.compile(
    r"\b(by|remix|clip ?art|icon|simple|outline|colou?red?|lineart|line art|svg|v\d+|cartoon|architetto|"
    r"stylized|template|version|black and white|b ?w|bw|ganson|silhouette|generic|tux|logo|sketch|vector|left|right|"
    r"mk|no|nr)\b"
)
_NOT_A_NAME = re.compile(r"untitled|open clip ?art|test|foo|pattern|sample|unsorted|[^\x00-\x7f]")


def clean_title(title: str) -> str:
    """What a title says is shown, as one to four lower-case words; empty where it says nothing usable.

    Example:
        "Trumpet_B-flat (colour) 01" becomes "trumpet b flat".
    """
    text = title.lower()
    if _NOT_A_NAME.search(text):
        return ""
    text = re.sub(r"\(.*?\)|\[.*?\]|'s?\b|#", " ", text)
    text = re.sub(r"[^a-z ]+", " ", text)
    text = _TITLE_NOISE.sub(" ", text)
    words = [word for word in text.split() if len(word) > 1]
    return " ".join(words) if 1 <= len(words) <= 4 else ""
