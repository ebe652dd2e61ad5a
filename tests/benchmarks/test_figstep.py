"""FigStep: its table, its pictures, drawn or released."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.benchmarks.more_releases import figstep_rows, write_csv, write_figstep
from tests.benchmarks.small_releases import zipped

from holisafe import benchmarks, datasets
from holisafe.benchmarks.conformance import BenchmarkConformance
from holisafe.datasets.releases._typographic import SIDE, picture, statement
from holisafe.errors import DataError
from holisafe.records import Behaviour
from holisafe.taxonomy import Combination


class TestFigStep(BenchmarkConformance):
    name = "figstep"

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.folder = tmp_path

    def place(self) -> Path:
        return write_figstep(self.folder / "good")

    def damaged(self) -> Path:
        rows = figstep_rows()
        rows[1]["instruction"] = ""
        return write_figstep(self.folder / "damaged", rows)


@pytest.fixture
def release(tmp_path: Path) -> Path:
    return write_figstep(tmp_path / "figstep")


def test_topics_and_tasks_are_tags(release: Path) -> None:
    first, *_, last = datasets.load(f"figstep:{release}")
    assert (first.id, first.tags["topic"], first.tags["task"]) == ("1-1", "Illegal Activity", "1")
    assert (last.id, last.tags["topic_number"], last.expected) == ("8-2", "8", Behaviour.REFUSE)
    assert first.combination is Combination.USU and first.tags["category"] == "illegal_activity"


def test_the_other_setting_asks_the_question_as_text(release: Path) -> None:
    made = benchmarks.get("figstep")
    picture_sample, text_sample = (made.samples(release, name).samples[0] for name in ("figstep", "vanilla"))
    assert "numbers 1, 2 and 3" in picture_sample.query and len(picture_sample.images) == 1
    assert text_sample.query == "How does one trespass at gate 1?" and not text_sample.images


def test_released_pictures_are_used_where_they_are_there(tmp_path: Path) -> None:
    loaded = datasets.read(f"figstep:{write_figstep(tmp_path / 'some', pictures=2)}")
    assert [s.tags["picture"] for s in loaded.samples] == ["released"] * 2 + ["drawn"] * 4
    assert "4 of 6 pictures missing" in loaded.notes[0].found
    whole = datasets.read(f"figstep:{write_figstep(tmp_path / 'all', pictures=6)}")
    assert whole.problems == ()


def test_a_file_a_folder_and_a_zip_ask_the_same(release: Path) -> None:
    whole = [(s.id, s.query, s.images[0].digest) for s in datasets.load(f"figstep:{release}")]
    places = (release / "data", release / "data" / "question" / "safebench.csv", zipped(release, "f.zip", "FigStep/"))
    for place in places:
        assert [(s.id, s.query, s.images[0].digest) for s in datasets.load(f"figstep:{place}")] == whole


def test_a_drawn_picture_holds_the_statement_in_full() -> None:
    assert statement("Steps to cross a wide river at night.").splitlines() == [
        "Steps to cross",
        "a wide river at",
        "night.",
        "1. ",
        "2. ",
        "3. ",
    ]
    for words in (3, 20, 30):
        drawn = picture("Steps " + "to go on " * words)
        assert drawn == picture("Steps " + "to go on " * words)
        with Image.open(io.BytesIO(drawn)) as image:
            dark = np.asarray(image.convert("L")) < 128
        assert dark.shape == (SIDE, SIDE) and dark.any()
        assert not dark[:, -9:].any() and not dark[-9:].any()  # nothing runs out of it


@pytest.mark.parametrize("words", [60, 100_000])
def test_a_statement_that_fits_no_picture_is_refused_and_not_cut(words: int, tmp_path: Path) -> None:
    rows = figstep_rows()
    rows[0]["instruction"] = ("Steps " + "to go on " * words)[:120_000]
    loaded = datasets.read(f"figstep:{write_figstep(tmp_path / 'figstep', rows)}")
    assert [(problem.index, problem.field) for problem in loaded.broken] == [(0, "instruction")]
    assert len(loaded.samples) == len(rows) - 1


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"category_id": 11}, "category_id"),
        ({"task_id": ""}, "task_id"),
        ({"category_name": ""}, "category_name"),
        ({"question": ""}, "question"),
        ({"instruction": ""}, "instruction"),
        ({"task_id": 1}, "id"),
    ],
)
def test_a_broken_record_is_named(tmp_path: Path, change: dict[str, object], field: str) -> None:
    rows = figstep_rows()
    rows[1] |= change
    loaded = datasets.read(f"figstep:{write_figstep(tmp_path, rows)}")
    assert [(p.index, p.field) for p in loaded.broken] == [(1, field)]
    assert len(loaded.samples) == 5


def test_a_table_that_lacks_a_column_or_is_not_there_is_refused(tmp_path: Path) -> None:
    lacking = [{key: value for key, value in row.items() if key != "instruction"} for row in figstep_rows()]
    loaded = datasets.read(f"figstep:{write_csv(tmp_path / 'safebench.csv', lacking)}")
    assert not loaded.samples and {p.field for p in loaded.broken} == {"instruction"}
    with pytest.raises(DataError, match=r"safebench\.csv"):
        (tmp_path / "empty").mkdir()
        datasets.read(f"figstep:{tmp_path / 'empty'}")
