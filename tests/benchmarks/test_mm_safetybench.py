"""MM-SafetyBench: scenarios spelt as released, three kinds of image, the tiny set."""

import json
from pathlib import Path

import pytest
from tests.benchmarks.more_releases import mm_safetybench_question, write_mm_safetybench
from tests.benchmarks.small_releases import write_json, zipped

from holisafe import benchmarks, datasets
from holisafe.benchmarks.conformance import BenchmarkConformance
from holisafe.datasets.releases.mm_safetybench import SCENARIOS
from holisafe.errors import DataError
from holisafe.judges import get
from holisafe.records import Judgement, Outcome, Response

FIRST = "01-Illegal_Activitiy"


class TestMMSafetyBench(BenchmarkConformance):
    name = "mm-safetybench"

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.folder = tmp_path

    def place(self) -> Path:
        place = self.folder / "good"
        return place if place.exists() else write_mm_safetybench(place)

    def damaged(self) -> Path:
        place = write_mm_safetybench(self.folder / "damaged")
        question = mm_safetybench_question(0)
        question["Rephrased Question"] = 7
        write_json(place / "processed_questions" / f"{FIRST}.json", {"0": question, "1": mm_safetybench_question(1)})
        return place


@pytest.fixture
def release(tmp_path: Path) -> Path:
    return write_mm_safetybench(tmp_path / "mm", count=1)


def test_every_question_is_asked_with_three_kinds_of_image(release: Path) -> None:
    samples = {s.id: s for s in datasets.load(f"mm-safetybench:{release}")}
    assert len(samples) == len(SCENARIOS) * 3 == 39
    sd, typo = samples[f"{FIRST}/SD/0"], samples[f"{FIRST}/TYPO/0"]
    assert sd.query == "The image shows an activity. How does one do it (0)?"
    assert typo.query == samples[f"{FIRST}/SD_TYPO/0"].query == "The image shows a phrase. How does one do it (0)?"
    assert (sd.tags["scenario"], sd.tags["kind"]) == (FIRST, "SD")
    assert sd.cluster == typo.cluster and len({s.cluster for s in samples.values()}) == len(SCENARIOS)


def test_other_places_give_the_same_samples(release: Path, tmp_path: Path) -> None:
    whole = [(s.id, s.images[0].digest) for s in datasets.load(f"mm-safetybench:{release}")]
    repository = tmp_path / "repository"
    repository.mkdir()
    release.rename(repository / "data")
    for place in (repository, repository / "data", zipped(repository, "mm.zip")):
        assert [(s.id, s.images[0].digest) for s in datasets.load(f"mm-safetybench:{place}")] == whole
    file = repository / "data" / "processed_questions" / f"{FIRST}.json"
    assert [(s.id, s.images[0].digest) for s in datasets.load(f"mm-safetybench:{file}")] == whole[:3]


def test_the_tiny_set_is_the_list_of_the_authors(tmp_path: Path) -> None:
    release = write_mm_safetybench(tmp_path, count=2)
    made = benchmarks.get("mm-safetybench")
    assert len(made.samples(release, "all").samples) == 78 and len(made.samples(release, "tiny").samples) == 39
    (release / "TinyVersion_ID_List.json").write_text(json.dumps([{"Scenario": FIRST, "Sampled_ID_List": 0}]))
    with pytest.raises(DataError, match="Sampled_ID_List"):
        made.samples(release, "tiny")


def test_figures_tell_scenarios_and_kinds_apart(release: Path) -> None:
    made = benchmarks.get("mm-safetybench")
    samples = made.samples(release).samples
    judge = made.judge
    answered = [s.tags["kind"] == "SD" and s.tags["scenario"] == FIRST for s in samples]
    judgements = [
        Judgement(s.id, get(judge).id, Outcome.ANSWERED if hit else Outcome.REFUSED)
        for s, hit in zip(samples, answered, strict=True)
    ]
    figures = made.figures(samples, [Response(s.id, "text", "m") for s in samples], judgements)
    found = {each.name: each.figure.value for each in figures if each.figure}
    assert found["asr_01"] == pytest.approx(1 / 3) and found["asr_02"] == 0
    assert found["asr_sd"] == pytest.approx(1 / 13) and found["asr_typo"] == 0
    assert found["asr_eight"] == pytest.approx(1 / 24) and found["asr"] == pytest.approx(1 / 39)


def test_a_missing_image_takes_its_question(release: Path) -> None:
    (release / "imgs" / FIRST / "TYPO" / "0.jpg").unlink()
    loaded = datasets.read(f"mm-safetybench:{release}")
    (problem,) = loaded.broken
    assert problem.id == f"{FIRST}/0" and f"imgs/{FIRST}/TYPO/0.jpg" in problem.found
    assert len(loaded.samples) == 36


def test_a_file_of_another_form_or_name_is_refused(release: Path) -> None:
    file = release / "processed_questions" / f"{FIRST}.json"
    file.write_text("[]")
    with pytest.raises(DataError, match="object of questions"):
        datasets.load(f"mm-safetybench:{release}")
    file.rename(file.with_name("01-Illegal_Activity.json"))
    with pytest.raises(DataError, match=FIRST):
        datasets.load(f"mm-safetybench:{file.with_name('01-Illegal_Activity.json')}")


def test_a_plain_path_is_told_its_name(release: Path) -> None:
    assert f"use --data mm-safetybench:{release}" in datasets.read(release).notes[-1].remedy
