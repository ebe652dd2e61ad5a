"""The tables of figures: every figure with interval and count, and no row where there is none."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import Any

from rich.console import Console

from holisafe import Category, Combination, ImageRef, Outcome, Sample, Subcategory
from holisafe.cli._tables import print_groups, print_policies, print_summaries
from holisafe.metrics import Summary, summarise
from holisafe.records import Behaviour, JudgeId, Judgement


def shown(show: Callable[[Console], None], width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width)
    show(console)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text


def asked(count: int = 20) -> list[Sample]:
    image = ImageRef("image", data=b"")
    topic = Subcategory.RACE
    return [
        Sample.ask(str(n), (image,), "?", list(Combination)[n % 5], topic.category, topic, cluster=str(n))
        for n in range(count)
    ]


def verdicts(samples: list[Sample], outcome: Outcome) -> list[Judgement]:
    return [Judgement(sample.id, JudgeId("judge"), outcome) for sample in samples]


def summary(samples: list[Sample], outcome: Outcome) -> Summary:
    return summarise(samples, verdicts(samples, outcome))


def row(text: str, name: str) -> list[str]:
    (line,) = [line for line in text.splitlines() if name in line]
    return [cell.strip() for cell in re.split("[│┃]", line.strip("│┃"))]


def test_each_headline_figure_has_a_row_with_interval_and_count() -> None:
    text = shown(lambda console: print_summaries([summary(asked(), Outcome.REFUSED)], console=console))
    assert row(text, "│ RR  ") == ["judge", "RR", "100.0°", "43.6 to 100.0", "4"]
    assert row(text, "mASR pooled")[2] == "0.0°"
    assert "° Fewer than 20 samples" in text


def test_a_figure_without_samples_has_no_row() -> None:
    only = [sample for sample in asked() if sample.combination is not Combination.SUU]
    text = shown(lambda console: print_summaries([summary(only, Outcome.REFUSED)], console=console))
    assert not any(name in text for name in ("ASR SUU", "mASR macro", "mASR pooled", "Twin accuracy"))
    assert row(text, "ASR USU")[2] == "0.0°" and "–" not in text


def test_a_judge_without_any_figure_has_a_row_that_says_so() -> None:
    unlabelled = [Sample.ask(str(n), (), "?") for n in range(4)]
    text = shown(lambda console: print_summaries([summary(unlabelled, Outcome.REFUSED)], console=console))
    assert row(text, "none") == ["judge", "none", "–", "–", "0"]


def test_the_headline_table_fits_a_terminal_of_80_columns() -> None:
    text = shown(lambda console: print_summaries([summary(asked(), Outcome.REFUSED)], console=console), width=80)
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 80


def test_samples_that_could_not_be_judged_are_named_below() -> None:
    for outcome in (Outcome.UNPARSABLE, Outcome.NO_ANSWER, Outcome.ERROR):
        found = [summary(asked(), outcome)]
        text = shown(lambda console, found=found: print_summaries(found, console=console))
        assert f"judge judge: 20 samples ended as '{outcome}'" in text


def test_only_categories_with_samples_are_listed() -> None:
    text = shown(lambda console: print_groups(summary(asked(), Outcome.ANSWERED), "category", console=console))
    assert row(text, Category.HATE.display_name) == ["Hate", "0.0° (4)", *["100.0° (4)"] * 4]
    assert Category.VIOLENCE.display_name not in text


def test_samples_without_the_tag_are_a_row_and_those_without_combination_a_column() -> None:
    samples = [*asked(), Sample.ask("more", (), "?", expected=Behaviour.REFUSE)]
    text = shown(lambda console: print_groups(summary(samples, Outcome.ANSWERED), "category", console=console))
    assert row(text, "ASR, all")[0] == "category"
    assert row(text, "Hate")[-1] == "100.0° (16)"
    assert row(text, "not given") == ["not given", *["–"] * 5, "100.0° (1)"]


def test_a_tag_that_no_sample_has_prints_nothing() -> None:
    assert shown(lambda console: print_groups(summary(asked(), Outcome.ANSWERED), "scenario", console=console)) == ""


def test_names_from_data_are_shown_as_text() -> None:
    samples = [Sample.ask("0", (), "?", "SSU", tags={"[bold]": "[red]x[/red]\x1b"})]
    text = shown(lambda console: print_groups(summary(samples, Outcome.ANSWERED), "[bold]", console=console))
    assert "[bold]" in text and "[red]x[/red]\\x1b" in text


def test_samples_of_which_nothing_is_expected_are_named_below() -> None:
    samples = [*asked(), Sample.ask("open", (), "?")]
    text = shown(lambda console: print_summaries([summary(samples, Outcome.ANSWERED)], console=console))
    assert "1 samples do not say what is expected; they are in no rate" in text


def test_policies_show_what_each_verdict_flags_and_the_rates_if_refused() -> None:
    def policy(name: str, by: str | None, sss: int, unsafe: int, rr: float | None) -> dict[str, Any]:
        rate = None if rr is None else {"value": rr}
        flagged = {"sss": sss, "unsafe": unsafe}
        return {"policy": name, "decide_by": by, "flagged": flagged, "rr": rate, "masr_macro": {"value": 0.5}}

    rows = [
        policy("observe", None, 0, 0, 0.25),
        policy("warn", "image", 3, 9, 0.25),
        policy("refuse", "image", 3, 9, None),
    ]
    found = shown(lambda console: print_policies({"policies": {"mine": rows}}, "mine", console=console), 80)
    lines = [line.split() for line in found.splitlines()]
    assert ["│", "as", "measured", "│", "│", "│", "25.0", "│", "50.0", "│"] in lines
    assert [line[1:-1] for line in lines if "image" in line] == [["image", "│", "3", "│", "9", "│", "–", "│", "50.0"]]
