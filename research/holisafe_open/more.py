"""A larger set for safety tuning, planned like HoliSafe-Open's train split from more drawings and more wordings.

It is not shipped: the same art gives the same file. It shows no artwork of the other splits and asks nothing that
they ask, so that a model tuned on it can be measured on them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from holisafe.datasets.export import export_parquet
from holisafe.datasets.open._load import MANIFEST_FILE, open_queries, open_sample
from holisafe.errors import DataError
from research.holisafe_open import build as _build
from research.holisafe_open import plan as _plan
from research.holisafe_open import sizes as _sizes
from research.holisafe_open import texts as _texts
from research.holisafe_open.art import Artwork, load_art, split_of
from research.holisafe_open.further import ICONS, named_like_harm, with_further
from research.holisafe_open.kinds import Kind, artwork_ids, load_kinds, read_table
from research.holisafe_open.material import Material, unsafe_table
from research.holisafe_open.pictures import Picture, draw_order
from research.holisafe_open.requests import read_requests
from research.holisafe_open.twins import Frame, read_frames

SIZES = _sizes.Sizes(pairs=1200, singles=1500, unsafe=4750, further_pairs=6000, suu=2500)
"""About 8,000 pictures and 34,000 samples."""

ONLY_FOR_TRAINING = ("fluent-emoji-high-contrast", "emojione", "streamline-emojis")
"""Emoji collections that HoliSafe-Open has nothing of."""

EMOJI = ("twemoji", "fluent-emoji-flat", *ONLY_FOR_TRAINING)
COLLECTIONS = ("openclipart", "game-icons", "healthicons", *EMOJI, *ICONS)
FILE = "train.parquet"
HELD_OUT = ("calibration", "test", "transfer", "photo")
"""What HoliSafe-Open asks in these splits is not asked in training."""


def build_more(
    art_dir: Path,
    out: Path,
    *,
    sizes: _sizes.Sizes = SIZES,
    scale: float = 1,
    jobs: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Draw a training set larger than HoliSafe-Open's and write it as `train.parquet`, with a manifest beside it.

    Args:
        art_dir: Folder with one folder per collection of `COLLECTIONS`.
        out: Folder to write to (made when missing); `holisafe.datasets.load(out, "train")` reads it.
        sizes: How much to make.
        scale: Factor on the sizes, e.g. 0.1 for a tenth.
        jobs: Processes that draw; the result does not depend on it.
        progress: Told how many pictures are drawn, of how many.

    Returns:
        The file.

    Raises:
        DataError: A collection is missing, the folder holds such a file already, or the sizes leave nothing.
    """
    if (out / FILE).exists():
        raise DataError(f"{out / FILE}: exists already; choose an empty folder, or remove the file")
    art = load_art(art_dir, COLLECTIONS)
    rows = _plan.plan(more_material(art), scaled(sizes, scale))
    images: dict[str, dict[str, Any]] = {}
    pictures = draw_order(rows)
    for record in _draw_all(pictures, art, jobs):
        images[record["key"]] = record
        if progress is not None:
            progress(len(images), len(pictures))
    samples = []
    for i, row in enumerate(rows):
        image = images[row.picture.key]
        samples.append(open_sample(_build.sample_record("more", i, row, image), image["bytes"]))
    target = export_parquet(samples, out, Path(FILE).stem)
    manifest = {
        "name": "HoliSafe-Open, more for training",
        "art": _build.art_hashes(art, COLLECTIONS, EMOJI),
        "sizes": asdict(scaled(sizes, scale)),
        "files": {target.name: _build.file_hash(target)},
        "libraries": _build.library_versions(),
    }
    (out / MANIFEST_FILE).write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return target


def scaled(sizes: _sizes.Sizes, scale: float) -> _sizes.Sizes:
    """The sizes times a factor, one at least of each."""
    return _sizes.Sizes(**{name: max(1, round(size * scale)) for name, size in asdict(sizes).items()})


def more_material(art: Mapping[str, Artwork]) -> Material:
    """What the set is planned from: training's artworks, its wordings that nobody is measured with, and further ones.

    Args:
        art: Artworks of `COLLECTIONS` by id.
    """
    held_out = {plain(query) for split in HELD_OUT for query in open_queries(split, version=_build.VERSION)}

    def unheard(options: Iterable[str]) -> list[str]:
        return [text for text in options if not any_fits(text, held_out)]

    def allowed(options: Sequence[str], further: Iterable[str] = ()) -> list[str]:
        return unheard(dict.fromkeys([*_texts.wordings(options, "train"), *further]))

    drawings = {key: artwork for key, artwork in art.items() if is_for_training(artwork, art)}
    kinds = load_kinds(EMOJI)
    more = read_table("more")
    wrappers = more["wrappers"]["ask"]
    frames = read_frames(read_table("frames"))
    asked = {
        name: allowed(
            _texts.frame_questions(frame),
            [*more["frames"].get(name, {}).get("ask", ()), *(text.replace("{act}", frame.act) for text in wrappers)],
        )
        for name, frame in frames.items()
    }
    unsafe = {
        name: row
        | {sort: allowed(row[sort], more["unsafe"][name][sort]) for sort in ("uuu", "suu")}
        | {"show": [*row["show"], *_further_sights(name, more, drawings, kinds)]}
        for name, row in unsafe_table().items()
    }
    measured = read_requests(read_table("ordinary")["request"])
    return Material(
        name="more",
        split="train",
        drawings=drawings.keys(),
        emoji_collections=EMOJI,
        kinds=with_further(kinds, drawings),
        frames=_asked_frames(frames, asked),
        frame_questions=asked,
        unsafe=unsafe,
        requests=[
            *read_requests(read_table("more_ordinary")["request"]),
            *(replace(request, ask=tuple(allowed(request.ask))) for request in measured),
        ],
        references=more["references"],
        wordings=list,
        may_ask=lambda query: plain(query) not in held_out,
        benign=[(row["ask"], row["answer"]) for row in more["benign"] if unheard([row["ask"]])],
    )


def is_for_training(artwork: Artwork, art: Mapping[str, Artwork]) -> bool:
    """Whether a drawing is the train split's, or of a collection that only training sees.

    Fluent's high-contrast drawings are its flat ones in one colour: each goes where its flat one went.
    """
    if artwork.collection == "fluent-emoji-high-contrast":
        flat = art.get(artwork.id.replace("fluent-emoji-high-contrast:", "fluent-emoji-flat:"))
        return split_of(flat or replace(artwork, collection="fluent-emoji-flat")) == "train"
    return artwork.collection in (*ONLY_FOR_TRAINING, *ICONS) or split_of(artwork) == "train"


def plain(text: str) -> str:
    """A question without case and punctuation: two that differ in nothing else count as one."""
    return " ".join(re.findall(r"[a-z0-9]+", text.casefold()))


def any_fits(template: str, queries: set[str]) -> bool:
    """Whether one of the `plain` queries is the template, whatever its {places} are filled with."""
    pattern = plain(re.sub(r"\{\w+\}", " 0place0 ", template))
    if "0place0" not in pattern:
        return pattern in queries
    compiled = re.compile(pattern.replace("0place0", ".+"))
    return any(compiled.fullmatch(query) for query in queries)


def _asked_frames(frames: Mapping[str, Frame], asked: Mapping[str, Sequence[str]]) -> dict[str, Frame]:
    return {name: frame for name, frame in frames.items() if asked[name]}


def _further_sights(
    name: str, more: Mapping[str, Any], drawings: Mapping[str, Artwork], kinds: Mapping[str, Kind]
) -> list[dict[str, Any]]:
    """What else may be shown of an unsafe subcategory: drawings that the tables do not list."""
    listed = {i for row in read_table("unsafe").values() for show in row["show"] for i in artwork_ids(show, EMOJI)}
    unlisted = {key: artwork for key, artwork in drawings.items() if key not in listed}
    found = named_like_harm(unlisted, more.get("unsafe", {}).get(name, {}).get("show", ()), kinds)
    return [sight for sight in found if sight["ids"]]


def _draw_all(pictures: Sequence[Picture], art: Mapping[str, Artwork], jobs: int) -> Iterator[dict[str, Any]]:
    """The pictures' records, in order; each process is sent only the artworks it draws."""
    needed = ({i: art[i] for i in picture.drawings if i in art} for picture in pictures)
    with _mapper(jobs) as run:
        yield from run(_build.image_record, pictures, needed)


@contextmanager
def _mapper(jobs: int) -> Iterator[Callable[..., Iterable[dict[str, Any]]]]:
    if jobs <= 1:
        yield map
        return
    with ProcessPoolExecutor(jobs) as pool:
        yield lambda *args: pool.map(*args, chunksize=16)
