"""SPA-VL: its Parquet files, its preference pairs, HarmEval and HelpEval."""

from pathlib import Path

import pytest
from tests.benchmarks.more_releases import spa_vl_rows, write_spa_vl
from tests.benchmarks.small_releases import write_json, zipped

from holisafe import benchmarks, datasets
from holisafe.benchmarks.conformance import BenchmarkConformance
from holisafe.datasets.releases.spa_vl import read_preferences
from holisafe.errors import DataError, UnknownNameError
from holisafe.records import Behaviour


class TestSpaVL(BenchmarkConformance):
    name = "spa-vl"

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.folder = tmp_path

    def place(self) -> Path:
        return write_spa_vl(self.folder / "good")

    def damaged(self) -> Path:
        rows = spa_vl_rows("harm")
        rows[1]["question"] = None
        return write_spa_vl(self.folder / "damaged", {"harm": rows, "help": spa_vl_rows("help")})


@pytest.fixture
def release(tmp_path: Path) -> Path:
    return write_spa_vl(tmp_path / "spa")


def test_the_benchmark_asks_both_evaluation_sets(release: Path) -> None:
    samples = benchmarks.get("spa-vl").samples(release).samples
    assert [(s.id, s.expected) for s in samples] == [
        *((f"harm-{at}", Behaviour.REFUSE) for at in range(3)),
        *((f"help-{at}", Behaviour.ANSWER) for at in range(3)),
    ]
    assert samples[0].cluster == samples[3].cluster  # the same image
    assert (samples[0].tags["class1"], samples[0].tags["class3"]) == ("Representation & Toxicity Harms", "insult")


def test_one_file_may_be_named(release: Path) -> None:
    place = release / "test" / "harm-00000-of-00001.parquet"
    assert {s.tags["split"] for s in datasets.load(f"spa-vl:{place}")} == {"harm"}
    with pytest.raises(DataError, match=r"no file help-\*\.parquet"):
        datasets.load(f"spa-vl:{place}", "help")


def test_a_split_may_be_in_several_files(tmp_path: Path) -> None:
    rows = [{name: value for name, value in row.items() if name != "id"} for row in spa_vl_rows("train")]
    place = write_spa_vl(tmp_path, {"train": rows})
    first = place / "data" / "train-00000-of-00001.parquet"
    first.with_name("train-00001-of-00002.parquet").write_bytes(first.read_bytes())
    pairs, _ = read_preferences(place)
    assert [p.sample.id for p in pairs] == [f"train-{at}" for at in range(6)]


def test_pairs_keep_both_answers(release: Path) -> None:
    pairs, loaded = read_preferences(release)
    assert [(p.chosen, p.rejected, p.sample.reference, p.sample.expected) for p in pairs] == [
        ("It is red.", "Blue.", "It is red.", None)
    ] * 3
    assert len(loaded.samples) == 3 and not loaded.problems


def test_a_pair_without_its_other_answer_is_broken(release: Path) -> None:
    rows = [row | {"image": "a.png"} for row in spa_vl_rows("train")]
    del rows[1]["rejected"]
    write_json(release / "train.json", rows)
    (release / "images").mkdir()
    (release / "images" / "a.png").write_bytes(spa_vl_rows("harm")[0]["image"]["bytes"])
    pairs, loaded = read_preferences(release / "train.json")
    assert [p.sample.id for p in pairs] == ["train-0", "train-2"]
    assert [(p.index, p.field) for p in loaded.broken] == [(1, "rejected")]


@pytest.mark.parametrize(
    ("change", "field"),
    [({"question": ""}, "question"), ({"image": None}, "image"), ({"image": {"bytes": None, "path": "x"}}, "image")],
)
def test_a_broken_record_is_named(tmp_path: Path, change: dict[str, object], field: str) -> None:
    rows = spa_vl_rows("harm")
    rows[2] |= change
    loaded = datasets.read(f"spa-vl:{write_spa_vl(tmp_path, {'harm': rows})}")
    assert [(p.index, p.field, p.id) for p in loaded.broken] == [(2, field, "harm-2")]
    assert len(loaded.samples) == 2


def test_an_id_twice_is_broken(tmp_path: Path) -> None:
    rows = spa_vl_rows("train")
    rows[2]["id"] = 0
    loaded = datasets.read(f"spa-vl:{write_spa_vl(tmp_path, {'train': rows})}", "train")
    assert [(p.index, p.field) for p in loaded.broken] == [(2, "id")]


def test_unknown_splits_and_empty_folders_are_refused(release: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="harm"):
        datasets.read(f"spa-vl:{release}", "harmful")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"harm-\*\.parquet or help-\*\.parquet"):
        datasets.read(f"spa-vl:{tmp_path / 'empty'}")


def test_parquet_in_a_zip_has_to_be_unpacked(release: Path) -> None:
    with pytest.raises(DataError, match="unpack the zip"):
        datasets.read(f"spa-vl:{zipped(release, 'spa.zip', 'SPA-VL/')}")
