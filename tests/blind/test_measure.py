"""Blind baselines of a data set with a train part, of one without, and beside a run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from blind.asked import told_by_neither, told_by_the_question
from holisafe.blind import IMAGE, PIXELS, QUESTION, blind_baselines, blind_scores, pixel_features, scores_of_run
from holisafe.datasets import dataset, load, registered_names
from holisafe.datasets._registry import _DATASETS
from holisafe.errors import DataError, UnknownNameError
from holisafe.records import ImageRef, JudgeId, Judgement, Outcome, Run, Sample
from small_bench import write_small_bench
from tiny_models import llava, save

JUDGE = JudgeId("by hand")
QUESTIONS = [f"Is it {word} to keep this here?" for word in ("right", "good", "kind", "wise", "fair", "safe")]


@pytest.fixture(autouse=True)
def _known(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The data set "plain", whose questions say what is right, in two splits."""
    monkeypatch.setattr(_DATASETS, "_parts", dict(_DATASETS._parts))

    @dataset("plain", splits=("train", "test"), description="for these tests")
    def load_plain(split: str | None) -> list[Sample]:
        parts = {"train": told_by_the_question(6, start=1000), "test": told_by_the_question(4)}
        if split is None:
            return [replace(each, id=f"{name}-{each.id}") for name, part in parts.items() for each in part]
        return parts[split]

    assert "plain" in registered_names()
    yield


def run_of(samples: list[Sample], name: str = "plain", split: str | None = "test") -> Run:
    judgements = tuple(Judgement(sample.id, JUDGE, Outcome.ANSWERED) for sample in samples)
    return Run("mine", tuple(samples), (), {JUDGE.name: judgements}, {"data": {"name": name, "split": split}})


def test_a_train_part_is_trained_on_and_test_is_scored() -> None:
    found = blind_baselines("plain", features="pixels")
    assert (found.split, found.samples) == ("test", 20)
    assert found.training == "trained on 30 samples of other images"
    (result,) = found.results
    assert (result.rr, result.model) == (0.05, None)
    assert [each.name for each in result.baselines] == [QUESTION, f"{IMAGE} (pixels)"]


def test_the_train_split_itself_is_cross_validated() -> None:
    assert blind_baselines("plain", "train", features="none").training == "5-fold cross-validation by image"


def test_data_without_a_train_part_are_cross_validated(tmp_path: Path) -> None:
    found = blind_baselines(write_small_bench(tmp_path / "bench"), features="pixels")
    assert (found.split, found.samples) == (None, 20)
    assert found.training == "4-fold cross-validation by image"
    assert len(found.results[0].baselines) == 2


def test_a_missing_split_is_named() -> None:
    with pytest.raises(UnknownNameError, match="split of plain 'tests'"):
        blind_baselines("plain", "tests")


def test_a_run_sets_the_refusal_rate_of_each_of_its_judges() -> None:
    run = run_of(told_by_the_question(4)[3:])
    refused = tuple(replace(each, outcome=Outcome.REFUSED) for each in run.judgements[JUDGE.name])
    strict = tuple(replace(each, judge=JudgeId("strict")) for each in refused)
    run = replace(run, judgements={**run.judgements, "strict": strict})
    found = blind_baselines("plain", run=run, features="none")
    assert [(each.rr, each.model and each.model.judge) for each in found.results] == [(0, "by hand"), (1, "strict")]
    assert found.samples == len(run.samples)


def test_beside_a_run_on_a_part_of_the_data_all_of_them_are_cross_validated(tmp_path: Path) -> None:
    place = write_small_bench(tmp_path / "bench")
    some = load(place)[::5]
    found = blind_baselines(place, run=run_of(some, str(place), None), features="pixels")
    assert (found.samples, found.training) == (4, "4-fold cross-validation by image")
    whole = blind_scores(load(place), features=pixel_features())
    assert (
        whole.of([sample.id for sample in some]).by_sight[QUESTION].tolist() == whole.by_sight[QUESTION][::5].tolist()
    )


def test_a_run_on_other_data_is_refused() -> None:
    with pytest.raises(DataError, match="are not in plain"):
        blind_baselines("plain", run=run_of(told_by_neither(QUESTIONS)), features="none")


def test_a_run_without_judgements_is_refused() -> None:
    with pytest.raises(DataError, match="holds no judgements"):
        blind_baselines("plain", run=replace(run_of(told_by_the_question(4)), judgements={}), features="none")


def test_images_can_be_seen_by_a_model(tmp_path: Path) -> None:
    found = blind_baselines("plain", features=str(save(llava(), tmp_path / "tiny")))
    assert [each.name for each in found.results[0].baselines][1] == f"{IMAGE} ({tmp_path / 'tiny'})"


def test_where_pocket_is_missing_auto_says_that_pixels_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    from holisafe.blind import _measure
    from holisafe.errors import MissingDependencyError

    def absent(name: str) -> None:
        raise MissingDependencyError(f"{name} ships elsewhere")

    monkeypatch.setattr(_measure, "model_features", absent)
    found = blind_baselines("plain")
    assert found.notes[0].startswith("images are seen as pixels, because pocket is missing: pocket ships elsewhere")
    assert found.results[0].baselines[1].name == f"{IMAGE} ({PIXELS})"


def test_a_report_trains_on_the_train_part_of_a_registered_data_set() -> None:
    found = scores_of_run(run_of(told_by_the_question(4)))
    assert found.training == "trained on 30 samples of other images"


def test_a_report_does_not_train_on_data_that_the_run_was_not_asked() -> None:
    found = scores_of_run(run_of(told_by_neither(QUESTIONS)))
    assert found.training == "5-fold cross-validation by image"


def test_a_report_loads_no_path_that_a_run_names(tmp_path: Path) -> None:
    place = write_small_bench(tmp_path / "bench")
    found = scores_of_run(run_of(told_by_the_question(4), str(place), None))
    assert found.training == "4-fold cross-validation by image"


def test_a_report_reads_no_file_whose_content_the_run_did_not_record(tmp_path: Path) -> None:
    samples = told_by_the_question(4)
    (tmp_path / "private.png").write_bytes(samples[0].images[0].data or b"")
    stranger = ImageRef("private.png", path=tmp_path / "private.png", root=tmp_path)
    samples[0] = samples[0].with_images((stranger,))
    assert list(scores_of_run(run_of(samples, "elsewhere")).by_sight) == [QUESTION]


def test_json_holds_every_result() -> None:
    found = blind_baselines("plain", run=run_of(told_by_the_question(4)), features="none").to_json()
    assert found.keys() == {"data", "split", "samples", "training", "notes", "results"}
    (result,) = found["results"]
    assert result.keys() == {"judge", "rr", "model", "baselines", "reached"}
    assert result["baselines"][0]["difference"]["usu"]["value"] == 1
    assert result["reached"] == ["ssu", "usu", "uuu", "suu", "masr_macro", "masr_pooled"]
