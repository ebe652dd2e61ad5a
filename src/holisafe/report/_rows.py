"""Runs as rows of a table: runs of one label are one row, and a table holds what can be compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from holisafe.errors import DataError, RunError, UnknownNameError
from holisafe.metrics import (
    FIGURES,
    HEADLINE,
    Difference,
    Figure,
    HeadlineFigure,
    PairedTest,
    Repeats,
    compare_repeats,
    describe_judge,
    figures,
    holm,
    judge_of,
    summarise_repeats,
    withheld,
)
from holisafe.records import MAX_UNJUDGED, Judgement, Run
from holisafe.report._caveats import tokens_of
from holisafe.report._epochs import first_epochs, in_order
from holisafe.report._provenance import mapping
from holisafe.report._same import same_sample
from holisafe.report._withheld import withheld_judges
from holisafe.report.text import plain


@dataclass(frozen=True, slots=True)
class Row:
    """One model under one judge: a run, or several of one label.

    Attributes:
        label: Name to show.
        runs: Its runs, on the same samples, in the samples' order of the first.
        repeats: Its figures.
        withheld: Why it has none; empty where it has.
        utility: Accuracies of other tools by the name of their column; None where there is none.
    """

    label: str
    runs: tuple[Run, ...]
    repeats: Repeats
    withheld: str = ""
    utility: Mapping[str, Figure | None] = field(default_factory=dict)

    @property
    def failed(self) -> float:
        """Share of samples that ended in an error."""
        failed = [response.error is not None for run in self.runs for response in run.responses]
        return sum(failed) / len(failed)

    @property
    def figures(self) -> dict[str, Figure | None]:
        """Every figure by name, and accuracies of other tools by theirs."""
        return {**figures(self.repeats.summary), **self.utility}

    def between(self, name: str) -> float | None:
        """Standard deviation of a figure between the runs; None for one run, and for accuracies of other tools."""
        return self.repeats.between.get(name)


@dataclass(frozen=True, slots=True)
class Found:
    """A row's figure against that of the chosen row.

    Attributes:
        difference: The row minus the chosen row.
        p: Its p-value after Holm's correction over the table; None where the test is not defined.
    """

    difference: Difference
    p: float | None

    @property
    def is_significant(self) -> bool:
        """Whether the corrected p-value is below 0.05."""
        return self.p is not None and self.p < 0.05


@dataclass(frozen=True, slots=True)
class Board:
    """One table: rows of one judge on the same samples.

    Attributes:
        judge: The judge's name.
        judge_words: The judge in words, with version and model.
        data: Name of the data and split.
        samples: Samples that each run was asked.
        tokens: Maximum number of new tokens, in words.
        columns: The figures shown.
        rows: The models.
        against: Label of the row that the others are compared with; None without one.
        found: By label and figure.
        comparisons: How many p-values Holm's correction was made over.
        test: The test that gave them.
        notes: What could not be compared, and why.
    """

    judge: str
    judge_words: str
    data: str
    samples: int
    tokens: str
    columns: tuple[HeadlineFigure, ...]
    rows: tuple[Row, ...]
    against: str | None
    found: Mapping[tuple[str, str], Found]
    comparisons: int
    test: PairedTest
    notes: tuple[str, ...] = ()

    def is_best(self, row: Row, figure: HeadlineFigure) -> bool:
        """Whether a row has the best value of a column, of two or more that have one; many failures are no merit."""
        found = [each.figures[figure.name] for each in self.rows if each.failed <= MAX_UNJUDGED]
        values = [round(each.value, 3) for each in found if each is not None]
        own = row.figures[figure.name]
        if len(values) < 2 or own is None or row.failed > MAX_UNJUDGED:
            return False
        return round(own.value, 3) == (max(values) if figure.higher_is_better else min(values))


def label_runs(runs: Sequence[Run], labels: Sequence[str | None] | None = None) -> list[Run]:
    """The runs under names to show. Those labelled alike, and epochs of one run, keep one name; others are numbered.

    Raises:
        RunError: There is no run, or one has no judgements.
    """
    if not runs:
        raise RunError("no run to export; expected at least one")
    for run in runs:
        if not run.samples or not run.judgements:
            raise RunError(f"run {run.name!r} holds no {'judgements' if run.samples else 'samples'}; judge it first")
    given = list(labels) if labels is not None else [None] * len(runs)
    if len(given) != len(runs):
        raise RunError(f"{len(given)} labels for {len(runs)} runs; expected one for each, None for its own name")
    shown = _shown_labels([label for label in given if label is not None])
    own = [plain(run.name, 100) or "unnamed" for run in runs]
    first = first_epochs(runs)
    taken = list(shown.values())
    taken += [
        name for at, (name, label) in enumerate(zip(own, given, strict=True)) if label is None and first[at] == at
    ]
    names: list[str] = []
    for at, (name, label) in enumerate(zip(own, given, strict=True), start=1):
        numbered = f"{name} (run {first[at - 1] + 1})"
        while numbered in taken:
            numbered += "'"
        names.append(shown[label] if label is not None else numbered if taken.count(name) > 1 else name)
    return [replace(run, name=name) for run, name in zip(runs, names, strict=True)]


def _shown_labels(labels: Sequence[str]) -> dict[str, str]:
    """How each label is shown.

    Raises:
        RunError: One shows nothing, or two that differ are shown alike, and would be one row.
    """
    shown = {label: plain(label, 100) for label in labels}
    for label, name in shown.items():
        if not name:
            raise RunError(f"the label {label!r} shows nothing; give one with letters")
        if other := next((each for each in shown if each != label and shown[each] == name), None):
            raise RunError(
                f"the labels {label!r} and {other!r} are both shown as {name!r}; make them shorter, or alike"
            )
    return shown


def choose_columns(names: Sequence[str] | None) -> tuple[HeadlineFigure, ...]:
    """The figures of these names, in their order; the headline figures if none are named.

    Raises:
        UnknownNameError: There is no such figure.
    """
    known = {figure.name: figure for figure in FIGURES}
    if wrong := [name for name in names or () if name not in known]:
        raise UnknownNameError("figure", wrong[0], known)
    return tuple(known[name] for name in dict.fromkeys(names)) if names else HEADLINE


def boards(
    runs: Sequence[Run],
    *,
    judges: Sequence[str] | None = None,
    figure_names: Sequence[str] | None = None,
    against: str | None = None,
    test: PairedTest = PairedTest.SCORE,
    utility: Mapping[str, Mapping[str, Figure]] | None = None,
) -> tuple[Board, ...]:
    """A table for each judge and each set of samples.

    Args:
        runs: The runs, as `label_runs` names them.
        judges: Judges to show; all if not given.
        figure_names: Figures to show; the headline figures if not given.
        against: Label of the row that the others are compared with.
        test: What gives the p-values.
        utility: Label → name of a column → accuracy of that row, beside the figures.

    Raises:
        RunError: Runs of one label were asked different samples.
        UnknownNameError: No run has that judge or label, or there is no such figure.
    """
    known = list(dict.fromkeys(judge for run in runs for judge in run.judgements))
    if wrong := [judge for judge in judges or () if judge not in known]:
        raise UnknownNameError("judge of these runs", wrong[0], known)
    labels = list(dict.fromkeys(run.name for run in runs))
    if against is not None and against not in labels:
        raise UnknownNameError("row", against, labels, hint="--against takes the name of a run, or its --label.")
    if wrong := [label for label in utility or {} if label not in labels]:
        raise UnknownNameError("row", wrong[0], labels, hint="--utility takes the name of a run, or its --label.")
    columns = choose_columns(figure_names)
    by_data = _by_data(_by_label(runs))
    return tuple(
        _with_utility(_board(judge, rows, columns, against, test), utility or {})
        for judge in (judges or known)
        for group in by_data
        if (rows := [row for label, found in group.items() if (row := _row(label, found, judge)) is not None])
    )


def _with_utility(board: Board, utility: Mapping[str, Mapping[str, Figure]]) -> Board:
    """The table with a column for each name that one of its rows has an accuracy of."""
    names = list(dict.fromkeys(name for row in board.rows for name in utility.get(row.label, {})))
    added = tuple(
        HeadlineFigure(name, name, f"Accuracy on {name}", lambda _: None, higher_is_better=True) for name in names
    )
    rows = tuple(
        replace(row, utility={name: utility.get(row.label, {}).get(name) for name in names}) for row in board.rows
    )
    return replace(board, columns=(*board.columns, *added), rows=rows)


def _by_label(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """The runs of each label, their samples in the order of the first."""
    found: dict[str, list[Run]] = {}
    for run in runs:
        found.setdefault(run.name, []).append(run)
    return {label: [each[0], *(in_order(run, each[0]) for run in each[1:])] for label, each in found.items()}


def _by_data(by_label: Mapping[str, list[Run]]) -> list[dict[str, list[Run]]]:
    """Labels of the same samples together; samples in the order of the group's first."""
    groups: dict[frozenset[object], dict[str, list[Run]]] = {}
    for label, runs in by_label.items():
        key = frozenset(map(same_sample, runs[0].samples))
        group = groups.setdefault(key, {})
        first = next(iter(group.values()))[0] if group else runs[0]
        group[label] = [in_order(run, first) for run in runs]
    return list(groups.values())


def _row(label: str, runs: Sequence[Run], judge: str) -> Row | None:
    judged = tuple(run for run in runs if judge in run.judgements)
    if not judged:
        return None
    repeats = summarise_repeats(judged[0].samples, [run.judgements[judge] for run in judged], by=())
    why = next((found[judge] for run in judged if judge in (found := withheld_judges(run))), "")
    if why:  # of several runs too: a mean over the others would hide it
        repeats = Repeats(withheld(repeats.summary), dict.fromkeys(repeats.between), repeats.runs)
    return Row(label, judged, repeats, why)


def _board(
    judge: str,
    rows: Sequence[Row],
    columns: tuple[HeadlineFigure, ...],
    against: str | None,
    test: PairedTest,
) -> Board:
    chosen = next((row for row in rows if row.label == against), None)
    found: dict[tuple[str, str], Difference] = {}
    notes = [f"No figures of {row.label}: {row.withheld}." for row in rows if row.withheld]
    notes += filter(None, map(_failures, rows))
    if against is not None and chosen is None:
        notes.append(f"Not compared with {against}, which was asked other samples or has no judgements of {judge}.")
    for row in rows if chosen is not None else ():
        if chosen is None or row is chosen or row.withheld or chosen.withheld:
            continue
        try:
            compared = compare_repeats(chosen.runs[0].samples, _judged(chosen, judge), _judged(row, judge), test=test)
        except DataError as error:
            notes.append(f"Not compared with {chosen.label}: {row.label}, because {error}.")
            continue
        found |= {(row.label, name): each for name, each in compared.differences.items() if each is not None}
    shown = {key: each for key, each in found.items() if key[1] in {figure.name for figure in columns}}
    corrected = holm([each.p for each in shown.values()])
    return Board(
        judge,
        _judge_words(rows, judge),
        _data_words(rows),
        len(rows[0].runs[0].samples),
        _tokens_words(rows),
        columns,
        tuple(rows),
        chosen.label if chosen is not None else None,
        {key: Found(each, p) for (key, each), p in zip(shown.items(), corrected, strict=True)},
        sum(each.p is not None for each in shown.values()),
        test,
        tuple(notes),
    )


def _failures(row: Row) -> str:
    """How many samples of a row ended in an error; empty where none did, or it has no figures."""
    failed = [response.error is not None for run in row.runs for response in run.responses]
    if row.withheld or not any(failed):
        return ""
    return f"Errors of {row.label}: {sum(failed)} of {len(failed)} samples have no answer, which counts as no success."


def _judged(row: Row, judge: str) -> list[tuple[Judgement, ...]]:
    return [run.judgements[judge] for run in row.runs]


def _judge_words(rows: Sequence[Row], judge: str) -> str:
    found = {describe_judge(judge_of(run.judgements[judge])) for row in rows for run in row.runs}
    return " / ".join(sorted(plain(words, 200) for words in found))


def _data_words(rows: Sequence[Row]) -> str:
    names = []
    for run in (run for row in rows for run in row.runs):
        data = mapping(run.provenance.get("data"))
        split = f", split {data['split']}" if data.get("split") else ""
        names.append(plain(f"{data.get('name') or 'unnamed data'}{split}", 200))
    return " / ".join(dict.fromkeys(names))


def _tokens_words(rows: Sequence[Row]) -> str:
    found = {tokens_of(run) for row in rows for run in row.runs}
    known = sorted(each for each in found if each is not None)
    listed = " or ".join(map(str, known))
    unknown = " (not recorded for all runs)" if None in found else ""
    return f"at most {listed} new tokens{unknown}" if known else "token limit not recorded"
