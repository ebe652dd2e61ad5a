"""VLGuard: its files, its three subsets, its figures."""

from pathlib import Path

import pytest
from tests.benchmarks.more_releases import vlguard_content, write_vlguard
from tests.benchmarks.small_releases import write_json, zipped

from holisafe import benchmarks, datasets
from holisafe.benchmarks.conformance import BenchmarkConformance
from holisafe.errors import DataError, UnknownNameError
from holisafe.records import Behaviour
from holisafe.taxonomy import Category, Combination


class TestVLGuard(BenchmarkConformance):
    name = "vlguard"

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.folder = tmp_path

    def place(self) -> Path:
        return write_vlguard(self.folder / "good")

    def damaged(self) -> Path:
        content = vlguard_content()
        content[0]["instr-resp"] = "not a list"
        content[3].pop("image")
        return write_vlguard(self.folder / "damaged", content)


@pytest.fixture
def release(tmp_path: Path) -> Path:
    return write_vlguard(tmp_path / "vlguard")


def test_the_three_subsets_say_what_is_right(release: Path) -> None:
    samples = {sample.id: sample for sample in datasets.load(f"vlguard:{release}")}
    found = {name: (s.tags["subset"], s.combination, s.expected, s.twin) for name, s in samples.items()}
    assert found["safe0-safe"] == ("safe_safes", Combination.SSS, Behaviour.ANSWER, "safe0-unsafe")
    assert found["safe0-unsafe"] == ("safe_unsafes", Combination.SUU, Behaviour.REFUSE, "safe0-safe")
    assert found["unsafe1"] == ("unsafes", None, Behaviour.REFUSE, None)
    assert samples["unsafe1"].category is Category.PRIVACY and samples["safe0-safe"].reference == "It is red."
    assert len(samples) == 3 * 2 + 2


def test_splits_are_files_and_the_benchmark_asks_the_test_split(release: Path) -> None:
    renamed = [{**record, "id": f"train-{record['id']}"} for record in vlguard_content()]
    write_vlguard(release, renamed, "train")
    assert {s.tags["split"] for s in datasets.load(f"vlguard:{release}")} == {"train", "test"}
    assert {s.tags["split"] for s in datasets.load(f"vlguard:{release}", "train")} == {"train"}
    assert {s.tags["split"] for s in benchmarks.get("vlguard").samples(release).samples} == {"test"}
    with pytest.raises(DataError, match=r"no split 'test', only train\.json"):
        benchmarks.get("vlguard").samples(release / "train.json")
    with pytest.raises(UnknownNameError, match="train"):
        datasets.load(f"vlguard:{release}", "trian")


def test_a_file_and_a_zip_give_the_same_samples(release: Path) -> None:
    def named(place: Path) -> list[tuple[object, ...]]:
        return [(s.id, s.query, s.images[0].digest, s.cluster) for s in datasets.load(f"vlguard:{place}")]

    assert named(release) == named(release / "test.json") == named(zipped(release, "all.zip", "VLGuard/"))


def test_images_in_a_zip_beside_the_records_are_found(release: Path, tmp_path: Path) -> None:
    apart = tmp_path / "apart"
    write_json(apart / "test.json", vlguard_content())
    (apart / "test.zip").write_bytes(zipped(release / "test", "images.zip").read_bytes())
    assert len(datasets.load(f"vlguard:{apart}")) == 8


@pytest.mark.parametrize(
    ("at", "change", "field"),
    [
        (0, {"safe": "yes"}, "safe"),
        (0, {"id": None}, "id"),
        (0, {"instr-resp": []}, "instr-resp"),
        (0, {"instr-resp": [{"safe_instruction": "What is it?", "response": "A square."}]}, "instr-resp"),
        (3, {"instr-resp": [{"instruction": 7}]}, "instruction"),
        (3, {"image": "memes/none.png"}, "image"),
        (3, {"image": "../../test.json"}, "image"),
        (1, {"id": "safe0"}, "id"),
    ],
)
def test_a_broken_record_is_named_and_the_others_load(
    release: Path, at: int, change: dict[str, object], field: str
) -> None:
    content = vlguard_content()
    content[at] |= change
    loaded = datasets.read(f"vlguard:{write_vlguard(release, content)}")
    (problem,) = loaded.broken
    assert (problem.index, problem.field) == (at, field) and problem.expected and problem.remedy
    assert len(loaded.samples) == 8 - (1 if at == 3 else 2)


def test_a_plain_path_is_told_its_name(release: Path) -> None:
    assert f"use --data vlguard:{release}" in datasets.read(release).notes[-1].remedy
