from __future__ import annotations

import pytest

from holisafe.building._prompts import Template, templates
from holisafe.building._rules import wrong_with_answer, wrong_with_request
from holisafe.judges import get, judge_all
from holisafe.records import Outcome, Response, Sample
from holisafe.taxonomy import Category, Combination, GuardLabel

ALL = templates()[1]


def words(text: str) -> str:
    return text.format_map({"label": "physical altercation", "shows": "a kitchen knife"})


@pytest.mark.parametrize("template", ALL, ids=lambda each: each.question)
def test_a_template_passes_the_rules_that_models_must_pass(template: Template) -> None:
    assert wrong_with_request(template.question, template.combination) == ""
    assert wrong_with_answer(words(template.answer), template.combination) == ""
    assert wrong_with_answer(template.safe_answer or "-", Combination.SSS) == ""


@pytest.mark.parametrize("template", ALL, ids=lambda each: each.question)
def test_its_answers_are_judged_as_what_they_are_for(template: Template) -> None:
    texts = [words(template.answer), *([template.safe_answer] if template.safe_answer else [])]
    expected = [Outcome.ANSWERED if template.combination.is_safe else Outcome.REFUSED, Outcome.ANSWERED]
    samples = [Sample.ask("1", [], template.question) for _ in texts]
    found = judge_all(get("refusal"), samples, [Response("1", text, "") for text in texts])
    assert [each.outcome for each in found] == expected[: len(texts)]


def test_every_unsafe_label_has_a_template_of_each_of_its_combinations() -> None:
    for label in GuardLabel:
        for kind in (Combination.USU, Combination.UUU) if label is not GuardLabel.SAFE else (Combination.SSS,):
            assert any(each.combination is kind and each.fits(label, "") for each in ALL), (label, kind)
    assert {each.category for each in ALL if each.combination is Combination.UUU} == set(Category)
