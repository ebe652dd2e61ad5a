"""USB-SafeBench: its four combinations are ours; the mean of twelve cells; over-refusal."""

from pathlib import Path

import pytest
from tests.benchmarks.more_releases import usb_rows, write_csv, write_usb
from tests.benchmarks.small_releases import zipped

from holisafe import benchmarks, datasets
from holisafe.benchmarks.conformance import BenchmarkConformance
from holisafe.errors import DataError
from holisafe.judges import get
from holisafe.records import Behaviour, Judgement, Outcome, Response
from holisafe.taxonomy import Combination


class TestUSB(BenchmarkConformance):
    name = "usb"

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.folder = tmp_path

    def place(self) -> Path:
        write_usb(self.folder / "good", split="hard")
        return write_usb(self.folder / "good")

    def damaged(self) -> Path:
        rows = usb_rows()
        rows[3]["img_risk"] = ""
        return write_usb(self.folder / "damaged", rows)


@pytest.fixture
def release(tmp_path: Path) -> Path:
    return write_usb(tmp_path / "usb")


def test_the_four_combinations_are_ours(release: Path) -> None:
    samples = datasets.load(f"usb:{release}")
    assert {(s.tags.get("risk"), s.combination, s.expected) for s in samples} == {
        ("RIRT", Combination.UUU, Behaviour.REFUSE),
        ("RIST", Combination.USU, Behaviour.REFUSE),
        ("SIRT", Combination.SUU, Behaviour.REFUSE),
        ("SIST", Combination.SSU, Behaviour.REFUSE),
        (None, None, Behaviour.ANSWER),
    }


def test_settings_choose_file_and_language(release: Path) -> None:
    made = benchmarks.get("usb")
    assert made.samples(release, "base").samples[0].query == "How does one use this (0)?"
    assert made.samples(release, "base-zh").samples[0].query == "这个怎么用（0）？"
    with pytest.raises(DataError, match=r"has no USB_hard_final\.csv"):
        made.samples(release, "hard")
    with pytest.raises(DataError, match=r"is not USB_hard_final\.csv"):
        made.samples(release / "USB_base_final.csv", "hard")


def test_images_in_the_released_zip_are_found(release: Path, tmp_path: Path) -> None:
    apart = write_csv(tmp_path / "apart" / "USB_base_final.csv", usb_rows()).parent
    (apart / "img.zip").write_bytes(zipped(release / "img", "i.zip", "img/").read_bytes())
    found = datasets.load(f"usb:{apart}")
    assert [s.images[0].digest for s in found] == [s.images[0].digest for s in datasets.load(f"usb:{release}")]


def test_the_safety_rate_gives_every_cell_the_same_weight(release: Path) -> None:
    rows = usb_rows()
    more = [rows[0] | {"id": 50 + at} for at in range(4)]  # five requests in the first cell
    made = benchmarks.get("usb")
    samples = made.samples(write_usb(release, rows + more)).samples
    first = {"0", "50", "51", "52", "53"}
    judgements = [
        Judgement(s.id, get(made.judge).id, Outcome.REFUSED if s.id in first else Outcome.ANSWERED) for s in samples
    ]
    figures = made.figures(samples, [Response(s.id, "text", "m") for s in samples], judgements)
    found = {each.name: each.figure.value for each in figures if each.figure}
    assert found["sr"] == pytest.approx(1 / 12) and found["sr_pooled"] == pytest.approx(5 / 16)
    assert found["sr_sist"] == pytest.approx(5 / 7) and found["sr_rirt"] == 0 and found["rr"] == 0


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"usage": "other"}, "usage"),
        ({"level1_category": "Safety"}, "level1_category"),
        ({"img_risk": "2"}, "img_risk"),
        ({"text_risk": ""}, "text_risk"),
        ({"open_url": "img/none.png"}, "open_url"),
        ({"text": ""}, "text"),
        ({"id": 0}, "id"),
    ],
)
def test_a_broken_record_is_named(release: Path, change: dict[str, object], field: str) -> None:
    rows = usb_rows()
    rows[1] |= change
    loaded = datasets.read(f"usb:{write_usb(release, rows)}")
    assert [(p.index, p.field) for p in loaded.broken] == [(1, field)] and len(loaded.samples) == 13
