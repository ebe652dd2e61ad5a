from pathlib import Path

import pytest
from research.holisafe_open.kinds import load_kinds
from research.holisafe_open.more import HELD_OUT, plain
from research.pocket.drawings import Drawing, render_drawings
from research.pocket.general import general_samples, read_answers

from holisafe.datasets import load
from holisafe.datasets.export import export_parquet
from holisafe.datasets.holisafe_bench import validate_path
from holisafe.datasets.open import load_open
from holisafe.records import Sample
from holisafe.taxonomy import Combination
from research.holisafe_open.art import load_art

ART = Path(__file__).parents[2] / "research" / "holisafe_open" / "art"
ANSWERS = {"rocking chair": {"use": "A rocking chair is for sitting."}}


@pytest.fixture(scope="module")
def drawings() -> list[Drawing]:
    kinds = {i for kind in load_kinds().values() for i in kind.artworks}
    art = load_art(ART, ["twemoji", "game-icons"])
    return render_drawings([(a, a.name) for key, a in art.items() if key in kinds][:8])


@pytest.fixture(scope="module")
def samples(drawings: list[Drawing]) -> list[Sample]:
    return general_samples(drawings, ANSWERS, 30)


def test_every_sample_is_harmless_and_has_an_answer_and_a_picture_of_its_own(samples: list[Sample]) -> None:
    for sample in samples:
        assert sample.combination is Combination.SSS and sample.image_labels == ("safe",)
        assert sample.query and sample.reference and sample.licence
    assert len({sample.id for sample in samples}) == len({sample.images[0].key for sample in samples}) == 30


def test_the_same_seed_gives_the_same_samples(drawings: list[Drawing], samples: list[Sample]) -> None:
    assert general_samples(drawings, ANSWERS, 30) == samples


def test_nothing_is_asked_that_the_splits_to_measure_on_ask(samples: list[Sample]) -> None:
    held_out = {plain(sample.query) for split in HELD_OUT for sample in load_open(split, version=2)}
    assert not {plain(sample.query) for sample in samples} & held_out


def test_some_pictures_show_several_things(samples: list[Sample]) -> None:
    assert {len(sample.source.split(", ")) for sample in samples} >= {1, 2}


def test_it_reads_by_its_path(samples: list[Sample], tmp_path: Path) -> None:
    export_parquet(samples, tmp_path, "train")
    assert [sample.reference for sample in load(tmp_path, "train")] == [sample.reference for sample in samples]
    loaded = validate_path(tmp_path)
    assert not loaded.problems


def test_answers_are_read_by_name_and_kind_of_question(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"name": "cup", "kind": "use", "answer": "To drink."}\n')
    assert read_answers(tmp_path / "a.jsonl") == {"cup": {"use": "To drink."}}
