import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from research.holisafe_open.build import COLLECTIONS_USED, build_open, listed_artworks, write_open
from research.holisafe_open.kinds import load_kinds, read_table
from research.holisafe_open.pictures import draw_order
from research.holisafe_open.scenes import COLOURS, choose_background, compose, seeded
from research.holisafe_open.texts import enumerate_phrases, fill, frame_questions, in_plural, wordings
from research.holisafe_open.twins import closed_walks, read_frames

from holisafe.datasets.open import load_open
from holisafe.errors import DataError
from research.holisafe_open import documents as _documents
from research.holisafe_open import plan as _plan
from research.holisafe_open import sizes as _sizes
from research.holisafe_open.art import load_art, split_of

SMALL = {split: _sizes.Sizes(6, 6, 19, 4, 10) for split in _sizes.SPLITS} | {"photo": _sizes.SIZES["photo"]}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small picture in place of each photograph."""
    folder = tmp_path_factory.mktemp("photo")
    for i, row in enumerate(read_table("photographs").values()):
        (folder / row["file"]).parent.mkdir(parents=True, exist_ok=True)
        shade = Image.new("RGB", (40 + i % 3, 30), (i % 256, 40, 90))
        shade.save(folder / row["file"])
    return folder


@pytest.fixture(scope="module")
def built(art_dir: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same small set, built twice."""
    folders = tmp_path_factory.mktemp("once"), tmp_path_factory.mktemp("again")
    for folder in folders:
        write_open(load_art(art_dir, COLLECTIONS_USED), photos, folder, SMALL)
    return folders


def test_the_same_art_gives_the_same_bytes(built: tuple[Path, Path]) -> None:
    once, again = ({path.name: path.read_bytes() for path in folder.iterdir()} for folder in built)
    assert once.keys() == {"samples.parquet", "images.parquet", "manifest.json"}
    assert once == again


def test_a_set_that_was_built_elsewhere_loads(built: tuple[Path, Path]) -> None:
    samples = load_open("train", version=2, folder=built[0])
    assert samples and all(sample.images[0].data for sample in samples)


def test_every_drawing_keeps_to_its_split(art_dir: Path) -> None:
    art = load_art(art_dir, COLLECTIONS_USED)
    for split in set(_sizes.SPLITS) - {"photo"}:
        rows = _plan.plan_split(art, split, SMALL[split])
        drawings = {i for picture in draw_order(rows) for i in picture.drawings if i in art}
        assert drawings and all(split_of(art[i]) == split for i in drawings)


def test_art_other_than_the_shipped_sets_is_named(art_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="differs from the art"):
        build_open(art_dir, tmp_path)


def test_a_missing_collection_is_named(art_dir: Path, tmp_path: Path) -> None:
    shutil.copytree(art_dir, tmp_path / "art")
    shutil.rmtree(tmp_path / "art" / "healthicons")
    with pytest.raises(DataError, match="healthicons"):
        build_open(tmp_path / "art", tmp_path / "out")


def test_a_missing_photograph_is_named(photos: Path, tmp_path: Path) -> None:
    shutil.copytree(photos, tmp_path / "photo")
    file = next(iter(read_table("photographs").values()))["file"]
    (tmp_path / "photo" / file).unlink()
    with pytest.raises(DataError, match=re.escape(file)):
        write_open({}, tmp_path / "photo", tmp_path / "out", {**SMALL, **dict.fromkeys(SMALL, _sizes.Sizes(0, 0, 0))})


def test_a_damaged_file_is_named(built: tuple[Path, Path], tmp_path: Path) -> None:
    shutil.copytree(built[0], tmp_path / "set")
    (tmp_path / "set" / "samples.parquet").write_bytes(b"PAR1 and nothing more")
    with pytest.raises(DataError, match=r"samples\.parquet"):
        load_open("test", version=2, folder=tmp_path / "set")


def test_a_frame_never_calls_a_kind_both_right_and_wrong() -> None:
    kinds = load_kinds()
    for frame in read_frames(read_table("frames")).values():
        assert not frame.safe.keys() & frame.unsafe.keys(), frame.name
        assert frame.safe.keys() | frame.unsafe.keys() <= kinds.keys(), frame.name


def test_every_frame_is_asked_in_at_least_twelve_ways() -> None:
    for frame in read_frames(read_table("frames")).values():
        assert len(set(frame_questions(frame))) >= 12, frame.name


def test_every_kind_that_the_tables_name_exists() -> None:
    kinds = load_kinds().keys()
    for name, row in read_table("unsafe").items():
        assert set(row["beside"]) <= kinds, name
    for name, row in read_table("marks").items():
        assert set(row["kinds"]) <= kinds, name


def test_names_and_synonyms_of_a_kind_are_lower_case_and_differ() -> None:
    for kind in load_kinds().values():
        words = [kind.name, *kind.synonyms]
        assert len(set(words)) == len(words) and all(word.islower() for word in words), kind.name
        assert set(kind.artworks) <= listed_artworks()


@given(seed=st.integers(0, 1000), pairs=st.integers(1, 60))
def test_walks_are_closed_and_every_step_is_a_frames(seed: int, pairs: int) -> None:
    frames = read_frames(read_table("frames"))
    walks = closed_walks(frames, load_kinds().keys(), pairs, seeded(seed))
    assert sum(map(len, walks)) >= pairs
    for walk in walks:
        for edge, following in zip(walk, [*walk[1:], walk[0]], strict=True):
            assert edge.safe in frames[edge.frame].safe and edge.unsafe in frames[edge.frame].unsafe
            assert edge.unsafe == following.safe


def test_without_a_way_back_there_are_no_pairs() -> None:
    frames = read_frames(read_table("frames"))
    assert closed_walks(frames, {"carrot", "chocolate bar"}, 5, seeded(0)) == []


@given(st.lists(st.text(min_size=1), min_size=1, max_size=12, unique=True))
def test_test_wordings_hold_some_that_training_never_sees(options: list[str]) -> None:
    seen, tried = set(wordings(options, "train")), set(wordings(options, "test"))
    assert seen | tried <= set(options) and seen and tried
    if len(options) >= 5:
        assert tried - seen


def test_a_sentence_about_it_becomes_one_about_them() -> None:
    assert in_plural("It carries germs, and water does it no harm.") == "They carry germs, and water does them no harm."
    assert in_plural("It is small, so keep it in its box.") == "They are small, so keep them in their box."


def test_filling_a_text_starts_it_with_a_capital() -> None:
    assert fill("{this} {phrase}.", {"this": "this is", "phrase": "a hat"}) == "This is a hat."


def test_filling_a_text_says_an_orange_background() -> None:
    assert fill("On a {colour} background.", {"colour": "orange"}) == "On an orange background."


def test_phrases_are_joined_as_in_speech() -> None:
    assert enumerate_phrases(["a", "b", "c"]) == "a, b and c"


def test_backgrounds_take_every_colour_and_depend_on_the_seed_alone() -> None:
    assert {choose_background(seeded("x", i)).colour for i in range(400)} == set(COLOURS)
    assert choose_background(seeded("x", 7)) == choose_background(seeded("x", 7))


def test_four_drawings_and_a_mark_fit_into_one_picture() -> None:
    drawing = _documents.draw_document("idcard", "a", 100)
    picture = compose([drawing] * 4, choose_background(seeded(1)), seeded(2), overlay="ban")
    assert picture == compose([drawing] * 4, choose_background(seeded(1)), seeded(2), overlay="ban")


def test_every_document_of_the_tables_can_be_drawn() -> None:
    shown = [
        (row["document"], v)
        for s in read_table("unsafe").values()
        for row in s["show"]
        if "document" in row
        for v in row["text"]
    ]
    shown += [(name, variant) for name, row in read_table("signs").items() for variant in row["variants"]]
    for name, variant in shown:
        assert max(_documents.draw_document(name, variant, 64).size) == 64, (name, variant)


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The script as a person starts it, from the root of the repository."""
    root = Path(__file__).parents[3]
    environment = {**os.environ, "PYTHONPATH": f"{root / 'src'}{os.pathsep}{root}", "COLUMNS": "200"}
    started = [sys.executable, "-m", "research.holisafe_open", *arguments]
    return subprocess.run(started, cwd=root, env=environment, capture_output=True, text=True, timeout=120)


def test_the_script_says_how_it_is_used() -> None:
    told = command("--help")
    assert told.returncode == 0 and "python -m research.holisafe_open" in told.stdout and "--art" in told.stdout


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["closed"], "unknown data set to build 'closed'"),
        (["open-more"], "is not shipped"),
        (["open", "--scale", "0.5"], "open has one size"),
    ],
)
def test_what_cannot_be_built_is_refused(tmp_path: Path, arguments: list[str], complaint: str) -> None:
    told = command(*arguments, "--art", str(tmp_path))
    assert told.returncode == 2
    assert complaint in told.stderr and "Traceback" not in told.stderr
