from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from holisafe.errors import RunError
from holisafe.scan import PartsFolder
from holisafe.scan.features import _vectors
from holisafe.scan.folder import ROWS_FOLDER, ScanFolder, finish
from holisafe.scan.on_ray import CHECKPOINT, forget_lost, written_files
from holisafe.scan.page import write_page
from holisafe.scan.parts import manifest_of
from holisafe.scan.rows import row_schema
from holisafe.scan.summary import summarise_scan

LABELS = ["safe", "harassment"]
SETTINGS: dict[str, Any] = {"model": "m", "guard": "own", "labels": LABELS, "places": []}
ROW = {"label": "safe", "unsafe": 0.1, "threshold": 0.5, "flagged": False, "digest": "0" * 64}


def scan(folder: Path, **settings: Any) -> Path:
    """A scan of two images."""
    parts = PartsFolder(folder, LABELS, SETTINGS | settings, schema=row_schema(LABELS, key=True))
    with parts.open():
        parts.add_row(ROW | {"image": "<script>.png"})
        parts.add_row({"image": "b.png", "error": "gone"})
    return folder


def summarised(folder: Path) -> int:
    return summarise_scan(ScanFolder.read(folder)).images


def written(change: Callable[[pa.Table], pa.Table]) -> Callable[[Path], None]:
    def rewrite(part: Path) -> None:
        pq.write_table(change(pq.read_table(part)), part)
        manifest_of(part).unlink()

    return rewrite


def column(name: str, values: list[Any]) -> Callable[[Path], None]:
    return written(lambda table: table.set_column(table.column_names.index(name), name, pa.array(values)))


def flipped(part: Path) -> None:
    data = bytearray(part.read_bytes())
    data[len(data) // 2] ^= 0xFF
    part.write_bytes(data)


def truncated(part: Path) -> None:
    part.write_bytes(part.read_bytes()[:100])
    manifest_of(part).unlink()


def without_rows(part: Path) -> None:
    about = json.loads(manifest_of(part).read_text())
    manifest_of(part).write_text(json.dumps(about | {"rows": "x"}))


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (flipped, "not the file that _part-00000.json describes"),
        (without_rows, "not the file that _part-00000.json describes"),
        (truncated, "no rows of a scan"),
        (written(lambda table: table.drop(["label"])), "column label: is missing"),
        (column("unsafe", ["x", "y"]), "column unsafe: found string"),
        (column("digest", ["zz<script>", None]), "no rows of a scan"),
    ],
)
def test_a_part_that_is_not_as_it_was_written_is_refused(
    tmp_path: Path, harm: Callable[[Path], None], said: str
) -> None:
    folder = scan(tmp_path / "scan")
    assert summarised(folder) == 2
    harm(folder / "part-00000.parquet")
    with pytest.raises(RunError, match=rf"part-00000\.parquet: {said}"):
        summarised(folder)


@pytest.mark.parametrize(
    ("name", "value"), [("places", 5), ("places", None), ("labels", [1]), ("model", None), ("guard", ["own"])]
)
def test_a_manifest_with_another_kind_of_setting_is_refused(tmp_path: Path, name: str, value: Any) -> None:
    scan(tmp_path, **{name: value})
    with pytest.raises(RunError, match=rf"_manifest\.json: settings, {name}: found"):
        ScanFolder.read(tmp_path)


def test_images_of_a_removed_file_of_a_scan_on_ray_are_not_taken_for_done(tmp_path: Path) -> None:
    for folder, name in ((CHECKPOINT, "a"), (CHECKPOINT, "b"), (CHECKPOINT, "c.pending"), (ROWS_FOLDER, "b-0")):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / f"{name}.parquet").touch()
    forget_lost(tmp_path)
    assert sorted(path.stem for path in (tmp_path / CHECKPOINT).iterdir()) == ["b", "c.pending"]
    assert [path.stem for path in written_files(tmp_path)] == ["b-0"]


@pytest.mark.parametrize("taken", ["part-00000.parquet", "_part-00000.json"])
def test_a_complete_scan_of_which_a_file_was_taken_away_is_refused(tmp_path: Path, taken: str) -> None:
    finish(scan(tmp_path), {})
    assert summarised(tmp_path) == 2
    (tmp_path / taken).unlink()
    with pytest.raises(RunError, match="taken away"):
        summarised(tmp_path)


@pytest.mark.parametrize(
    ("second", "said"), [("0/2", "shard 0/2 is there twice"), ("1/3", "shard 1/3 is not one of 2")]
)
def test_shards_that_are_not_of_one_scan_are_refused(tmp_path: Path, second: str, said: str) -> None:
    scan(tmp_path / "shard-00000-of-00002", shard="0/2")
    scan(tmp_path / "shard-00001-of-00002", shard=second)
    with pytest.raises(RunError, match=said):
        ScanFolder.read(tmp_path)


def test_a_scan_with_shards_of_another_in_it_is_refused(tmp_path: Path) -> None:
    scan(scan(tmp_path) / "shard-00000-of-00002", shard="0/2")
    with pytest.raises(RunError, match="holds a scan and shard-00000-of-00002 of another"):
        ScanFolder.read(tmp_path)


def test_a_page_that_its_figures_would_replace_is_refused(tmp_path: Path) -> None:
    found = summarise_scan(ScanFolder.read(scan(tmp_path)))
    with pytest.raises(RunError, match=r"out\.json: is where the page's figures go"):
        write_page(found, tmp_path / "out.json")
    assert not (tmp_path / "out.json").exists()
    write_page(found, tmp_path / "out.html")
    assert "<script>" not in (tmp_path / "out.html").read_text()


def test_features_of_different_lengths_are_refused_even_if_they_add_up() -> None:
    assert _vectors(pa.array([[1.0, 2.0], None, [3.0, 4.0]], pa.list_(pa.float16()))).shape == (2, 2)
    with pytest.raises(ValueError, match="features of 1 and 3 numbers"):
        _vectors(pa.array([[1.0], [1.0, 2.0, 3.0]], pa.list_(pa.float16())))
