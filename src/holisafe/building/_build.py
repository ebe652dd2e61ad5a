"""All steps in their order, from a folder of pictures to data."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from holisafe._files import hold
from holisafe.bench import Prices, Spending, check_budget, stopped_by_budget
from holisafe.building._asking import JUDGE, MODEL, Writer
from holisafe.building._check import Panel, check
from holisafe.building._dedup import deduplicate
from holisafe.building._labels import Labelled, label_pictures, read_given
from holisafe.building._out import TEST, TRAIN, sample_of, write_data
from holisafe.building._pictures import read_pictures
from holisafe.building._requests import Asked, write_answers, write_questions
from holisafe.building._review_rows import REVIEW, reviewed
from holisafe.building._sheet import write_sheet
from holisafe.building._split import find_twins, split_groups
from holisafe.building._steps import Row, StepCounts, StepFile, counted
from holisafe.errors import BudgetError, RunError
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

    def __post_init__(self) -> None:
        if not 0 <= self.held_out < 1:
            raise RunError(f"held_out is {self.held_out}; expected a share from 0 to below 1")
        if not 0 <= self.near_bits <= 256:
            raise RunError(f"near_bits is {self.near_bits}; expected bits of a hash, from 0 to 256")
        if self.per_picture < 1:
            raise RunError(f"per_picture is {self.per_picture}; expected 1 or more")
        if self.check_models and not self.model:
            raise RunError("models that check are given, and none that writes; name it with --model")

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
    """

    out: Path
    counts: tuple[StepCounts, ...]
    samples: Mapping[str, tuple[Sample, ...]]
    not_checked: tuple[str, ...]
    errors: int

    def to_json(self) -> dict[str, Any]:
        """The documented object (docs/build.md)."""
        return {
            "out": str(self.out),
            "samples": {split: len(found) for split, found in self.samples.items()},
            "steps": [each.to_json() for each in self.counts],
            "not_checked": list(self.not_checked),
            "errors": self.errors,
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
            assert run.spending is not None
            raise stopped_by_budget(run.spending, str(settings.out)) from error


class _Run:
    """One call of `build`: its open files and what it has counted."""

    def __init__(self, settings: BuildSettings, writer: Writer, panel: Panel, files: contextlib.ExitStack) -> None:
        self.settings, self.writer, self.panel, self._files = settings, writer, panel, files
        self.counts: list[StepCounts] = []
        self.rows: list[Row] = []
        self.spending: Spending | None = None
        if writer.model:
            spending = Spending(settings.out / SPENDING, settings.prices, settings.budget)
            self.spending = files.enter_context(spending)

    def build(self) -> Built:
        labelled, groups = self._pictures()
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
        rows, twins = find_twins(checked, labelled, splits, self._file("twins"))
        self._count("twins", "requests", rows)
        known = {one.id for one in checked}
        checked += finished(list({one.id: one for one in twins if one.id not in known}.values()), " of twins")
        samples = self._reviewed(_samples(checked, twins, groups, splits, self.settings.licence))
        write_data(samples, self.settings.out)
        errors = sum(row.status == "error" for row in self.rows)
        built = Built(self.settings.out, tuple(self.counts), samples, self.panel.not_checked, errors)
        write_sheet(built.to_json(), self._about(), self.settings.out)
        return built

    def _pictures(self) -> tuple[list[Labelled], dict[str, str]]:
        settings = self.settings
        found = read_pictures(settings.pictures, settings.out, self._file("pictures"))
        self._count("pictures", "files", found.rows)
        given = read_given(settings.labels, found)
        rows, labelled = label_pictures(found, given, settings.guard, settings.device, self._file("labels"))
        self._count("labels", "pictures", rows)
        rows, groups = deduplicate(labelled, settings.against, settings.near_bits, self._file("dedup"))
        self._count("dedup", "pictures", rows)
        return [one for one in labelled if one.picture.digest in groups], groups

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
        found[splits[digest]].append(replace(made, tags={**made.tags, "split": splits[digest]}))
    return found
