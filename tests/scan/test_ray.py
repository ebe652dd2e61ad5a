from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from holisafe.errors import RunError
from holisafe.scan import Scanner, Units
from holisafe.scan.folder import ScanFolder
from holisafe.scan.rows import row_schema
from scan.corpus import guarded, img2dataset

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

SCHEMA = row_schema(["safe", "terrorism"], key=True)


@dataclass
class Lengths:
    """A scanner that needs no model; ends its process where an image has the name `fatal`."""

    fatal: str = ""

    def __call__(self, rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
        found = []
        for row in rows:
            if self.fatal and row["id"].endswith(self.fatal) and not row.get("error"):
                os.kill(os.getpid(), signal.SIGKILL)
            error = {"error": row["error"]} if row.get("error") else {}
            found.append({"image": row["id"], "key": row["key"], "label": None if error else "safe", **error})
        return found


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    ray = pytest.importorskip("ray")
    from holisafe.scan.on_ray import SPARE

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    paths = [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]  # workers unpickle what is defined here
    env = {"env_vars": {"PYTHONPATH": os.pathsep.join(filter(None, paths))}}
    ray.init(num_cpus=1 + SPARE, include_dashboard=False, log_to_driver=False, logging_level="ERROR", runtime_env=env)
    yield ray
    ray.shutdown()


def scanned(corpus: Path, out: Path, scanner: Any, **options: Any) -> list[dict[str, Any]]:
    from holisafe.scan.on_ray import scan_on_ray, written_files

    settings = {"places": [str(corpus)], "model": "m", "guard": "own"}
    scan_on_ray(Units([str(corpus)]), scanner, out, settings, SCHEMA, workers=1, **options)
    return [row for path in written_files(out) for row in pq.read_table(path).to_pylist()]


def test_every_image_has_one_row_and_resuming_scans_only_what_is_new(ray: Any, tmp_path: Path) -> None:
    corpus = img2dataset(tmp_path / "set", shards=2)
    rows = scanned(corpus, tmp_path / "out", Lengths())
    assert sorted(row["key"] for row in rows) == [f"{shard:05}{place:04}" for shard in range(2) for place in range(3)]
    with pytest.raises(RunError, match="--resume"):
        scanned(corpus, tmp_path / "out", Lengths())
    img2dataset(corpus, shards=3)
    again = scanned(corpus, tmp_path / "out", Lengths(), resume=True)
    assert len(again) == len({row["image"] for row in again}) == 9
    assert ScanFolder.read(tmp_path / "out").parts


def test_an_image_that_ends_its_worker_is_a_row_with_a_reason(ray: Any, tmp_path: Path) -> None:
    corpus = img2dataset(tmp_path / "set", shards=1)
    rows = scanned(corpus, tmp_path / "out", Lengths("000000001.jpg"))
    assert len(rows) == 3
    errors = {row["key"]: row["error"] for row in rows if row["error"]}
    assert list(errors) == ["000000001"] and "the process ended" in errors["000000001"]


def test_rows_with_errors_can_be_forgotten_and_are_scanned_again(ray: Any, tmp_path: Path) -> None:
    from holisafe.scan.on_ray import forget_errors

    corpus = img2dataset(tmp_path / "set", shards=1)
    (corpus / "bad.png").write_bytes(b"")
    rows = scanned(corpus, tmp_path / "out", Lengths())
    assert [row["error"] for row in rows if row["error"]] and len(rows) == 4
    (corpus / "bad.png").write_bytes(b"x")
    assert forget_errors(tmp_path / "out") == 1
    rows = scanned(corpus, tmp_path / "out", Lengths(), resume=True)
    assert len(rows) == 4 and not [row["error"] for row in rows if row["error"]]


def test_too_few_cpus_are_refused_before_anything_waits_for_ever(ray: Any, tmp_path: Path) -> None:
    from holisafe.scan.on_ray import scan_on_ray

    with pytest.raises(RunError, match="CPUs, and 2 workers need 5"):
        scan_on_ray(Units([str(img2dataset(tmp_path / "set"))]), Scanner("m"), tmp_path / "out", {}, SCHEMA, workers=2)


def test_the_command_gives_the_verdicts_of_the_local_engine(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    model, corpus = guarded(tmp_path / "model"), img2dataset(tmp_path / "set")
    found = {}
    for engine in ("local", "ray"):
        out = tmp_path / engine
        command = ["scan", corpus, "--model", model, "--out", out, "--engine", engine, "--keep", "features"]
        more = ["--workers", "1"] if engine == "ray" else []
        done = subprocess.run(
            [sys.executable, "-m", "holisafe", *map(str, command), *more], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        rows = [row for part in ScanFolder.read(out).parts for row in pq.read_table(part).to_pylist()]
        found[engine] = {row["image"]: (row["label"], row["digest"], row["key"], len(row["features"])) for row in rows}
        assert len(rows) == 6
    assert found["local"] == found["ray"]
