"""General instruction data without any refusal, to mix into safety tuning: short questions about drawings, answered.

    python -m research.pocket.general --art DIR --answers FILE --out DIR

`holisafe.datasets.load(DIR, "train")` reads it: every sample is harmless (SSS), every image safe. Like Pocket's own
conversations it repeats what the language model itself says of things; unlike them it shows no drawing of
HoliSafe-Open's other splits, asks nothing that they ask, and nothing in it stands for a harm there.
"""

from __future__ import annotations

import argparse
import io
import json
import re
from collections.abc import Mapping, Sequence, Set
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from holisafe.datasets.export import export_parquet
from holisafe.datasets.open._load import open_queries
from holisafe.records import ImageRef, Sample
from holisafe.taxonomy import Combination, GuardLabel
from research.holisafe_open import build as _build
from research.holisafe_open import more as _more
from research.holisafe_open.art import Artwork, load_art
from research.holisafe_open.build import VERSION
from research.holisafe_open.kinds import artwork_ids, load_kinds, read_table
from research.pocket.drawings import (
    TRAINING_COLLECTIONS,
    Drawing,
    Painter,
    named_artworks,
    render_drawings,
)
from research.pocket.instructions import Turn, conversation
from research.pocket.pictures import paint

SIDE = 256
SCENES = 0.2
"""Share of pictures that show two to four things."""

_JPEG_QUALITY = 88


def main() -> None:
    """Paint the pictures, ask one question about each, and write both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--art", type=Path, required=True, help="folder with the art collections and WordNet")
    parser.add_argument("--answers", type=Path, required=True, help="answers.jsonl of the answers stage")
    parser.add_argument("--out", type=Path, required=True, help="folder to write train.parquet to")
    parser.add_argument("--count", type=int, default=6000, help="samples, each with a picture of its own")
    args = parser.parse_args()
    answers = read_answers(args.answers)
    artworks = harmless_artworks(args.art, answers.keys())
    # rendering is most of the work, and few drawings are shown more than twice in any case
    chosen = np.random.default_rng(5).permutation(len(artworks))[: max(1, args.count * 2 // 3)]
    drawings = render_drawings(artworks[i] for i in chosen)
    samples = general_samples(drawings, answers, args.count)
    print(f"wrote {len(samples)} samples to {export_parquet(samples, args.out, 'train')}")


def general_samples(
    drawings: Sequence[Drawing], answers: Mapping[str, Mapping[str, str]], count: int, seed: int = 11
) -> list[Sample]:
    """Questions about pictures and their answers, each of a picture of its own.

    Args:
        drawings: What may be shown; every one is shown before one is shown again.
        answers: For a name, the language model's own answers by kind of question.
        count: Samples to make.
        seed: Source of every choice.
    """
    rng = np.random.default_rng(seed)
    kinds = load_kinds(_more.EMOJI)
    kind_of = {artwork: kind.name for kind in kinds.values() for artwork in kind.artworks}
    names = sorted({kind_of.get(drawing.artwork.id, drawing.name) for drawing in drawings})
    order = np.concatenate([rng.permutation(len(drawings)) for _ in range(-(-count // len(drawings)))])
    held_out = {_more.plain(query) for split in _more.HELD_OUT for query in open_queries(split, version=VERSION)}
    samples = []
    for number in range(count):
        shown = [int(order[number])]
        if rng.random() < SCENES:
            shown = [int(i) for i in rng.choice(len(drawings), rng.choice([2, 2, 3, 4]), replace=False)]
        chosen = [drawings[i] for i in shown]
        pixels, picture = paint(Painter(SIDE, np.random.default_rng((seed, number))), chosen, kind_of)
        turns: list[Turn] = []
        while not turns:  # some wordings of Pocket's own conversations are asked in the splits to measure on
            asked = conversation(picture, answers, kinds, names, rng)
            turns = [turn for turn in asked if _more.plain(turn[0]) not in held_out]
        query, answer = turns[int(rng.integers(len(turns)))]
        samples.append(_sample(number, chosen, pixels, query, answer))
    return samples


def harmless_artworks(art_dir: Path, names: Set[str]) -> list[tuple[Artwork, str]]:
    """The artworks of common things that training may see and that stand for no harm, with their names.

    Args:
        art_dir: Folder with the art collections.
        names: Names of things that are common enough; HoliSafe-Open's kinds are in any case.
    """
    art = load_art(art_dir, TRAINING_COLLECTIONS)
    kinds = {i for kind in load_kinds(_more.EMOJI).values() for i in kind.artworks}
    unsafe = {
        i for row in read_table("unsafe").values() for show in row["show"] for i in artwork_ids(show, _more.EMOJI)
    }
    return [
        (artwork, name)
        for artwork, name in named_artworks(art_dir, {"train"}, TRAINING_COLLECTIONS)
        if (artwork.collection not in _OPEN or _more.is_for_training(artwork, art))
        and (artwork.id in kinds or (name in names and artwork.id not in unsafe and not _HARM.search(artwork.name)))
    ]


def read_answers(path: Path) -> dict[str, dict[str, str]]:
    """The language model's answers: by name, by kind of question."""
    answers: dict[str, dict[str, str]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        answers.setdefault(row["name"], {})[row["kind"]] = row["answer"]
    return answers


_OPEN = {*_build.COLLECTIONS_USED, *_more.ONLY_FOR_TRAINING}
"""Collections that HoliSafe-Open shows, or that repeat drawings of one that it does."""


_HARM = re.compile(
    r"\b(guns?|pistols?|rifles?|shotgun|revolver|bullets?|bombs?|grenades?|dynamite|missiles?|rockets?|weapons?|cannon"
    r"|swords?|daggers?|knives|knife|axes?|saber|blades?|machete|spears?|crossbow|crosshairs?|explo\w+|nuclear|skulls?"
    r"|bones?|blood|dead|death|coffin|grave\w*|tomb\w*|reaper|gallows|noose|guillotine|cigar\w*|smok\w+|vap\w+|syringe"
    r"|pills?|tablets?|capsules?|drugs?|medic\w+|vaccine|poison|biohazard|handcuffs|thief|robber|fingerprint|identity"
    r"|id|passport|scan\w*|fist|boxing|finger|kiss|lips?|bikini|breasts?|pregnant|coins?|money|cash|stocks?|chart"
    r"|dollars?|bitcoin|credit|cancer|wheelchair|cane|prison|jail|trap|whip|cage)\b"
)
"""What stands for one of the guard's harms in HoliSafe-Open, or is near to it."""


def _sample(number: int, drawings: Sequence[Drawing], pixels: NDArray[np.uint8], query: str, answer: str) -> Sample:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=_JPEG_QUALITY, optimize=True, subsampling=0)
    name = f"general-{number:05d}"
    return Sample.ask(
        id=name,
        images=(ImageRef(key=name, data=buffer.getvalue()),),
        query=query,
        combination=Combination.SSS,
        category=None,
        subcategory=None,
        image_labels=(GuardLabel.SAFE,),
        reference=answer,
        twin=None,
        cluster=name,
        source="general: " + ", ".join(drawing.artwork.id for drawing in drawings),
        licence=" AND ".join(sorted({drawing.artwork.licence for drawing in drawings})),
    )


if __name__ == "__main__":
    main()
