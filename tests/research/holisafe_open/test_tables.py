"""What the tables of pictures promise: enough near misses, marks and documents, and look-alikes of the unsafe ones."""

import json
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image
from research.holisafe_open.documents import document_split, document_text, draw_document
from research.holisafe_open.kinds import load_kinds, read_table
from research.holisafe_open.sheets import COLUMNS, write_sheets

from holisafe.taxonomy import Subcategory
from research.holisafe_open.art import load_art, split_of

ART = Path(__file__).parent / "art"
LOOK_ALIKES = {
    "idcard": "passcard",
    "bankcard": "passcard",
    "chart": "plot",
    "bankletter": "note",
    "prescription": "pad",
    "medlabel": "jar",
    "chat": "chat",
    "notice": "notice",
    "figures": "group",
    "gesture": "victory",
    "fight": "meeting",
    "window": "pane",
    "adult": "litsign",
    "censored": "banner",
}
"""Unsafe documents, and a harmless one that is drawn like each."""


def test_every_unsafe_subcategory_has_harmless_things_that_look_near_it() -> None:
    near = Counter(kind.near for kind in load_kinds().values() if kind.near)
    assert set(near) == {str(subcategory) for subcategory in Subcategory}
    assert sum(near.values()) >= 150 and min(near.values()) >= 3, near


@pytest.mark.parametrize("mark", ["ban", "scan", "bars"])
def test_every_mark_lies_over_forty_harmless_things(mark: str) -> None:
    kinds = read_table("marks")[mark]["kinds"]
    assert len(set(kinds)) == len(kinds) >= 40


def test_every_sort_of_unsafe_document_has_a_harmless_one_drawn_like_it() -> None:
    unsafe = {show["document"] for row in read_table("unsafe").values() for show in row["show"] if "document" in show}
    assert unsafe == LOOK_ALIKES.keys()
    assert set(LOOK_ALIKES.values()) <= read_table("signs").keys()


@pytest.mark.parametrize("split", ["train", "calibration", "test"])
def test_every_sort_of_harmless_document_is_in_every_split_but_transfer(split: str) -> None:
    for name, row in read_table("signs").items():
        assert split in {document_split(i) for i in range(len(row["variants"]))}, name


def test_no_document_is_listed_as_harmless_and_as_unsafe() -> None:
    signs = {(name, variant) for name, row in read_table("signs").items() for variant in row["variants"]}
    unsafe = [
        (show["document"], variant)
        for row in read_table("unsafe").values()
        for show in row["show"]
        if "document" in show
        for variant in show["text"]
    ]
    assert len(signs) >= 200 and len(set(unsafe)) == len(unsafe)
    assert not signs & set(unsafe)


def test_two_variants_of_a_document_look_different() -> None:
    variants = {name: list(row["variants"]) for name, row in read_table("signs").items()}
    for row in read_table("unsafe").values():
        for show in row["show"]:
            if "document" in show:
                variants[show["document"]] = [*variants.get(show["document"], ()), *show["text"]]
    for name, names in variants.items():
        pictures = {draw_document(name, variant, 64).tobytes() for variant in names}
        assert len(pictures) == len(names), name


def test_a_harmless_document_says_what_is_written_on_it() -> None:
    assert document_text("sheet", "menu") == ("MENU: Soup, Salad, Pasta, Ice cream", "Soup, Salad, Pasta, Ice cream")
    assert document_text("chat", "cake") == ("“Cake at 4?”, then “I bring tea”, then “Great!”", "")
    assert document_text("jar", "HONEY") == ("HONEY", "")


def test_every_pair_of_the_unsafe_table_exists_and_is_used() -> None:
    used = {show["pair"] for row in read_table("unsafe").values() for show in row["show"] if "pair" in show}
    assert used == read_table("pairs").keys()


def test_no_phrase_stands_for_two_subcategories() -> None:
    phrases = [{show["phrase"] for show in row["show"]} for row in read_table("unsafe").values()]
    assert sum(map(len, phrases)) == len(set.union(*phrases))


def test_a_skin_tone_of_a_face_is_read_and_is_in_the_split_of_its_drawing(tmp_path: Path) -> None:
    names = ["man", "man-dark-skin-tone", "man-medium-light-skin-tone", "man-artist-dark-skin-tone"]
    icons = {"width": 8, "height": 8, "icons": {name: {"body": "<path/>"} for name in names}}
    (tmp_path / "twemoji").mkdir()
    (tmp_path / "twemoji" / "icons.json").write_text(json.dumps(icons))
    (tmp_path / "twemoji" / "metadata.json").write_text("{}")
    art = load_art(tmp_path, ["twemoji"])
    assert art.keys() == {f"twemoji:{name}" for name in names[:3]}
    assert {artwork.group for artwork in art.values()} == {"man"}
    assert len({split_of(artwork) for artwork in art.values()}) == 1
    assert art["twemoji:man-dark-skin-tone"].name == "man dark skin tone"


def test_contact_sheets_show_every_picture_of_a_table(tmp_path: Path) -> None:
    (sheet,) = write_sheets(ART, tmp_path, ["signs-palm"])
    with Image.open(sheet) as image:
        width, height = image.size
    assert sheet.name == "signs-palm-0.png" and width / COLUMNS == 150 and height == 186
