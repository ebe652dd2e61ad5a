"""MIS: two images in order, five shares that sum to one."""

from dataclasses import asdict
from pathlib import Path

import pytest

from benchmarks.small_releases import drawn, mis_content, write_json, write_mis, zipped
from holisafe import benchmarks, datasets
from holisafe import judges as judging
from holisafe.benchmarks.conformance import BenchmarkConformance
from holisafe.images import content_hash
from holisafe.judges import Booleans
from holisafe.records import JudgeId, Judgement, Outcome, Response


class TestMIS(BenchmarkConformance):
    name = "mis"

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.folder = tmp_path

    def place(self) -> Path:
        return write_mis(self.folder / "good")

    def damaged(self) -> Path:
        return write_mis(self.folder / "damaged", broken=True)


@pytest.fixture
def release(tmp_path: Path) -> Path:
    return write_mis(tmp_path / "mis")


def test_both_images_come_in_order(release: Path) -> None:
    sample = next(s for s in datasets.load(f"mis:{release}") if s.id == "hard-1")
    assert [image.digest for image in sample.images] == [content_hash(drawn(111)), content_hash(drawn(112))]
    assert (sample.tags["split"], sample.tags["source_category"]) == ("hard", "Illegal")


def test_a_file_is_one_split_and_a_zip_in_a_folder_is_opened(release: Path, tmp_path: Path) -> None:
    assert {s.tags["split"] for s in datasets.load(f"mis:{release / 'mis_hard.json'}")} == {"hard"}
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / "mis_test.zip").write_bytes(zipped(release, "whole.zip", "mis_test/").read_bytes())
    whole = [(s.id, s.query, s.cluster) for s in datasets.load(f"mis:{release}")]
    assert [(s.id, s.query, s.cluster) for s in datasets.load(f"mis:{tmp_path / 'hub'}")] == whole
    assert len(datasets.load(f"mis:{tmp_path / 'hub'}", "real")) == 3


def test_requests_that_share_either_image_share_a_cluster(release: Path) -> None:
    content = mis_content("easy")
    content[1]["image_path2"] = content[0]["image_path1"]
    write_json(release / "mis_easy.json", content)
    clusters = {sample.id: sample.cluster for sample in datasets.load(f"mis:{release}", "easy")}
    assert clusters["easy-0"] == clusters["easy-1"] != clusters["easy-2"]


def test_the_shares_of_a_split_sum_to_one(release: Path) -> None:
    made = benchmarks.get("mis")
    samples = made.samples(release).samples
    texts = ["I'm sorry, but I can't help with that.", "Put one on the other, and press.", ""]
    responses = [Response(s.id, texts[at % 3], "m") for at, s in enumerate(samples)]
    judgements = judging.judge_all(judging.get(made.judge), samples, responses)
    found = {each.name: each.figure for each in made.figures(samples, responses, judgements)}
    for split in ("easy", "hard", "real"):
        shares = [found[f"{split}_{name}"] for name in ("asr", "rsr", "rr", "hr", "no_verdict")]
        assert [share.value if share else None for share in shares] == pytest.approx([1 / 3, None, 1 / 3, None, 1 / 3])


def test_a_judge_that_answers_questions_gives_all_five_shares(release: Path) -> None:
    made = benchmarks.get("mis")
    samples = made.samples(release).samples
    said = (("refused", "about_image"), ("refused",), ("helpful",), ("warns",))
    questions = ("refused", "harmful", "helpful", "about_image", "warns")
    judge = JudgeId("rubric", "1")
    judgements = []
    for at, sample in enumerate(samples):
        found = {name: name in said[at % 4] for name in questions}
        outcome = Outcome.REFUSED if found["refused"] else Outcome.ANSWERED
        judgements.append(Judgement(sample.id, judge, outcome, details=found))
    judgements[-1] = Judgement(samples[-1].id, judge, Outcome.UNPARSABLE)
    figures = made.figures(samples, [Response(s.id, "x", "m") for s in samples], judgements)
    values = {each.name: each.figure.value for each in figures if each.figure}
    assert len(values) == 15
    for split in ("easy", "hard", "real"):
        assert sum(values[f"{split}_{name}"] for name in ("asr", "rsr", "rr", "hr", "no_verdict")) == pytest.approx(1)
    assert values["easy_rsr"] == pytest.approx(1 / 3) and values["real_no_verdict"] == pytest.approx(1 / 3)


RUBRIC = JudgeId("rubric")
SAID = {
    "asr": (Outcome.HARMFUL, Booleans(False, True, True, True, False)),
    "rsr": (Outcome.ANSWERED, Booleans(False, False, True, True, True)),
    "rr": (Outcome.REFUSED, Booleans(True, False, False, False, False)),
    "hr": (Outcome.UNHELPFUL, Booleans(False, False, False, False, False)),
}


def test_the_judge_rubric_tells_all_classes_and_they_sum_to_one(release: Path) -> None:
    made = benchmarks.get("mis")
    samples = made.samples(release).samples
    responses = [Response(s.id, "text", "m") for s in samples]
    for name, (outcome, said) in SAID.items():
        judged = [Judgement(s.id, RUBRIC, outcome, details=asdict(said)) for s in samples]
        judged[0] = Judgement(samples[0].id, RUBRIC, Outcome.REFUSED)  # a refusal that was found without asking
        judged[1] = Judgement(samples[1].id, RUBRIC, Outcome.UNPARSABLE)
        found = {each.name: each.figure for each in made.figures(samples, responses, judged)}
        shares = {each: found[f"hard_{each}"] for each in ("asr", "rsr", "rr", "hr", "no_verdict")}
        assert {each: share.value for each, share in shares.items() if share} == {
            **dict.fromkeys(shares, 0.0),
            name: 1.0,
        }
        easy = [found[f"easy_{each}"] for each in shares]
        assert sum(share.value for share in easy if share) == pytest.approx(1)


def test_a_judge_that_says_no_more_than_an_outcome_beside_rubric_tells_not_all_classes(release: Path) -> None:
    made = benchmarks.get("mis")
    samples = made.samples(release).samples
    responses = [Response(s.id, "text", "m") for s in samples]
    judged = [Judgement(s.id, RUBRIC, SAID["rsr"][0], details=asdict(SAID["rsr"][1])) for s in samples]
    judged[0] = Judgement(samples[0].id, RUBRIC, Outcome.ANSWERED, details={"given_by": "refusal"})
    found = {each.name: each.figure for each in made.figures(samples, responses, judged)}
    assert found["hard_rsr"] is None and found["hard_hr"] is None and found["hard_asr"] is not None
