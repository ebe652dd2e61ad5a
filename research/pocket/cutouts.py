"""Safe Pocket, before the first stage: the drawings that it learns to see from, each rendered once, and the grounds.

    python -m research.pocket.cutouts --art DIR --out FILE.parquet

A cutout is a drawing on nothing: of an everyday thing, or of what stands for a harm by itself. The first stage puts it
on a ground, anew each time it is seen. Rendering needs the art and a renderer; training then needs this file alone.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from holisafe.errors import DataError
from holisafe.taxonomy import GuardLabel
from research.holisafe_open import scenes as _scenes
from research.holisafe_open.art import Artwork, load_art, render, split_of
from research.holisafe_open.further import named_like_harm, named_like_kinds
from research.holisafe_open.kinds import artwork_ids, load_kinds, read_table
from research.holisafe_open.more import COLLECTIONS, EMOJI, is_for_training

SIDE = 192
GROUND = "ground"
HELD_OUT = "calibration"
"""The split whose cutouts tell how well training goes."""


def main() -> None:
    """Render and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--art", type=Path, required=True, help="folder that `make art` fills")
    parser.add_argument("--out", type=Path, required=True, help="file to write")
    parser.add_argument("--jobs", type=int, default=1, help="processes that render")
    args = parser.parse_args()
    chosen = choose(load_art(args.art, COLLECTIONS))
    with ProcessPoolExecutor(args.jobs) as pool:
        drawn = pool.map(cutout, chosen, chunksize=64)
        rows = [row for row in drawn if row is not None]
    args.out.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist([*rows, *grounds()]), args.out)
    print(f"{len(rows)} cutouts in {args.out}")


def choose(art: Mapping[str, Artwork]) -> list[tuple[Artwork, str, str, str]]:
    """Artworks that training may show and those held out, each with split, guard label and kind ("" of harm)."""
    kinds = load_kinds(EMOJI)
    drawings = {key: artwork for key, artwork in art.items() if is_for_training(artwork, art)}
    shows: dict[str, tuple[str, str]] = {}
    for label, row in read_table("unsafe").items():
        sights = [show for show in row["show"] if not {"overlay", "pair", "document"} & show.keys()]
        shows |= {i: (label, "") for show in sights for i in artwork_ids(show, EMOJI)}
        further = [sight for sight in read_table("more")["unsafe"][label].get("show", ()) if "overlay" not in sight]
        shows |= {i: (label, "") for sight in named_like_harm(drawings, further, kinds) for i in sight["ids"]}
    harmless = GuardLabel.SAFE.value
    shows |= {i: (harmless, kind) for kind, ids in named_like_kinds(drawings, kinds).items() for i in ids}
    shows |= {i: (harmless, kind.name) for kind in kinds.values() for i in kind.artworks}
    chosen = []
    for key, (label, kind) in shows.items():
        if key in drawings:
            chosen.append((art[key], "train", label, kind))
        elif key in art and split_of(art[key]) == HELD_OUT:
            chosen.append((art[key], HELD_OUT, label, kind))
    return chosen


def cutout(chosen: tuple[Artwork, str, str, str]) -> dict[str, Any] | None:
    """A row of the file; None of an artwork that cannot be rendered."""
    artwork, split, label, kind = chosen
    try:
        drawn = render(artwork, SIDE)
    except DataError:
        return None
    canvas = Image.new("RGBA", (SIDE, SIDE))
    canvas.paste(drawn, ((SIDE - drawn.width) // 2, (SIDE - drawn.height) // 2))
    return _row(canvas, artwork.id, split, label, kind, artwork.monochrome)


def grounds() -> Iterator[dict[str, Any]]:
    """What HoliSafe-Open draws behind things, each once."""
    for pattern in sorted(set(_scenes._PATTERNS)):
        for colour in _scenes.COLOURS:
            rng = _scenes.seeded("ground", pattern, colour)
            drawn = _scenes._draw_background(_scenes.Background(colour, pattern), rng).resize((SIDE, SIDE))
            yield _row(drawn.convert("RGBA"), f"{colour} {pattern}", GROUND, "", "", False)


def _row(image: Image.Image, name: str, split: str, label: str, kind: str, has_one_colour: bool) -> dict[str, Any]:
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", lossless=True, quality=60)
    return {
        "artwork": name, "split": split, "label": label, "kind": kind, "has_one_colour": has_one_colour,
        "image": buffer.getvalue(),
    }  # fmt: skip


def read_cutouts(path: Path, split: str) -> tuple[list[dict[str, Any]], NDArray[np.uint8]]:
    """The rows of a split without their images, and these: (cutouts, 4, side, side), RGBA."""
    rows = [row for row in pq.read_table(path).to_pylist() if row["split"] == split]
    pixels = np.stack([np.asarray(Image.open(io.BytesIO(row.pop("image"))).convert("RGBA")) for row in rows])
    return rows, np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))


if __name__ == "__main__":
    main()
