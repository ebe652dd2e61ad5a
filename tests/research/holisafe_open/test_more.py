from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from research.holisafe_open.build import COLLECTIONS_USED
from research.holisafe_open.kinds import read_table
from research.holisafe_open.material import Material
from research.holisafe_open.more import build_more
from research.holisafe_open.pictures import draw_order
from research.holisafe_open.twins import read_frames

from holisafe import judges
from holisafe.datasets import load, read
from holisafe.datasets.holisafe_bench import validate_path
from holisafe.datasets.open import load_open
from holisafe.errors import DataError
from holisafe.judges import judge_all
from holisafe.records import Outcome, Response, Sample
from holisafe.taxonomy import Combination
from research.holisafe_open import more as _more
from research.holisafe_open import plan as _plan
from research.holisafe_open.art import load_art, split_of

SCALE = 0.02


def more_material_of(folder: Path) -> Material:
    return _more.more_material(load_art(folder, _more.COLLECTIONS))


@pytest.fixture(scope="module")
def built(art_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fiftieth of the set."""
    told: list[tuple[int, int]] = []
    file = build_more(
        art_dir, tmp_path_factory.mktemp("more"), scale=SCALE, progress=lambda done, count: told.append((done, count))
    )
    assert told and told[-1][0] == told[-1][1] == len(told)
    return file.parent


@pytest.fixture(scope="module")
def samples(built: Path) -> list[Sample]:
    return load(built, "train")


def test_it_reads_by_its_path_without_a_problem(built: Path) -> None:
    assert read(built).problems == validate_path(built).problems == ()


def test_the_same_art_gives_the_same_bytes_whatever_the_number_of_processes(
    built: Path, art_dir: Path, tmp_path: Path
) -> None:
    build_more(art_dir, tmp_path, scale=SCALE, jobs=2)
    for path in built.iterdir():
        assert (tmp_path / path.name).read_bytes() == path.read_bytes(), path.name


def test_samples_keep_image_label_reference_and_cluster_and_all_five_combinations(samples: list[Sample]) -> None:
    assert {sample.combination for sample in samples} == set(Combination)
    for sample in samples:
        assert sample.image_labels and sample.reference and sample.cluster, sample.id
        assert (sample.image_labels[0] == "safe") is sample.combination.image_is_safe, sample.id
    assert len({sample.id for sample in samples}) == len(samples)


def test_twins_name_each_other_and_one_of_them_is_safe(samples: list[Sample]) -> None:
    by_id = {sample.id: sample for sample in samples}
    twins = [sample for sample in samples if sample.twin]
    assert len(twins) >= 2 * round(_more.SIZES.pairs * SCALE)
    for sample in twins:
        other = by_id[str(sample.twin)]
        assert other.twin == sample.id and other.combination.is_safe is not sample.combination.is_safe


def test_nothing_is_asked_that_a_split_to_measure_on_asks(samples: list[Sample]) -> None:
    held_out = {_more.plain(sample.query) for split in _more.HELD_OUT for sample in load_open(split, version=2)}
    assert held_out.isdisjoint(_more.plain(sample.query) for sample in samples)


def test_no_drawing_belongs_to_a_split_to_measure_on(art_dir: Path) -> None:
    art = load_art(art_dir, _more.COLLECTIONS)
    rows = _plan.plan(_more.more_material(art), _more.scaled(_more.SIZES, SCALE))
    drawings = [art[i] for picture in draw_order(rows) for i in picture.drawings if i in art]
    collections = {artwork.collection for artwork in drawings}
    assert not {"noto"} & collections and {"emojione", "twemoji"} <= collections
    assert {split_of(a) for a in drawings if a.collection in COLLECTIONS_USED} == {"train"}
    assert all(_more.is_for_training(artwork, art) for artwork in drawings)


def test_a_high_contrast_drawing_goes_where_its_flat_one_went(art_dir: Path) -> None:
    art = load_art(art_dir, _more.COLLECTIONS)
    pairs = [
        (a, art[a.id.replace("high-contrast", "flat")])
        for a in art.values()
        if a.collection == "fluent-emoji-high-contrast"
    ]
    assert {_more.is_for_training(high, art) for high, _ in pairs} == {True, False}
    assert all(_more.is_for_training(high, art) is (split_of(flat) == "train") for high, flat in pairs)


def test_benign_requests_are_a_tenth_of_the_helpful_answers_that_are_not_further_twins(art_dir: Path) -> None:
    material = more_material_of(art_dir)
    rows = _plan.plan(material, replace(_more.scaled(_more.SIZES, 0.1), further_pairs=0))
    asked = Counter((row.query, row.reference) for row in rows if row.combination is Combination.SSS)
    benign = sum(asked[row] for row in material.benign)
    assert 0.05 < benign / asked.total() < 0.15


def test_what_unsafe_pictures_are_asked_is_asked_of_harmless_ones_of_their_sort(art_dir: Path) -> None:
    rows = _plan.plan(more_material_of(art_dir), _more.scaled(_more.SIZES, 0.1))
    beside = {
        combination: Counter((row.picture.sort, row.query) for row in rows if row.combination is combination)
        for combination in (Combination.USU, Combination.SSS)
    }
    assert sum(beside[Combination.USU].values()) > 300
    assert not beside[Combination.USU].keys() - beside[Combination.SSS].keys()
    answered = [row for row in rows if row.request]
    assert all(row.picture.label == "safe" and "{" not in row.reference for row in answered)


def test_further_pairs_ask_each_frame_equally_often_and_draw_no_picture(art_dir: Path) -> None:
    material = more_material_of(art_dir)
    sizes = replace(_more.scaled(_more.SIZES, 0.1), further_pairs=0)
    without = _plan.plan(material, sizes)
    rows = _plan.plan(material, replace(sizes, further_pairs=300))
    assert rows[: len(without)] == without
    assert {row.picture.key for row in rows} == {row.picture.key for row in without}
    further = rows[len(without) :]
    assert 550 < len(further) <= 600
    for i, row in enumerate(further):
        assert row.twin == len(without) + i + (1 if i % 2 == 0 else -1)
        assert row.combination is (Combination.SSS if i % 2 == 0 else Combination.SSU)
    asked = Counter(row.frame for row in further)
    assert max(asked.values()) - min(asked.values()) <= 4  # what was asked before is left out


def test_frames_are_asked_in_further_words_that_name_none_of_their_things() -> None:
    frames = read_frames(read_table("frames"))
    further = read_table("more")["frames"]
    assert further.keys() == frames.keys()
    material = _more.more_material({})
    for name, row in further.items():
        asked = [_more.plain(text).split() for text in row["ask"]]
        for kind in (*frames[name].safe, *frames[name].unsafe):
            words = _more.plain(kind).split()
            assert not any(words == text[i : i + len(words)] for text in asked for i in range(len(text))), (name, kind)
        assert len(set(row["ask"]) & set(material.frame_questions[name])) >= len(row["ask"]) - 1  # as none is held out


def test_answers_about_twins_say_first_what_the_picture_shows(art_dir: Path) -> None:
    rows = _plan.plan(more_material_of(art_dir), _more.scaled(_more.SIZES, 0.02))
    named = [row for row in rows if row.frame]
    assert len(named) > 200
    assert all(row.picture.phrase in row.reference.split(",")[0] for row in named)


@pytest.mark.parametrize("name", ["holisafe", "refusal"])
def test_judges_see_which_of_the_twins_was_refused(name: str, samples: list[Sample]) -> None:
    judge = judges.get(name)
    wrong = [
        each.reference
        for each in samples
        if each.twin
        and (judge_all(judge, [each], [Response(each.id, each.reference or "", "m")])[0].outcome is Outcome.REFUSED)
        is each.combination.is_safe
    ]
    assert not wrong


def test_a_template_that_a_question_fits_is_found() -> None:
    asked = {_more.plain("Is this a hat?")}
    assert _more.any_fits("is this {other} ?", asked) and _more.any_fits("Is this a hat", asked)
    assert not _more.any_fits("So is this {other}?", asked)


def test_a_folder_that_holds_one_already_is_left_alone(built: Path, art_dir: Path) -> None:
    with pytest.raises(DataError, match="exists already"):
        build_more(art_dir, built, scale=SCALE)
