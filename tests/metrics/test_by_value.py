"""The figures of each value of a tag, all at once, are those of its samples alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from holisafe.metrics import summarise_repeats, summarise_values
from holisafe.records import Outcome
from report_runs import make_run, make_samples


@pytest.mark.parametrize("epochs", [1, 2])
def test_each_value_has_the_figures_of_its_own_samples(epochs: int) -> None:
    samples = [
        replace(sample, tags={**sample.tags, "part": "one" if at % 3 else "two"} if at % 7 else sample.tags)
        for at, sample in enumerate(make_samples(30))
    ]
    run = make_run(samples=tuple(samples), by=("refusal",))
    turned = [
        replace(each, outcome=Outcome.ANSWERED if at % 5 else each.outcome)
        for at, each in enumerate(run.judgements["refusal"])
    ]
    judged = [run.judgements["refusal"], turned][:epochs]
    for tag in ("part", "category"):
        found = summarise_values(samples, judged, tag)
        assert found.keys() == {sample.tags[tag] for sample in samples if tag in sample.tags}
        for value, summary in found.items():
            places = [at for at, sample in enumerate(samples) if sample.tags.get(tag) == value]
            alone = summarise_repeats([samples[at] for at in places], [[each[at] for at in places] for each in judged],
                                      by=[tag]).summary  # fmt: skip
            assert summary == alone
