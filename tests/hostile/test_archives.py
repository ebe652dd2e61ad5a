"""Hostile archives and Parquet files through a scan: rows or errors, nothing extracted, in bounded memory and time."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from hostile import archives, doors, parquet
from hostile.feeding import Outcome, content_of, feed

SEED = 28


def scan(files: Iterable[Any], tmp_path: Path, **options: Any) -> dict[str, Outcome]:
    """Scan each file alone; asserts what is said of it, and that nothing is written anywhere."""
    made = list(files)
    paths = archives.write(iter(made), tmp_path / "files")
    (tmp_path / "secret.png").write_bytes(archives.PICTURE)
    before = content_of(tmp_path)
    given = [(name, str(path)) for name, path in paths.items()]
    found = feed(doors.scan, given, tmp_path, seed=SEED, **options)
    for work in tmp_path.glob("work*"):
        assert work.is_dir()
    after = {name: what for name, what in content_of(tmp_path).items() if not name.startswith("work")}
    assert after == before
    for file in made:
        if file.good is not None:
            each = found[file.name]
            assert each.is_good and json.loads(each.detail)[1] == file.good, each
    return found


def test_deliberate_archives_give_rows_or_errors(tmp_path: Path) -> None:
    found = scan(archives.deliberate(), tmp_path)
    assert len(found) > 200


def test_archives_damaged_at_random_give_rows_or_errors(tmp_path: Path) -> None:
    scan((archives.damaged_archive(SEED, index) for index in range(300)), tmp_path)


def test_deliberate_tables_give_rows_or_errors(tmp_path: Path) -> None:
    scan(parquet.deliberate(), tmp_path)


def test_tables_damaged_at_random_give_rows_or_errors(tmp_path: Path) -> None:
    scan((parquet.damaged_table(SEED, index) for index in range(12)), tmp_path)


@pytest.mark.bulk
@pytest.mark.parametrize("seed", range(3))
def test_many_files_damaged_at_random_give_rows_or_errors(seed: int, tmp_path: Path) -> None:
    scan((archives.damaged_archive(seed, index) for index in range(3000)), tmp_path / "archives", seconds=500)
    scan((parquet.damaged_table(seed, index) for index in range(300)), tmp_path / "tables", seconds=500)


@pytest.mark.bulk
def test_tables_that_unpack_to_gigabytes_are_ended(tmp_path: Path) -> None:
    scan(parquet.bombs(), tmp_path, mib=2500, seconds=300)
