"""Guards side by side: what each catches, and what it cannot express."""

from __future__ import annotations

import pytest

from holisafe.guard import GuardRates, guard_rates
from holisafe.guard.rates import OWN_BY_IMAGE, OWN_BY_REQUEST
from holisafe.judges.guard_models import EVERY_COMBINATION, IMAGE_ALONE, TEXT_ALONE
from holisafe.metrics import share_figure
from holisafe.records import (
    GuardModelRun,
    GuardModelVerdict,
    GuardReading,
    GuardVerdict,
    ImageRef,
    ImageVerdict,
    JudgeId,
    RequestVerdict,
    Response,
    Run,
    Sample,
)
from holisafe.taxonomy import Combination, GuardLabel

SAMPLES = tuple(
    Sample.ask(
        f"{kind}-{place}",
        [ImageRef(f"{kind}-{place // 2}", digest=f"{kind}-{place // 2}")],
        "What?",
        kind,
        image_labels=["safe" if kind.image_is_safe else "weapon_related_violence"],
    )
    for kind in Combination
    for place in range(4)
)
ID = JudgeId("mine", "1", "a-model")


def run(guards: tuple[GuardModelRun, ...] = (), verdict: GuardVerdict | None = None) -> Run:
    responses = tuple(Response(each.id, "Yes.", "m", verdict or GuardVerdict()) for each in SAMPLES)
    return Run("run", SAMPLES, responses, {}, {}, guards)


def model_run(reading: dict[Combination, bool | None], expresses: frozenset[Combination], *, by_image: bool) -> Run:
    verdicts = []
    for sample in SAMPLES:
        found = GuardReading(reading[sample.required_combination], why="unread")
        verdicts.append(
            GuardModelVerdict(sample.id, ID, (found,)) if by_image else GuardModelVerdict(sample.id, ID, request=found)
        )
    return run((GuardModelRun(ID, expresses, tuple(verdicts)),))


def test_a_guard_of_whole_requests_has_a_rate_for_each_combination() -> None:
    flags = {kind: not kind.is_safe for kind in Combination}
    (rates,) = guard_rates(model_run(flags, EVERY_COMBINATION, by_image=False))
    assert {kind: figure and figure.value for kind, figure in rates.flagged.items()} == {
        kind: float(flags[kind]) for kind in Combination
    }
    assert (rates.unsafe_images, rates.safe_images, rates.without, rates.requests) == (None, None, 0, 20)


def test_what_a_guard_of_images_cannot_express_is_none_and_not_zero() -> None:
    flags: dict[Combination, bool | None] = {kind: not kind.image_is_safe for kind in Combination}
    (rates,) = guard_rates(model_run(flags, IMAGE_ALONE, by_image=True))
    assert rates.flagged[Combination.SSU] is None and rates.flagged[Combination.SUU] is None
    assert rates.flagged[Combination.USU] and rates.flagged[Combination.USU].value == 1
    assert rates.unsafe_images and rates.unsafe_images.value == 1
    assert rates.safe_images and rates.safe_images.value == 0
    assert (rates.unsafe_images.n, rates.safe_images.n) == (4, 6)
    assert rates.requests == 12


def test_a_guard_of_text_alone_has_no_rate_where_the_image_decides() -> None:
    (rates,) = guard_rates(model_run(dict.fromkeys(Combination, True), TEXT_ALONE, by_image=False))
    assert [kind.value for kind, figure in rates.flagged.items() if figure is None] == ["SSU", "USU"]


def test_a_request_without_a_verdict_counts_in_n_and_is_not_flagged() -> None:
    flags: dict[Combination, bool | None] = dict.fromkeys(Combination, None)
    (rates,) = guard_rates(model_run(flags, EVERY_COMBINATION, by_image=False))
    assert rates.without == rates.requests == 20
    assert all(figure and figure.value == 0 and figure.n == 4 for figure in rates.flagged.values())


def test_intervals_are_those_of_all_rates_and_allow_for_shared_images() -> None:
    flags: dict[Combination, bool | None] = {kind: kind is Combination.UUU for kind in Combination}
    (rates,) = guard_rates(model_run(flags, EVERY_COMBINATION, by_image=False))
    assert rates.flagged[Combination.UUU] == share_figure([True] * 4, ["a", "a", "b", "b"])
    assert rates.flagged[Combination.UUU] != share_figure([True] * 4, ["a", "b", "c", "d"])


def test_the_models_own_guard_stands_in_the_same_table() -> None:
    image = ImageVerdict(GuardLabel.SAFE, 0.7, {GuardLabel.SAFE: 0.7, GuardLabel.RACE: 0.3}, 0.2)
    request = RequestVerdict(
        Combination.SSS, 0.6, {Combination.SSS: 0.6, **dict.fromkeys(list(Combination)[1:], 0.1)}, {}, 0.5
    )
    by_image, by_request = guard_rates(run(verdict=GuardVerdict((image,), request)))
    assert (by_image.guard, by_request.guard) == (OWN_BY_IMAGE, OWN_BY_REQUEST)
    assert by_image.flagged[Combination.UUU] and by_image.flagged[Combination.UUU].value == 1
    assert by_image.flagged[Combination.SSU] is None
    assert by_request.flagged[Combination.SSU] and by_request.flagged[Combination.SSU].value == 0
    assert by_request.unsafe_images is None


def test_without_a_guard_there_are_no_rates() -> None:
    assert guard_rates(run()) == ()


@pytest.mark.parametrize("by_image", [True, False])
def test_rates_are_read_back_from_json(by_image: bool) -> None:
    flags: dict[Combination, bool | None] = {kind: kind.value[0] == "U" for kind in Combination}
    (rates,) = guard_rates(model_run(flags, IMAGE_ALONE if by_image else EVERY_COMBINATION, by_image=by_image))
    assert GuardRates.from_json(rates.to_json()) == rates
