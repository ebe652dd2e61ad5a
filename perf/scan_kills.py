"""Kills and lost nodes of scans; perf/scan.py runs these."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from holisafe.images.sources import Shard
from holisafe.scan import PartsFolder, Scanner, Units, on_ray, scan_here
from holisafe.scan import parts as parts_module
from holisafe.scan.rows import row_schema
from scan_corpus import LABELS, ColourScanner, draw_shards, rows_in, rows_of, tiny_scanner

PROGRAM = [sys.executable, str(Path(__file__).with_name("scan.py"))]


KILL_IMAGES = 1200


def kills(work: Path, options: Any) -> dict[str, Any]:
    """Kill -9 at ten random moments of a scan in one process, and of one in two shards at once."""
    tiny_scanner(work / "model")
    shards = draw_shards(work / "shards", KILL_IMAGES, per_shard=150)
    whole = _finished([["_local", str(work / "model"), str(shards), str(work / "whole"), "0/1"]], [work / "whole"])
    found: dict[str, Any] = {"images": KILL_IMAGES}
    for count in options.counts:
        outs = [work / f"out{count}-{index}" for index in range(count)]
        calls = [
            ["_local", str(work / "model"), str(shards), str(out), f"{index}/{count}"] for index, out in enumerate(outs)
        ]
        done = _killed(calls, outs, options.kills, random.Random(options.seed + count))
        found[f"{count}"] = done | compared(whole, _finished(calls, outs))
    return found


def ray_kills(work: Path, options: Any) -> dict[str, Any]:
    """Kill -9 at ten random moments of a job on Ray: all its processes, with one worker and with two."""
    shards = draw_shards(work / "shards", KILL_IMAGES, per_shard=100)
    found: dict[str, Any] = {"images": KILL_IMAGES}
    whole = {
        row["image"]: row["digest"]
        for unit in Units([str(shards)])
        for row in ColourScanner()({"id": item.name, "bytes": item.ref.data} for item in unit.items() if item.ref)
    }
    for count in options.counts:
        out = work / f"ray{count}"
        calls = [["_ray", str(shards), str(out), str(count)]]
        done = _killed(calls, [out], options.kills, random.Random(options.seed + count))
        rows = _finished(calls, [out])
        found[f"{count}"] = done | compared(
            [{"image": image, "digest": digest} for image, digest in whole.items()], rows
        )
    return found


def _killed(calls: list[list[str]], outs: list[Path], times: int, chance: random.Random) -> dict[str, Any]:
    """Start the processes, and end them with all their children at random moments while they scan."""
    kept: list[int] = []
    while len(kept) < times:
        started = [_start(call) for call in calls]
        for process in started:
            _wait_for_rows(process)
        time.sleep(chance.uniform(0, _SPAN))
        is_at_work = any(process.poll() in (None, 0) for process in started)  # Ray may not start
        for process in started:
            _end_group(process)
        if not is_at_work:
            continue
        kept.append(sum(map(rows_in, outs)))
        print("killed", kept, file=sys.stderr, flush=True)
    return {"kills": times, "rows_written_at_each_kill": kept}


_SPAN = float(os.environ.get("SCAN_KILL_SPAN", "6"))
"""Seconds after the first row within which a process is killed."""


def _start(call: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen([*PROGRAM, call[0], *call[1:]], stdout=subprocess.PIPE, text=True, start_new_session=True)


def _wait_for_rows(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    process.stdout.readline()


def _end_group(process: subprocess.Popen[str]) -> None:
    """Kill -9 for a process and all that it started, Ray's own processes too."""
    import psutil

    try:
        children = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        children = []
    for each in (process.pid, *(child.pid for child in children)):
        try:
            os.kill(each, signal.SIGKILL)
        except ProcessLookupError:
            continue
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


def _finished(calls: list[list[str]], outs: list[Path]) -> list[dict[str, Any]]:
    started = [_start(call) for call in calls]
    for process in started:
        process.communicate()
        assert process.returncode == 0, process.args
    return [row for out in outs for row in rows_of(out)]


def compared(whole: list[dict[str, Any]], rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Whether every image has one row, and the verdict of a scan that was not interrupted."""
    expected = {row["image"]: row for row in whole}
    names = [row["image"] for row in rows]
    found = {row["image"]: row for row in rows}
    same = sum(
        all(found.get(name, {}).get(key) == row[key] for key in row if key != "unsafe")
        for name, row in expected.items()
    )
    apart = max(
        (
            abs(row["unsafe"] - found[name]["unsafe"])
            for name, row in expected.items()
            if "unsafe" in row and found.get(name, {}).get("unsafe") is not None
        ),
        default=0.0,
    )
    return {
        "rows": len(rows),
        "lost": len(expected.keys() - found.keys()),
        "twice": len(names) - len(found),
        "same_label_and_digest": same,
        "largest_difference_of_unsafe": float(f"{apart:.3g}"),
    }


def scan_in_process(model: str, shards: str, out: str, shard: str) -> None:
    import torch

    torch.set_num_threads(1)
    parts_module.ROWS = 50  # parts small enough that each kill finds some
    scanner = Scanner(model)
    parts = PartsFolder(Path(out), scanner.labels(), {"shard": shard}, schema=row_schema(scanner.labels(), key=True))
    with parts.open(resume=True):
        for count, _ in enumerate(scan_here(Units([shards], shard=Shard.parse(shard)), scanner, parts)):
            if count == 0:
                print("scanning", flush=True)
            time.sleep(0.004)  # so that a kill finds it at work


def scan_by_ray(shards: str, out: str, workers: str) -> None:
    on_ray.ROWS_EACH, on_ray.BLOCK_BYTES = 50, 2**17
    log = Path(f"{out}.log")
    before = log.stat().st_size if log.exists() else 0

    def tell() -> None:
        while not log.exists() or log.stat().st_size == before:
            time.sleep(0.1)
        print("scanning", flush=True)

    threading.Thread(target=tell, daemon=True).start()
    scanner = ColourScanner(0.01, str(log))
    on_ray.scan_on_ray(
        Units([shards]), scanner, Path(out), {}, row_schema(LABELS, key=True), resume=True, workers=int(workers)
    )  # type: ignore[arg-type]


def cluster(work: Path, options: Any) -> dict[str, Any]:
    """Two nodes on this machine; the one that the driver is not on is killed once a quarter is written."""
    import ray
    from ray.cluster_utils import Cluster

    on_ray.ROWS_EACH, on_ray.BLOCK_BYTES = 50, 2**17
    shards = draw_shards(work / "shards", 2400, per_shard=100)
    two = Cluster(initialize_head=True, head_node_args={"num_cpus": 1 + on_ray.SPARE, "include_dashboard": False})
    node = two.add_node(num_cpus=2)
    ray.init(address=two.address, log_to_driver=False, logging_level="ERROR")
    out, at_kill = work / "out", []

    def end_a_node() -> None:
        while rows_in(out) < 600:
            time.sleep(0.5)
        at_kill.append(rows_in(out))
        two.remove_node(node, allow_graceful=False)

    try:
        nodes = len([each for each in ray.nodes() if each["Alive"]])
        threading.Thread(target=end_a_node, daemon=True).start()
        on_ray.scan_on_ray(
            Units([str(shards)]),
            ColourScanner(0.02, str(work / "log")),
            out,
            {},
            row_schema(LABELS, key=True),
            workers=2,
        )  # type: ignore[arg-type]
        left = len([each for each in ray.nodes() if each["Alive"]])
    finally:
        ray.shutdown()
        two.shutdown()
    names = [row["image"] for row in rows_of(out)]
    scanned = sum(int(line.split()[3]) for line in (work / "log").read_text().splitlines())
    return {
        "images": 2400, "nodes": nodes, "nodes_at_end": left, "rows_when_killed": at_kill[0],
        "rows": len(names), "lost": 2400 - len(set(names)), "twice": len(names) - len(set(names)),
        "images_scanned": scanned,
    }  # fmt: skip
