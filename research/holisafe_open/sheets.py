"""Contact sheets of the drawings that the content tables list, for a check by eye.

python -m research.holisafe_open.sheets --art build/art --out build/sheets
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Annotated, Any

import typer
from PIL import Image, ImageDraw, ImageFont

from research.holisafe_open import documents as _documents
from research.holisafe_open.art import Artwork, load_art, render, split_of
from research.holisafe_open.kinds import artwork_ids, load_kinds, read_table
from research.holisafe_open.scenes import Background, compose, seeded

COLUMNS = 8
ROWS = 9
_CELL = 150
_CAPTION = 36
_INK = "#1f3a5f"
_LINE = 25


@dataclass(frozen=True, slots=True)
class Cell:
    """One picture of a sheet: the drawings it shows, the mark over the first of them, and two lines below it."""

    drawings: tuple[str, ...]
    overlay: str
    title: str


def write_sheets(art_dir: Path, out: Path, names: Sequence[str] = ()) -> list[Path]:
    """Draw every picture of the tables once, with its mark and its second drawing, and write sheets of them.

    Args:
        art_dir: Folder with one folder per art collection.
        out: Folder to write to (made when missing).
        names: Sheets to write, e.g. "unsafe-gender"; all of them where empty.

    Returns:
        The files "unsafe-<subcategory>-<page>.png", "kinds-<topic>-<page>.png", "marks-<mark>-<page>.png" and
        "signs-<document>-<page>.png".
    """
    art = load_art(art_dir)
    out.mkdir(parents=True, exist_ok=True)
    written = []
    for name, cells in {**unsafe_cells(art), **kind_cells(art), **mark_cells(art), **sign_cells()}.items():
        if names and name not in names:
            continue
        for page, start in enumerate(range(0, len(cells), COLUMNS * ROWS)):
            path = out / f"{name}-{page}.png"
            _sheet(cells[start : start + COLUMNS * ROWS], art).save(path)
            written.append(path)
    return written


def unsafe_cells(art: Mapping[str, Artwork]) -> dict[str, list[Cell]]:
    """Cells of every unsafe subcategory, sorted by what they show."""
    pairs = {name: _present(row, art) for name, row in read_table("pairs").items()}
    sheets: dict[str, list[Cell]] = {}
    for name, row in read_table("unsafe").items():
        cells = sheets.setdefault(f"unsafe-{name}", [])
        for number, show in enumerate(row["show"]):
            for i, drawing in enumerate(_drawings(show, art)):
                second = pairs.get(show.get("pair", ""), [])
                drawings = (drawing, second[i % len(second)]) if second else (drawing,)
                cells.append(Cell(drawings, show.get("overlay", ""), f"{number} {show['phrase']}"))
    return sheets


def kind_cells(art: Mapping[str, Artwork]) -> dict[str, list[Cell]]:
    """Cells of the everyday things, by topic; those that look near something unsafe have sheets of their own."""
    sheets: dict[str, list[Cell]] = defaultdict(list)
    for name, kind in sorted(load_kinds().items()):
        sheet = "kinds-near" if kind.near else f"kinds-{kind.topic}"
        sheets[sheet] += [Cell((key,), "", f"{name} {kind.near}") for key in kind.artworks if key in art]
    return dict(sheets)


def mark_cells(art: Mapping[str, Artwork]) -> dict[str, list[Cell]]:
    """One cell of every everyday thing that a mark is laid over."""
    kinds = load_kinds()
    sheets: dict[str, list[Cell]] = {}
    for mark, row in read_table("marks").items():
        drawings = {name: [key for key in kinds[name].artworks if key in art] for name in row["kinds"]}
        sheets[f"marks-{mark}"] = [Cell((keys[0],), mark, name) for name, keys in drawings.items() if keys]
    return sheets


def sign_cells() -> dict[str, list[Cell]]:
    """Cells of the harmless documents."""
    return {
        f"signs-{name}": [Cell((f"holisafe:{name}-{variant}",), "", row["phrase"]) for variant in row["variants"]]
        for name, row in read_table("signs").items()
    }


def _drawings(show: Mapping[str, Any], art: Mapping[str, Artwork]) -> list[str]:
    if "document" in show:
        return [f"holisafe:{show['document']}-{variant}" for variant in show["text"]]
    return _present(show, art)


def _present(row: Mapping[str, Any], art: Mapping[str, Artwork]) -> list[str]:
    return sorted(key for key in artwork_ids(row) if key in art)


def _sheet(cells: Sequence[Cell], art: Mapping[str, Artwork]) -> Image.Image:
    rows = (len(cells) + COLUMNS - 1) // COLUMNS
    sheet = Image.new("RGB", (COLUMNS * _CELL, rows * (_CELL + _CAPTION)), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(10)
    for i, cell in enumerate(cells):
        x, y = i % COLUMNS * _CELL, i // COLUMNS * (_CELL + _CAPTION)
        sheet.paste(_picture(cell, art), (x, y))
        for line, text in enumerate(_caption(cell, art)):
            pen.text((x + 2, y + _CELL + line * 11), text, fill="black", font=font)
    return sheet


def _picture(cell: Cell, art: Mapping[str, Artwork]) -> Image.Image:
    drawn = [_draw(drawing, art) for drawing in cell.drawings]
    data = compose(drawn, Background("white", "plain"), seeded("sheet", *cell.drawings), overlay=cell.overlay)
    return Image.open(BytesIO(data)).resize((_CELL - 4, _CELL - 4))


def _draw(drawing: str, art: Mapping[str, Artwork]) -> Image.Image:
    if drawing in art:
        return render(art[drawing], 200, colour=_INK)
    kind, variant = drawing.removeprefix("holisafe:").split("-", 1)
    return _documents.draw_document(kind, variant, 200)


def _caption(cell: Cell, art: Mapping[str, Artwork]) -> Iterator[str]:
    first = cell.drawings[0]
    collection, _, name = first.partition(":")
    yield cell.title[:_LINE]
    yield f"{collection} {split_of(art[first]) if first in art else ''}"[:_LINE]
    yield name[-_LINE:]


def main(
    art: Annotated[Path, typer.Option(help="Folder with the local copies of the art collections.")],
    out: Annotated[Path, typer.Option(help="Folder to write the sheets to.")],
    name: Annotated[list[str] | None, typer.Option(help="A sheet to write, e.g. unsafe-gender.")] = None,
) -> None:
    """Write contact sheets of the drawings that the content tables list."""
    typer.echo(f"wrote {len(write_sheets(art, out, name or ()))} sheets to {out}")


if __name__ == "__main__":
    typer.run(main)
