from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from holisafe.cli import app
from scan.corpus import guarded, img2dataset, pack, png


def holisafe(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["scan", *map(str, arguments)], env={"COLUMNS": "200"})


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return guarded(tmp_path_factory.mktemp("model"))


def test_a_scan_is_written_summarised_and_judged_again(model: str, tmp_path: Path) -> None:
    corpus, out = img2dataset(tmp_path / "set"), tmp_path / "out"
    result = holisafe(corpus, "--model", model, "--out", out, "--keep", "features", "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["images"] == 6
    rows = pq.read_table(out).to_pylist()
    assert [row["key"] for row in rows] == [f"{shard:05}{place:04}" for shard in range(2) for place in range(3)]
    assert all(row["error"] is None and len(row["features"]) and len(row["digest"]) == 64 for row in rows)

    result = holisafe("summary", out, "--json")
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["images"] == found["distinct_images"] == 6 and found["complete"]
    assert found["shares"]["flagged"]["low"] <= found["flagged"] / 6 <= found["shares"]["flagged"]["high"]
    assert json.loads((out / "_summary.json").read_text()) == found

    result = holisafe("--from-features", out, "--guard", "own", "--out", tmp_path / "again")
    assert result.exit_code == 0, result.stderr
    again = pq.read_table(tmp_path / "again").to_pylist()
    assert [row["label"] for row in again] == [row["label"] for row in rows]

    (out / "_done.json").unlink()
    result = holisafe("--from-features", out, "--guard", "own", "--out", tmp_path / "part")
    assert result.exit_code == 1 and "is not complete either" in result.stderr
    assert holisafe("summary", tmp_path / "part").exit_code == 1


def test_an_empty_source_is_no_complete_scan(model: str, tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    given = (tmp_path / "set", "--model", model, "--out", tmp_path / "out")
    result = holisafe(*given)
    assert result.exit_code == 2 and "no images in there" in result.stderr
    assert holisafe("summary", tmp_path / "out").exit_code == 1
    (tmp_path / "set/a.png").write_bytes(png(1))
    assert holisafe(*given, "--resume").exit_code == 0


def test_the_page_holds_nothing_that_can_be_made_clear_and_runs_nothing(model: str, tmp_path: Path) -> None:
    pack(tmp_path / "set/x.tar", [("<img src=x onerror=alert(1)>.png", png(1, (64, 64))), ("b.png", png(2, (64, 64)))])
    out = tmp_path / "out"
    assert holisafe(tmp_path / "set", "--model", model, "--out", out).exit_code == 0
    assert holisafe("summary", out).exit_code == 0
    page = (out / "_summary.html").read_text()
    assert "default-src 'none'; img-src data:; style-src 'sha256-" in page
    assert "<script" not in page and "<img src=x" not in page and "http" not in page.replace("http-equiv", "")
    images = re.findall(r'<img src="(data:image/png;base64,[^"]+)"', page)
    assert images and all(len(each) < 2000 for each in images)


def test_images_without_a_verdict_are_rows_with_reasons_and_are_tried_again(model: str, tmp_path: Path) -> None:
    corpus, out = tmp_path / "set", tmp_path / "out"
    corpus.mkdir()
    (corpus / "a.png").write_bytes(png(1))
    (corpus / "b.png").write_text("<html>")
    result = holisafe(corpus, "--model", model, "--out", out)
    assert result.exit_code == 1 and "1 without a verdict" in result.stdout
    assert holisafe("summary", out).exit_code == 1
    assert "found text" in pq.read_table(out)["error"].to_pylist()[1]
    (corpus / "b.png").write_bytes(png(2))
    assert holisafe(corpus, "--model", model, "--out", out, "--resume").exit_code == 1
    result = holisafe(corpus, "--model", model, "--out", out, "--resume", "--retry-errors")
    assert result.exit_code == 0, result.output
    assert sorted(pq.read_table(out)["image"].to_pylist()) == [str(corpus / "a.png"), str(corpus / "b.png")]


def test_shards_are_written_beside_each_other_and_summarised_together(model: str, tmp_path: Path) -> None:
    corpus, out = img2dataset(tmp_path / "set", shards=3), tmp_path / "out"
    assert holisafe(corpus, "--model", model, "--out", out, "--shard", "0/2").exit_code == 0
    result = holisafe("summary", out, "--json")
    assert result.exit_code == 1 and json.loads(result.stdout)["missing_shards"] == ["1/2"]
    assert holisafe(corpus, "--model", model, "--out", out, "--shard", "1/2").exit_code == 0
    result = holisafe("summary", out, "--json")
    assert result.exit_code == 0 and json.loads(result.stdout)["images"] == 9


def test_what_cannot_be_done_is_one_line(model: str, tmp_path: Path) -> None:
    corpus, out = img2dataset(tmp_path / "set"), tmp_path / "out"
    for arguments, expected in {
        (): "no SOURCE",
        (corpus,): "--out is missing",
        (corpus, "--out", out, "--retry-errors"): "needs --resume",
        (corpus, "--out", out, "--workers", 2): "need --engine ray",
        (tmp_path / "nowhere", "--out", out): "nowhere",
        ("--from-features", out): "needs --guard",
        (corpus, "--from-features", out, "--guard", "x", "--out", out): "leave out SOURCE",
        ("summary", tmp_path): "no scan in there",
        (corpus, "--out", corpus): "where the images are",
        (corpus, "--out", out, "--shard", "0/0"): "expected 1 part or more",
    }.items():
        result = holisafe(*arguments) if arguments else holisafe("--out", out)
        assert result.exit_code == 2 and expected in result.output.replace("\n", " "), (arguments, result.output)
    assert holisafe(corpus, "--model", model, "--out", out).exit_code == 0
    result = holisafe(corpus, "--model", model, "--out", out)
    assert result.exit_code == 2 and "--resume" in result.stderr
    part = next(out.glob("part-*.parquet"))
    part.write_bytes(part.read_bytes()[:-50])
    result = holisafe(corpus, "--model", model, "--out", out, "--resume")
    assert result.exit_code == 2 and "not the file that" in result.stderr


def test_a_plan_counts_and_measures_and_writes_nothing(model: str, tmp_path: Path) -> None:
    corpus = img2dataset(tmp_path / "set", shards=2, each=60)
    before = sorted(tmp_path.rglob("*"))
    result = holisafe(corpus, "--model", model, "--plan", "--price-per-hour", "2", "--json")
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["units"] == 2 and found["images"] >= 120 and found["images_per_s"] > 0 and found["money"] > 0
    assert sorted(tmp_path.rglob("*")) == before


def test_an_interrupted_scan_keeps_what_it_has_and_resumes(model: str, tmp_path: Path) -> None:
    corpus, out = tmp_path / "set", tmp_path / "out"
    for shard in range(40):
        pack(corpus / f"{shard:02}.tar", [(f"{place}.png", png(70 * shard + place)) for place in range(70)])
    command = [sys.executable, "-m", "holisafe", "scan", str(corpus), "--model", model, "--out", str(out)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    while not (out / "_current.json").exists() and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate()
    if process.returncode != 0:  # it may have been through on a fast machine
        assert process.returncode == 130 and "--resume" in told
    done = subprocess.run([*command, "--resume"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    names = pq.read_table(out)["image"].to_pylist()
    assert len(names) == len(set(names)) == 2800


def test_a_full_disk_is_one_line_and_what_was_written_is_kept(model: str, tmp_path: Path) -> None:
    corpus, disk = tmp_path / "set", tmp_path / "disk"
    disk.mkdir()
    if os.geteuid() or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", disk]).returncode:
        pytest.skip("a small disk cannot be mounted here")
    try:
        pack(corpus / "x.tar", [(f"{place}.png", png(place)) for place in range(2200)])
        command = [sys.executable, "-m", "holisafe", "scan", str(corpus), "--model", model, "--out", str(disk / "out")]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 2 and "no space left on the disk" in done.stderr and "Traceback" not in done.stderr
        subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
        done = subprocess.run([*command, "--resume"], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        names = pq.read_table(disk / "out")["image"].to_pylist()
        assert len(names) == len(set(names)) == 2200
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)  # Arrow's threads may still close a file
