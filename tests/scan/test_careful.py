from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from holisafe.scan.careful import DEATHS, carefully


def answer(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [{"image": row["id"], **({"error": row["error"]} if row.get("error") else {})} for row in rows]


def test_nothing_is_left_behind_when_all_goes_well(tmp_path: Path) -> None:
    note = tmp_path / "note.json"
    found = list(carefully([{"id": str(number)} for number in range(5)], answer, note))
    assert [row["image"] for row in found] == list("01234") and not list(tmp_path.iterdir())


def test_an_image_that_ends_the_process_becomes_an_error_and_the_others_get_verdicts(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom holisafe.scan.careful import carefully\n"
        "def scan(rows):\n"
        "    if any(row['id'] == '3' and not row.get('error') for row in rows): os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return [{'image': row['id'], 'error': row.get('error')} for row in rows]\n"
        "rows = [{'id': str(number)} for number in range(6)]\n"
        "for row in carefully(rows, scan, Path(sys.argv[1])): print(row['image'], row['error'])\n"
    )
    ended = []
    for _ in range(1 + DEATHS + 1):  # among others, then alone, then left out
        done = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "note.json")], capture_output=True, text=True, env=os.environ
        )
        ended.append(done.returncode)
    assert ended == [-9] * (1 + DEATHS) + [0]
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == list("012345")
    assert ["not scanned" in line for line in lines] == [False, False, False, True, False, False]
    assert not (tmp_path / "note.json").exists()


def test_a_note_that_was_cut_off_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "note.json").write_text('{"1": ')
    assert len(list(carefully([{"id": "1"}], answer, tmp_path / "note.json"))) == 1
