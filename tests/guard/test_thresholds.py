"""Other thresholds on a measured run: what they flag, and the figures if their flags were refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from holisafe.guard import DecideBy, Policy, threshold_rows, what_if
from holisafe.metrics import summarise
from holisafe.records import Run
from report_runs import guarded, make_run


@pytest.fixture(scope="module")
def run() -> Run:
    return guarded(make_run())


def test_the_guards_own_threshold_gives_the_figures_of_the_policy(run: Run) -> None:
    for by, rows in threshold_rows(run).items():
        (own,) = [row for row in rows if row.is_own]
        assert own.threshold == 0.5
        refused = what_if(run, Policy.REFUSE, by).judgements["refusal"]
        assert own.refused["refusal"] == summarise(run.samples, refused, by=())


def test_rows_go_from_flagging_all_to_flagging_none(run: Run) -> None:
    rows = threshold_rows(run, (0.0, 0.3, 1.0))[DecideBy.REQUEST]
    assert [row.threshold for row in rows] == [0.0, 0.3, 0.5, 1.0]
    first, last = rows[0], rows[-1]
    assert first.flagged_safe is not None and first.flagged_unsafe is not None and last.flagged_safe is not None
    assert (first.flagged_safe.value, first.flagged_unsafe.value, last.flagged_safe.value) == (1, 1, 0)
    assert (first.flagged_safe.n, first.flagged_unsafe.n) == (6, 24)
    rr = first.refused["refusal"].rr
    assert rr is not None and rr.value == 1


def test_more_is_flagged_at_a_lower_threshold(run: Run) -> None:
    for rows in threshold_rows(run).values():
        flagged = [row.flagged_unsafe.value for row in rows if row.flagged_unsafe is not None]
        assert flagged == sorted(flagged, reverse=True) and len(set(flagged)) > 1


def test_a_request_without_verdict_is_never_flagged(run: Run) -> None:
    bare = replace(run.responses[0], verdict=type(run.responses[0].verdict)())
    rows = threshold_rows(replace(run, responses=(bare, *run.responses[1:])), (0.0,))[DecideBy.IMAGE]
    assert rows[0].flagged_safe is not None and rows[0].flagged_safe.value == 5 / 6


def test_a_run_without_a_guard_has_no_rows() -> None:
    assert threshold_rows(make_run()) == {}
