"""A scan in the actors of Ray Data, on this machine or on a cluster, that resumes by Ray's own checkpoint.

A folder holds `rows/*.parquet` (what Ray wrote), `_checkpoint/` (the ids of each file that is whole) and
`_manifest.json`. Ray writes the ids of a file before the file, and makes them valid after it; when a scan resumes, it
deletes files whose ids are not valid. So each image has one row, whenever a process is killed.

Only what was written counts, so blocks are small. When a scan resumes, Ray filters ids in an actor of its own, which
takes a CPU: with no more CPUs than that and the workers, nothing is left to read images and the job waits for ever.
`scan_on_ray` therefore starts Ray with `SPARE` CPUs beside the workers', and refuses a cluster that has fewer.
"""

from __future__ import annotations

import hashlib
import logging
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from holisafe._files import hold, write_atomically
from holisafe.errors import HoliSafeError, MissingDependencyError, RunError
from holisafe.scan.careful import carefully
from holisafe.scan.folder import ROWS_FOLDER
from holisafe.scan.parts import begin
from holisafe.scan.rows import table_of
from holisafe.scan.scanner import Scanner
from holisafe.scan.units import Unit, chunks, rows_of_unit

CHECKPOINT, NOTES = "_checkpoint", "_current"
ID = "image"
"""Column that the checkpoint knows rows by."""

SPARE = 3
"""CPUs beside the workers': for reading, for writing, and for the filter of ids of a scan that resumes."""

ATTEMPTS = 3
"""Attempts to start Ray here."""

BLOCK_BYTES = 2**23
"""Bytes of encoded images that Ray moves at once; what is in progress when a worker dies is scanned again."""

ROWS_EACH = 1000
"""Rows that are gathered before they are written as a file."""

MOST_TASKS = 10_000
"""Read tasks of a job; of more units, several are one task."""

_READ = pa.schema({ID: pa.string(), "bytes": pa.large_binary(), "error": pa.string(), "key": pa.string()})


class TableScanner:
    """A `Scanner` for `map_batches(..., batch_format="pyarrow")`: tables in, tables out.

    Args:
        scanner: What scans.
        schema: Columns of the tables that come out.
        notes: Folder that all workers see, for the names of images in progress.
    """

    def __init__(self, scanner: Scanner, schema: pa.Schema, notes: str) -> None:
        self._scanner = scanner
        self._schema = schema
        self._notes = Path(notes)

    def __call__(self, table: pa.Table) -> pa.Table:
        """Scan a table with the columns `image` (its name), `bytes`, `error` and `key`."""
        found: list[dict[str, Any]] = []
        rows = ({**row, "id": row[ID]} for row in _rows(table))
        for chunk in chunks(rows):
            named = hashlib.sha256("\0".join(row["id"] for row in chunk).encode()).hexdigest()[:24]
            found += carefully(chunk, self._scanner, self._notes / f"{named}.json")
        return table_of(found, self._schema)


def scan_on_ray(
    units: Iterable[Unit],
    scanner: Scanner,
    folder: Path,
    settings: Mapping[str, Any],
    schema: pa.Schema,
    *,
    resume: bool = False,
    workers: int | None = None,
    address: str | None = None,
    gpus: float = 0.0,
    on_begin: Callable[[], object] = lambda: None,
) -> None:
    """Scan what a folder does not hold yet.

    Args:
        units: What to scan.
        scanner: What scans it; each worker loads its own model.
        folder: Where rows are kept; on a cluster, a folder that all nodes see under this path.
        settings: JSON values that verdicts depend on.
        schema: Columns of rows.
        resume: Whether the folder may hold a scan.
        workers: Actors that scan, one CPU each; all CPUs but one when None.
        address: Address of a running cluster ("auto", "ray://host:10001"); Ray is started here when None.
        gpus: GPUs of each worker.
        on_begin: Called once the folder is locked and known to hold this scan, before anything is read.

    Raises:
        MissingDependencyError: Ray is not installed.
        RunError: The folder holds another scan, the cluster is too small, or the job failed.
    """
    with hold(folder, RunError), _started(workers, address) as (ray, count):
        begin(folder, settings, resume=resume, holds_rows=(folder / ROWS_FOLDER).exists())
        on_begin()
        for name in (ROWS_FOLDER, CHECKPOINT, NOTES):
            (folder / name).mkdir(exist_ok=True)
        forget_lost(folder)
        tasks = list(units)
        if not tasks:
            return
        _configure(ray, folder)
        try:
            warnings.filterwarnings("ignore", "The minimum number of concurrent actors", UserWarning)
            ray.data.read_datasource(_source(tasks), override_num_blocks=_groups(len(tasks))).map_batches(
                TableScanner,
                fn_constructor_args=(scanner, schema, str((folder / NOTES).absolute())),
                batch_format="pyarrow",
                batch_size=None,  # a block, so that memory does not grow with the images' size
                compute=ray.data.ActorPoolStrategy(size=count),
                num_cpus=1,
                num_gpus=gpus or None,
                zero_copy_batch=True,
            ).write_parquet(str((folder / ROWS_FOLDER).absolute()), min_rows_per_file=ROWS_EACH)
        except ray.exceptions.RayError as error:
            raise RunError(f"the job on Ray failed ({_reason(error)}); --resume scans what is not written") from error
        with suppress(OSError):
            (folder / NOTES).rmdir()


def written_files(folder: Path) -> list[Path]:
    """The files of a scan on Ray that are whole."""
    valid = {path.stem for path in (folder / CHECKPOINT).glob("*.parquet") if not path.stem.endswith(".pending")}
    files = sorted((folder / ROWS_FOLDER).glob("*.parquet"))
    return [path for path in files if not valid.isdisjoint(_names(path.stem))]


def forget_errors(folder: Path) -> int:
    """Take rows with errors out of a scan on Ray, so that resuming scans their images again; how many there were.

    The ids go first: a process that ends between the two leaves a row too many, never one too few.
    """
    forgotten = 0
    for path in written_files(folder):
        table = pq.read_table(path)
        good = table.filter(pa.compute.is_null(table["error"]))
        if good.num_rows < table.num_rows:
            forgotten += table.num_rows - good.num_rows
            for checkpoint in (folder / CHECKPOINT).glob("*.parquet"):
                if path.stem.startswith(checkpoint.stem):
                    ids = pq.read_table(checkpoint)
                    left = ids.filter(pa.compute.is_in(ids[ID], good[ID].combine_chunks()))
                    _replace(checkpoint, left)
            _replace(path, good)
    return forgotten


def forget_lost(folder: Path) -> None:
    """Forget the ids of files that somebody has removed, so that resuming scans their images again."""
    there = {stem for path in (folder / ROWS_FOLDER).glob("*.parquet") for stem in _names(path.stem)}
    for checkpoint in (folder / CHECKPOINT).glob("*.parquet"):
        if not checkpoint.stem.endswith(".pending") and checkpoint.stem not in there:
            checkpoint.unlink()


def _names(stem: str) -> tuple[str, str]:
    """A file is called like its checkpoint, or that with a number behind a dash."""
    return stem, stem.rpartition("-")[0]


def _replace(path: Path, table: pa.Table) -> None:
    """Write a table over a file; remove the file where no rows are left, since Ray reads no empty ones."""
    if not table.num_rows:
        path.unlink()
        return
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    write_atomically(path, sink.getvalue().to_pybytes())


@contextmanager
def _started(workers: int | None, address: str | None) -> Iterator[tuple[Any, int]]:
    """Ray, running, and the number of workers."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent to anybody
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    try:
        import ray
        import ray.data
    except ImportError:
        raise MissingDependencyError("--engine ray needs Ray; run: pip install 'holisafe[ray]'") from None
    logging.getLogger("ray").setLevel(logging.ERROR)
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    is_ours = not ray.is_initialized()
    count = workers or max(1, (os.cpu_count() or 2) - 1)
    if is_ours:
        _init(ray, address, count + SPARE)
    try:
        there = int(ray.cluster_resources().get("CPU", 0))
        if address is not None or not is_ours:
            count = workers or max(1, there - SPARE)
            if count + SPARE > there:
                raise RunError(
                    f"the cluster has {there} CPUs, and {count} workers need {count + SPARE}: {SPARE} are for reading, "
                    "for writing and for resuming; give fewer --workers, or add nodes"
                )
        yield ray, count
    finally:
        if is_ours:
            ray.shutdown()


def _init(ray: Any, address: str | None, cpus: int) -> None:
    """Start Ray, or reach a cluster; on a machine under load a node may not start within the time that Ray waits."""
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    for attempt in range(1, ATTEMPTS + 1):
        try:
            if address is None:
                ray.init(num_cpus=cpus, include_dashboard=False, **quiet)
            else:
                ray.init(address=address, **quiet)
            return
        except Exception as error:  # of a node that is late, Ray raises a plain Exception
            ray.shutdown()
            if attempt == ATTEMPTS or address is not None:
                raise RunError(f"Ray cannot be started or reached ({_reason(error)}); check --ray-address") from error


def _configure(ray: Any, folder: Path) -> None:
    from ray.data.checkpoint import CheckpointConfig

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.target_max_block_size = BLOCK_BYTES
    context.checkpoint_config = CheckpointConfig(
        id_column=ID,
        checkpoint_path=str((folder / CHECKPOINT).absolute()),
        delete_checkpoint_on_success=False,
    )


def _source(units: Sequence[Unit]) -> Any:
    """The units as a data source of Ray: one read task each."""
    from ray.data import Datasource, ReadTask
    from ray.data.block import BlockMetadata

    each = -(-len(units) // _groups(len(units)))
    groups = [units[start : start + each] for start in range(0, len(units), each)]

    class Pictures(Datasource):  # type: ignore[misc]
        """Images as they are encoded, by name."""

        def estimate_inmemory_data_size(self) -> int | None:
            return sum(unit.size for unit in units) or None

        def get_read_tasks(self, parallelism: int, *_: Any, **__: Any) -> list[Any]:
            sizes = (sum(unit.size for unit in group) or None for group in groups)
            return [
                ReadTask(
                    partial(_tables, group),
                    BlockMetadata(num_rows=None, size_bytes=size, exec_stats=None, input_files=None),
                    schema=_READ,
                )
                for group, size in zip(groups, sizes, strict=True)
            ]

    return Pictures()


def _groups(units: int) -> int:
    """Read tasks of a job; Ray would cut the blocks of fewer than it likes into small ones, for which workers wait."""
    return -(-units // -(-units // MOST_TASKS))


def _tables(units: Sequence[Unit]) -> Iterator[pa.Table]:
    for unit in units:
        for chunk in chunks(rows_of_unit(unit), size=BLOCK_BYTES):
            yield pa.Table.from_pylist([{ID: row["id"], **row} for row in chunk], schema=_READ)


def _rows(table: pa.Table) -> Iterator[dict[str, Any]]:
    """Rows one by one, so that only those of a chunk are copied."""
    for batch in table.to_batches(max_chunksize=64):
        yield from batch.to_pylist()


def _reason(error: BaseException) -> str:
    cause = error.__cause__ if isinstance(error.__cause__, HoliSafeError) else error
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    return (lines[-1] if lines else type(cause).__name__)[:300]
