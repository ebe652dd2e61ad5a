"""Rows of a scan in Parquet parts: each appears whole when it is done, and a scan that was ended resumes.

A folder holds `part-00000.parquet`, `part-00001.parquet`, … and `_manifest.json` (what was scanned, by which guard).
Whatever ends the process, only the rows of the part in progress are lost; resuming asks for them again.
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
import pyarrow.parquet as pq

from holisafe._files import PART, atomic_file, hold, read_json, write_atomically
from holisafe.errors import RunError
from holisafe.images.parquet import read_rows
from holisafe.scan.rows import ScanRow

FORMAT = 1
MANIFEST = "_manifest.json"
ROWS = 1000
SECONDS = 60.0
_PART = re.compile(r"part-\d{5,}\.parquet")


def row_schema(labels: Sequence[str]) -> pa.Schema:
    """Columns of a part: a row's JSON, flat."""
    number = pa.float64()
    return pa.schema(
        {
            "image": pa.string(),
            "digest": pa.string(),
            "label": pa.string(),
            "probability": number,
            "distribution": pa.struct([(label, number) for label in labels]),
            "unsafe": number,
            "threshold": number,
            "flagged": pa.bool_(),
            "calibrated": pa.bool_(),
            "made_for": pa.string(),
            "error": pa.string(),
        }
    )


class PartsFolder:
    """Where a scan keeps its rows."""

    def __init__(
        self,
        folder: str | Path,
        labels: Sequence[str],
        settings: Mapping[str, Any],
        about: Mapping[str, Any] | None = None,
    ) -> None:
        """Name the folder.

        Args:
            folder: Made when it is opened.
            labels: The guard's labels.
            settings: JSON values that verdicts depend on (model, guard, thresholds, places, shard); a scan resumes
                only with the same ones.
            about: What rows with a verdict say of the guard: `calibrated`, `made_for`.
        """
        self.folder = Path(folder)
        self.rows = 0
        self._schema = row_schema(labels)
        self._settings = json.loads(json.dumps(dict(settings)))
        self._about = dict(about or {})
        self._held: list[dict[str, Any]] = []
        self._since = 0.0
        self._next = 0
        self._done: Counter[bytes] = Counter()

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
        key = _key(id)
        if self._done[key] < 1:
            del self._done[key]
            return False
        self._done[key] -= 1
        return True

    def add(self, row: ScanRow) -> None:
        """Keep a row; every 1,000 rows, or after a minute, they are written as a part."""
        if not self._held:
            self._since = monotonic()
        self._held.append(row.to_json() | (self._about if row.verdict else {}))
        self.rows += 1
        if len(self._held) >= ROWS or monotonic() - self._since > SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write the rows that are held as one part."""
        if not self._held:
            return
        with atomic_file(self.folder / f"part-{self._next:05}.parquet", replace=False) as file:
            pq.write_table(pa.Table.from_pylist(self._held, schema=self._schema), file)
        self._held.clear()
        self._next += 1

    def parts(self) -> list[Path]:
        """The parts that are done, in their order."""
        found = (path for path in self.folder.iterdir() if _PART.fullmatch(path.name))
        return sorted(found, key=lambda path: int(path.stem[5:]))

    def merge_into(self, path: Path) -> None:
        """Write the rows of all parts, in their order, as one file."""
        with atomic_file(path) as file, pq.ParquetWriter(file, self._schema) as writer:
            for part in self.parts():
                writer.write_table(pq.read_table(part, schema=self._schema))

    def remove(self) -> None:
        """Delete the parts, the manifest and the folder."""
        for path in [*self.parts(), self.folder / MANIFEST, self.folder / ".lock"]:
            path.unlink(missing_ok=True)
        self.folder.rmdir()

    def _begin(self, resume: bool) -> None:
        manifest = self.folder / MANIFEST
        parts = self.parts()
        if not resume and (parts or manifest.exists()):
            raise RunError(f"{self.folder} holds a scan; add --resume to resume it, or choose another --out")
        for left in self.folder.glob(f".*{PART}"):
            left.unlink()
        if manifest.exists():
            found = read_json(manifest, RunError, follow_links=False)
            expected = {"format": FORMAT, "settings": self._settings}
            if found != expected:
                raise RunError(
                    f"{manifest}: {_difference(found, expected)}; resume with the same, or choose another --out"
                )
        elif parts:
            raise RunError(f"{self.folder}: holds parts but no {MANIFEST}; choose another --out")
        else:
            write_atomically(manifest, json.dumps({"format": FORMAT, "settings": self._settings}, indent=2) + "\n")
        for part in parts:
            for row in read_rows(part, RunError, columns=["image"], batch_rows=10_000):
                self._done[_key(str(row["image"]))] += 1
                self.rows += 1
        self._next = int(parts[-1].stem[5:]) + 1 if parts else 0


def _key(id: str) -> bytes:
    return sha256(id.encode("utf-8", "surrogatepass")).digest()[:16]


def _difference(found: Any, expected: Mapping[str, Any]) -> str:
    if not isinstance(found, dict) or found.get("format") != FORMAT or not isinstance(found.get("settings"), dict):
        return f"expected a scan of format {FORMAT}"
    was, now = found["settings"], expected["settings"]
    field = next((name for name in now if was.get(name) != now[name]), "settings")
    return f"the scan was begun with {field} {json.dumps(was.get(field))[:100]}, not {json.dumps(now.get(field))[:100]}"
