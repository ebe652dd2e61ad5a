from __future__ import annotations

import pytest
import torch

from guard.families.all import SUITES
from holisafe.guard import GuardConfig, attach_guard
from holisafe.guard.conformance import GuardConformance

pytestmark = pytest.mark.slow

TESTS = sorted(name for name in dir(GuardConformance) if name.startswith("test_"))


@pytest.mark.parametrize("test", TESTS)
@pytest.mark.parametrize("family", sorted(SUITES))
def test_family(family: str, test: str) -> None:
    torch.manual_seed(0)
    getattr(SUITES[family](), test)()


def test_at_least_forty_families_are_guarded() -> None:
    assert len(SUITES) >= 40


def test_the_suite_finds_a_guard_that_reads_the_wrong_positions(monkeypatch: pytest.MonkeyPatch) -> None:
    import holisafe.guard.observer as observer

    whole = observer.find_images
    suite = SUITES["llava"]()
    suite.test_language_verdicts_equal_a_plain_reference()

    def shifted(input_ids: torch.Tensor, *rest: object) -> object:
        return whole(input_ids.roll(1, 1), *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(observer, "find_images", shifted)
    with pytest.raises(AssertionError):
        suite.test_language_verdicts_equal_a_plain_reference()


def test_the_suite_finds_a_second_prefill(monkeypatch: pytest.MonkeyPatch) -> None:
    from holisafe.guard import conformance

    once = conformance.guarded_generate

    def twice(model: object, inputs: dict[str, object], **options: object) -> object:
        model(**inputs)  # type: ignore[operator]
        return once(model, inputs, **options)

    monkeypatch.setattr(conformance, "guarded_generate", twice)
    with pytest.raises(AssertionError, match="module calls"):
        SUITES["llava"]().test_answers_are_those_of_the_unguarded_model_in_one_prefill()


def test_projector_features_are_refused_where_they_are_empty() -> None:
    from holisafe.errors import GuardError

    case = SUITES["granite4_vision"]().case()
    with pytest.raises(GuardError, match="language"):
        attach_guard(case.model, GuardConfig(features="projector"))
