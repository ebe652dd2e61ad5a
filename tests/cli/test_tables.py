"""The tables of figures: every figure with interval and count, and a dash where there is none."""

from __future__ import annotations

import io
from collections.abc import Callable

from rich.console import Console

from holisafe import Category, Combination, ImageRef, Outcome, Sample, Subcategory
from holisafe.cli._tables import print_categories, print_comparison, print_summaries
from holisafe.metrics import Summary, compare, summarise
from holisafe.records import JudgeId, Judgement


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
    return summarise(samples, verdicts(samples, outcome), resamples=100)


def row(text: str, name: str) -> list[str]:
    (line,) = [line for line in text.splitlines() if name in line]
    return [cell.strip() for cell in line.strip("│").split("│")]


def test_each_headline_figure_has_a_row_with_interval_and_count() -> None:
    text = shown(lambda console: print_summaries([summary(asked(), Outcome.REFUSED)], console=console))
    assert row(text, "RR SSS") == ["judge", "RR SSS", "100.0", "51.0 to 100.0", "4"]
    assert row(text, "mASR, pooled")[2] == "0.0"


def test_a_figure_that_cannot_be_had_is_a_dash() -> None:
    only = [sample for sample in asked() if sample.combination is not Combination.SUU]
    text = shown(lambda console: print_summaries([summary(only, Outcome.REFUSED)], console=console))
    for name in ("ASR SUU", "mASR, macro", "mASR, pooled", "twin accuracy"):
        assert row(text, name)[2:] == ["–", "–", "0"]


def test_the_headline_table_fits_a_terminal_of_80_columns() -> None:
    text = shown(lambda console: print_summaries([summary(asked(), Outcome.REFUSED)], console=console), width=80)
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 80


def test_samples_that_could_not_be_judged_are_named_below() -> None:
    text = shown(lambda console: print_summaries([summary(asked(), Outcome.UNPARSABLE)], console=console))
    assert "judge judge: 20 samples ended as 'unparsable'" in text


def test_only_categories_with_samples_are_listed() -> None:
    text = shown(lambda console: print_categories(summary(asked(), Outcome.ANSWERED), console=console))
    assert row(text, Category.HATE.display_name) == ["Hate", "0.0 (4)", *["100.0 (4)"] * 4]
    assert Category.VIOLENCE.display_name not in text


def test_a_comparison_is_signed_and_in_points() -> None:
    samples = asked(200)
    found = compare(samples, verdicts(samples, Outcome.ANSWERED), verdicts(samples, Outcome.REFUSED), resamples=100)
    text = shown(lambda console: print_comparison(found, "before", "after", console=console))
    assert "after minus before" in text
    assert row(text, "masr_pooled")[1] == "-100.0"
    assert row(text, "rr")[1] == "+100.0"
    assert row(text, "twin_accuracy")[1:] == ["–", "–", "–", "0"]
