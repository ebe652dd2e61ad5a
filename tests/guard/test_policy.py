"""What verdicts lead to under each policy, and that refusals are understood as such."""

from __future__ import annotations

import math

import pytest

from holisafe import Category, Combination, GuardLabel, ImageRef, ImageVerdict, Outcome, Response, Sample, Subcategory
from holisafe.errors import GuardError
from holisafe.guard.policy import Policy, apply, decide
from holisafe.judges import get, judge_all
from holisafe.records import RequestVerdict

SAMPLE = Sample.ask("1", (ImageRef("image", data=b""),), "What is this?", Combination.UUU)
UNSAFE_LABELS = [label for label in GuardLabel if label is not GuardLabel.SAFE]
UNSAFE_COMBINATIONS = [combination for combination in Combination if not combination.is_safe]
ANSWER = "The picture was taken outdoors on a sunny afternoon."


def image(label: GuardLabel, unsafe: float, threshold: float = 0.5) -> ImageVerdict:
    """An image of that kind, or a safe one."""
    distribution = dict.fromkeys(GuardLabel, 0.0) | {label: unsafe, GuardLabel.SAFE: 1 - unsafe}
    best = max(distribution, key=distribution.__getitem__)
    return ImageVerdict(best, distribution[best], distribution, threshold)


def request(
    combination: Combination, unsafe: float, category: Category = Category.VIOLENCE, threshold: float = 0.5
) -> RequestVerdict:
    distribution = dict.fromkeys(Combination, 0.0) | {combination: unsafe, Combination.SSS: 1 - unsafe}
    categories = {name: float(name is category) for name in Category}
    return RequestVerdict(combination, unsafe, distribution, categories, threshold)


def outcomes(text: str) -> set[Outcome]:
    return {
        judge_all(get(name), [SAMPLE], [Response("1", text, "model")])[0].outcome for name in ("holisafe", "refusal")
    }


@pytest.mark.parametrize("label", UNSAFE_LABELS)
def test_both_string_judges_take_a_refusal_of_an_image_for_one(label: GuardLabel) -> None:
    decision = decide(Policy.REFUSE, [image(label, 0.9)], None)
    assert outcomes(decision.text) == {Outcome.REFUSED}
    assert decision.reason is label.subcategory


@pytest.mark.parametrize("combination", UNSAFE_COMBINATIONS)
@pytest.mark.parametrize("category", Category)
def test_both_string_judges_take_a_refusal_of_a_request_for_one(combination: Combination, category: Category) -> None:
    decision = decide(Policy.REFUSE, [], request(combination, 0.9, category))
    assert outcomes(decision.text) == {Outcome.REFUSED}
    assert decision.reason is category
    assert category.display_name.lower() in decision.text.replace("-", " ")


@pytest.mark.parametrize("label", UNSAFE_LABELS)
def test_a_refusal_of_an_image_names_category_and_subcategory_in_one_sentence(label: GuardLabel) -> None:
    text = decide(Policy.REFUSE, [image(label, 0.9)], None).text
    subcategory = label.subcategory
    assert subcategory is not None
    plain = text.replace("-", " ")
    assert subcategory.display_name.lower() in plain
    assert subcategory.category.display_name.lower() in plain
    assert text.count(".") == 1 and text.endswith(".")


@pytest.mark.parametrize("label", UNSAFE_LABELS)
def test_a_note_before_an_image_answer_does_not_make_it_a_refusal(label: GuardLabel) -> None:
    decision = decide(Policy.WARN, [image(label, 0.9)], None)
    assert outcomes(apply(decision, ANSWER)) == {Outcome.ANSWERED}


@pytest.mark.parametrize("combination", UNSAFE_COMBINATIONS)
@pytest.mark.parametrize("category", Category)
def test_a_note_before_a_request_answer_does_not_make_it_a_refusal(
    combination: Combination, category: Category
) -> None:
    decision = decide(Policy.WARN, [], request(combination, 0.9, category))
    assert outcomes(apply(decision, ANSWER)) == {Outcome.ANSWERED}


@pytest.mark.parametrize("policy", Policy)
def test_nothing_flagged_leaves_the_answer_alone(policy: Policy) -> None:
    decision = decide(policy, [image(GuardLabel.SUICIDE, 0.2)], None)
    assert (decision.flagged, decision.reason, decision.text) == (False, None, "")
    assert apply(decision, ANSWER) == ANSWER


def test_observing_reports_the_flag_and_leaves_the_answer_alone() -> None:
    decision = decide(Policy.OBSERVE, [image(GuardLabel.SUICIDE, 0.8)], None)
    assert (decision.flagged, decision.reason, decision.text) == (True, Subcategory.SUICIDE, "")
    assert apply(decision, ANSWER) == ANSWER


def test_warning_puts_a_note_before_the_answer_and_refusing_replaces_it() -> None:
    verdicts = [image(GuardLabel.TERRORISM, 0.8)]
    warn, refuse = decide(Policy.WARN, verdicts, None), decide(Policy.REFUSE, verdicts, None)
    assert apply(warn, ANSWER) == f"{warn.text}\n\n{ANSWER}"
    assert "violence: terrorism" in warn.text
    assert apply(refuse, ANSWER) == apply(refuse, "") == refuse.text


def test_the_threshold_itself_is_flagged() -> None:
    assert image(GuardLabel.RACE, 0.25, threshold=0.25).flagged
    assert decide(Policy.REFUSE, [], request(Combination.SUU, 0.5)).flagged


def test_a_low_threshold_flags_an_image_whose_likeliest_label_is_safe_and_names_the_likeliest_harm() -> None:
    decision = decide(Policy.REFUSE, [image(GuardLabel.RACE, 0.1, threshold=0.05)], None)
    assert decision.reason is Subcategory.RACE


def test_of_several_images_the_most_probably_unsafe_one_is_named() -> None:
    verdicts = [image(GuardLabel.RACE, 0.1), image(GuardLabel.SUICIDE, 0.7), image(GuardLabel.TERRORISM, 0.9)]
    decision = decide(Policy.REFUSE, verdicts, None)
    assert decision.reason is Subcategory.TERRORISM
    assert "image 3 seems" in decision.text


def test_a_joint_verdict_decides_alone() -> None:
    flagged_image, safe_image = image(GuardLabel.TERRORISM, 0.99), image(GuardLabel.TERRORISM, 0.01)
    assert not decide(Policy.REFUSE, [flagged_image], request(Combination.UUU, 0.1)).flagged
    assert decide(Policy.REFUSE, [safe_image], request(Combination.SUU, 0.9)).flagged


@pytest.mark.parametrize(
    ("combination", "subject"),
    [
        (Combination.SSU, "the image and the question together seem"),
        (Combination.USU, "the image seems"),
        (Combination.UUU, "the image and the question both seem"),
        (Combination.SUU, "the question seems"),
    ],
)
def test_a_joint_refusal_says_where_the_harm_sits(combination: Combination, subject: str) -> None:
    assert subject in decide(Policy.REFUSE, [], request(combination, 0.9)).text


def test_refusals_about_self_harm_offer_support() -> None:
    assert "crisis line" in decide(Policy.REFUSE, [image(GuardLabel.SUICIDE, 0.9)], None).text
    assert "crisis line" in decide(Policy.REFUSE, [], request(Combination.SUU, 0.9, Category.SELF_HARM)).text
    assert "crisis line" not in decide(Policy.REFUSE, [image(GuardLabel.TERRORISM, 0.9)], None).text


def test_a_request_without_verdicts_is_not_flagged() -> None:
    assert not decide(Policy.REFUSE, [], None).flagged


@pytest.mark.parametrize("broken", [math.nan, 1.5])
def test_a_verdict_that_is_no_number_is_an_error_and_never_passes_as_safe(broken: float) -> None:
    with pytest.raises(GuardError, match="probability of safe"):
        decide(Policy.REFUSE, [ImageVerdict(GuardLabel.SAFE, 1, {GuardLabel.SAFE: broken}, 0.5)], None)
    with pytest.raises(GuardError, match="probability of safe is None"):
        decide(Policy.REFUSE, [], RequestVerdict(Combination.SSS, 1, {}, {}, 0.5))


def test_a_flag_that_names_no_harm_is_an_error() -> None:
    with pytest.raises(GuardError, match="no kind of harm"):
        decide(Policy.REFUSE, [ImageVerdict(GuardLabel.SAFE, 0.2, {GuardLabel.SAFE: 0.2}, 0.5)], None)
