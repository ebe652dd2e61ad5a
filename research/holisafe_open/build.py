"""Draws HoliSafe-Open and writes it: two Parquet tables and a manifest; the same art gives the same bytes."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from holisafe.datasets.open._load import IMAGES_FILE, MANIFEST_FILE, SAMPLES_FILE, data_folder
from holisafe.errors import DataError
from holisafe.taxonomy import GuardLabel
from research.holisafe_open import documents as _documents
from research.holisafe_open import plan as _plan
from research.holisafe_open import scenes as _scenes
from research.holisafe_open import sizes as _sizes
from research.holisafe_open.art import COLLECTIONS, Artwork, load_art, render, split_of
from research.holisafe_open.kinds import EMOJI_COLLECTIONS, artwork_ids, read_table
from research.holisafe_open.pictures import Picture, Row, draw_order, picture_rng

VERSION = 2
"""The version that this code builds; version 1 was built by the code of release 0.1."""

COLLECTIONS_USED = (
    "openclipart", "noto", "game-icons", "healthicons", "fluent-emoji-flat", "twemoji", "emojione", "streamline-emojis",
    "mdi",
)  # fmt: skip
_RENDER_SIZE = 220

_SAMPLES_SCHEMA = pa.schema(
    [
        ("id", pa.string()), ("split", pa.string()), ("image", pa.string()), ("query", pa.string()),
        ("combination", pa.string()), ("category", pa.string()), ("subcategory", pa.string()),
        ("image_labels", pa.list_(pa.string())), ("reference", pa.string()), ("twin", pa.string()),
        ("cluster", pa.string()), ("source", pa.string()), ("licence", pa.string()), ("frame", pa.string()),
        ("request", pa.string()),
    ]
)  # fmt: skip
_IMAGES_SCHEMA = pa.schema(
    [
        ("key", pa.string()), ("split", pa.string()), ("bytes", pa.binary()), ("label", pa.string()),
        ("sort", pa.string()),
        ("shows", pa.string()), ("kinds", pa.list_(pa.string())), ("artworks", pa.list_(pa.string())),
        ("collection", pa.string()), ("background", pa.string()), ("overlay", pa.string()), ("licence", pa.string()),
    ]
)  # fmt: skip


def build_open(art_dir: Path, out: Path | None = None, *, check: bool = False) -> Path:
    """Draw HoliSafe-Open from local art collections and write it.

    Args:
        art_dir: Folder with one folder per collection of `COLLECTIONS_USED`.
        out: Folder to write to (made when missing); the package's own data folder when None.
        check: Also compare what was written with the shipped manifest.

    Returns:
        The folder, with `samples.parquet`, `images.parquet` and `manifest.json`.

    Raises:
        DataError: A collection is missing or is not the one the shipped set was drawn from, or, with `check`, a
            written file differs from the shipped one.
    """
    art = load_art(art_dir, COLLECTIONS_USED)
    shipped = _shipped_manifest()
    hashes = art_hashes(art)
    for name, digest in shipped.get("art", {}).items():
        if hashes[name] != digest:
            raise DataError(
                f"{art_dir / name}: {COLLECTIONS[name].title} differs from the art the shipped set was drawn from "
                f"(sha256 {hashes[name][:12]}, expected {digest[:12]}); docs/datasets/open.md names the version to use"
            )
    folder = out or data_folder(VERSION)
    manifest = write_open(art, art_dir / "photo", folder)
    if check:
        for name, digest in shipped.get("files", {}).items():
            if manifest["files"][name] != digest:
                raise DataError(
                    f"{folder / name}: sha256 {manifest['files'][name][:12]}, the shipped file has {digest[:12]}; "
                    f"build with the library versions of the manifest: {shipped['libraries']}"
                )
    return folder


def write_open(
    art: Mapping[str, Artwork], photos: Path, folder: Path, sizes: Mapping[str, _sizes.Sizes] = _sizes.SIZES
) -> dict[str, Any]:
    """Draw and write a set of the given sizes from art and the folder with the photographs; returns its manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    samples: list[dict[str, Any]] = []
    images: list[dict[str, Any]] = []
    for split in _sizes.SPLITS:
        rows = _plan.plan_split(art, split, sizes[split])
        _check_split(draw_order(rows), art)
        pictures = [image_record(picture, art, photos) for picture in draw_order(rows)]
        images += pictures
        of_key = {record["key"]: record for record in pictures}
        samples += [sample_record(split, i, row, of_key[row.picture.key]) for i, row in enumerate(rows)]
    _write(samples, _SAMPLES_SCHEMA, folder / SAMPLES_FILE, "zstd")
    _write(images, _IMAGES_SCHEMA, folder / IMAGES_FILE, "none")
    manifest = {
        "name": "HoliSafe-Open",
        "art": art_hashes(art),
        "files": {name: file_hash(folder / name) for name in (SAMPLES_FILE, IMAGES_FILE)},
        "libraries": library_versions(),
    }
    (folder / MANIFEST_FILE).write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return manifest


def art_hashes(
    art: Mapping[str, Artwork],
    collections: Sequence[str] = COLLECTIONS_USED,
    emoji_collections: Sequence[str] = EMOJI_COLLECTIONS,
) -> dict[str, str]:
    """SHA-256 of those drawings of each collection, with their names, that the content tables list."""
    digests = {name: hashlib.sha256() for name in collections}
    for key in sorted(listed_artworks(emoji_collections) & art.keys()):
        digests[art[key].collection].update(f"{key}\n{art[key].svg}\n".encode())
    return {name: digest.hexdigest() for name, digest in digests.items()}


def listed_artworks(emoji_collections: Sequence[str] = EMOJI_COLLECTIONS) -> set[str]:
    """Ids of all artworks that the content tables list."""
    rows = [*read_table("kinds").values(), *read_table("pairs").values()]
    rows += [show for row in read_table("unsafe").values() for show in row["show"]]
    return {i for row in rows for i in artwork_ids(row, emoji_collections)}


def image_record(picture: Picture, art: Mapping[str, Artwork], photos: Path | None = None) -> dict[str, Any]:
    """Draw a picture: a row of the table of images."""
    rng = picture_rng(picture)
    ink = _scenes.choose_ink(rng)
    return {
        "key": picture.key,
        "split": picture.split,
        "bytes": _draw(picture, art, photos, ink, rng),
        "label": picture.label.value,
        "sort": picture.sort,
        "shows": picture.phrase,
        "kinds": list(picture.kinds),
        "artworks": list(picture.drawings),
        "collection": picture.drawings[0].split(":")[0],
        "background": f"{picture.background.colour} {picture.background.pattern}",
        "overlay": picture.overlay,
        "licence": " AND ".join(sorted({_licence(drawing) for drawing in picture.drawings})),
    }


def _draw(picture: Picture, art: Mapping[str, Artwork], photos: Path | None, ink: str, rng: random.Random) -> bytes:
    if picture.sort == "photo":
        row = read_table("photographs")[picture.drawings[0].removeprefix("photo:")]
        photograph = _photograph(photos, row["file"])
        if row.get("whole"):
            return _scenes.fill_with(photograph)
        return _scenes.compose([photograph], picture.background, rng)
    drawings = [_drawing(drawing, art, ink) for drawing in picture.drawings]
    return _scenes.compose(drawings, picture.background, rng, overlay=picture.overlay)


def _drawing(drawing: str, art: Mapping[str, Artwork], ink: str) -> Image.Image:
    if drawing in art:
        return render(art[drawing], _RENDER_SIZE, colour=ink)
    kind, variant = drawing.removeprefix("holisafe:").split("-", 1)
    return _documents.draw_document(kind, variant, _RENDER_SIZE)


def _photograph(folder: Path | None, file: str) -> Image.Image:
    """A photograph as RGBA, without the empty margin of one that is cut out."""
    path = (folder or Path("photo")) / file
    try:
        with Image.open(path) as found:
            image = found.convert("RGBA")
    except OSError as error:
        raise DataError(f"{path}: the photograph cannot be read ({error}); tools/fetch_art.sh fetches it") from None
    return image.crop(image.getchannel("A").getbbox())


def _licence(drawing: str) -> str:
    collection, _, name = drawing.partition(":")
    if collection == "photo":
        return str(read_table("photographs")[name]["licence"])
    return COLLECTIONS[collection].licence if collection in COLLECTIONS else _documents.DOCUMENT_LICENCE


def _check_split(pictures: Sequence[Picture], art: Mapping[str, Artwork]) -> None:
    for picture in pictures:
        wrong = [i for i in picture.drawings if i in art and split_of(art[i]) != picture.split]
        assert not wrong, f"{picture.key}: {wrong} belong to another split"


def sample_record(name: str, index: int, row: Row, image: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the table of samples; ids carry the name of the set."""
    label: GuardLabel = row.picture.label
    return {
        "id": f"open-{name}-{index:05d}",
        "split": row.picture.split,
        "image": row.picture.key,
        "query": row.query,
        "combination": row.combination.value,
        "category": row.subcategory and row.subcategory.category.value,
        "subcategory": row.subcategory and row.subcategory.value,
        "image_labels": [label.value],
        "reference": row.reference,
        "twin": None if row.twin is None else f"open-{name}-{row.twin:05d}",
        "cluster": row.picture.key,
        "source": "HoliSafe-Open: " + ", ".join(row.picture.drawings),
        "licence": image["licence"],
        "frame": row.frame,
        "request": row.request,
    }


def _write(records: list[dict[str, Any]], schema: pa.Schema, path: Path, compression: str) -> None:
    """One row group per split, so that a split is read alone."""
    try:
        with pq.ParquetWriter(path, schema, compression=compression) as writer:
            for split in _sizes.SPLITS:
                rows = [record for record in records if record["split"] == split]
                writer.write_table(pa.Table.from_pylist(rows, schema=schema), row_group_size=max(1, len(rows)))
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error}); choose another folder with --out") from None


def file_hash(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _shipped_manifest() -> dict[str, Any]:
    path = data_folder(VERSION) / MANIFEST_FILE
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def library_versions() -> dict[str, str]:
    """Versions of the libraries that decide the bytes."""
    from importlib.metadata import version

    return {name: version(name) for name in ("pillow", "pyarrow", "resvg_py")}
