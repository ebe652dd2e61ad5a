"""Documents and signs drawn by this project where no collection has an object: cards, letters, charts, chats.

Each is a small SVG with invented names, drawn from a variant's name alone, with the one font that is shipped. Most
sorts come in pairs that share their layout: an identity card and a library card, a price chart and one of plant growth.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from PIL import Image

from research.holisafe_open import figures as _figures
from research.holisafe_open.kinds import read_table
from research.holisafe_open.svg import (
    ACCENTS,
    GREY,
    INKS,
    Drawing,
    bars,
    draw_svg,
    in_lines,
    page,
    portrait,
    rect,
    svg,
    text,
)

DOCUMENT_LICENCE = "Apache-2.0"
_SPLITS = ("train", "test", "train", "train", "test", "train", "calibration", "train")
_NAMES = ("Ada Quill", "Ben Moss", "Cleo Hart", "Dan Reed", "Eva Stone", "Finn Vale", "Gia North", "Hal Berry")


def document_split(index: int) -> str:
    """The split of a document's variant, by its place in the table; documents never go into `transfer`."""
    return _SPLITS[index % len(_SPLITS)]


def draw_document(kind: str, variant: str, size: int) -> Image.Image:
    """Draw a document.

    Args:
        kind: A name of `_DRAWINGS`, e.g. "idcard".
        variant: Decides colours, numbers and layout; for notices, titles and chats also the words.
        size: Longer side in pixels.

    Returns:
        RGBA image on a transparent ground.
    """
    rng = random.Random(f"document:{kind}:{variant}")
    return draw_svg(svg(*_DRAWINGS[kind](rng, variant)), size)


def document_text(kind: str, variant: str) -> tuple[str, str]:
    """What a harmless document says, and its entries where it is a list: ("SHOPPING: Milk, ...", "Milk, ...")."""
    words = read_table("documents")
    if kind == "sheet":
        title, *rows = words["sheet"][variant]
        entries = ", ".join(rows)
        return f"{title}: {entries}", entries
    if kind == "chat":
        return ", then ".join(f"“{line}”" for line in words["chat"][variant]), ""
    return variant, ""


# Cards


def _idcard(rng: random.Random, variant: str) -> Drawing:
    title = rng.choice(("IDENTITY CARD", "DRIVING LICENCE", "PERSONAL ID", "STUDENT CARD", "RESIDENT CARD"))
    number = f"{rng.choice('ABCDEFG')}{rng.randint(100000, 999999)}"
    body, ink = _card(rng, title)
    body += portrait(14, 40, rng) + text(84, 56, 15, rng.choice(_NAMES), ink) + bars(rng, 84, 68, 130, 3, 11, "#9aa3b0")
    return body + text(84, 118, 13, number, ink) + bars(rng, 14, 128, 200, 1, 8, "#c0c6cf"), 240, 150


def _passcard(rng: random.Random, variant: str) -> Drawing:
    """A card that is nobody's: it has a picture where an identity card has a portrait, and no name."""
    if rng.random() < 0.4:
        accent = rng.choice(ACCENTS)
        body = rect(2, 2, 236, 146, accent, 14) + text(16, 32, min(18, 260 / len(variant)), variant, "#ffffff")
        body += _emblem(rng, 190, 92, "#ffffff")
        return body + bars(rng, 16, 96, 130, 3, 14, "#ffffff"), 240, 150
    body, _ = _card(rng, variant)
    body += rect(14, 40, 56, 68, "#dfe6ee", 4) + _emblem(rng, 42, 74, rng.choice(ACCENTS))
    return body + bars(rng, 84, 50, 130, 5, 14, "#9aa3b0") + bars(rng, 14, 128, 200, 1, 8, "#c0c6cf"), 240, 150


def _nametag(rng: random.Random, variant: str) -> Drawing:
    top, edge = rng.uniform(56, 74), rng.uniform(8, 20)
    body = rect(2, 2, 236, 146, rng.choice(ACCENTS), rng.uniform(4, 22))
    body += rect(edge, top, 240 - 2 * edge, 150 - edge - top, "#ffffff", 4)
    body += text(120, top / 2 + 6, rng.uniform(24, 30), "HELLO", "#ffffff", "middle")
    return body + text(120, top - 7, 14, "my name is", "#ffffff", "middle"), 240, 150


def _bankcard(rng: random.Random, variant: str) -> Drawing:
    accent = rng.choice(ACCENTS)
    digits = "  ".join("0000" if i < 2 else f"{rng.randint(0, 9999):04d}" for i in range(4))
    body = rect(2, 2, 236, 146, accent, 14)
    body += text(16, 32, 18, rng.choice(("NORD BANK", "ACORN BANK", "BANK OF O")), "#fff")
    body += rect(18, 50, 36, 28, "#e8c860", 5) + text(16, 106, 17, digits, "#ffffff")
    body += text(16, 134, 13, rng.choice(_NAMES).upper(), "#ffffff") + text(180, 134, 13, "00/00", "#fff")
    return body, 240, 150


def _card(rng: random.Random, title: str) -> tuple[str, str]:
    """A card with a coloured head, and the ink of its writing."""
    sheet, ink, accent = page(rng, 240, 150)
    return sheet + rect(2, 2, 236, 26, accent, 6) + text(12, 20, 14, title, "#ffffff"), ink


def _emblem(rng: random.Random, x: float, y: float, fill: str) -> str:
    """A tree, a star, a book or a sun."""
    return rng.choice(
        (
            f'<path d="M{x} {y - 26} l20 36 h-14 v14 h-12 v-14 h-14 z" fill="{fill}"/>',
            f'<path d="M{x} {y - 22} l7 15 16 2 -12 11 3 16 -14 -8 -14 8 3 -16 -12 -11 16 -2 z" fill="{fill}"/>',
            f'<path d="M{x - 22} {y - 14} q11 -6 21 0 v28 q-10 -6 -21 0 z m23 0 q11 -6 21 0 v28 q-10 -6 -21 0 z" '
            f'fill="{fill}"/>',
            f'<circle cx="{x}" cy="{y}" r="15" fill="{fill}"/>',
        )
    )


# Charts


def _chart(rng: random.Random, variant: str) -> Drawing:
    return _plot(rng, rng.choice(("SHARE PRICE", "COIN PRICE", "GOLD PRICE", "FUND VALUE", "MARKET TODAY")))


def _plot(rng: random.Random, title: str) -> Drawing:
    sheet, ink, accent = page(rng, 240, 180)
    drift, y, points = rng.choice((-7, -4, 4, 7)), 95.0, []
    for i in range(14):
        y = min(148, max(48, y - drift * rng.uniform(0.1, 1.2) + rng.uniform(-13, 13)))
        points.append((24 + i * 15, y))
    axes = f'<path d="M22 42 V156 H226" stroke="{ink}" stroke-width="3" fill="none"/>'
    if rng.random() < 0.4:
        line = "".join(rect(x - 4, y, 9, 155 - y, accent) for x, y in points)
    else:
        path = " L".join(f"{x:.0f} {y:.0f}" for x, y in points)
        line = f'<path d="M{path}" stroke="{accent}" stroke-width="4" fill="none" stroke-linejoin="round"/>'
    return sheet + text(14, 28, min(17, 230 / len(title) * 1.4), title, ink) + axes + line, 240, 180


def _weather(rng: random.Random, variant: str) -> Drawing:
    sheet, ink, accent = page(rng, 240, 160)
    columns = "".join(
        rect(20 + i * 30, 140 - h, 20, h, accent, 3) for i, h in enumerate(rng.choices(range(20, 90), k=7))
    )
    return sheet + text(120, 34, 19, "RAIN THIS WEEK", ink, "middle") + columns, 240, 160


# Sheets of paper


def _bankletter(rng: random.Random, variant: str) -> Drawing:
    amount = f"€ {rng.randint(2, 95)},{rng.randint(0, 9)}00"
    return _letter(
        rng, "NORD BANK", rng.choice(("LOAN OFFER", "ACCOUNT", "LAST NOTICE", "INVEST NOW", "PENSION")), amount
    )


def _note(rng: random.Random, variant: str) -> Drawing:
    return _letter(rng, rng.choice(("OAK SCHOOL", "TOWN HALL", "PARK CLUB", "MUSEUM")), variant, "")


def _letter(rng: random.Random, sender: str, title: str, amount: str) -> Drawing:
    sheet, ink, accent = page(rng, 180, 240)
    body = sheet + rect(14, 14, 24, 24, accent, 12) + text(46, 32, 14, sender, ink)
    body += text(14, 74, min(19, 205 / len(title)), title, accent) + bars(rng, 14, 90, 150, 5, 12, GREY)
    return body + text(14, 178, 22, amount, ink) + bars(rng, 14, 194, 120, 2, 12, GREY), 180, 240


def _prescription(rng: random.Random, variant: str) -> Drawing:
    body, ink = _pad_head(rng, "DR. " + rng.choice(_NAMES).split()[1].upper())
    body += text(14, 86, 14, rng.choice(_NAMES), ink)
    for i in range(rng.randint(2, 3)):
        dose = f"{rng.choice(('TAB', 'CAP', 'SYR'))} {rng.choice((5, 10, 20, 50, 100))} mg"
        body += text(14, 120 + i * 34, 16, dose, ink) + bars(rng, 14, 127 + i * 34, 120, 1, 8, GREY)
    return body + f'<path d="M90 222 q14 -22 26 0 t30 -8" stroke="{ink}" stroke-width="3" fill="none"/>', 180, 240


def _pad(rng: random.Random, variant: str) -> Drawing:
    """A doctor's pad with nothing on it yet."""
    body, _ = _pad_head(rng, "CLINIC")
    lines = "".join(rect(14, y, 150, 1.5, GREY) for y in range(100, 216, rng.choice((22, 26, 30))))
    return body + lines, 180, 240


def _pad_head(rng: random.Random, name: str) -> tuple[str, str]:
    sheet, ink, accent = page(rng, 180, 240)
    return sheet + text(14, 50, 40, "Rx", accent) + text(70, 30, 12, name, ink) + bars(rng, 70, 38, 90, 2, 9, GREY), ink


def _form(rng: random.Random, variant: str) -> Drawing:
    sheet, ink, accent = page(rng, 180, 240)
    body = sheet + rect(2, 2, 176, 34, accent, 6) + text(90, 25, min(18, 200 / len(variant)), variant, "#fff", "middle")
    for i in range(5):
        body += bars(rng, 14, 54 + i * 36, 70, 1, 8, ink) + rect(14, 62 + i * 36, 152, 18, "#ffffff", 2, "#9a9a9a")
    return body, 180, 240


def _sheet(rng: random.Random, variant: str) -> Drawing:
    sheet, ink, accent = page(rng, 180, 240)
    title, *rows = read_table("documents")["sheet"][variant]
    body = sheet + text(90, 42, 24, title, accent, "middle")
    for i, row in enumerate(rows):
        body += rect(20, 74 + i * 40, 14, 14, "none", 3, ink) + text(46, 87 + i * 40, 18, row, ink)
    return body, 180, 240


# Bottles and jars


def _medlabel(rng: random.Random, variant: str) -> Drawing:
    name = rng.choice(("DOLOREX", "SOMNIL", "CARDIPAL", "TUSSAN", "ALGOFIX", "FEBRINA"))
    return _bottle(rng, name, f"{rng.choice((5, 20, 50, 200))} mg")


def _jar(rng: random.Random, variant: str) -> Drawing:
    return _bottle(rng, variant, f"{rng.choice((100, 200, 250, 500))} g")


def _bottle(rng: random.Random, name: str, amount: str) -> Drawing:
    accent, ink = rng.choice(ACCENTS), rng.choice(INKS)
    glass = rng.choice(("#d98a3a", "#e9eef2", "#8a4a2a"))
    body = rect(50, 4, 80, 34, "#f4f4f4", 6, "#9a9a9a") + rect(36, 38, 108, 196, glass, 16)
    body += rect(36, 84, 108, 104, "#ffffff") + rect(36, 84, 108, 24, accent)
    body += text(90, 102, min(15, 135 / len(name)), name, "#ffffff", "middle") + text(
        90, 134, 18, amount, ink, "middle"
    )
    return body + bars(rng, 50, 146, 80, 3, 11, GREY), 180, 240


# Chats and signs


def _chat(rng: random.Random, variant: str) -> Drawing:
    accent = rng.choice(ACCENTS)
    body = rect(2, 2, 196, 236, "#f2f4f7", 18, "#8a8a8a")
    for i, line in enumerate(read_table("documents")["chat"][variant]):
        x, fill, ink = (42, accent, "#ffffff") if i % 2 else (14, "#ffffff", "#2b2b2b")
        body += rect(x, 24 + i * 70, 144, 48, fill, 16, "#c5cad2") + text(x + 14, 54 + i * 70, 17, line, ink)
    return body, 200, 240


def _notice(rng: random.Random, variant: str) -> Drawing:
    lines = in_lines(variant)
    accent = rng.choice(ACCENTS)
    body = rect(4, 4, 232, 152, "#ffffff", 12) + rect(10, 10, 220, 140, accent, 10)
    for i, line in enumerate(lines):
        y = (92 if len(lines) == 1 else 68) + i * 44
        body += text(120, y, min(34, 255 / len(line)), line, "#ffffff", "middle")
    return body, 240, 160


_DRAWINGS: dict[str, Callable[[random.Random, str], Drawing]] = {
    "idcard": _idcard,
    "passcard": _passcard,
    "nametag": _nametag,
    "bankcard": _bankcard,
    "chart": _chart,
    "plot": _plot,
    "weather": _weather,
    "bankletter": _bankletter,
    "note": _note,
    "prescription": _prescription,
    "pad": _pad,
    "form": _form,
    "sheet": _sheet,
    "medlabel": _medlabel,
    "jar": _jar,
    "chat": _chat,
    "notice": _notice,
    **_figures.DRAWINGS,
}
