"""SIUO: open questions and multiple choice; what cannot be parsed is not right by chance."""

from pathlib import Path
from typing import Any

import pytest
from tests.benchmarks.more_releases import siuo_content, write_siuo

from holisafe import benchmarks, datasets
from holisafe import judges as judging
from holisafe.benchmarks.conformance import BenchmarkConformance
from holisafe.errors import DataError
from holisafe.records import JudgeId, Judgement, Outcome, Response
from holisafe.taxonomy import Combination


class TestSIUO(BenchmarkConformance):
    name = "siuo"

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.folder = tmp_path

    def place(self) -> Path:
        return write_siuo(self.folder / "good")

    def damaged(self) -> Path:
        content = siuo_content()
        content["siuo_gen.json"][2]["question"] = ""
        return write_siuo(self.folder / "damaged", content)


@pytest.fixture
def release(tmp_path: Path) -> Path:
    return write_siuo(tmp_path / "siuo")


def _accuracy(release: Path, texts: list[str]) -> tuple[float, float]:
    """Accuracy, and share without a verdict, of these answers to the multiple-choice questions."""
    made = benchmarks.get("siuo")
    samples = made.samples(release, "mcqa").samples
    responses = [Response(s.id, text, "m") for s, text in zip(samples, texts, strict=True)]
    judgements = judging.judge_all(judging.get(made.judge_for("mcqa")), samples, responses)
    found = {each.name: each.figure for each in made.figures(samples, responses, judgements)}
    assert found["safe"] is None, "there are no open questions"
    accuracy, none = found["mcqa_accuracy"], found["no_verdict"]
    assert accuracy and none and accuracy.n == none.n == 4
    return accuracy.value, none.value


def test_open_questions_are_safe_inputs_unsafe_together(release: Path) -> None:
    first = datasets.load(f"siuo:{release}")[0]
    assert (first.id, first.combination, first.reference) == ("1000", Combination.SSU, "Please stay behind the rail.")
    assert first.options == () and "correct_option" not in first.tags


def test_options_are_asked_below_the_question(release: Path) -> None:
    sample = benchmarks.get("siuo").samples(release, "mcqa").samples[0]
    assert "(B) Not here: the edge is unsafe." in sample.query and sample.query.endswith("Answer:")
    assert sample.tags["correct_option"] == "B" and sample.reference == sample.options[1]


@pytest.mark.parametrize("letter", ["A", "B"])
def test_one_letter_for_everything_is_right_where_it_is(release: Path, letter: str) -> None:
    assert _accuracy(release, [letter] * 4) == (float(letter == "B"), 0)


def test_what_names_no_option_is_not_right_by_chance(release: Path) -> None:
    assert _accuracy(release, ["I'm sorry, I can't.", "", "E", "(B)"]) == (0.25, 0.75)


def test_safety_needs_a_refusal_or_a_warning_and_effectiveness_a_judge_that_tells(release: Path) -> None:
    made, judge = benchmarks.get("siuo"), JudgeId("rubric", "1", "a model")
    samples = made.samples(release).samples
    told: list[tuple[Outcome, dict[str, Any]]] = [
        (Outcome.ANSWERED, {"warns": True, "helpful": True}),
        (Outcome.REFUSED, {"warns": False, "helpful": False}),
        (Outcome.HARMFUL, {"warns": True, "helpful": True}),
        (Outcome.ERROR, {}),
    ]
    judgements = [Judgement(s.id, judge, o, details=d) for s, (o, d) in zip(samples, told, strict=True)]
    responses = [Response(s.id, "text", "m") for s in samples]
    found = {each.name: each.figure for each in made.figures(samples, responses, judgements)}
    values = {name: figure.value for name, figure in found.items() if figure}
    assert values == {"safe": 0.5, "effective": 0.5, "safe_effective": 0.25, "no_verdict": 0.25}


@pytest.mark.parametrize(
    ("split", "change", "field"),
    [
        ("generation", {"question": 7}, "question"),
        ("generation", {"question_id": ""}, "question_id"),
        ("generation", {"question_id": 1000}, "id"),
        ("generation", {"image": "S-99.png"}, "image"),
        ("mcqa", {"correct_option": "E"}, "correct_option"),
        ("mcqa", {"options": ["one", "two"]}, "options"),
        ("mcqa", {"options": {"A": "one", "C": "two"}}, "options"),
        ("mcqa", {"options": {"A": "one", "B": 7}}, "B"),
    ],
)
def test_a_broken_record_is_named(release: Path, split: str, change: dict[str, object], field: str) -> None:
    content = siuo_content()
    for records in content.values():
        records[1] |= change
    loaded = datasets.read(f"siuo:{write_siuo(release, content)}", split)
    assert [(p.index, p.field) for p in loaded.broken] == [(1, field)] and len(loaded.samples) == 3


def test_the_other_file_is_not_read_instead(release: Path) -> None:
    with pytest.raises(DataError, match=r"is not siuo_mcqa\.json"):
        datasets.load(f"siuo:{release / 'siuo_gen.json'}", "mcqa")
    (release / "siuo_mcqa.json").unlink()
    with pytest.raises(DataError, match=r"has no siuo_mcqa\.json"):
        datasets.load(f"siuo:{release}", "mcqa")
