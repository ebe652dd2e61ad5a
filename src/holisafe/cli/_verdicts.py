"""Verdicts on many images: what is kept of them in a file, and what is shown."""

from __future__ import annotations

import heapq
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holisafe.cli._terminal import plain_line
from holisafe.errors import RunError
from holisafe.images.sources import SourceImage
from holisafe.records import ImageVerdict

if TYPE_CHECKING:
    from PIL import Image
    from rich.console import Console

FORMATS = (".jsonl", ".parquet")
FEW = 40
"""Images that are shown one by one; of more there is a summary."""

_HELD = 1000
"""Verdicts in one row group of Parquet: few groups, since each adds to what is held until the end."""


@dataclass(frozen=True, slots=True)
class Judged:
    """An image by name, and its verdict or why there is none."""

    name: str
    verdict: ImageVerdict | None
    error: str = ""

    def to_json(self) -> dict[str, Any]:
        """The documented object (docs/json.md)."""
        verdict = self.verdict
        if verdict is None:
            return {"image": self.name, "error": self.error}
        return {
            "image": self.name,
            "label": verdict.label.value,
            "probability": verdict.probability,
            "unsafe": verdict.unsafe,
            "threshold": verdict.threshold,
            "flagged": verdict.flagged,
            "distribution": {label.value: probability for label, probability in verdict.distribution.items()},
        }


Classify = Callable[[Sequence["Image.Image"]], Sequence[ImageVerdict]]


def judge(images: Iterable[SourceImage], classify: Classify, batch_size: int) -> Iterator[Judged]:
    """Every image in its order, those that cannot be had among them; one batch is held at a time."""
    batch: list[SourceImage] = []
    for image in images:
        batch.append(image)
        if sum(one.image is not None for one in batch) == batch_size or len(batch) == 4 * batch_size:
            yield from _judge_batch(batch, classify)
            batch = []
    yield from _judge_batch(batch, classify)


def _judge_batch(batch: Sequence[SourceImage], classify: Classify) -> Iterator[Judged]:
    pictures = [one.image for one in batch if one.image is not None]
    try:
        verdicts = iter(classify(pictures) if pictures else [])
    except Exception as error:  # a processor may refuse an image in any way: one of a batch must not take the rest down
        if len(batch) > 1:
            for one in batch:
                yield from _judge_batch([one], classify)
        else:
            yield Judged(batch[0].name, None, " ".join(str(error).split()) or type(error).__name__)
        return
    for one in batch:
        yield Judged(one.name, None, one.error) if one.image is None else Judged(one.name, next(verdicts))


def check_out(path: Path) -> None:
    """Refuse a file that could not be written, before anything is computed.

    Raises:
        RunError: Its format is not known, it is there already, or its folder is not.
    """
    if path.suffix.lower() not in FORMATS:
        raise RunError(f"--out {path}: expected a name that ends with {' or '.join(FORMATS)}")
    if path.exists():
        raise RunError(f"--out {path} is there already; choose another name, or move it away")
    if not path.parent.is_dir():
        raise RunError(f"--out {path}: there is no folder {path.parent}; make it first")


@contextmanager
def writing(path: Path | None, labels: Sequence[str]) -> Iterator[Callable[[Judged], None]]:
    """Writes one after the other to a file; what was written is whole however the work ends."""
    if path is None:
        yield lambda _: None
    elif path.suffix.lower() == ".jsonl":
        with path.open("x", encoding="utf-8") as file:
            yield lambda judged: _write_line(file, judged)
    else:
        with _writing_parquet(path, labels) as write:
            yield write


def _write_line(file: Any, judged: Judged) -> None:
    file.write(json.dumps(judged.to_json(), ensure_ascii=False) + "\n")


@contextmanager
def _writing_parquet(path: Path, labels: Sequence[str]) -> Iterator[Callable[[Judged], None]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = pa.float64()
    schema = pa.schema(
        {
            "image": pa.string(),
            "label": pa.string(),
            "probability": number,
            "unsafe": number,
            "threshold": number,
            "flagged": pa.bool_(),
            "distribution": pa.struct([(label, number) for label in labels]),
            "error": pa.string(),
        }
    )
    held: list[dict[str, Any]] = []
    with pq.ParquetWriter(path, schema) as writer:

        def flush() -> None:
            if held:
                writer.write_table(pa.Table.from_pylist(held, schema=schema))
                held.clear()

        def write(judged: Judged) -> None:
            held.append(judged.to_json())
            if len(held) == _HELD:
                flush()

        try:
            yield write
        finally:
            flush()


class Tally:
    """What is shown of any number of images, in bounded memory."""

    def __init__(self) -> None:
        self.images = 0
        self.flagged = 0
        self._threshold = 0.0
        self.without_verdict = 0
        self._first: list[Judged] = []
        self._troubles: list[Judged] = []
        self._labels: Counter[str] = Counter()
        self._flagged_labels: Counter[str] = Counter()
        self._worst: list[tuple[float, int, Judged]] = []

    def add(self, judged: Judged) -> None:
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
        self._labels[judged.verdict.label.value] += 1
        if judged.verdict.flagged:
            self.flagged += 1
            self._flagged_labels[judged.verdict.label.value] += 1
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
                console.print(f"  {plain_line(judged.name)}: {plain_line(judged.error)}", soft_wrap=True)
            if self.without_verdict > len(self._troubles):
                console.print(f"  and {self.without_verdict - len(self._troubles):,} more; --out FILE keeps them all")
        rule = f" (unsafe {self._threshold:.4g} and above)" if self._labels else ""
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


def _show_each(judged: Sequence[Judged], console: Console, title: str | None = None) -> None:
    from rich.table import Table

    if not judged:
        return
    table = Table(title=title, title_justify="left")
    table.add_column("image", overflow="fold")
    table.add_column("verdict")
    table.add_column("probability", justify="right", no_wrap=True)
    table.add_column("unsafe", justify="right", no_wrap=True)
    table.add_column("flagged", no_wrap=True)
    for one in judged:
        verdict = one.verdict
        assert verdict is not None
        flagged = "[red]flagged[/red]" if verdict.flagged else ""
        table.add_row(
            plain_line(one.name),
            _words(verdict.label.value),
            f"{verdict.probability:.3f}",
            f"{verdict.unsafe:.3f}",
            flagged,
        )
    console.print(table)


def _words(label: str) -> str:
    return label.replace("_", " ")


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"
