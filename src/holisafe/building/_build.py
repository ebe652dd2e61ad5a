"""All steps in their order, from a folder of pictures to data."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from holisafe._files import hold
from holisafe.bench import Prices, Spending, check_budget, money_text, stopped_by_budget
from holisafe.blind import PIXELS, BlindReport, blind_baselines
from holisafe.building._asking import JUDGE, MODEL, Writer
from holisafe.building._check import Panel, check
from holisafe.building._croissant import write_croissant
from holisafe.building._dedup import deduplicate
from holisafe.building._doubts import DOUBT, find_doubts
from holisafe.building._edits import Editor, count_edits, edit_pictures
from holisafe.building._labels import Labelled, label_pictures, read_given, unmatched
from holisafe.building._out import TEST, TRAIN, sample_of, write_data
from holisafe.building._pictures import read_pictures
from holisafe.building._requests import Asked, write_answers, write_questions
from holisafe.building._review_rows import REVIEW, reviewed
from holisafe.building._sheet import stats_of, write_sheet
from holisafe.building._split import find_twins, split_groups
from holisafe.building._steps import Row, StepCounts, StepFile, counted
from holisafe.errors import BudgetError, DataError, MissingDependencyError, RunError
from holisafe.judges import get
from holisafe.records import Sample

SPENDING = "spending.jsonl"


@dataclass(frozen=True, slots=True)
class BuildSettings:
    """What to build, and how.

    Attributes:
        pictures: Folder of the pictures.
        out: Folder of the data.
        labels: CSV or JSON Lines file with image, label and perhaps shows; "folders"; None where a guard labels all.
        guard: Model with a guard, for pictures without a label; None for none.
        model: Inspect's name of the model that writes requests and answers; empty for the templates.
        check_models: Models that vote on the combination; the writing model where there are none.
        judge: Judge of the answers.
        per_picture: Requests per picture and combination, at most.
        against: Data sets of which no picture may be in the data.
        near_bits: Bits of 256 in which the hashes of near-duplicates differ at most.
        held_out: Share of the groups of pictures in the split "test", in [0, 1).
        seed: Of the split.
        licence: SPDX id of the pictures.
        device: Device of the guard.
        prices: Prices of tokens; votes and judges are counted at the judge's prices.
        budget: Money at which no further call is made; None for no limit.
        check_labels: Whether given labels are compared with the guard's probabilities.
        editor: Endpoint that makes harmless twins of pictures; None for the nearest harmless pictures alone.
        blind: Whether blind baselines of the data are measured.
    """

    pictures: Path
    out: Path
    labels: str | Path | None = None
    guard: str | None = None
    model: str = ""
    check_models: tuple[str, ...] = ()
    judge: str = "refusal"
    per_picture: int = 1
    against: tuple[str, ...] = ()
    near_bits: int = 12
    held_out: float = 0.2
    seed: int = 0
    licence: str = "NOASSERTION"
    device: str | None = None
    prices: Prices = field(default_factory=Prices)
    budget: float | None = None
    check_labels: bool = False
    editor: Editor | None = None
    blind: bool = True

    def __post_init__(self) -> None:
        if self.out.absolute() == self.pictures.absolute():
            raise RunError(f"out is {self.out}, the folder of the pictures; choose another one")
        if not 0 <= self.held_out < 1:
            raise RunError(f"held_out is {self.held_out}; expected a share from 0 to below 1")
        if not 0 <= self.near_bits <= 256:
            raise RunError(f"near_bits is {self.near_bits}; expected bits of a hash, from 0 to 256")
        if self.per_picture < 1:
            raise RunError(f"per_picture is {self.per_picture}; expected 1 or more")
        if self.check_models and not self.model:
            raise RunError("models that check are given, and none that writes; name it with --model")
        if self.check_labels and self.guard is None:
            raise RunError("given labels are checked by the probabilities of a guard; name one with --guard")
        if self.budget is not None and self.editor is not None and self.editor.price is None:
            raise RunError("a budget needs the price of an edited picture: give --edit-price")

    @property
    def voters(self) -> tuple[str, ...]:
        """Names of the models that vote."""
        return self.check_models or ((self.model,) if self.model else ())


@dataclass(frozen=True, slots=True)
class Built:
    """What was built.

    Attributes:
        out: The folder.
        counts: What went into each step and came out.
        samples: Samples by split.
        not_checked: What nobody has checked.
        errors: Rows that the next run tries again.
        blind: What classifiers reach that see only the request, or only the picture; None where they were not measured.
        blind_note: Why they were not.
    """

    out: Path
    counts: tuple[StepCounts, ...]
    samples: Mapping[str, tuple[Sample, ...]]
    not_checked: tuple[str, ...]
    errors: int
    blind: BlindReport | None = None
    blind_note: str = ""

    def to_json(self) -> dict[str, Any]:
        """The documented object (docs/build.md)."""
        return {
            "out": str(self.out),
            "samples": {split: len(found) for split, found in self.samples.items()},
            "steps": [each.to_json() for each in self.counts],
            "not_checked": list(self.not_checked),
            "errors": self.errors,
            "stats": {split: stats_of(found) for split, found in self.samples.items()},
            "blind": {"left_out": self.blind_note} if self.blind is None else _without_place(self.blind),
        }


def build(settings: BuildSettings, *, writer: Writer | None = None, voters: Sequence[Writer] | None = None) -> Built:
    """Build five-combination data from a folder of pictures; the same call resumes.

    Args:
        settings: What to build.
        writer: What writes, in place of the settings' model.
        voters: Who votes, in place of the settings' models.

    Raises:
        DataError: The pictures, labels or data sets cannot be read, or nothing is left to learn from.
        ModelError, GuardError, JudgeError: A model, guard or judge cannot be loaded.
        BudgetError: The budget is spent; the same call with a larger one resumes.
        RunError: A step's file is damaged or cannot be written, or another process builds in the folder.
    """
    writer = writer or Writer(settings.model)
    panel = Panel(tuple(voters if voters is not None else map(Writer, settings.voters)), get(settings.judge))
    hosted = {MODEL: writer.model} | ({JUDGE: panel.models[0].model} if panel.models else {}) if writer.model else {}
    check_budget(settings.prices, settings.budget, hosted)
    with hold(settings.out, RunError), contextlib.ExitStack() as files:
        run = _Run(settings, writer, panel, files)
        try:
            return run.build()
        except BudgetError as error:
            raise run.stopped() from error


class _Run:
    """One call of `build`: its open files and what it has counted."""

    def __init__(self, settings: BuildSettings, writer: Writer, panel: Panel, files: contextlib.ExitStack) -> None:
        self.settings, self.writer, self.panel, self._files = settings, writer, panel, files
        self.counts: list[StepCounts] = []
        self.rows: list[Row] = []
        self.spending: Spending | None = None
        if writer.model or settings.editor is not None:
            spending = Spending(settings.out / SPENDING, settings.prices, settings.budget)
            self.spending = files.enter_context(spending)
            if settings.editor is not None and spending.budget is not None:
                with StepFile(settings.out, "edits") as edits:
                    spending.budget -= count_edits(edits, settings.editor) * (settings.editor.price or 0.0)

    def build(self) -> Built:
        labelled, groups = self._pictures()
        doubts = self._doubts(labelled)
        questions, answers, votes, checks = map(self._file, ("questions", "answers", "votes", "check"))
        per_picture = self.settings.per_picture
        rows, asked, counts = write_questions(labelled, per_picture, self.writer, questions, self.spending)
        self.rows += rows
        self.counts.append(counts)

        def finished(given: Sequence[Asked], suffix: str) -> list[Asked]:
            rows, answered = write_answers(given, self.writer, answers, self.spending)
            self._count(f"answers{suffix}", "requests", rows)
            rows, kept = check(answered, self.panel, votes, checks, self.spending)
            self._count(f"check{suffix}", "requests", rows)
            return kept

        checked = finished(asked, "")
        splits = self._splits(labelled, groups)
        edited = self._edited(checked, groups, splits)
        rows, twins = find_twins(checked, labelled, splits, self._file("twins"), edited)
        self._count("twins", "requests", rows)
        known = {one.id for one in checked}
        checked += finished(list({one.id: one for one in twins if one.id not in known}.values()), " of twins")
        samples = self._reviewed(_samples(checked, twins, groups, splits, doubts, self.settings.licence))
        write_data(samples, self.settings.out)
        write_croissant(samples, self.settings.out, self.settings.licence, self.writer.by)
        errors = sum(row.status == "error" for row in self.rows)
        unchecked = (*self.panel.not_checked, *self._edits_not_checked(bool(edited)))
        blind, note = _blind(self.settings)
        built = Built(self.settings.out, tuple(self.counts), samples, unchecked, errors, blind, note)
        write_sheet(built.to_json(), self._about(), self.settings.out)
        return built

    def stopped(self) -> BudgetError:
        """What to say where the budget has ended the run: of calls, and of edits, which have shrunk it."""
        spending, budget = self.spending, self.settings.budget
        assert spending is not None and spending.budget is not None and budget is not None
        edits = budget - spending.budget
        spending.budget = budget
        told = stopped_by_budget(spending, str(self.settings.out))
        return BudgetError(f"{told}. Edited pictures have cost {money_text(edits)}") if edits else told

    def _pictures(self) -> tuple[list[Labelled], dict[str, str]]:
        settings = self.settings
        found = read_pictures(settings.pictures, settings.out, self._file("pictures"))
        self._count("pictures", "files", found.rows)
        given = read_given(settings.labels, found)
        if lost := unmatched(given, found):
            self._count("given", "labels", self._file("given").whole([row.key for row in lost], lambda: lost))
        rows, labelled = label_pictures(found, given, settings.guard, settings.device, self._file("labels"))
        self._count("labels", "pictures", rows)
        rows, groups = deduplicate(labelled, settings.against, settings.near_bits, self._file("dedup"))
        self._count("dedup", "pictures", rows)
        return [one for one in labelled if one.picture.digest in groups], groups

    def _doubts(self, labelled: Sequence[Labelled]) -> dict[str, str]:
        """Digest → why its given label is in doubt."""
        settings = self.settings
        if not settings.check_labels or settings.guard is None:
            return {}
        files = self._file("probabilities"), self._file("doubts")
        _, found, counts = find_doubts(labelled, settings.guard, settings.device, *files)
        self.counts.append(counts)
        return found

    def _edited(self, checked: Sequence[Asked], groups: dict[str, str], splits: dict[str, str]) -> dict[str, Labelled]:
        """Id of a request → its edited picture, which joins the group and the split of its own."""
        settings = self.settings
        if settings.editor is None:
            return {}
        file = self._file("edits")
        given = (settings.out, file, self.spending, settings.guard, settings.device)
        rows, edited = edit_pictures(checked, settings.editor, *given)
        self._count("edits", "pictures", rows)
        by_id = {one.id: one.about.picture.digest for one in checked}
        for name, made in edited.items():
            groups.setdefault(made.picture.digest, groups[by_id[name]])
            splits.setdefault(made.picture.digest, splits[by_id[name]])
        return edited

    def _edits_not_checked(self, made: bool) -> tuple[str, ...]:
        is_checked = self.settings.guard is not None or self.panel.models
        return ("whether an edited picture is harmless",) if made and not is_checked else ()

    def _splits(self, labelled: Sequence[Labelled], groups: Mapping[str, str]) -> dict[str, str]:
        """Digest → split."""
        settings = self.settings
        rows, by_group = split_groups(labelled, groups, settings.held_out, settings.seed, self._file("split"))
        self._count("split", "groups of pictures", rows)
        return {digest: by_group[group] for digest, group in groups.items()}

    def _reviewed(self, samples: Mapping[str, Sequence[Sample]]) -> dict[str, tuple[Sample, ...]]:
        """The samples without those that people have turned down."""
        if not (self.settings.out / "steps" / f"{REVIEW}.jsonl").exists():
            return {split: tuple(found) for split, found in samples.items()}
        rows, kept = reviewed(samples, self._file(REVIEW))
        self._count(REVIEW, "samples", rows)
        return kept

    def _about(self) -> dict[str, Any]:
        """What the data were made with, for the datasheet."""
        settings = self.settings
        return {
            "written by": self.writer.by,
            "labels": "given" if settings.labels else "none given",
            "guard": settings.guard or "none",
            "given labels": "compared with the guard's probabilities" if settings.check_labels else "not compared",
            "twins by": "the nearest harmless picture"
            if settings.editor is None
            else f"edits of {settings.editor.model}",
            "checked by": [one.by for one in self.panel.models] or "rules alone",
            "judge": self.panel.bound().id.to_json(),
            "against": list(settings.against),
            "near_bits": settings.near_bits,
            "held_out": settings.held_out,
            "seed": settings.seed,
            "licence": settings.licence,
            "per_picture": settings.per_picture,
        }

    def _file(self, name: str) -> StepFile:
        return self._files.enter_context(StepFile(self.settings.out, name))

    def _count(self, name: str, unit: str, rows: Sequence[Row]) -> None:
        self.rows += rows
        self.counts.append(counted(name, unit, rows))


def _samples(
    checked: Sequence[Asked],
    twins: Sequence[Asked],
    groups: Mapping[str, str],
    splits: Mapping[str, str],
    doubts: Mapping[str, str],
    licence: str,
) -> dict[str, list[Sample]]:
    """Samples by split, in the order of their ids; each of a pair names the other."""
    kept = {one.id for one in checked}
    partner: dict[str, str] = {}
    for twin in twins:
        if twin.id in kept and twin.twin in kept:
            partner.setdefault(twin.id, twin.twin)
            partner.setdefault(twin.twin, twin.id)
    found: dict[str, list[Sample]] = {TRAIN: [], TEST: []}
    for one in sorted(checked, key=lambda one: one.id):
        digest = one.about.picture.digest
        made = sample_of(one, cluster=groups[digest], twin=partner.get(one.id, ""), licence=licence)
        found[splits[digest]].append(
            replace(made, tags={**made.tags, "split": splits[digest], **_doubt(doubts, digest)})
        )
    return found


def _doubt(doubts: Mapping[str, str], digest: str) -> dict[str, str]:
    return {DOUBT: doubts[digest]} if digest in doubts else {}


def _blind(settings: BuildSettings) -> tuple[BlindReport | None, str]:
    """Blind baselines of what was written, or why there are none."""
    if not settings.blind:
        return None, "not asked for"
    try:
        return blind_baselines(settings.out, features=PIXELS), ""
    except (DataError, MissingDependencyError) as error:
        return None, str(error).replace(f"{settings.out}", "the data")


def _without_place(report: BlindReport) -> dict[str, Any]:
    return {name: value for name, value in report.to_json().items() if name != "data"}
