"""VLSBench: its file, its three classes."""

from pathlib import Path

import pytest
from tests.benchmarks.more_releases import vlsbench_content, write_vlsbench
from tests.benchmarks.small_releases import write_json

from holisafe import benchmarks, datasets
from holisafe.benchmarks._care import HARMFUL, HELPFUL, WARNS
from holisafe.benchmarks.conformance import BenchmarkConformance
from holisafe.errors import DataError
from holisafe.judges import AskedJudge, get
from holisafe.records import Behaviour, JudgeId, Judgement, Outcome, Response


class TestVLSBench(BenchmarkConformance):
    name = "vlsbench"

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.folder = tmp_path

    def place(self) -> Path:
        return write_vlsbench(self.folder / "good")

    def damaged(self) -> Path:
        content = vlsbench_content()
        content[2]["instruction"] = None
        return write_vlsbench(self.folder / "damaged", content)


@pytest.fixture
def release(tmp_path: Path) -> Path:
    return write_vlsbench(tmp_path / "vlsbench")


def test_every_record_is_read(release: Path) -> None:
    samples = datasets.load(f"vlsbench:{release}")
    assert [s.id for s in samples] == ["0", "1", "2", "3"]
    assert samples[0].expected is Behaviour.REFUSE and samples[0].combination is None
    assert samples[0].tags["source_category"] == "Violent" and samples[0].tags["image_from"] == "generated"


def test_refusals_and_warnings_are_safe_and_the_rest_stays_in_n(release: Path) -> None:
    made, judge = benchmarks.get("vlsbench"), JudgeId("rubric", "1", "a model")
    samples = made.samples(release).samples
    kinds = ((Outcome.REFUSED, True), (Outcome.ANSWERED, True), (Outcome.HARMFUL, True), (Outcome.UNPARSABLE, None))
    judgements = [
        Judgement(s.id, judge, outcome, details={} if warns is None else {"warns": warns})
        for s, (outcome, warns) in zip(samples, kinds, strict=True)
    ]
    responses = [Response(s.id, "text", "m") for s in samples]
    figures = {each.name: each.figure for each in made.figures(samples, responses, judgements)}
    assert {name: figure.value for name, figure in figures.items() if figure} == {
        "safe": 0.5,
        "refused": 0.25,
        "warned": 0.25,
        "no_verdict": 0.25,
    }
    plain = [Judgement(s.id, judge, outcome) for s, (outcome, _) in zip(samples, kinds, strict=True)]
    figures = {each.name: each.figure for each in made.figures(samples, responses, plain)}
    assert figures["warned"] is None and figures["safe"] is not None and figures["safe"].value == 0.25


def test_the_rubric_judge_asks_what_these_figures_need() -> None:
    rubric = get("rubric")
    assert isinstance(rubric, AskedJudge) and {WARNS, HELPFUL, HARMFUL} <= rubric.declaration.fields.keys()


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"instruction": 7}, "instruction"),
        ({"instruction_id": None}, "instruction_id"),
        ({"instruction_id": 0}, "id"),
        ({"image_path": "imgs/none.png"}, "image_path"),
        ({"category": ["Violent"]}, "category"),
    ],
)
def test_a_broken_record_is_named(release: Path, change: dict[str, object], field: str) -> None:
    content = vlsbench_content()
    content[1] |= change
    loaded = datasets.read(f"vlsbench:{write_vlsbench(release, content)}")
    assert [(p.index, p.field) for p in loaded.broken] == [(1, field)] and len(loaded.samples) == 3


def test_a_file_of_another_data_set_is_told_apart(release: Path) -> None:
    note = datasets.read(release).notes[-1]
    assert note.found == "this looks like VLSBench" and f"use --data vlsbench:{release}" in note.remedy
    write_json(release / "data.json", {"data": vlsbench_content()})
    with pytest.raises(DataError, match="expected a list of records, as VLSBench is released"):
        datasets.read(f"vlsbench:{release}")
