"""Guards side by side: what each flags of the same requests and images, for the page, Markdown and CSV."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from holisafe.guard import GuardRates, guard_rates
from holisafe.metrics import Figure
from holisafe.report._table import JudgedRun, percent
from holisafe.report.text import cell
from holisafe.taxonomy import Combination

NOT_EXPRESSED = "cannot express"


def rates_of(runs: Sequence[JudgedRun]) -> dict[str, tuple[GuardRates, ...]]:
    """By the name of the run, for those whose requests a guard has seen."""
    found = {judged.name: guard_rates(judged.run) for judged in runs}
    return {name: each for name, each in found.items() if each}


def markdown(name: str, found: Sequence[GuardRates]) -> Iterator[str]:
    """Lines of the table of one run."""
    heads = [f"{kind.value} false alarms" if kind.is_safe else kind.value for kind in Combination]
    columns = [*heads, "unsafe images", "safe images", "no verdict"]
    yield from ("", f"**Guards on {cell(name)}: flagged** (in %; false alarms on SSS, recall on the others)", "")
    yield "| guard | " + " | ".join(columns) + " |"
    yield "|---|" + "--:|" * len(columns)
    for rates in found:
        shown = [
            percent(figure) if kind in rates.expresses else NOT_EXPRESSED for kind, figure in rates.flagged.items()
        ]
        images = [percent(rates.unsafe_images), percent(rates.safe_images)]
        cells = [cell(rates.guard), *shown, *images, f"{rates.without} of {rates.requests}"]
        yield "| " + " | ".join(cells) + " |"


def csv_rows(name: str, found: Sequence[GuardRates]) -> Iterator[list[object]]:
    """Rows `run, judge, figure, value, low, high, n`, without a judge; what a guard cannot express has no row."""
    for rates in found:
        place = f"guards.{rates.guard}"
        for kind, figure in rates.flagged.items():
            if kind in rates.expresses:
                yield [name, "", f"{place}.{kind.value.lower()}", *_numbers(figure)]
        for key, figure in (("unsafe_images", rates.unsafe_images), ("safe_images", rates.safe_images)):
            if figure is not None:
                yield [name, "", f"{place}.{key}", *_numbers(figure)]
        share = rates.without / rates.requests if rates.requests else ""
        yield [name, "", f"{place}.without", share, "", "", rates.requests]


def _numbers(figure: Figure | None) -> list[object]:
    return ["", "", "", 0] if figure is None else [figure.value, figure.low, figure.high, figure.n]
