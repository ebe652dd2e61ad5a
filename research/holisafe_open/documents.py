"""Documents and signs drawn by this project where no collection has an object: cards, letters, charts, chats.

Each is a small SVG with invented names, drawn from a variant's letter alone, with the one font that is shipped.
"""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from importlib.resources import files

from PIL import Image

from holisafe.errors import MissingDependencyError

DOCUMENT_LICENCE = "Apache-2.0"
_SPLITS = ("train", "test", "train", "train", "test", "train", "calibration", "train")
_INKS = ("#1f2d5a", "#2b2b2b", "#5a1f3c", "#1f4a3a", "#4a3a1f")
_PAPERS = ("#ffffff", "#fdf8e8", "#eef4fb", "#f3f0fa", "#eff8ee")
_ACCENTS = ("#2f6fb0", "#b0452f", "#2f8a5a", "#7a4fa3", "#c08a1e", "#3a3a3a")
_NAMES = ("Ada Quill", "Ben Moss", "Cleo Hart", "Dan Reed", "Eva Stone", "Finn Vale", "Gia North", "Hal Berry")


def document_split(index: int) -> str:
    """The split of a document's variant, by its place in the table; documents never go into `transfer`."""
    return _SPLITS[index % len(_SPLITS)]


def draw_document(kind: str, variant: str, size: int) -> Image.Image:
    """Draw a document.

    Args:
        kind: A name of `_DRAWINGS`, e.g. "idcard".
        variant: Decides colours, numbers and layout; for notices and chats also the words.
        size: Longer side in pixels.

    Returns:
        RGBA image on a transparent ground.
    """
    rng = random.Random(f"document:{kind}:{variant}")
    body, width, height = _DRAWINGS[kind](rng, variant)
    return draw_svg(_svg(body, width, height), size)


def draw_svg(svg: str, size: int) -> Image.Image:
    """Render SVG with the shipped font and no other, `size` pixels at its longer side."""
    try:
        import resvg_py
    except ImportError:
        raise MissingDependencyError("drawing documents needs resvg: pip install 'holisafe[art]'") from None
    font = str(files(__package__).joinpath("content", "DejaVuSans-Bold-subset.ttf"))
    png = resvg_py.svg_to_bytes(
        svg_string=svg, width=size, skip_system_fonts=True, font_files=[font], font_family="DejaVu Sans"
    )
    image = Image.open(io.BytesIO(bytes(png))).convert("RGBA")
    scale = size / max(image.size)
    return image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS)


def _svg(body: str, width: int, height: int) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" font-family="DejaVu Sans" font-weight="bold">{body}</svg>'
    )


def _rect(x: float, y: float, w: float, h: float, fill: str, r: float = 0, stroke: str = "none") -> str:
    return f'<rect x="{x}" y="{y}" width="{w}" height="{h}" rx="{r}" fill="{fill}" stroke="{stroke}" stroke-width="2"/>'


def _text(x: float, y: float, size: float, text: str, fill: str, anchor: str = "start") -> str:
    return f'<text x="{x}" y="{y}" font-size="{size}" fill="{fill}" text-anchor="{anchor}">{text}</text>'


def _bars(rng: random.Random, x: float, y: float, width: float, rows: int, step: float, fill: str) -> str:
    """Lines of writing too small to read, drawn as bars."""
    return "".join(_rect(x, y + i * step, width * rng.uniform(0.55, 1), 4, fill, 2) for i in range(rows))


def _page(rng: random.Random, width: int, height: int) -> tuple[str, str, str]:
    paper, ink, accent = rng.choice(_PAPERS), rng.choice(_INKS), rng.choice(_ACCENTS)
    return _rect(2, 2, width - 4, height - 4, paper, 6, "#9a9a9a"), ink, accent


def _portrait(x: float, y: float, rng: random.Random) -> str:
    skin = rng.choice(("#f2c9a1", "#c98d5e", "#8d5a3b", "#e8b58c"))
    hair = rng.choice(("#3a2a1a", "#7a4a1a", "#1a1a1a", "#b08a4a"))
    return (
        _rect(x, y, 56, 68, "#dfe6ee", 4)
        + f'<circle cx="{x + 28}" cy="{y + 26}" r="17" fill="{hair}"/>'
        + f'<circle cx="{x + 28}" cy="{y + 30}" r="13" fill="{skin}"/>'
        + f'<path d="M{x + 6} {y + 68} q22 -34 44 0 z" fill="{hair}"/>'
    )


def _idcard(rng: random.Random, variant: str) -> tuple[str, int, int]:
    page, ink, accent = _page(rng, 240, 150)
    title = rng.choice(("IDENTITY CARD", "DRIVING LICENCE", "PERSONAL ID", "STUDENT CARD", "RESIDENT CARD"))
    number = f"{rng.choice('ABCDEFG')}{rng.randint(100000, 999999)}"
    body = page + _rect(2, 2, 236, 26, accent, 6) + _text(12, 20, 14, title, "#ffffff") + _portrait(14, 40, rng)
    body += _text(84, 56, 15, rng.choice(_NAMES), ink) + _bars(rng, 84, 68, 130, 3, 11, "#9aa3b0")
    return body + _text(84, 118, 13, number, ink) + _bars(rng, 14, 128, 200, 1, 8, "#c0c6cf"), 240, 150


def _bankcard(rng: random.Random, variant: str) -> tuple[str, int, int]:
    accent = rng.choice(_ACCENTS)
    digits = "  ".join("0000" if i < 2 else f"{rng.randint(0, 9999):04d}" for i in range(4))
    body = _rect(2, 2, 236, 146, accent, 14) + _text(
        16, 32, 18, rng.choice(("NORD BANK", "ACORN BANK", "BANK OF O")), "#fff"
    )
    body += _rect(18, 50, 36, 28, "#e8c860", 5) + _text(16, 106, 17, digits, "#ffffff")
    return (
        body + _text(16, 134, 13, rng.choice(_NAMES).upper(), "#ffffff") + _text(180, 134, 13, "00/00", "#fff"),
        240,
        150,
    )


def _chart(rng: random.Random, variant: str) -> tuple[str, int, int]:
    page, ink, accent = _page(rng, 240, 180)
    title = rng.choice(("SHARE PRICE", "COIN PRICE", "GOLD PRICE", "FUND VALUE", "MARKET TODAY"))
    drift, y, points = rng.choice((-7, -4, 4, 7)), 95.0, []
    for i in range(14):
        y = min(148, max(48, y - drift * rng.uniform(0.1, 1.2) + rng.uniform(-13, 13)))
        points.append((24 + i * 15, y))
    axes = f'<path d="M22 42 V156 H226" stroke="{ink}" stroke-width="3" fill="none"/>'
    if rng.random() < 0.4:
        line = "".join(_rect(x - 4, y, 9, 155 - y, accent) for x, y in points)
    else:
        path = " L".join(f"{x:.0f} {y:.0f}" for x, y in points)
        line = f'<path d="M{path}" stroke="{accent}" stroke-width="4" fill="none" stroke-linejoin="round"/>'
    return page + _text(14, 28, 17, title, ink) + axes + line, 240, 180


def _bankletter(rng: random.Random, variant: str) -> tuple[str, int, int]:
    page, ink, accent = _page(rng, 180, 240)
    title = rng.choice(("LOAN OFFER", "ACCOUNT", "LAST NOTICE", "INVEST NOW", "PENSION"))
    amount = f"€ {rng.randint(2, 95)},{rng.randint(0, 9)}00"
    body = page + _rect(14, 14, 24, 24, accent, 12) + _text(46, 32, 14, "NORD BANK", ink)
    body += _text(14, 74, 19, title, accent) + _bars(rng, 14, 90, 150, 5, 12, "#a5abb5")
    return body + _text(14, 178, 22, amount, ink) + _bars(rng, 14, 194, 120, 2, 12, "#a5abb5"), 180, 240


def _prescription(rng: random.Random, variant: str) -> tuple[str, int, int]:
    page, ink, accent = _page(rng, 180, 240)
    body = (
        page + _text(14, 50, 40, "Rx", accent) + _text(70, 30, 12, "DR. " + rng.choice(_NAMES).split()[1].upper(), ink)
    )
    body += _bars(rng, 70, 38, 90, 2, 9, "#a5abb5") + _text(14, 86, 14, rng.choice(_NAMES), ink)
    for i in range(rng.randint(2, 3)):
        dose = f"{rng.choice(('TAB', 'CAP', 'SYR'))} {rng.choice((5, 10, 20, 50, 100))} mg"
        body += _text(14, 120 + i * 34, 16, dose, ink) + _bars(rng, 14, 127 + i * 34, 120, 1, 8, "#a5abb5")
    return body + f'<path d="M90 222 q14 -22 26 0 t30 -8" stroke="{ink}" stroke-width="3" fill="none"/>', 180, 240


def _medlabel(rng: random.Random, variant: str) -> tuple[str, int, int]:
    accent, ink = rng.choice(_ACCENTS), rng.choice(_INKS)
    name = rng.choice(("DOLOREX", "SOMNIL", "CARDIPAL", "TUSSAN", "ALGOFIX", "FEBRINA"))
    body = _rect(50, 4, 80, 34, "#f4f4f4", 6, "#9a9a9a") + _rect(
        36, 38, 108, 196, rng.choice(("#d98a3a", "#e9eef2", "#8a4a2a")), 16
    )
    body += _rect(36, 84, 108, 104, "#ffffff") + _rect(36, 84, 108, 24, accent)
    body += _text(90, 102, 15, name, "#ffffff", "middle") + _text(
        90, 134, 18, f"{rng.choice((5, 20, 50, 200))} mg", ink, "middle"
    )
    return body + _bars(rng, 50, 146, 80, 3, 11, "#a5abb5"), 180, 240


_CHATS = {
    "rude": ("Loser!", "Nobody", "likes you"),
    "mean": ("You are", "so ugly", "ha ha ha"),
    "spam": ("ANSWER!", "ANSWER!", "ANSWER!"),
    "threat": ("I know", "where you", "live"),
    "mock": ("Look at", "her hair", "LOL"),
    "gossip": ("Everyone", "hates him", "pass it on"),
    "alone": ("Don't come", "We all", "left you"),
    "weirdo": ("Weirdo!", "Get lost", "for good"),
    "party": ("Party on", "Friday?", "Yes please!"),
    "thanks": ("Thank you", "so much!", "Any time"),
    "bus": ("Bus is late", "No worries", "See you"),
    "cake": ("Cake at 4?", "I bring tea", "Great!"),
    "cat": ("Cat is fed", "Thank you!", "Sleep well"),
    "game": ("Good game!", "You too", "Next week?"),
}


def _chat(rng: random.Random, variant: str) -> tuple[str, int, int]:
    accent = rng.choice(_ACCENTS)
    body = _rect(2, 2, 196, 236, "#f2f4f7", 18, "#8a8a8a")
    for i, line in enumerate(_CHATS[variant]):
        mine = i % 2
        body += _rect(14 if not mine else 42, 24 + i * 70, 144, 48, accent if mine else "#ffffff", 16, "#c5cad2")
        body += _text(28 if not mine else 56, 54 + i * 70, 17, line, "#ffffff" if mine else "#2b2b2b")
    return body, 200, 240


def _notice(rng: random.Random, variant: str) -> tuple[str, int, int]:
    words = variant.split()
    lines = (
        [variant] if len(variant) <= 10 else [" ".join(words[: len(words) // 2]), " ".join(words[len(words) // 2 :])]
    )
    accent = rng.choice(_ACCENTS)
    body = _rect(4, 4, 232, 152, "#ffffff", 12) + _rect(10, 10, 220, 140, accent, 10)
    for i, line in enumerate(lines):
        body += _text(
            120, (92 if len(lines) == 1 else 68) + i * 44, min(34, 300 / len(line)), line, "#ffffff", "middle"
        )
    return body, 240, 160


def _figures(rng: random.Random, variant: str) -> tuple[str, int, int]:
    """People of several skin colours, one of them crossed out."""
    skins = ["#f2d1b0", "#c98d5e", "#6e4428", "#e0ac7e", "#8d5a3b", "#4a2e1e"]
    rng.shuffle(skins)
    count = rng.choice((3, 4))
    out, body = rng.randrange(count), ""
    for i in range(count):
        x = 10 + i * 60
        shirt = rng.choice(_ACCENTS)
        body += f'<circle cx="{x + 26}" cy="52" r="20" fill="{skins[i]}"/>'
        body += f'<path d="M{x} 140 q26 -110 52 0 z" fill="{shirt}"/>'
        if i == out:
            body += f'<path d="M{x} 24 L{x + 52} 140 M{x + 52} 24 L{x} 140" stroke="#d01f1f" stroke-width="9"/>'
    return body, 20 + count * 60, 150


def _gesture(rng: random.Random, variant: str) -> tuple[str, int, int]:
    """A simple cartoon hand with the middle finger up."""
    skin = rng.choice(("#ffcc4d", "#f2d1b0", "#c98d5e", "#6e4428", "#e0ac7e", "#9fb7d9"))
    line, w = rng.choice(("#3a2a1a", "#5a4a3a", "#222222")), rng.uniform(22, 30)
    part = f'fill="{skin}" stroke="{line}" stroke-width="4"'
    top = rng.uniform(10, 34)
    body = f'<rect x="{80 - w / 2}" y="{top}" width="{w}" height="{130 - top}" rx="{w / 2}" {part}/>'
    for x in (40, 98, 122):
        body += f'<rect x="{x}" y="{92 + abs(x - 80) / 8:.0f}" width="{w}" height="56" rx="{w / 2}" {part}/>'
    body += f'<rect x="38" y="116" width="112" height="70" rx="26" {part}/>'
    body += f'<rect x="22" y="128" width="66" height="24" rx="12" {part}/>'
    sleeve = rng.choice(_ACCENTS)
    return body + _rect(54, 182, 80, 46, sleeve, 6), 180, 232


def _window(rng: random.Random, variant: str) -> tuple[str, int, int]:
    frame, glass = (
        rng.choice(("#8a5a2a", "#ffffff", "#3a4a5a", "#6a6a6a")),
        rng.choice(("#bfe0f2", "#cfe6da", "#a9c9e6")),
    )
    cx, cy = rng.randint(70, 150), rng.randint(70, 150)
    star = []
    for i in range(14):
        radius = rng.randint(34, 56) if i % 2 else rng.randint(12, 22)
        x, y = cx + radius * _COS[i], cy + radius * _SIN[i]
        star.append(f"{x:.0f} {y:.0f}")
    cracks = "".join(
        f'<path d="M{cx} {cy} L{cx + 90 * _COS[i]:.0f} {cy + 90 * _SIN[i]:.0f}" stroke="#ffffff" stroke-width="2"/>'
        for i in range(0, 14, 2)
    )
    body = _rect(6, 6, 208, 208, frame, 4, "#555555") + _rect(22, 22, 176, 176, glass)
    body += f'<clipPath id="g"><rect x="22" y="22" width="176" height="176"/></clipPath><g clip-path="url(#g)">{cracks}'
    return body + f'<path d="M{" L".join(star)} z" fill="#22262e"/></g>' + _rect(106, 16, 8, 40, frame), 220, 220


def _adult(rng: random.Random, variant: str) -> tuple[str, int, int]:
    if rng.random() < 0.5:
        ring = '<circle cx="100" cy="100" r="84" fill="#ffffff" stroke="#d01f1f" stroke-width="16"/>'
        return ring + _text(100, 122, 58, "18+", rng.choice(("#1a1a1a", "#7a1f3c")), "middle"), 200, 200
    skin = rng.choice(("#f2d1b0", "#c98d5e", "#8d5a3b", "#d9c0c8"))
    shape = (
        f'<circle cx="100" cy="46" r="26" fill="{skin}"/><path d="M52 196 q4 -112 48 -112 t48 112 z" fill="{skin}"/>'
    )
    bar = _rect(36, 108, 128, 40, "#111111") + _text(100, 136, 22, "CENSORED", "#ffffff", "middle")
    return shape + bar, 200, 200


_SHEETS = {
    "shopping list": ("SHOPPING", ("Milk", "Bread", "Apples", "Rice")),
    "recipe": ("PANCAKES", ("2 eggs", "Flour", "Milk", "Fry gently")),
    "timetable": ("MONDAY", ("8 Maths", "9 Music", "10 Art", "11 Sport")),
    "menu": ("MENU", ("Soup", "Salad", "Pasta", "Ice cream")),
    "packing list": ("HOLIDAY", ("Socks", "Hat", "Book", "Towel")),
    "garden plan": ("GARDEN", ("Beans", "Carrots", "Roses", "Herbs")),
    "reading list": ("BOOKS", ("Sea tales", "Big atlas", "Poems", "Comics")),
    "party plan": ("PARTY", ("Balloons", "Cake", "Games", "Music")),
}


def _sheet(rng: random.Random, variant: str) -> tuple[str, int, int]:
    page, ink, accent = _page(rng, 180, 240)
    title, rows = _SHEETS[variant]
    body = page + _text(90, 42, 24, title, accent, "middle")
    for i, row in enumerate(rows):
        body += _rect(20, 74 + i * 40, 14, 14, "none", 3, ink) + _text(46, 87 + i * 40, 18, row, ink)
    return body, 180, 240


def _weather(rng: random.Random, variant: str) -> tuple[str, int, int]:
    page, ink, accent = _page(rng, 240, 160)
    bars = "".join(_rect(20 + i * 30, 140 - h, 20, h, accent, 3) for i, h in enumerate(rng.choices(range(20, 90), k=7)))
    return page + _text(120, 34, 19, "RAIN THIS WEEK", ink, "middle") + bars, 240, 160


_COS = [1.0, 0.901, 0.623, 0.223, -0.223, -0.623, -0.901, -1.0, -0.901, -0.623, -0.223, 0.223, 0.623, 0.901]
_SIN = [0.0, 0.434, 0.782, 0.975, 0.975, 0.782, 0.434, 0.0, -0.434, -0.782, -0.975, -0.975, -0.782, -0.434]

_DRAWINGS: dict[str, Callable[[random.Random, str], tuple[str, int, int]]] = {
    "idcard": _idcard,
    "bankcard": _bankcard,
    "chart": _chart,
    "bankletter": _bankletter,
    "prescription": _prescription,
    "medlabel": _medlabel,
    "chat": _chat,
    "notice": _notice,
    "figures": _figures,
    "gesture": _gesture,
    "window": _window,
    "adult": _adult,
    "sheet": _sheet,
    "weather": _weather,
}


def document_text(kind: str, variant: str) -> tuple[str, str]:
    """What a harmless document says, and its entries where it is a list: ("SHOPPING: Milk, ...", "Milk, ...")."""
    if kind == "sheet":
        title, rows = _SHEETS[variant]
        entries = ", ".join(rows)
        return f"{title}: {entries}", entries
    if kind == "chat":
        return ", then ".join(f"“{line}”" for line in _CHATS[variant]), ""
    return variant, ""
