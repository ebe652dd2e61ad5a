"""Verdicts on many images: what is kept of them in a file, and what is shown."""

from __future__ import annotations

import heapq
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from holisafe._files import open_unlinked
from holisafe.cli._terminal import plain_line
from holisafe.errors import RunError
from holisafe.records import ImageVerdict
from holisafe.scan import PartsFolder, ScanRow
from holisafe.taxonomy import GuardLabel

if TYPE_CHECKING:
    from rich.console import Console

FORMATS = (".jsonl", ".parquet")
FEW = 40
"""Images that are shown one by one; of more there is a summary."""


@dataclass(frozen=True, slots=True)
class AboutGuard:
    """What a reader must know of a guard to read its verdicts.

    Attributes:
        calibrated: Whether its threshold was measured, and is not the default of 0.5.
        made_for: The only kind of images it knows; None where it is not restricted.
    """

    calibrated: bool
    made_for: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Fields of every row with a verdict."""
        return {"calibrated": self.calibrated} | ({"made_for": self.made_for} if self.made_for else {})

    def notes(self, model: str) -> list[str]:
        """What is said on standard error before the first verdict."""
        notes = []
        if self.made_for:
            notes.append(f"{model} knows {self.made_for} only; its verdicts on photographs mean nothing")
        if not self.calibrated:
            notes.append(
                "the guard is not calibrated: its probabilities and its threshold were not measured on any data; "
                "run `holisafe calibrate`"
            )
        return notes


class Output:
    """Where rows are kept: a .jsonl file, a .parquet file, a folder of Parquet parts, or nowhere."""

    def __init__(
        self, path: Path | None, labels: Sequence[str], settings: Mapping[str, Any], about: AboutGuard
    ) -> None:
        self.path = path
        self._about = about.to_json()
        self._parts: PartsFolder | None = None
        if path is not None and path.suffix.lower() != ".jsonl":
            self._parts = PartsFolder(parts_of(path), labels, settings, self._about)
        self._lines: BinaryIO | None = None
        self.rows = 0

    @contextmanager
    def open(self, *, resume: bool) -> Iterator[Output]:
        """Open it; what was written is whole however the block ends.

        Raises:
            RunError: It cannot be written, or what is there cannot be resumed.
        """
        if self.path is None:
            yield self
        elif self._parts is None:
            with open_unlinked(self.path, "xb") as self._lines:
                yield self
        else:
            with self._parts.open(resume=resume):
                try:
                    yield self
                finally:
                    self._parts.flush()
                    self.rows = self._parts.rows
                    if self.path.suffix.lower() == ".parquet":
                        self._parts.merge_into(self.path)

    def add(self, row: ScanRow) -> None:
        """Keep a row."""
        self.rows += 1
        if self._parts is not None:
            self._parts.add(row)
        elif self._lines is not None:
            self._lines.write(f"{self.line(row)}\n".encode())
            self._lines.flush()

    def line(self, row: ScanRow) -> str:
        """A row as one line of JSON."""
        return json.dumps(row.to_json() | (self._about if row.verdict else {}), ensure_ascii=False)

    def is_done(self, id: str) -> bool:
        """Whether a row for this id was kept before."""
        return self._parts is not None and self._parts.is_done(id)

    def finish(self) -> None:
        """Remove the parts of a .parquet file that is complete."""
        if self._parts is not None and self.path is not None and self.path.suffix.lower() == ".parquet":
            self._parts.remove()


def parts_of(path: Path) -> Path:
    """Folder of the parts of an --out."""
    return path.with_name(f"{path.name}.parts") if path.suffix.lower() == ".parquet" else path


def check_out(path: Path, *, resume: bool) -> None:
    """Refuse an --out that could not be written, before anything is computed.

    Raises:
        RunError: Its format is not known, it is there already, or its folder is not.
    """
    suffix = path.suffix.lower()
    if suffix not in (*FORMATS, ""):
        raise RunError(f"--out {path}: expected a name that ends with {' or '.join(FORMATS)}, or a folder")
    if resume and suffix == ".jsonl":
        raise RunError(f"--out {path}: --resume needs a .parquet file or a folder; choose one of them")
    if not path.parent.is_dir():
        raise RunError(f"--out {path}: there is no folder {path.parent}; make it first")
    is_there = path.exists() or path.is_symlink()
    if suffix and is_there and not (resume and parts_of(path).is_dir()):
        what = "is complete; there is nothing to resume" if resume else "is there already"
        raise RunError(f"--out {path} {what}; choose another name, or move it away")
    if suffix == ".parquet" and not resume and parts_of(path).exists():
        raise RunError(f"--out {path}: {parts_of(path)} holds an unfinished scan; add --resume, or choose another name")
    if not suffix and is_there and not path.is_dir():
        raise RunError(f"--out {path} is a file; expected a folder, or a name that ends with {' or '.join(FORMATS)}")


class Tally:
    """What is shown of any number of images, in bounded memory."""

    def __init__(self) -> None:
        self.images = 0
        self.flagged = 0
        self._threshold = 0.0
        self.without_verdict = 0
        self._first: list[ScanRow] = []
        self._troubles: list[ScanRow] = []
        self._labels: Counter[str] = Counter()
        self._flagged_labels: Counter[str] = Counter()
        self._worst: list[tuple[float, int, ScanRow]] = []

    def add(self, judged: ScanRow) -> None:
        """Count one."""
        self.images += 1
        if len(self._first) < FEW:
            self._first.append(judged)
        if judged.verdict is None:
            self.without_verdict += 1
            if len(self._troubles) < FEW:
                self._troubles.append(judged)
            return
        self._threshold = judged.verdict.threshold
        self._labels[_shown(judged.verdict)[0].value] += 1
        if judged.verdict.flagged:
            self.flagged += 1
            self._flagged_labels[_shown(judged.verdict)[0].value] += 1
            heapq.heappush(self._worst, (judged.verdict.unsafe, -self.images, judged))
            if len(self._worst) > FEW // 2:
                heapq.heappop(self._worst)

    def show(self, console: Console, passed_over: int) -> None:
        """Each image where they are few, else how many of which label and the most unsafe; then what is missing."""
        if self.images <= FEW:
            _show_each([judged for judged in self._first if judged.verdict], console)
        else:
            self._show_labels(console)
            if self._worst:
                worst = [judged for _, _, judged in sorted(self._worst, reverse=True)]
                which = (
                    f"Of those flagged, the {len(worst)} most likely unsafe" if self.flagged > len(worst) else "Flagged"
                )
                _show_each(worst, console, which)
        if self._troubles:
            console.print(f"[yellow]{_count(self.without_verdict, 'image')} without a verdict:[/yellow]")
            for judged in self._troubles:
                console.print(f"  {plain_line(judged.id)}: {plain_line(judged.error)}", soft_wrap=True)
            if self.without_verdict > len(self._troubles):
                console.print(f"  and {self.without_verdict - len(self._troubles):,} more; --out FILE keeps them all")
        rule = f" (P(unsafe) {self._threshold:.4g} and above)" if self._labels else ""
        others = f"; {_count(passed_over, 'other file')} passed over" if passed_over else ""
        console.print(f"{_count(self.images, 'image')}, {self.flagged:,} flagged{rule}{others}")

    def _show_labels(self, console: Console) -> None:
        from rich.table import Table

        table = Table("verdict")
        for column in ("images", "of them flagged"):
            table.add_column(column, justify="right")
        for label, count in self._labels.most_common():
            table.add_row(_words(label), f"{count:,}", f"{self._flagged_labels[label]:,}")
        console.print(table)


def _show_each(judged: Sequence[ScanRow], console: Console, title: str | None = None) -> None:
    from rich.table import Table

    if not judged:
        return
    table = Table(title=title, title_justify="left")
    table.add_column("image", overflow="fold")
    table.add_column("verdict")
    table.add_column("P(label)", justify="right", no_wrap=True)
    table.add_column("P(unsafe)", justify="right", no_wrap=True)
    table.add_column("threshold", justify="right", no_wrap=True)
    table.add_column("flagged", no_wrap=True)
    for one in judged:
        verdict = one.verdict
        assert verdict is not None
        label, probability = _shown(verdict)
        flagged = "[red]flagged[/red]" if verdict.flagged else ""
        table.add_row(
            plain_line(one.id),
            _words(label.value),
            f"{probability:.3f}",
            f"{verdict.unsafe:.3f}",
            f"{verdict.threshold:.3f}",
            flagged,
        )
    console.print(table)


def _shown(verdict: ImageVerdict) -> tuple[GuardLabel, float]:
    """The most probable label and its probability; of a flagged image, the most probable kind of harm."""
    if not verdict.flagged or verdict.label is not GuardLabel.SAFE:
        return verdict.label, verdict.probability
    harms = {label: share for label, share in verdict.distribution.items() if label is not GuardLabel.SAFE}
    return max(harms.items(), key=lambda harm: harm[1]) if harms else (verdict.label, verdict.probability)


def _words(label: str) -> str:
    return label.replace("_", " ")


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"
