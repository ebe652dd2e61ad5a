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
import json
import os
import resource
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pyarrow.parquet as pq

from holisafe.scan import PartsFolder, Scanner, Units, on_ray, scan_here
from holisafe.scan import parts as parts_module
from holisafe.scan.rows import row_schema
from scan_corpus import LABELS, ROOT, ColourScanner, draw_shards, drawn, rows_of, tiny_scanner
from scan_kills import cluster, kills, ray_kills, scan_by_ray, scan_in_process
from scan_page import page, paper

RESULT = ROOT / "docs/results/scan.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=[*SECTIONS, "report", "_local", "_ray"])
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--counts", type=int, nargs="+", default=[1, 2], help="of processes or workers, for kills")
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
        {"_local": scan_in_process, "_ray": scan_by_ray}[options.what](*options.arguments)
    elif options.what == "report":
        report(options)
    else:
        with tempfile.TemporaryDirectory(prefix="holisafe-scan-", dir=options.work) as folder:
            write_part(options.what, SECTIONS[options.what](Path(folder), options))


def growth(work: Path, options: Any) -> dict[str, Any]:
    """Processor time and peak memory of each tenth of many small images."""
    import torch

    torch.set_num_threads(1)
    scanner = tiny_scanner(work / "model")
    shards = draw_shards(work / "shards", options.images, per_shard=max(1000, options.images // 10))
    parts = PartsFolder(work / "out", scanner.labels(), {}, schema=row_schema(scanner.labels(), key=True))
    tenth = options.images // 10
    marks: list[tuple[float, float]] = []
    scanner([{"id": "warms up", "bytes": drawn(0, (24, 24), np.random.default_rng(0))}])
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
        "second_half_over_first": round(float(np.median(times[5:]) / np.median(times[:5])), 3),
        "images_per_processor_s": round(options.images / marks[-1][0], 1),
        "peak_mib_after_1000": round(first, 1),
        "peak_mib_at_end": round(marks[-1][1], 1),
        "peak_ratio": round(marks[-1][1] / first, 4),
        "bytes_per_row": round(sum(path.stat().st_size for path in parts.parts()) / options.images, 1),
    }


def peak_mib() -> float:
    """Most memory this process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def workers(work: Path, options: Any) -> dict[str, Any]:
    """Images per second of two Ray workers over one, in interleaved pairs within one Ray session."""
    import ray

    shards = draw_shards(work / "shards", WORKER_IMAGES, per_shard=24, size=(1280, 960), grain=32)
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
                assert len(rows_of(out)) == WORKER_IMAGES
                rates[count].append(_rate(log))
                print(pair, count, rates[count][-1], file=sys.stderr, flush=True)
    finally:
        ray.shutdown()
    ratios = [two / one for one, two in zip(rates[1], rates[2], strict=True)]
    return {
        "images": WORKER_IMAGES,
        "pixels": [1280, 960],
        "pairs": options.pairs,
        "images_per_s_one": [round(each, 1) for each in rates[1]],
        "images_per_s_two": [round(each, 1) for each in rates[2]],
        "ratios": [round(each, 3) for each in ratios],
        "median_ratio": round(statistics.median(ratios), 3),
        "load_average": [round(each, 1) for each in os.getloadavg()],
        "cores": os.cpu_count(),
    }


WORKER_IMAGES = 1200


def _rate(log: Path) -> float:
    """Images per second from the first chunk's beginning to the last one's end."""
    rows = [line.split() for line in log.read_text().splitlines()]
    return sum(int(row[3]) for row in rows) / (max(float(row[2]) for row in rows) - min(float(row[1]) for row in rows))


def features(work: Path, options: Any) -> dict[str, Any]:
    """Pocket: processor time per image of a scan of the images, and of another guard on what it kept."""
    import torch

    import holisafe
    from holisafe.guard import GuardConfig, attach_guard, detach_guard, save_guard
    from holisafe.scan.features import check_same_vision, rescan
    from holisafe.scan.folder import ScanFolder

    torch.set_num_threads(1)
    torch.manual_seed(options.seed)
    parts_module.SECONDS = 3600.0  # one part, however slow the machine is
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


def write_part(name: str, result: dict[str, Any]) -> None:
    """Put a section's result beside the others."""
    found = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    found[name] = found.get(name, {}) | result if name.endswith("kills") else result
    RESULT.write_text(json.dumps(dict(sorted(found.items())), indent=2) + "\n")
    print(json.dumps(result, indent=2))


def report(options: Any) -> None:
    """Write the page."""
    found = json.loads(RESULT.read_text())
    if "growth" in found and "features" in found:
        found["paper"] = paper(found, options)
        RESULT.write_text(json.dumps(dict(sorted(found.items())), indent=2) + "\n")
    RESULT.with_suffix(".md").write_text(page(found))


SECTIONS = {
    "growth": growth,
    "kills": kills,
    "ray-kills": ray_kills,
    "workers": workers,
    "features": features,
    "cluster": cluster,
    "decode": decode,
}


if __name__ == "__main__":
    main()
