"""Days of retirement are read from Inspect's own data, and anything else is no knowledge."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from holisafe.bench import Retirement, retirements
from holisafe.bench._retirement import read_days

DAY = date(2026, 10, 23)

DATA = """
OpenAI:
  display_name: OpenAI
  models:
    # Retired from the API on 2026-10-23
    # (requests return 404).
    gpt-old:
      display_name: GPT
      versions:
        gpt-old-0314:
          snapshot: "0314"
        # Snapshot retired on 2026-01-02.
        gpt-old-0301:
          snapshot: "0301"
        latest:
          snapshot: latest
    gpt-new:
      display_name: GPT
      versions:
        # Will be retired on 2027-03-01.
        gpt-new-1:
          snapshot: "1"
    # alpha and beta (released 2026-01-01) were retired from the API on 2026-07-24; served by gpt-new since.
    alpha:
      display_name: A
    beta:
      display_name: B
    # Retired in late 2025.
    gamma:
      display_name: C
    # Retired on 2026-99-99.
    delta:
      display_name: D
"""


def test_a_comment_is_about_what_stands_below_it() -> None:
    assert read_days(DATA) == {
        "openai/gpt-old": DAY,
        "openai/gpt-old-0314": DAY,
        "openai/gpt-old-0301": date(2026, 1, 2),
        "openai/gpt-new-1": date(2027, 3, 1),
        "openai/alpha": date(2026, 7, 24),
        "openai/beta": date(2026, 7, 24),
    }


@pytest.mark.parametrize("text", ["", "# retired on 2026-10-23", "- a\n- b", "\x00", "a:\n" * 1000])
def test_other_files_tell_nothing(text: str) -> None:
    assert read_days(text) == {}


def test_the_installed_data_know_a_retired_judge() -> None:
    (found,) = retirements("openai/gpt-4o-2024-11-20", "openai/gpt-4-turbo", DAY)
    assert found == Retirement("openai/gpt-4-turbo", "judge", DAY)
    assert found.to_json() == {"model": "openai/gpt-4-turbo", "role": "judge", "day": "2026-10-23"}


@pytest.mark.parametrize(("before", "warned"), [(61, False), (60, True), (1, True), (0, True), (-400, True)])
def test_it_is_warned_of_from_60_days_before(before: int, warned: bool) -> None:
    today = DAY - timedelta(days=before)
    found = retirements("openai/gpt-4", None, today)
    assert bool(found) is warned
    if found:
        assert ("will be retired" in found[0].words(today)) is (before > 0)


def test_models_of_other_providers_are_not_known_by_their_name_alone() -> None:
    assert retirements("azureai/gpt-4", "mockllm/model", date(2030, 1, 1)) == []
