"""What a scan takes: memory, growth, workers, kept features, kills, a node that dies, and 5.85 billion images on paper.

    python perf/scan.py growth [--images 100000]     one process over many small images: memory and time
    python perf/scan.py kills                        kill -9 at ten random moments, one process and two shards
    python perf/scan.py ray-kills                    the same on Ray, one worker and two
    python perf/scan.py workers [--pairs 5]          two Ray workers against one, decode-bound
    python perf/scan.py features                     another guard on kept features against the images, Pocket
    python perf/scan.py cluster                      two nodes, one of which is killed
    python perf/scan.py report                       docs/results/scan.md, with the estimate on paper

Each writes its part of docs/results/scan.json. All images are drawn here. The model of `growth` and `kills` is a tiny
LLaVA with random weights, so that what grows is not hidden behind a large model; the scanner of what Ray runs decodes
images and takes its verdict from their mean colour, so that no time goes into loading models. Where others use the
machine too, rates are of processor time where one process is measured, and ratios are medians of interleaved pairs.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "perf")]

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from holisafe.errors import ImageError
from holisafe.images import open_identified
from holisafe.records import ImageRef
from holisafe.scan import Scanner, Units, scan_here
from holisafe.scan.parts import PartsFolder, parts_in
from holisafe.scan.rows import row_schema

RESULT = ROOT / "docs/results/scan.json"
LABELS = ["safe", "terrorism"]
PROGRAM = [sys.executable, str(Path(__file__))]
LAION_IMAGES = 5_850_000_000
"""Pairs of LAION-5B (laion.ai/blog/laion-5b)."""


@dataclass
class ColourScanner:
    """Decodes images, and calls an image unsafe by its mean red: what a scan does without a model."""

    seconds: float = 0.0
    log: str = ""

    def __call__(self, rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
        begun, found = time.time(), []
        for row in rows:
            name = str(row["id"])
            try:
                image, digest = open_identified(ImageRef(name, data=row["bytes"] or b""))
            except ImageError as error:
                found.append({"image": name, "error": str(error)})
                continue
            unsafe = float(np.asarray(image)[..., 0].mean() / 255)
            found.append(
                {
                    "image": name, "digest": digest, "label": LABELS[unsafe >= 0.5], "probability": max(unsafe, 1 - unsafe),
                    "distribution": {"safe": 1 - unsafe, "terrorism": unsafe}, "unsafe": unsafe, "threshold": 0.5,
                    "flagged": unsafe >= 0.5, "calibrated": False,
                }
            )  # fmt: skip
        time.sleep(self.seconds * len(found))
        if self.log:
            with Path(self.log).open("a") as file:
                file.write(f"{os.getpid()} {begun} {time.time()} {len(found)}\n")
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=[*SECTIONS, "report", "_local", "_ray"])
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, help="folder for images and rows; a temporary one when not given")
    parser.add_argument("--price-per-hour", type=float, default=0.04, help="of one CPU core, in USD")
    parser.add_argument("--price-per-gib-month", type=float, default=0.023, help="of storage, in USD")
    parser.add_argument("--gpu-images-per-s", type=float, default=2000.0, help="assumed for a tower on one GPU")
    parser.add_argument("--gpu-price-per-hour", type=float, default=2.5, help="of one GPU, in USD")
    parser.add_argument("--kib-per-image", type=float, default=35.0, help="assumed size of a stored image")
    parser.add_argument("arguments", nargs="*")
    options = parser.parse_args()
    if options.what in ("_local", "_ray"):
        {"_local": _local, "_ray": _ray}[options.what](*options.arguments)
    elif options.what == "report":
        report(options)
    else:
        with tempfile.TemporaryDirectory(prefix="holisafe-scan-", dir=options.work) as folder:
            write_part(options.what, SECTIONS[options.what](Path(folder), options))


# ---- one process


def growth(work: Path, options: Any) -> dict[str, Any]:
    """Processor time and peak memory of each tenth of many small images."""
    import torch

    torch.set_num_threads(1)
    scanner = tiny_scanner(work / "model")
    shards = draw_shards(work / "shards", options.images, per_shard=max(1000, options.images // 10))
    parts = PartsFolder(work / "out", scanner.labels(), {}, schema=row_schema(scanner.labels(), key=True))
    tenth = options.images // 10
    marks: list[tuple[float, float]] = []
    first, begun = 0.0, time.process_time()
    with parts.open():
        for count, row in enumerate(scan_here(Units([str(shards)]), scanner, parts), 1):
            assert "error" not in row, row
            if count == 1000:
                first = peak_mib()
            if count % tenth == 0:
                marks.append((time.process_time() - begun, peak_mib()))
                print(count, marks[-1], file=sys.stderr, flush=True)
    times = np.diff([0.0, *(seconds for seconds, _ in marks)])
    return {
        "images": options.images,
        "processor_s_per_tenth": [round(float(each), 2) for each in times],
        "last_tenth_over_first": round(float(times[-1] / times[0]), 3),
        "images_per_processor_s": round(options.images / marks[-1][0], 1),
        "peak_mib_after_1000": round(first, 1),
        "peak_mib_at_end": round(marks[-1][1], 1),
        "peak_ratio": round(marks[-1][1] / first, 4),
        "bytes_per_row": round(sum(path.stat().st_size for path in parts.parts()) / options.images, 1),
    }


def peak_mib() -> float:
    """Most memory this process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


# ---- kills


def kills(work: Path, options: Any) -> dict[str, Any]:
    """Kill -9 at ten random moments of a scan in one process, and of one in two shards at once."""
    tiny_scanner(work / "model")
    shards = draw_shards(work / "shards", 2400, per_shard=300)
    whole = _finished([["_local", str(work / "model"), str(shards), str(work / "whole"), "0/1"]], [work / "whole"])
    found: dict[str, Any] = {"images": 2400}
    for count in (1, 2):
        outs = [work / f"out{count}-{index}" for index in range(count)]
        calls = [
            ["_local", str(work / "model"), str(shards), str(out), f"{index}/{count}"] for index, out in enumerate(outs)
        ]
        done = _killed(calls, outs, 10, random.Random(options.seed + count))
        found[f"{count}"] = done | compared(whole, _finished(calls, outs))
    return found


def ray_kills(work: Path, options: Any) -> dict[str, Any]:
    """Kill -9 at ten random moments of a job on Ray: all its processes, with one worker and with two."""
    shards = draw_shards(work / "shards", 2400, per_shard=100)
    found: dict[str, Any] = {"images": 2400}
    whole = {
        row["image"]: row["digest"]
        for unit in Units([str(shards)])
        for row in ColourScanner()({"id": item.name, "bytes": item.ref.data} for item in unit.items() if item.ref)
    }
    for count in (1, 2):
        out = work / f"ray{count}"
        calls = [["_ray", str(shards), str(out), str(count)]]
        done = _killed(calls, [out], 10, random.Random(options.seed + count))
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
        for process in started:
            _end_group(process)
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
            if "unsafe" in row and name in found
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


def rows_of(out: Path) -> list[dict[str, Any]]:
    """Rows that are whole."""
    from holisafe.scan.on_ray import ROWS_FOLDER, written_files

    files = written_files(out) if (out / ROWS_FOLDER).is_dir() else parts_in(out)
    columns = ["image", "digest", "label", "unsafe"]
    return [row for file in files for row in pq.read_table(file, columns=columns).to_pylist()]


def rows_in(out: Path) -> int:
    return len(rows_of(out)) if out.is_dir() else 0


def _local(model: str, shards: str, out: str, shard: str) -> None:
    import torch

    from holisafe.images.sources import Shard
    from holisafe.scan import parts as parts_module

    torch.set_num_threads(1)
    parts_module.ROWS = 50  # parts small enough that each kill finds some
    scanner = Scanner(model)
    parts = PartsFolder(Path(out), scanner.labels(), {"shard": shard}, schema=row_schema(scanner.labels(), key=True))
    with parts.open(resume=True):
        for count, _ in enumerate(scan_here(Units([shards], shard=Shard.parse(shard)), scanner, parts)):
            if count == 0:
                print("scanning", flush=True)
            time.sleep(0.004)  # so that a kill finds it at work


def _ray(shards: str, out: str, workers: str) -> None:
    from holisafe.scan import on_ray

    on_ray.ROWS_EACH, on_ray.BLOCK_BYTES = 50, 2**17
    log = Path(f"{out}.log")
    before = log.stat().st_size if log.exists() else 0
    import threading

    def tell() -> None:
        while not log.exists() or log.stat().st_size == before:
            time.sleep(0.1)
        print("scanning", flush=True)

    threading.Thread(target=tell, daemon=True).start()
    scanner = ColourScanner(0.01, str(log))
    on_ray.scan_on_ray(
        Units([shards]), scanner, Path(out), {}, row_schema(LABELS, key=True), resume=True, workers=int(workers)
    )  # type: ignore[arg-type]


# ---- Ray


def workers(work: Path, options: Any) -> dict[str, Any]:
    """Images per second of two Ray workers over one, in interleaved pairs within one Ray session."""
    import ray

    from holisafe.scan import on_ray

    shards = draw_shards(work / "shards", 480, per_shard=24, size=(1280, 960))
    ray.init(num_cpus=2 + on_ray.SPARE, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    rates: dict[int, list[float]] = {1: [], 2: []}
    try:
        for pair in range(options.pairs):
            for count in (1, 2) if pair % 2 == 0 else (2, 1):
                out, log = work / f"out{pair}-{count}", work / f"log{pair}-{count}"
                on_ray.scan_on_ray(
                    Units([str(shards)]),
                    ColourScanner(0.0, str(log)),
                    out,
                    {},
                    row_schema(LABELS, key=True),
                    workers=count,
                )  # type: ignore[arg-type]
                assert len(rows_of(out)) == 480
                rates[count].append(_rate(log))
                print(pair, count, rates[count][-1], file=sys.stderr, flush=True)
    finally:
        ray.shutdown()
    ratios = [two / one for one, two in zip(rates[1], rates[2], strict=True)]
    return {
        "images": 480,
        "pixels": [1280, 960],
        "pairs": options.pairs,
        "images_per_s_one": [round(each, 1) for each in rates[1]],
        "images_per_s_two": [round(each, 1) for each in rates[2]],
        "ratios": [round(each, 3) for each in ratios],
        "median_ratio": round(statistics.median(ratios), 3),
        "load_average": [round(each, 1) for each in os.getloadavg()],
        "cores": os.cpu_count(),
    }


def _rate(log: Path) -> float:
    """Images per second from the first chunk's beginning to the last one's end."""
    rows = [line.split() for line in log.read_text().splitlines()]
    return sum(int(row[3]) for row in rows) / (max(float(row[2]) for row in rows) - min(float(row[1]) for row in rows))


def cluster(work: Path, options: Any) -> dict[str, Any]:
    """Two nodes on this machine; the one that the driver is not on is killed once a quarter is written."""
    import threading

    import ray
    from ray.cluster_utils import Cluster

    from holisafe.scan import on_ray

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
        "rows": len(names), "lost": 2400 - len(set(names)), "twice": len(names) - len(set(names)), "images_scanned": scanned,
    }  # fmt: skip


# ---- features


def features(work: Path, options: Any) -> dict[str, Any]:
    """Pocket: processor time per image of a scan of the images, and of another guard on what it kept."""
    import torch

    import holisafe
    from holisafe.guard import GuardConfig, attach_guard, detach_guard, save_guard
    from holisafe.scan.features import check_same_vision, rescan
    from holisafe.scan.folder import ScanFolder

    torch.set_num_threads(1)
    torch.manual_seed(options.seed)
    model, _ = holisafe.load("pocket")
    attach_guard(model, GuardConfig.paper(features="projector"))
    save_guard(model, work / "new")
    detach_guard(model)
    shards = draw_shards(work / "shards", FEATURE_IMAGES, per_shard=FEATURE_IMAGES, size=(256, 256))

    first = Scanner("pocket", features=True)
    settings = first.settings() | {"places": [str(shards)]}
    kept = PartsFolder(
        work / "kept", first.labels(), settings, schema=row_schema(first.labels(), key=True, features=True)
    )
    begun = time.process_time()
    with kept.open():
        for _ in scan_here(Units([str(shards)]), first, kept):
            pass
    of_images = (time.process_time() - begun) / FEATURE_IMAGES
    row_bytes = sum(part.stat().st_size for part in kept.parts()) / FEATURE_IMAGES
    for copy in range(1, COPIES):  # the same rows many times, so that reading them is measured and not its start
        shutil.copy(kept.parts()[0], work / f"kept/part-{copy:05}.parquet")
    new = Scanner("pocket", str(work / "new"))
    scan = ScanFolder.read(work / "kept")
    check_same_vision(scan, new)
    out = PartsFolder(work / "out", new.labels(), {}, schema=row_schema(new.labels(), key=True))
    begun, rows = time.process_time(), 0
    with out.open():
        for table in rescan(scan, new, out):
            rows += table.num_rows
    of_features = (time.process_time() - begun) / rows
    pictures = PartsFolder(work / "direct", new.labels(), {}, schema=row_schema(new.labels(), key=True))
    with pictures.open():
        for _ in scan_here(Units([str(shards)]), new, pictures):
            pass
    direct = pq.read_table(pictures.parts()[0])
    again = pq.read_table(out.parts()[0])
    apart = np.abs(direct["unsafe"].to_numpy() - again["unsafe"].to_numpy()).max()
    return {
        "images": FEATURE_IMAGES,
        "rows_from_features": rows,
        "images_per_processor_s": round(1 / of_images, 1),
        "from_features_per_processor_s": round(1 / of_features, 1),
        "ratio": round(of_images / of_features, 1),
        "bytes_per_row_with_features": round(row_bytes, 1),
        "largest_difference_of_unsafe": float(f"{apart:.3g}"),
        "same_labels": int(sum(a == b for a, b in zip(direct["label"], again["label"], strict=True))),
    }


FEATURE_IMAGES = 256
COPIES = 40


# ---- images and models


def draw_shards(folder: Path, images: int, per_shard: int, size: tuple[int, int] = (24, 24)) -> Path:
    """Tar shards of drawn images, all different, in img2dataset's layout."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for first in range(0, images, per_shard):
        with tarfile.open(folder / f"{first // per_shard:05}.tar", "w") as archive:
            for number in range(first, min(images, first + per_shard)):
                _add(archive, f"{number:09}.jpg", _drawn(number, size, rng))
                _add(archive, f"{number:09}.txt", f"drawing {number}".encode())
                archive.members.clear()  # it remembers all it wrote
    return folder


def _drawn(number: int, size: tuple[int, int], rng: Any) -> bytes:
    coarse = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    coarse[0, 0] = (number % 256, number // 256 % 256, number // 65536)
    file = io.BytesIO()
    Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(file, "JPEG", quality=92)
    return file.getvalue()


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    archive.addfile(info, io.BytesIO(data))


def tiny_scanner(folder: Path) -> Scanner:
    """A tiny LLaVA with random weights, saved with a guard."""
    import tiny_models
    from holisafe.guard import GuardConfig, attach_guard, save_guard

    tiny = tiny_models.llava()
    tiny_models.save(tiny, folder)
    attach_guard(tiny.model, GuardConfig(features="projector", joint_head=False))
    save_guard(tiny.model, folder / "guard")
    return Scanner(str(folder), batch_size=64)


# ---- what is written


def write_part(name: str, result: dict[str, Any]) -> None:
    """Put a section's result beside the others."""
    found = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    found[name] = result
    RESULT.write_text(json.dumps(dict(sorted(found.items())), indent=2) + "\n")
    print(json.dumps(result, indent=2))


def paper(found: Mapping[str, Any], options: Any) -> dict[str, Any]:
    """What LAION-5B would take, from what was measured and the assumptions among the options."""
    speed = found["features"]["images_per_processor_s"]
    again = found["features"]["from_features_per_processor_s"]
    row = found["growth"]["bytes_per_row"]
    kept = found["features"]["bytes_per_row_with_features"]
    tib = LAION_IMAGES * options.kib_per_image / 2**30
    core_days = LAION_IMAGES / speed / 86400
    gpu_days = LAION_IMAGES / options.gpu_images_per_s / 86400
    decode = found["decode"]["images_per_processor_s"] if "decode" in found else None
    return {
        "images": LAION_IMAGES,
        "assumed": {
            "kib_per_image": options.kib_per_image,
            "price_per_core_hour": options.price_per_hour,
            "price_per_gib_month": options.price_per_gib_month,
            "gpu_images_per_s": options.gpu_images_per_s,
            "gpu_price_per_hour": options.gpu_price_per_hour,
        },
        "pocket_core_days": round(core_days),
        "pocket_money": round(core_days * 24 * options.price_per_hour),
        "gpu_days": round(gpu_days, 1),
        "gpu_money": round(gpu_days * 24 * options.gpu_price_per_hour),
        "decode_cores_per_gpu": None if decode is None else round(options.gpu_images_per_s / decode, 1),
        "image_tib": round(tib, 1),
        "gbit_per_s_per_gpu": round(options.gpu_images_per_s * options.kib_per_image * 1024 * 8 / 1e9, 2),
        "rows_gib": round(LAION_IMAGES * row / 2**30),
        "features_gib": round(LAION_IMAGES * kept / 2**30),
        "features_money_per_month": round(LAION_IMAGES * kept / 2**30 * options.price_per_gib_month),
        "again_core_days": round(LAION_IMAGES / again / 86400, 1),
        "again_money": round(LAION_IMAGES / again / 3600 * options.price_per_hour),
        "jobs_of_10_million": -(-LAION_IMAGES // 10_000_000),
    }


def decode(work: Path, options: Any) -> dict[str, Any]:
    """Processor time of reading and decoding images of a usual size, without a model."""
    shards = draw_shards(work / "shards", 400, per_shard=400, size=(384, 384))
    scanner, begun, count = ColourScanner(), time.process_time(), 0
    for unit in Units([str(shards)]):
        for item in unit.items():
            assert item.ref is not None
            count += len(scanner([{"id": item.name, "bytes": item.ref.data}]))
    return {
        "images": count,
        "pixels": [384, 384],
        "images_per_processor_s": round(count / (time.process_time() - begun), 1),
    }


SECTIONS = {
    "growth": growth,
    "kills": kills,
    "ray-kills": ray_kills,
    "workers": workers,
    "features": features,
    "cluster": cluster,
    "decode": decode,
}


def report(options: Any) -> None:
    """Write the page."""
    from scan_page import page

    found = json.loads(RESULT.read_text())
    if "growth" in found and "features" in found:
        found["paper"] = paper(found, options)
        RESULT.write_text(json.dumps(dict(sorted(found.items())), indent=2) + "\n")
    RESULT.with_suffix(".md").write_text(page(found))


if __name__ == "__main__":
    main()
