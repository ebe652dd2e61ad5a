"""Rows of a scan in Parquet parts: each appears whole when it is done, and a scan that was ended resumes.

A folder holds `part-00000.parquet`, `part-00001.parquet`, … and `_manifest.json` (what was scanned, by which guard).
Beside each part is `_part-00000.json`: its rows, its bytes and their SHA-256. Whatever ends the process, only the rows
of the part in progress are lost; resuming asks for them again.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from time import monotonic
from typing import Any

import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from holisafe._files import PART, atomic_file, hold, read_json, sha256_of, write_atomically
from holisafe.errors import RunError
from holisafe.images.parquet import read_rows
from holisafe.scan.rows import ScanRow, row_schema, table_of

FORMAT = 1
MANIFEST = "_manifest.json"
ROWS = 1000
SECONDS = 60.0
_PART = re.compile(r"part-\d{5,}\.parquet")


class PartsFolder:
    """Where a scan keeps its rows.

    Attributes:
        folder: The folder.
        rows: Rows it holds, those not written yet included.
        schema: Columns of its parts.
    """

    def __init__(
        self,
        folder: str | Path,
        labels: Sequence[str],
        settings: Mapping[str, Any],
        about: Mapping[str, Any] | None = None,
        *,
        schema: pa.Schema | None = None,
    ) -> None:
        """Name the folder.

        Args:
            folder: Made when it is opened.
            labels: The guard's labels.
            settings: JSON values that verdicts depend on (model, guard, thresholds, places, shard); a scan resumes
                only with the same ones.
            about: What rows with a verdict say of the guard: `calibrated`, `made_for`.
            schema: Columns of a part; `row_schema(labels)` when None.
        """
        self.folder = Path(folder)
        self.rows = 0
        self.schema = row_schema(labels) if schema is None else schema
        self._settings = json.loads(json.dumps(dict(settings)))
        self._about = dict(about or {})
        self._held: list[dict[str, Any]] = []
        self._since = 0.0
        self._next = 0
        self._done: Counter[bytes] | None = None
        self._resumed: list[Path] = []

    @contextmanager
    def open(self, *, resume: bool = False) -> Iterator[PartsFolder]:
        """Lock the folder; rows that are held are written when the block ends, however it ends.

        Raises:
            RunError: It cannot be written, another process holds it, it holds a scan and `resume` is off, or that
                scan had other settings.
        """
        with hold(self.folder, RunError):
            self._begin(resume)
            try:
                yield self
            finally:
                self.flush()

    def is_done(self, id: str) -> bool:
        """Whether a part has a row for this id; of an id that occurs twice, each row counts once."""
        if self._done is None:
            self._done = Counter()
            for part in self._resumed:  # whole: its SHA-256 was checked, or it was read to its end
                with pq.ParquetFile(part) as file:
                    for batch in file.iter_batches(columns=["image"]):
                        self._done.update(map(_key, batch["image"].to_pylist()))
        key = _key(id)
        if self._done[key] < 1:
            del self._done[key]
            return False
        self._done[key] -= 1
        return True

    def add(self, row: ScanRow) -> None:
        """Keep a row; every 1,000 rows, or after a minute, they are written as a part."""
        self.add_row(row.to_json() | (self._about if row.verdict else {}))

    def add_row(self, row: Mapping[str, Any]) -> None:
        """Keep a row that is JSON already; see `add`."""
        if not self._held:
            self._since = monotonic()
        self._held.append(dict(row))
        self.rows += 1
        if len(self._held) >= ROWS or monotonic() - self._since > SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write the rows that are held as one part."""
        if self._held:
            self._write(table_of(self._held, self.schema))
            self._held.clear()

    def add_table(self, table: pa.Table) -> None:
        """Write rows as a part of their own."""
        self._write(table.cast(self.schema))
        self.rows += table.num_rows

    def _write(self, table: pa.Table) -> None:
        path = self.folder / f"part-{self._next:05}.parquet"
        with atomic_file(path, replace=False) as file:
            pq.write_table(table, file)
        write_manifest(path)
        self._next += 1

    def parts(self) -> list[Path]:
        """The parts that are done, in their order."""
        return parts_in(self.folder)

    def merge_into(self, path: Path) -> None:
        """Write the rows of all parts, in their order, as one file."""
        with atomic_file(path) as file, pq.ParquetWriter(file, self.schema) as writer:
            for part in self.parts():
                writer.write_table(pq.read_table(part, schema=self.schema))

    def forget_errors(self) -> int:
        """Take rows with errors out of the parts, so that their images are scanned again; how many there were."""
        forgotten = 0
        for part in self.parts():
            table = pq.read_table(part, schema=self.schema)
            good = table.filter(pa.compute.is_null(table["error"]))
            if good.num_rows < table.num_rows:
                forgotten += table.num_rows - good.num_rows
                manifest_of(part).unlink()  # of a part without one, what is there counts
                with atomic_file(part) as file:
                    pq.write_table(good, file)
                write_manifest(part)
        self.rows -= forgotten
        return forgotten

    def remove(self) -> None:
        """Delete the parts, the manifest and the folder."""
        parts = self.parts()
        for path in [*parts, *map(manifest_of, parts), self.folder / MANIFEST, self.folder / ".lock"]:
            path.unlink(missing_ok=True)
        self.folder.rmdir()

    def _begin(self, resume: bool) -> None:
        parts = self.parts()
        begin(self.folder, self._settings, resume=resume, holds_rows=bool(parts))
        for left in self.folder.glob(f".*{PART}"):
            left.unlink()
        self.rows += sum(map(checked_rows, parts))
        self._resumed = parts
        self._next = int(parts[-1].stem[5:]) + 1 if parts else 0


def parts_in(folder: Path) -> list[Path]:
    """The parts of a folder that are done, in their order."""
    found = (path for path in folder.iterdir() if _PART.fullmatch(path.name))
    return sorted(found, key=lambda path: int(path.stem[5:]))


def begin(folder: Path, settings: Mapping[str, Any], *, resume: bool, holds_rows: bool) -> None:
    """Write the manifest of a new scan, or hold that of the scan to resume against the settings.

    Raises:
        RunError: There is a scan and `resume` is off, it had other settings, or there are rows without a manifest.
    """
    manifest = folder / MANIFEST
    expected = {"format": FORMAT, "settings": dict(settings)}
    if not resume and (holds_rows or manifest.exists()):
        raise RunError(f"{folder} holds a scan; add --resume to resume it, or choose another --out")
    if manifest.exists():
        found = read_json(manifest, RunError, follow_links=False)
        if found != expected:
            raise RunError(f"{manifest}: {_difference(found, expected)}; resume with the same, or choose another --out")
    elif holds_rows:
        raise RunError(f"{folder}: holds parts but no {MANIFEST}; choose another --out")
    else:
        write_atomically(manifest, json.dumps(expected, indent=2) + "\n")


def manifest_of(part: Path) -> Path:
    """Where the manifest of a part is."""
    return part.with_name(f"_{part.stem}.json")


def write_manifest(part: Path) -> None:
    """Note how many rows and bytes a part has, and their SHA-256, beside it."""
    rows = pq.read_metadata(part).num_rows
    about = {"rows": rows, "bytes": part.stat().st_size, "sha256": sha256_of(part)}
    write_atomically(manifest_of(part), json.dumps(about) + "\n")


def checked_rows(part: Path) -> int:
    """Rows of a part that is as it was written.

    Raises:
        RunError: It is not.
    """
    manifest = manifest_of(part)
    if not manifest.exists():  # the process ended between the two, and a part that has its name is whole
        try:
            rows = sum(1 for _ in read_rows(part, RunError, columns=["image"], batch_rows=10_000))
        except RunError as error:
            reason = str(error).removesuffix("; get the file again")
            raise RunError(f"{reason}; move it away, and --resume scans its images again") from error
        write_manifest(part)
        return rows
    advice = "move both away, and --resume scans their images again"
    try:
        about = read_json(manifest, RunError, follow_links=False)
    except RunError as error:
        raise RunError(f"{error}. It describes {part.name}: {advice}") from error
    if not isinstance(about, dict) or type(about.get("rows")) is not int or about.get("sha256") != sha256_of(part):
        raise RunError(f"{part}: not the file that {manifest.name} describes (damaged, or written over); {advice}")
    return int(about["rows"])


def _key(id: str) -> bytes:
    return sha256(id.encode("utf-8", "surrogatepass")).digest()[:16]


def _difference(found: Any, expected: Mapping[str, Any]) -> str:
    if not isinstance(found, dict) or found.get("format") != FORMAT or not isinstance(found.get("settings"), dict):
        return f"expected a scan of format {FORMAT}"
    was, now = found["settings"], expected["settings"]
    field = next((name for name in now if was.get(name) != now[name]), "settings")
    return f"the scan was begun with {field} {json.dumps(was.get(field))[:100]}, not {json.dumps(now.get(field))[:100]}"
