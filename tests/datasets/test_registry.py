import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from holisafe._registry import Registry
from holisafe.datasets import _registry, dataset, find, load, read, registered_names
from holisafe.datasets.conformance import DatasetConformance
from holisafe.errors import RegistryError, UnknownNameError
from holisafe.images import content_hash
from holisafe.records import ImageRef, Sample
from holisafe.taxonomy import Combination, GuardLabel


@pytest.fixture(autouse=True)
def registry_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = _registry._DATASETS
    own: Registry[Any] = Registry(ours.kind, ours.group, expected=ours.expected, accepts=ours.accepts)
    own.add("open", find("open"))
    monkeypatch.setattr(_registry, "_DATASETS", own)


@pytest.fixture
def kitchen(png: bytes) -> str:
    image = ImageRef("pan", data=png)
    labels = (GuardLabel.SAFE,)

    @dataset("kitchen", splits=("train", "test"), description="Two questions about a pan")
    def load_kitchen(split: str | None) -> Sequence[Sample]:
        return [
            Sample.ask("1", (image,), "Hot?", Combination.SSS, image_labels=labels, twin="2", cluster="pan"),
            Sample.ask("2", (image,), "Touch?", Combination.SSU, image_labels=labels, twin="1", cluster="pan"),
        ]

    return "kitchen"


def test_a_decorated_function_is_a_data_set(kitchen: str) -> None:
    assert [sample.query for sample in load(kitchen, "test")] == ["Hot?", "Touch?"]


def test_it_is_listed(kitchen: str) -> None:
    assert kitchen in registered_names() and "open" in registered_names()


def test_an_unknown_split_gets_the_closest_one(kitchen: str) -> None:
    with pytest.raises(UnknownNameError, match=r"Did you mean train"):
        read(kitchen, "trian")


class TestKitchenConformance(DatasetConformance):
    name = "kitchen"

    @pytest.fixture(autouse=True)
    def _registered(self, kitchen: str) -> None:
        pass


class TestOpenConformance(DatasetConformance):
    name = "open"


@pytest.fixture
def another_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A package on the path with two entry points: a decorated and a plain function; and one that is taken."""
    (tmp_path / "their_data.py").write_text(
        "from holisafe.datasets import dataset\n"
        "@dataset('theirs', splits=('test',), description='Decorated')\n"
        "def load_theirs(split):\n    return []\n"
        "def load_plain(split):\n    return []\n"
    )
    metadata = tmp_path / "their_data-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: their-data\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        "[holisafe.datasets]\ntheirs = their_data:load_theirs\nplain = their_data:load_plain\n"
        "open = their_data:load_plain\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "theirs"
    sys.modules.pop("their_data", None)


def test_an_entry_point_is_listed_without_importing_its_package(another_package: str) -> None:
    assert another_package in registered_names()
    assert "their_data" not in sys.modules


def test_an_entry_point_to_a_decorated_function_keeps_its_splits(another_package: str) -> None:
    found = find(another_package)
    assert (found.splits, found.description) == (("test",), "Decorated")


def test_an_entry_point_to_a_plain_function_works(another_package: str) -> None:
    assert load("plain") == []


def test_an_entry_point_does_not_take_a_name_that_is_ours(another_package: str) -> None:
    assert "HoliSafe-Open" in find("open").description


def test_a_name_that_is_taken_is_refused(kitchen: str) -> None:
    with pytest.raises(RegistryError, match=r"a data set named 'kitchen' is registered already"):
        dataset(kitchen)(lambda split: [])


@pytest.mark.parametrize("fault", ["raise OSError('no disk')", "import nothing_of_this_name", "load_theirs = 7"])
def test_a_broken_entry_point_is_one_error_of_the_registry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    (tmp_path / "broken_data.py").write_text(f"{fault}\n")
    metadata = tmp_path / "broken_data-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-data\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[holisafe.datasets]\nbroken = broken_data:load_theirs\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "broken_data", raising=False)
    for use in (find, load, read):
        with pytest.raises(RegistryError, match=r"data set 'broken'"):
            use("broken")


def test_an_unknown_name_gets_the_closest_one() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown data set 'opne'. Did you mean open"):
        find("opne")


def test_images_of_a_registered_set_get_their_digest_and_cluster(png: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(png)
    file = ImageRef("x", path=tmp_path / "x.png", root=tmp_path)
    asked = [Sample.ask("1", (ImageRef("y", data=png),), "?", "SSS"), Sample.ask("2", (file,), "?", "SSS")]
    dataset("bare")(lambda split: [*asked, Sample.ask("3", (), "?", "SSS"), Sample.ask("4", (), "?", "SSS")])
    samples = load("bare")
    assert [ref.digest for sample in samples for ref in sample.images] == [content_hash(png)] * 2
    assert [sample.cluster for sample in samples][:2] == [content_hash(png)] * 2
    assert len({sample.cluster for sample in samples}) == 3


def test_an_image_that_cannot_be_read_costs_its_sample_alone(png: bytes, tmp_path: Path) -> None:
    gone = ImageRef("gone", path=tmp_path / "gone.png", root=tmp_path)
    good = Sample.ask("1", (ImageRef("y", data=png),), "?", "SSS")
    dataset("partly")(lambda split: [Sample.ask("0", (gone,), "?", "SSS"), good])
    loaded = read("partly")
    assert [sample.id for sample in loaded.samples] == ["1"]
    assert [(problem.index, problem.id, problem.field) for problem in loaded.broken] == [(0, "0", "image")]


def _bad_sets(png: bytes) -> dict[str, list[Sample]]:
    image = ImageRef("x", data=png)
    good = Sample.ask("1", (image,), "?", Combination.SSS, cluster="x")
    labelled = Sample.ask("1", (image,), "?", Combination.SSS, image_labels=(GuardLabel.RACE,), cluster="x")
    wrong = ImageRef("x", data=png, digest="0" * 64)
    return {
        "test_it_has_samples": [],
        "test_ids_are_unique": [good, good],
        "test_every_sample_asks_something": [good, Sample.ask("2", (), "?", Combination.USU)],
        "test_image_labels_agree_with_the_combination": [labelled],
        "test_every_image_has_the_digest_of_its_bytes": [Sample.ask("1", (wrong,), "?", Combination.SSS)],
        "test_samples_that_share_an_image_share_a_cluster": [
            good,
            Sample.ask("2", (ImageRef("another name", data=png),), "?", Combination.SSS, cluster="y"),
        ],
        "test_twins_name_each_other_and_differ_in_what_is_right": [
            Sample.ask("1", (image,), "?", Combination.SSS, twin="2", cluster="x")
        ],
    }


@pytest.mark.parametrize("test", _bad_sets(b""))
def test_the_conformance_tests_fail_where_they_should(test: str, png: bytes) -> None:
    samples = _bad_sets(png)[test]
    dataset("bad")(lambda split: samples)
    conformance = DatasetConformance()
    conformance.name = "bad"
    check: Callable[[], None] = getattr(conformance, test)
    with pytest.raises(AssertionError):
        check()
