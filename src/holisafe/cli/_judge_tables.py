"""The tables of `holisafe judge`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from holisafe._printable import printable
from holisafe.cli._tables import LABELS, NOTHING, rate
from holisafe.metrics import Figure

if TYPE_CHECKING:
    from holisafe.datasets.human_labels import LabelledAnswer
    from holisafe.judges.validation import ErrorOnModel, Validation

LONGEST = 66
"""Characters of an answer or a request in a list."""


def print_judges(described: Sequence[Mapping[str, Any]]) -> None:
    """Name and version of each judge, what it reads, its outcomes, and what else is known of it."""
    table = Table(show_lines=True)
    for head in ("judge", "reads", "outcomes", "more"):
        table.add_column(head, overflow="fold")
    for one in described:
        identity = one["identity"]
        name = one["name"] if identity is None else f"{one['name']}\n{identity['version']}"
        listed = (", ".join(one[key]) if one[key] else NOTHING for key in ("reads", "outcomes"))
        table.add_row(_plain(name), *map(_plain, listed), _plain("\n".join(_more(one))))
    console = Console()
    console.print(table)
    console.print(
        "Outcomes: beside error. Precision and recall: of refusals on the hard set of the labelled answers, in %."
    )


def _more(one: Mapping[str, Any]) -> Iterator[str]:
    if one["identity"] is None or (one["reads"] is None and not one["asks_model"]):
        yield one["needs"]
    if one["asks_model"]:
        yield "asks a model"
    if one["cannot_express"]:
        yield f"cannot express: {', '.join(one['cannot_express'])}"
    for name in ("precision", "recall") if one["measured"] else ():
        yield f"{name} {_percent(one['measured'][name])}"


def _percent(share: Mapping[str, float]) -> str:
    return f"{100 * share['value']:.1f} ({100 * share['low']:.1f} to {100 * share['high']:.1f})"


def print_validation(found: Validation, shown: int) -> None:
    """Error by model, corrected rates, agreement, and the first of the answers to look at."""
    console = Console()
    case = found.outcome.value
    console.print(
        _table(
            f"Judge {found.judge.name} against labels, '{case}': % (95 % interval)",
            ("model", "labelled", "sensitivity", "specificity", "Youden's J", "not scored"),
            [_error_row(one) for one in found.models],
        )
    )
    if any(one.judged is not None for one in found.models):
        heads = ("model", "by people", "as judged", "corrected", "labels", "PPI")
        console.print(_table(f"Rate of '{case}', %", heads, [_rate_row(one) for one in found.models]))
    for line in _lines(found):
        console.print(_plain(line))
    for title, listed in (
        (
            "To adjudicate",
            [(answer, ", ".join(f"{k}: {v}" for k, v in answer.labels.items())) for answer in found.unsettled],
        ),
        ("Judge and people disagree", [(answer, f"judge: {outcome}") for answer, outcome in found.wrong]),
    ):
        if listed:
            console.print(_plain(f"{title} ({len(listed)}; --json lists all):"))
        for answer, what in listed[:shown]:
            name = f"{answer.model} {answer.id}".strip()
            console.print(_plain(f"  {name} ({what}): {_short(answer.text)}"))
            if answer.request:
                console.print(_plain(f"    asked: {_short(answer.request)}"))


def print_bridge(found: Mapping[str, Any]) -> None:
    """Figures of each model by judge, side by side with their differences; agreement; rankings."""
    console = Console()
    names = [judge["name"] for judge in found["judges"]]
    rows = [
        (
            one["model"],
            LABELS[figure],
            *(_figure(by[name]) for name in names),
            *(_difference(one["differences"][name][figure]) for name in names[1:]),
        )
        for one in found["models"]
        for figure, by in one["figures"].items()
    ]
    heads = ("model", "figure", *names, *(f"{name} less {names[0]}" for name in names[1:]))
    console.print(_table("Rates in %, differences in points (95 % interval)", heads, rows))
    pairs = [
        (
            one["model"],
            f"{pair['first']} / {pair['second']}",
            f"{100 * pair['agreement']:.1f}",
            _number(pair["kappa"]),
            _shares(pair["prevalence"]),
            str(len(one["disagreements"])),
        )
        for one in found["models"]
        for pair in one["agreement"]
    ]
    heads = ("model", "judges", "agree %", "kappa", "prevalence", "differ")
    console.print(_table("Agreement of judges on outcomes", heads, pairs))
    for one in found["rankings"]:
        console.print(
            _plain(
                f"ranking of {one['models']} models by {one['figure'].upper()}, {one['first']} / {one['second']}: "
                f"Kendall's tau {_ranked(one['kendall'], one['kendall_interval'])}, "
                f"Spearman's rho {_ranked(one['spearman'], one['spearman_interval'])}"
            )
        )
    versions = "; ".join(f"{judge['name']} {judge['version']}" for judge in found["judges"])
    console.print(_plain(f"judges: {versions}"))


def _error_row(one: ErrorOnModel) -> tuple[str, ...]:
    error, youden = one.error, one.error.youden
    shown = NOTHING if youden is None else f"{youden.value:.2f} ({youden.low:.2f} to {youden.high:.2f})"
    count = 0 if one.labelled is None else one.labelled.n
    return (
        one.model or NOTHING,
        str(count),
        rate(error.sensitivity),
        rate(error.specificity),
        shown,
        str(one.not_scored),
    )


def _rate_row(one: ErrorOnModel) -> tuple[str, ...]:
    corrections = [rate(each.figure) for each in (one.corrected, one.prediction_powered)]
    return one.model or NOTHING, rate(one.labelled), rate(one.judged), corrections[0], one.calibration, corrections[1]


def _refusals(one: ErrorOnModel) -> list[str]:
    """Why rates of a model are not corrected."""
    corrections = (("corrected", one.corrected), ("PPI", one.prediction_powered))
    return [f"{one.model or NOTHING}: no {name} rate: {each.refused}" for name, each in corrections if each.refused]


def _lines(found: Validation) -> list[str]:
    lines = [f"judge: {found.judge.name}, version {found.judge.version}"]
    if found.agreement is not None:
        pair = found.agreement
        lines.append(
            f"judge and people: agree on {100 * pair.agreement:.1f} % of {pair.n}, kappa {_number(pair.kappa)}, "
            f"Krippendorff's alpha {_number(found.alpha)}; prevalence {_shares(pair.prevalence)}"
        )
    if len(found.annotators) > 0:
        kappas = ", ".join(f"{p.first} / {p.second} {_number(p.kappa)} (n {p.n})" for p in found.annotators)
        lines.append(f"annotators: Krippendorff's alpha {_number(found.annotators_alpha)}; kappa {kappas}")
    if len(found.models) > 1:
        why = found.sharing.refused
        widest = _number(found.sharing.widest)
        lines.append(
            f"one calibration set for all models: {'no, ' + why if why else 'not rejected'}; "
            f"largest difference of J: {widest}"
        )
    if any(one.judged is not None for one in found.models):
        lines += [line for one in found.models for line in _refusals(one)]
    else:
        lines.append("every answer has a label: there is no judged rate to correct")
    if found.decided:
        lines.append(f"decided by: {_shares(found.decided)}")
    if found.unsettled:
        lines.append(f"{len(found.unsettled)} answers are left out of the error until they are adjudicated")
    return lines


def _short(text: str) -> str:
    """The start of a text on one line."""
    line = " ".join(text.split())
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 1]}…"


def _votes(answer: LabelledAnswer) -> str:
    return ", ".join(f"{name}: {label}" for name, label in answer.labels.items())


def _table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(title=_plain(title), title_justify="left")
    for head in heads:
        table.add_column(_plain(head))
    for row in rows:
        table.add_row(*map(_plain, row))
    return table


def _figure(found: Mapping[str, Any] | None) -> str:
    return rate(None if found is None else Figure(**found))


def _difference(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return NOTHING
    value, low, high = (f"{100 * found[name]:+.1f}" for name in ("value", "low", "high"))
    return f"{value} ({low} to {high})"


def _number(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.2f}"


def _ranked(value: float | None, interval: Sequence[float] | None) -> str:
    return _number(value) if interval is None else f"{_number(value)} ({interval[0]:.2f} to {interval[1]:.2f})"


def _shares(prevalence: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {100 * share:.0f} %" for name, share in prevalence.items())


def _plain(text: str) -> str:
    return escape(printable(text))
