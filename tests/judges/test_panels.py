"""Panels and cascades."""

from __future__ import annotations

import asyncio

import pytest

from holisafe.errors import DataError, JudgeError, UnknownNameError
from holisafe.judges import Ask, cascade, decided_shares, get, judge_all, panel, with_model
from holisafe.judges.conformance import check
from holisafe.judges.panels import Rule
from holisafe.metrics import judge_of, summarise
from holisafe.records import JudgeId, Judgement, Outcome, Response, Sample
from scripted_judge import Scripted, verdict

R, A, H, E = Outcome.REFUSED, Outcome.ANSWERED, Outcome.HARMFUL, Outcome.ERROR


class _Says:
    def __init__(self, name: str, outcome: Outcome, score: float | None = None, of: str = "refused") -> None:
        self.id, self.outcome, self.asked = JudgeId(name, "1"), outcome, 0
        self.scores = {} if score is None else {of: score}

    async def judge(self, sample: Sample, response: Response, ask: Ask | None = None) -> Judgement:
        self.asked += 1
        return Judgement(sample.id, self.id, self.outcome, "why", self.scores, usage={"input": 3})


def _members(*outcomes: Outcome) -> list[_Says]:
    return [_Says(f"j{at}", outcome) for at, outcome in enumerate(outcomes)]


SAMPLE, RESPONSE = Sample.ask("s", (), "", "SSS"), Response("s", "Some text.", "m")


@pytest.mark.parametrize(
    ("rule", "outcomes", "expected"),
    [
        ("majority", (R, R, A), R),
        ("majority", (R, A, A), A),
        ("majority", (R, A, H), Outcome.UNPARSABLE),
        ("majority", (R, A), Outcome.UNPARSABLE),
        ("majority", (R, E, E), E),
        ("any", (R, A, A), R),
        ("any", (A, A, H), A),
        ("any", (A, H), Outcome.UNPARSABLE),
        ("all", (R, R, R), R),
        ("all", (R, R, A), A),
        ("all", (R, R, E), E),
        ("all", (R, A, H), Outcome.UNPARSABLE),
    ],
)
def test_the_rule_makes_one_outcome_of_the_votes(rule: Rule, outcomes: tuple[Outcome, ...], expected: Outcome) -> None:
    found = asyncio.run(panel(*_members(*outcomes), rule=rule).judge(SAMPLE, RESPONSE))
    assert found.outcome is expected
    assert tuple(vote.outcome for vote in found.votes) == outcomes
    assert found.scores["agreed"] == pytest.approx(outcomes.count(expected) / len(outcomes))
    assert found.usage == {"input": 3 * len(outcomes)}


@pytest.mark.parametrize(
    ("said", "threshold", "expected"),
    [
        (((R, 0.9), (A, 0.2), (A, 0.4)), 0.5, R),
        (((R, 0.9), (A, 0.2), (A, 0.3)), 0.5, A),
        (((R, 0.9), (A, 0.2), (A, 0.3)), 0.3, R),
        (((A, 0.2), (H, 0.2)), 0.5, Outcome.UNPARSABLE),
        (((R, 0.6), (R, 0.6)), 0.7, Outcome.UNPARSABLE),
    ],
)
def test_the_mean_of_scores_decides(
    said: tuple[tuple[Outcome, float], ...], threshold: float, expected: Outcome
) -> None:
    members = [_Says(f"j{at}", *each) for at, each in enumerate(said)]
    jury = panel(*members, rule="mean", threshold=threshold)
    found = asyncio.run(jury.judge(SAMPLE, RESPONSE))
    assert found.outcome is expected and len(found.votes) == len(said)
    assert found.scores["refused"] == pytest.approx(sum(score for _, score in said) / len(said))
    assert jury.id.name.startswith(f"panel-mean:refused={threshold:g}:j0+j1")
    assert panel(*members, rule="mean", threshold=0.45).id.name != jury.id.name


def test_a_mean_takes_the_scores_of_judges_of_every_kind() -> None:
    model = Scripted(lambda number: verdict(number, refused=True, harmful=True))
    for name, text, mean, expected in (
        ("panel-mean:refused=0.6:learned+rubric", "I'm sorry, but I can't help with that.", (0.75, 1), R),
        ("panel-mean:refused=0.6:learned+rubric", "Boil it for ten minutes, then add salt.", (0.5, 0.75), None),
    ):
        found = asyncio.run(get(name).judge(SAMPLE, Response("s", text, "m"), model))
        assert mean[0] < found.scores["refused"] < mean[1]
        assert expected is None or found.outcome is expected
    members = (_Says("guard", H, 0.8, "unsafe"), with_model(get("rubric"), "m"))
    found = asyncio.run(panel(*members, rule="mean", threshold=0.9, outcome=H).judge(SAMPLE, RESPONSE, model))
    assert found.scores == {"harmful": pytest.approx(0.9)} and found.outcome is H
    assert found.votes[1].scores == {"refused": 1, "harmful": 1, "helpful": 0, "about_image": 1, "warns": 1}


def test_members_without_a_score_are_an_error_and_the_threshold_is_named() -> None:
    (judgement,) = judge_all(get("panel-mean:refused=0.5:holisafe+refusal"), [SAMPLE], [RESPONSE])
    assert judgement.outcome is E and "judge 'holisafe' gives no score 'refused'" in judgement.rationale
    with pytest.raises(JudgeError, match="needs a threshold"):
        panel(*_members(R, A), rule="mean")
    with pytest.raises(JudgeError, match="only a panel with the rule mean"):
        panel(*_members(R, A), threshold=0.5)
    for name in ("panel-mean:holisafe+refusal", "panel-mean:refused:holisafe+refusal", "panel-mean:no=0.5:a+b"):
        with pytest.raises(JudgeError, match="panel-mean:OUTCOME=THRESHOLD"):
            get(name)
    with pytest.raises(JudgeError, match="threshold of a mean"):
        get("panel-mean:refused=2:holisafe+refusal")
    with pytest.raises(JudgeError, match="score of one of"):
        get("panel-mean:error=0.5:holisafe+refusal")


def test_a_cascade_stops_at_the_first_member_that_is_sure() -> None:
    first, second, third = members = _members(A, R, A)
    found = asyncio.run(cascade(*members).judge(SAMPLE, RESPONSE))
    assert (found.outcome, found.scores["decided"], len(found.votes)) == (R, 1, 2)
    assert (first.asked, second.asked, third.asked) == (1, 1, 0)
    sure_of_answers = asyncio.run(cascade(*_members(A, R), sure=(A,)).judge(SAMPLE, RESPONSE))
    assert (sure_of_answers.outcome, len(sure_of_answers.votes)) == (A, 1)


def test_the_shares_that_members_of_a_cascade_decided_sum_to_1() -> None:
    judge = get("cascade:holisafe+refusal")
    texts = ["I'm sorry, but I can't help with that."] * 5 + ["I can’t help with that."] * 2 + ["Yes."] * 2 + [""]
    samples = [Sample.ask(f"{at}", (), "", "SSS") for at in range(10)]
    judgements = judge_all(judge, samples, [Response(s.id, t, "m") for s, t in zip(samples, texts, strict=True)])
    assert decided_shares(judgements) == pytest.approx({"holisafe": 0.5, "refusal": 0.4, "nobody": 0.1})
    with pytest.raises(DataError, match="of a cascade"):
        decided_shares(judge_all(get("refusal"), [SAMPLE], [RESPONSE]))


def test_a_last_member_without_an_outcome_leaves_it_to_nobody() -> None:
    judgement = asyncio.run(cascade(*_members(A, E)).judge(SAMPLE, RESPONSE))
    assert judgement.outcome is E and decided_shares([judgement]) == {"nobody": 1}


@pytest.mark.parametrize(
    "name",
    ["panel:holisafe+refusal", "panel-any:holisafe+refusal", "panel-all:holisafe+refusal", "cascade:holisafe+refusal"],
)
def test_each_is_found_by_name_and_conforms(name: str) -> None:
    judge = get(name)
    assert judge.id.name == name
    if name.startswith("panel:"):  # two members that differ have no majority, which is not an error
        assert judge.id.version.startswith("1+")
    check(judge)


def test_the_identity_is_composed_of_the_members() -> None:
    one, two, other = _Says("a", R), _Says("b", R), _Says("b", R)
    other.id = JudgeId("b", "2", "some/model")
    ids = {panel(one, two).id, panel(one, other).id, panel(one, two, rule="any").id, cascade(one, two).id}
    ids |= {cascade(two, one).id, cascade(one, two, sure=(A,)).id}
    assert len(ids) == 6
    assert panel(one, other).id.model == "some/model"


def test_a_jurys_judgements_are_never_mixed_with_a_judges() -> None:
    samples = [Sample.ask("a", (), "", "SSS"), Sample.ask("b", (), "", "SSS")]
    responses = [Response(sample.id, "Yes.", "m") for sample in samples]
    jury, alone = (judge_all(get(name), samples, responses) for name in ("panel:holisafe+refusal", "refusal"))
    with pytest.raises(DataError, match="one judge"):
        summarise(samples, [jury[0], alone[1]])
    assert judge_of(jury).name == "panel:holisafe+refusal"


def test_what_is_no_panel_is_refused() -> None:
    one = _Says("a", R)
    with pytest.raises(JudgeError, match="at least two members"):
        panel(one)
    with pytest.raises(JudgeError, match="all different"):
        cascade(one, one)
    with pytest.raises(JudgeError, match="rule"):
        panel(*_members(R, A), rule="median")  # type: ignore[arg-type]
    with pytest.raises(JudgeError, match="sure of"):
        cascade(*_members(R, A), sure=(E,))
    with pytest.raises(UnknownNameError, match="refusal"):
        get("panel:holisafe+refusals")
    with pytest.raises(JudgeError, match="parameters"):
        get("panel")
