"""Write docs/datasets/open.md and open.croissant.json from version 2 of HoliSafe-Open.

Run after building it: `python docs/datasets/open.py`. Tests compare the files with what this would write.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from research.holisafe_open.build import VERSION
from research.holisafe_open.kinds import load_kinds, read_table

from holisafe.datasets.open import load_open, open_images
from holisafe.datasets.open._load import IMAGES_FILE, MANIFEST_FILE, SAMPLES_FILE, data_folder
from holisafe.taxonomy import Combination, Subcategory
from research.holisafe_open.art import COLLECTIONS

PAGE = Path(__file__).with_suffix(".md")
CROISSANT = Path(__file__).with_suffix(".croissant.json")
SPLITS = ("train", "calibration", "test", "transfer", "photo")
AGREEMENT = Path(__file__).with_name("open-agreement.json")
FEWEST_ARTWORKS = 12
"""Artworks each unsafe subcategory should have at least; where it has fewer, the page says so."""

ATTRIBUTION = {
    "openclipart": "Open Clip Art Library, release 0.18, as in Debian's `openclipart-svg`; by its many contributors.",
    "noto": "Noto Emoji, © Google; from `@iconify-json/noto`. Only in `transfer`.",
    "game-icons": "Icons made by Lorc, Delapouite, John Colburn, Felbrigg, John Redman, Carl Olsen, Sbed, PriorBlue, "
    "Willdabeast, Viscious Speed, Lord Berandas, Irongamer, HeavenlyDog and other contributors, available on "
    "https://game-icons.net; from `@iconify-json/game-icons`. Changed: scaled, coloured, set on backgrounds.",
    "healthicons": "Health Icons, © Resolve to Save Lives and contributors; from `@iconify-json/healthicons`.",
    "fluent-emoji-flat": "Fluent Emoji, © Microsoft; from `@iconify-json/fluent-emoji-flat`.",
    "twemoji": "Twemoji, © Twitter, Inc and other contributors; from `@iconify-json/twemoji`. Changed: scaled, set on "
    "backgrounds.",
    "emojione": "EmojiOne 2, © Emoji One and the EmojiTwo contributors; from `@iconify-json/emojione`. Changed: "
    "scaled, set on backgrounds.",
    "streamline-emojis": "Streamline Emojis, © Streamline; from `@iconify-json/streamline-emojis`. Changed: scaled, "
    "set on backgrounds.",
    "mdi": "Material Design Icons, © Pictogrammers; from `@iconify-json/mdi`. Changed: scaled, coloured, set on "
    "backgrounds.",
}
PHOTOGRAPHS = {
    "GPL-2.0-only": "Tux Paint stamps, © Bill Kendrick and contributors; from Debian's `tuxpaint-stamps-default`. "
    "Changed: scaled, set on backgrounds.",
    "GPL-2.0-or-later": "MATE backgrounds by the photographers whom Debian's `mate-backgrounds` names. Changed: "
    "cropped.",
    "CC0-1.0": "Sample images of scikit-image. Cropped.",
    "CC-BY-2.0": "danielbuechele (china) and vultilion (flower) on Flickr; from scikit-learn. Changed: cropped.",
}
COLUMNS = {
    SAMPLES_FILE: {
        "id": "unique name of the sample",
        "split": "train, calibration, test, transfer or photo",
        "image": "key of its image",
        "query": "the user's text",
        "combination": "safety of image, query and both together: SSS, SSU, USU, UUU, SUU",
        "category": "topic, one of seven; null where the subcategory is",
        "subcategory": "finer topic, one of nineteen; for SSS the harm that lies nearest, or null",
        "image_labels": "what a guard should say of the image",
        "reference": "a right answer: helpful for SSS, else a refusal that names the reason",
        "twin": "id of the other sample of its twin pair, or null",
        "cluster": "samples that share an image share it",
        "source": "the drawings in the image",
        "licence": "SPDX id, or several joined by AND",
        "frame": "name of the twin question, or empty",
        "request": "name of the ordinary request, or empty",
    },
    IMAGES_FILE: {
        "key": "unique name of the image",
        "split": "train, calibration, test, transfer or photo",
        "bytes": "JPEG, 256 × 256 pixels",
        "label": "guard label: safe or a subcategory",
        "sort": "thing, figure, scene, document, marked or photo",
        "shows": "what it shows, as a phrase",
        "kinds": "kinds of everyday objects it shows; empty for documents and unsafe images",
        "artworks": "ids of the drawings, collection:name; holisafe:... for our own, photo:... for photographs",
        "collection": "collection of the first drawing",
        "background": "colour and pattern behind them",
        "overlay": "mark over the first drawing: ban, scan, bars, or empty",
        "licence": "SPDX id, or several joined by AND",
    },
}


def render() -> str:
    """The datasheet, after Gebru et al., "Datasheets for Datasets", arXiv 1803.09010."""
    samples = {split: load_open(split, version=VERSION) for split in SPLITS}
    images = {split: open_images(split, version=VERSION) for split in SPLITS}
    everything = [sample for split in SPLITS for sample in samples[split]]
    manifest = json.loads((data_folder(VERSION) / MANIFEST_FILE).read_text(encoding="utf-8"))
    size = sum((data_folder(VERSION) / name).stat().st_size for name in (SAMPLES_FILE, IMAGES_FILE)) / 1e6
    by_id = {sample.id: sample for sample in everything}
    same_image = sum(s.images[0].key == by_id[s.twin].images[0].key for s in everything if s.twin) // 2
    parts = [
        "<!-- Written by docs/datasets/open.py; build the data or change the script, and run it again. -->",
        "# HoliSafe-Open, version 2: datasheet",
        "An image-text safety set of all five combinations that anyone may use, copy and change. Its images are "
        "drawings, and in one split photographs, that are harmless to look at. It is part of `holisafe-assets`; "
        '`holisafe.datasets.load("open", "test")` reads it; `open@1` is [version 1](open-1.md).',
        "## Motivation",
        "Safety data for vision-language models are gated, contain disturbing images, or may not be redistributed. "
        "Tests, tutorials, continuous integration and teaching need data without these limits. The set measures "
        "whether a model reads image and question *together*: in its twins the same question is safe about one image "
        "and unsafe about the other, so that neither alone determines the answer. It does not replace "
        "HoliSafe-Bench, whose images are photographs; figures on the two are not comparable.",
        "Version 2 exists because a classifier that saw the *questions* of version 1 alone came close to a tuned "
        "model: "
        "nearly all questions beside unsafe images were asked of no harmless one. Now unsafe and harmless images of a "
        "sort are asked the same ordinary requests, in the same words and proportions.",
        "## Composition",
        f"{len(everything):,} samples on {sum(map(len, images.values())):,} images, "
        f"{len({s.query for s in everything}):,} different queries, {size:.1f} MB.",
        _table(
            ("split", "samples", "images", "artworks", *Combination, "twin pairs"),
            (_split_row(split, samples[split], images[split]) for split in SPLITS),
        ),
        f"{same_image} twin pairs have one image and two queries, the others one query and two images. "
        f"Splits share no image and no artwork. `transfer` uses only {COLLECTIONS['noto'].title}, which no other split "
        "uses. `photo` holds photographs, all harmless, some of them near misses of harm (a hammer, a gas cylinder): "
        "it "
        f"measures false alarms. {_new_queries(samples):.0%} of the queries of `test` do not occur in `train`.",
        "Samples by subcategory, and the number of artworks that represent it:",
        _table(("subcategory", *Combination, "images", "artworks"), _subcategory_rows(everything, images)),
        _few_artworks(images),
        "**An unsafe image** is harmless to look at and represents a harm by a symbol: a drawn weapon, pills beside a "
        "skull, a crossed-out religious symbol, a face inside a recognition frame, a drawn identity card. Money, price "
        "charts, medicines and medical findings are labelled unsafe because personal advice about them needs a "
        "professional. The same marks (a crossed-out circle, a frame, bars) are on harmless things as often, every "
        "sort of unsafe document has harmless ones of its look, and there are *near misses*: an axe beside a dagger, a "
        "crutch that is not crossed out, an empty prescription pad.",
        "**Combinations.** SSS: safe image and question; the reference is a helpful answer. SSU: image and question "
        "are each safe, and unsafe together: the unsafe samples of twins. USU: an unsafe image with an ordinary "
        "request "
        "(name it, write a poem, where to hang it), which the same split asks of harmless images too; the rule of "
        "HoliSafe is that an unsafe image is to be refused, whatever is asked. UUU: both unsafe. SUU: a safe image "
        "with an unsafe "
        "question. Unsafe requests state an intent only and contain nothing that would help do harm; there are no "
        "slurs.",
        f"**Kinds.** {len(load_kinds())} kinds of everyday objects with synonyms, "
        f"{sum(kind.near is not None for kind in load_kinds().values())} of them near misses; "
        f"{len(read_table('frames'))} twin questions with a reason for every kind; "
        f"{len(read_table('ordinary')['request'])} sorts of ordinary requests.",
        *_agreement(),
        "**Shortcuts.** Among the twins of every split, each image and each query is safe as often as unsafe, so a "
        "classifier that sees only one of them has an accuracy of exactly 50 %. `perf/shortcuts.py` tries "
        "the blind baselines of `holisafe blind` and object identity, and collection, background and file size as "
        "confounders; a test recomputes it. Over all samples, [blind baselines](../results/blind.md) say what is left "
        "to "
        "a classifier that sees only the question or only the image.",
        "## Format",
        *(
            f"`{name}`:\n\n" + _table(("column", "content"), ((f"`{c}`", text) for c, text in columns.items()))
            for name, columns in COLUMNS.items()
        ),
        "Each file has one row group per split, in the order above. `manifest.json` has the SHA-256 of both files and "
        "of the drawings used of each collection, and the versions of the libraries that rendered them. Croissant 1.0 "
        "metadata: [open.croissant.json](open.croissant.json).",
        "## Collection",
        "The objects, questions, reasons and answers were written for this set, and every drawing was chosen by name "
        "and checked by eye. No text or image comes from a user or a model under test, and no real person is shown or "
        "named. Drawings are rendered with resvg, documents and signs are our own SVG with the DejaVu Sans Bold font "
        "(a subset is shipped). Backgrounds, sizes, positions and colours are drawn from one distribution for all "
        "images. `python -m research.holisafe_open open --art DIR` builds the same bytes again from the same art with "
        "the same libraries: "
        + ", ".join(f"{name} {version}" for name, version in manifest["libraries"].items())
        + ".",
        "## Licences and attribution",
        "Each image carries the licences of its drawings. Our own drawings, the texts and the arrangement: Apache-2.0.",
        _table(("collection", "licence", "images", "by"), _licence_rows(images)),
        "DejaVu fonts: © Bitstream, Inc. (Bitstream Vera), with changes in the public domain by the DejaVu authors.",
        "## Uses and limits",
        "- Intended uses: testing pipelines, comparing how models and guards read image and text together, teaching, "
        "examples. `train` is for training; report which splits a model was trained on.\n"
        "- Drawings differ from photographs and are easier to recognize. A model that is safe here need not be safe in "
        "use.\n"
        "- Refusing to name a colour beside an unsafe image follows from HoliSafe's rule; in use it may be too much. "
        "The "
        "column `request` lets such requests be counted apart.\n"
        "- `calibration` shows few different artworks of some subcategories (the table of splits): its unsafe images "
        "repeat them on other backgrounds.\n"
        "- What counts as safe follows common European and North American sense; law and custom differ elsewhere.\n"
        "- English only. Subcategories hold few samples in the smaller splits: use the intervals.\n"
        "- Reference answers are made from templates. They are correct, but not a style to imitate.",
        "## Maintenance",
        "Part of holisafe and versioned with it; a change of the data changes the manifest. Report a wrong label in "
        "the issue tracker, with the sample's id.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def croissant() -> str:
    """Croissant 1.0 metadata, JSON-LD."""
    manifest = json.loads((data_folder(VERSION) / MANIFEST_FILE).read_text(encoding="utf-8"))
    licences = sorted({COLLECTIONS[name].licence for name in ATTRIBUTION} | {"Apache-2.0"})
    files = [
        {
            "@type": "cr:FileObject",
            "@id": name,
            "name": name,
            "contentUrl": f"packages/holisafe-assets/src/holisafe_assets/open_{VERSION}/{name}",
            "contentSize": f"{(data_folder(VERSION) / name).stat().st_size} B",
            "encodingFormat": "application/vnd.apache.parquet",
            "sha256": manifest["files"][name],
        }
        for name in COLUMNS
    ]
    split_records: dict[str, Any] = {
        "@type": "cr:RecordSet",
        "@id": "splits",
        "name": "splits",
        "dataType": "cr:Split",
        "key": {"@id": "splits/name"},
        "field": [{"@type": "cr:Field", "@id": "splits/name", "name": "name", "dataType": "sc:Text"}],
        "data": [{"splits/name": split} for split in SPLITS],
    }
    meta: dict[str, Any] = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": "HoliSafe-Open",
        "description": "Drawn, redistributable image-text safety set of five combinations with twin pairs. "
        f"{pq.read_metadata(data_folder(VERSION) / SAMPLES_FILE).num_rows} samples on "
        f"{pq.read_metadata(data_folder(VERSION) / IMAGES_FILE).num_rows} images.",
        "license": [f"https://spdx.org/licenses/{licence}.html" for licence in licences],
        "version": "2.0.0",
        "isLiveDataset": False,
        "citeAs": "HoliSafe-Open, shipped with holisafe",
        "distribution": files,
        "recordSet": [split_records, *(_record_set(name) for name in COLUMNS)],
    }
    return json.dumps(meta, indent=2, ensure_ascii=False) + "\n"


def _record_set(name: str) -> dict[str, Any]:
    schema = pq.read_schema(data_folder(VERSION) / name)
    title = name.removesuffix(".parquet")
    fields = []
    for column, text in COLUMNS[name].items():
        kind = str(schema.field(column).type)
        field: dict[str, Any] = {
            "@type": "cr:Field",
            "@id": f"{title}/{column}",
            "name": column,
            "description": text,
            "dataType": "sc:ImageObject" if column == "bytes" else "sc:Text",
            "source": {"fileObject": {"@id": name}, "extract": {"column": column}},
        }
        if kind.startswith("list"):
            field["repeated"] = True
        if column == "split":
            field["references"] = {"field": {"@id": "splits/name"}}
        if title == "samples" and column == "image":
            field["references"] = {"field": {"@id": "images/key"}}
        fields.append(field)
    key = "id" if title == "samples" else "key"
    return {
        "@type": "cr:RecordSet",
        "@id": title,
        "name": title,
        "description": f"{pq.read_metadata(data_folder(VERSION) / name).num_rows} records",
        "key": {"@id": f"{title}/{key}"},
        "field": fields,
    }


def _split_row(split: str, samples: Sequence[Any], images: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    counts = Counter(sample.combination for sample in samples)
    artworks = {artwork for row in images for artwork in row["artworks"]}
    pairs = sum(sample.twin is not None for sample in samples) // 2
    numbers = (len(samples), len(images), len(artworks), *(counts[c] for c in Combination), pairs)
    return (f"`{split}`", *(f"{number:,}" for number in numbers))


def _new_queries(samples: dict[str, list[Any]]) -> float:
    known, asked = ({sample.query for sample in samples[split]} for split in ("train", "test"))
    return len(asked - known) / len(asked)


def _artworks_of(images: dict[str, list[dict[str, Any]]]) -> dict[str, set[str]]:
    """The different artworks (first drawings) that stand for each unsafe label."""
    found: dict[str, set[str]] = defaultdict(set)
    for rows in images.values():
        for row in rows:
            found[row["label"]].add(row["artworks"][0])
    return found


def _subcategory_rows(samples: Sequence[Any], images: dict[str, list[dict[str, Any]]]) -> Iterable[tuple[str, ...]]:
    counts = Counter((sample.subcategory, sample.combination) for sample in samples)
    shown = Counter(row["label"] for rows in images.values() for row in rows)
    artworks = _artworks_of(images)
    for subcategory in Subcategory:
        numbers = (*(counts[subcategory, c] for c in Combination), shown[subcategory], len(artworks[subcategory]))
        yield (f"`{subcategory}`", *(str(number) for number in numbers))


def _agreement() -> Iterable[str]:
    """What a second pair of eyes said of a sample of the labels."""
    if not AGREEMENT.is_file():
        return
    found = json.loads(AGREEMENT.read_text(encoding="utf-8"))
    yield (
        f"**A second pair of eyes** labelled {found['samples']} samples without seeing the labels: whether image, "
        f"text and "
        "both together are safe, and what an unsafe image stands for. Agreement, before what it disputed was mended:"
    )
    yield _table(
        ("combination", "samples", "image safe or not", "text safe or not", "together", "label of unsafe image"),
        (
            (name, str(row["samples"]), *("" if row[part] is None else f"{row[part]:.0%}" for part in _PARTS))
            for name, row in found["by_combination"].items()
        ),
    )
    yield found["mended"]


_PARTS = ("image", "text", "together", "label")


def _few_artworks(images: dict[str, list[dict[str, Any]]]) -> str:
    artworks = _artworks_of(images)
    drawn = {name: sum(i.startswith("holisafe:") for i in artworks[name]) for name in Subcategory}
    few = [
        f"`{name}` ({len(artworks[name]) - drawn[name]} of the collections and {drawn[name]} drawn by us)"
        for name in Subcategory
        if len(artworks[name]) - drawn[name] < FEWEST_ARTWORKS
    ]
    return (
        f"Every subcategory has at least {FEWEST_ARTWORKS} different artworks of the collections"
        + (", except " + ", ".join(few) if few else "")
        + "."
    )


def _licence_rows(images: dict[str, list[dict[str, Any]]]) -> Iterable[tuple[str, ...]]:
    used = Counter(
        name for rows in images.values() for row in rows for name in {i.split(":")[0] for i in row["artworks"]}
    )
    for name, text in ATTRIBUTION.items():
        yield COLLECTIONS[name].title, COLLECTIONS[name].licence, str(used[name]), text
    for licence, text in PHOTOGRAPHS.items():
        files = [row["file"] for row in read_table("photographs").values() if row["licence"] == licence]
        yield "photographs", licence, str(len(files)), text
    yield "own drawings", "Apache-2.0", str(used["holisafe"]), "the authors of holisafe"


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    cells = list(head)
    lines = ["| " + " | ".join(cells) + " |", "| " + " | ".join("---" for _ in cells) + " |"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}

if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
    CROISSANT.write_text(croissant(), encoding="utf-8")
