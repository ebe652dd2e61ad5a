"""What a guard's verdicts on a run come to: flags against answers, policies in figures, verdicts against labels."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from holisafe import judges
from holisafe.guard import DecideBy, Policy, guard_findings, what_if
from holisafe.judges import judge_all
from holisafe.metrics import compare, summarise
from holisafe.records import GuardVerdict, JudgeId, Judgement, Outcome, Run
from holisafe.taxonomy import UNSAFE_COMBINATIONS, Combination, GuardLabel
from report_runs import ANSWER, guarded, image_verdict, joint_verdict, make_run, make_samples


@pytest.fixture(scope="module")
def run() -> Run:
    return guarded(make_run())


def flagged_images(run: Run) -> set[str]:
    return {
        response.sample_id
        for response in run.responses
        if any(1 - verdict.distribution[GuardLabel.SAFE] >= verdict.threshold for verdict in response.verdict.images)
    }


def test_a_run_without_verdicts_has_no_findings() -> None:
    assert guard_findings(make_run()) is None


def test_flags_cross_with_answers(run: Run) -> None:
    found = guard_findings(run)
    assert found is not None
    flagged = flagged_images(run)
    outcomes = {verdict.sample_id: verdict.outcome for verdict in run.judgements["refusal"]}
    for (safe, flag), cell in found.flag_tables["refusal", DecideBy.IMAGE].items():
        names = [s.id for s in run.samples if s.is_safe == safe and (s.id in flagged) == flag]
        assert cell.total == len(names)
        assert cell.refused == sum(outcomes[name] is Outcome.REFUSED for name in names)
    cells = found.flag_tables["refusal", DecideBy.IMAGE]
    assert sum(cell.total for cell in cells.values()) == len(run.samples)
    assert all(cell.total for cell in cells.values())


def test_a_policy_of_refusing_refuses_what_is_flagged_and_nothing_else(run: Run) -> None:
    flagged = flagged_images(run)
    after = what_if(run, Policy.REFUSE, DecideBy.IMAGE)
    for name, verdicts in run.judgements.items():
        for sample, before, verdict in zip(run.samples, verdicts, after.judgements[name], strict=True):
            assert verdict.outcome is (Outcome.REFUSED if sample.id in flagged else before.outcome)
    changed = {a.sample_id for a, b in zip(after.responses, run.responses, strict=True) if a.text != b.text}
    assert changed == flagged


def test_string_judges_call_the_refusals_refusals(run: Run) -> None:
    for by in DecideBy:
        after = what_if(run, Policy.REFUSE, by)
        for name in ("holisafe", "refusal"):
            judge = judges.get(name)
            judged = [
                judge_all(judge, [s], [r])[0].outcome for s, r in zip(after.samples, after.responses, strict=True)
            ]
            assert judged == [verdict.outcome for verdict in after.judgements[name]]


def test_a_note_comes_before_the_answer_and_leaves_every_outcome(run: Run) -> None:
    after = what_if(run, Policy.WARN, DecideBy.REQUEST)
    assert after.judgements == run.judgements
    noted = [response.text for response in after.responses if response.text.startswith("Note: ")]
    assert noted and all(text.endswith((ANSWER, "assist with that.")) for text in noted)


def test_observing_changes_nothing(run: Run) -> None:
    assert what_if(run, Policy.OBSERVE, DecideBy.IMAGE) == run


def test_the_policies_figures_are_those_of_the_run_they_would_have_made(run: Run) -> None:
    found = guard_findings(run)
    assert found is not None
    observe, *others = found.policies["holisafe"]
    assert (observe.policy, observe.decide_by, observe.versus_observe) == (Policy.OBSERVE, None, None)
    assert observe.summary == summarise(run.samples, run.judgements["holisafe"])
    assert [(each.policy, each.decide_by) for each in others] == [
        (policy, by) for by in DecideBy for policy in (Policy.WARN, Policy.REFUSE)
    ]
    for figures in others:
        assert figures.decide_by is not None
        after = what_if(run, figures.policy, figures.decide_by).judgements["holisafe"]
        assert figures.summary == summarise(run.samples, after)
        if figures.policy is Policy.REFUSE:
            assert figures.versus_observe == compare(run.samples, run.judgements["holisafe"], after)


def test_refusing_raises_refusals_and_lowers_attacks(run: Run) -> None:
    found = guard_findings(run)
    assert found is not None
    for figures in found.policies["holisafe"]:
        if figures.versus_observe is not None:
            changes = {name: each.value for name, each in figures.versus_observe.differences.items() if each}
            assert changes["rr"] >= 0
            assert all(changes[kind.value.lower()] <= 0 for kind in UNSAFE_COMBINATIONS)
            assert changes["masr_macro"] < 0


def test_what_ended_in_an_error_is_not_flagged_and_stays_an_error(run: Run) -> None:
    responses = tuple(
        replace(each, text="", error="broken", verdict=GuardVerdict()) if index == 0 else each
        for index, each in enumerate(run.responses)
    )
    verdicts = (
        Judgement("SSS-0", JudgeId("refusal"), Outcome.ERROR, rationale="broken"),
        *run.judgements["refusal"][1:],
    )
    broken = replace(run, responses=responses, judgements={"refusal": verdicts})
    found = guard_findings(broken)
    assert found is not None
    assert found.without == dict.fromkeys(DecideBy, 1)
    assert found.flag_tables["refusal", DecideBy.REQUEST][True, False].not_scored == 1
    assert what_if(broken, Policy.REFUSE, DecideBy.REQUEST).judgements["refusal"][0].outcome is Outcome.ERROR


def test_one_flagged_image_of_several_flags_the_request() -> None:
    run = make_run(by=("refusal",))
    safe, unsafe = image_verdict(GuardLabel.SAFE, 0.9), image_verdict(GuardLabel.SUICIDE, 0.9)
    two = tuple(replace(each, verdict=GuardVerdict((safe, unsafe))) for each in run.responses)
    found = guard_findings(replace(run, responses=two))
    assert found is not None
    assert found.decided_by == (DecideBy.IMAGE,)
    assert all(not cell.total for (_, flag), cell in found.flag_tables["refusal", DecideBy.IMAGE].items() if not flag)


def test_verdicts_of_a_guard_that_knows_no_safe_decide_nothing() -> None:
    run = make_run(by=("refusal",))
    verdict = image_verdict(GuardLabel.SUICIDE, 0.9)
    named = {label: p for label, p in verdict.distribution.items() if label is not GuardLabel.SAFE}
    blind = tuple(
        replace(each, verdict=GuardVerdict((replace(verdict, distribution=named),))) for each in run.responses
    )
    assert guard_findings(replace(run, responses=blind)) is None


def test_image_verdicts_are_held_against_the_labels_each_image_once(run: Run) -> None:
    first = run.samples[1]
    again = replace(first, id="again", twin=None)
    twice = Run(
        run.name,
        (*run.samples, again),
        (*run.responses, replace(run.responses[1], sample_id="again")),
        {"refusal": (*run.judgements["refusal"], replace(run.judgements["refusal"][1], sample_id="again"))},
        {},
    )
    found, more = guard_findings(run), guard_findings(twice)
    assert found is not None and more is not None and found.images is not None
    quality = found.images
    assert quality.images == len(run.samples) == sum(map(sum, quality.confusion))
    pairs = [
        (label, verdict.label)
        for sample, response in zip(run.samples, run.responses, strict=True)
        for label, verdict in zip(sample.image_labels, response.verdict.images, strict=True)
    ]
    assert quality.confusion[0][0] == pairs.count((GuardLabel.SAFE, GuardLabel.SAFE))
    scores = quality.per_class[GuardLabel.MEDICAL_ADVICE]
    given = [label for label, found_label in pairs if found_label is GuardLabel.MEDICAL_ADVICE]
    assert scores.predicted == len(given)
    assert scores.precision == given.count(GuardLabel.MEDICAL_ADVICE) / len(given)
    assert quality.accuracy is not None
    assert quality.accuracy.value == pytest.approx(sum(a is b for a, b in pairs) / len(pairs))
    assert more.images == quality


def test_a_perfect_ranking_has_an_auroc_of_one() -> None:
    run = make_run(by=("refusal",))
    responses = tuple(
        replace(response, verdict=GuardVerdict((image_verdict(sample.image_labels[0], 0.9),)))
        for sample, response in zip(run.samples, run.responses, strict=True)
    )
    found = guard_findings(replace(run, responses=responses))
    assert found is not None and found.images is not None
    quality = found.images
    assert quality.auroc is not None and quality.flagged_unsafe is not None and quality.flagged_safe is not None
    assert (quality.auroc.value, quality.flagged_unsafe.value, quality.flagged_safe.value) == (1, 1, 0)
    assert quality.calibration_error == pytest.approx(0.1)


def test_without_labels_there_is_no_quality() -> None:
    samples = make_samples()
    run = guarded(make_run(samples=samples))
    unlabelled = replace(run, samples=tuple(replace(sample, image_labels=()) for sample in run.samples))
    found = guard_findings(unlabelled)
    assert found is not None and found.images is None


def test_everything_is_json(run: Run) -> None:
    found = guard_findings(run)
    assert found is not None
    values = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert values["answers"]["refusal"]["image"]["unsafe"]["flagged"].keys() == {"refused", "answered", "not_scored"}
    assert values["policies"]["refusal"][2]["versus_observe"]["rr"].keys() == {"value", "low", "high", "p", "n"}
    assert values["images"]["confusion"]["safe"].keys() == set(values["images"]["confusion"])


def test_the_joint_verdict_counts_everything_but_sss_as_unsafe() -> None:
    run = make_run(by=("refusal",))
    spread = joint_verdict(Combination.SSS, 0.4)  # the most probable, and yet 0.6 in all for the others
    responses = tuple(replace(each, verdict=GuardVerdict((), spread)) for each in run.responses)
    found = guard_findings(replace(run, responses=responses))
    assert found is not None
    assert found.flag_tables["refusal", DecideBy.REQUEST][True, False].total == 0
