"""Memory of `holisafe guard` over very many images: the peak after the first thousand, and at the end.

    python perf/guard_memory.py [--images 100000] [--source tar] [--batch-size 64] [--out parquet] [--json]

As many different small PNG images are packed into an archive (or Parquet file, or folder) and go through all that the
command does: streaming, decoding, a guarded model (tiny, random weights, projector features), the file of verdicts and
the summary. The model is the tests' own, so that what grows with the number of images is not hidden behind a large one.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import resource
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image

import tiny_models
from holisafe.cli._verdicts import AboutGuard, Output, Tally
from holisafe.guard import GuardConfig, attach_guard, guard_of
from holisafe.images.sources import ImageSources
from holisafe.scan import scan

FIRST = 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--source", choices=("tar", "zip", "parquet", "folder"), default="tar")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--out", choices=("jsonl", "parquet"), default="parquet")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    torch.set_num_threads(1)
    tiny = tiny_models.llava()
    attach_guard(tiny.model, GuardConfig(features="projector"))
    with tempfile.TemporaryDirectory() as folder:
        place = pack(Path(folder), options.source, options.images)
        result = measure(tiny, place, Path(folder) / f"verdicts.{options.out}", options.batch_size)
    result = {"source": options.source, "out": options.out, "batch_size": options.batch_size, **result}
    if options.json:
        print(json.dumps(result))
        return
    print(f"{result['images']} images from a {options.source} source: {result['images_per_s']} images/s, one thread")
    print(f"peak memory after {FIRST} images  {result['peak_first_mib']:8.1f} MiB")
    print(f"peak memory at the end       {result['peak_end_mib']:8.1f} MiB, {result['ratio']:.3f} of it")


def measure(tiny: Any, place: Path, out: Path, batch_size: int) -> dict[str, Any]:
    tally, first, start = Tally(), 0.0, time.perf_counter()

    output = Output(out, guard_of(tiny.model).config.labels, {}, AboutGuard(calibrated=False))
    with output.open(resume=False):
        for row in scan(ImageSources([place]), tiny.model, processor=tiny.processor, batch_size=batch_size):
            output.add(row)
            tally.add(row)
            if tally.images == FIRST:
                first = peak_mib()
    assert tally.without_verdict == 0
    end = peak_mib()
    return {
        "images": tally.images,
        "images_per_s": round(tally.images / (time.perf_counter() - start), 1),
        "peak_first_mib": round(first, 1),
        "peak_end_mib": round(end, 1),
        "ratio": round(end / first, 4),
    }


def peak_mib() -> float:
    """Most memory this process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def pack(folder: Path, source: str, images: int) -> Path:
    """Write images to where they are streamed from; never more than a few held here."""
    path = folder / f"images.{source}"
    if source == "folder":
        path.mkdir()
        for name, data in encoded(images):
            (path / name).write_bytes(data)
    elif source == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in encoded(images):
                archive.writestr(name, data)
    elif source == "tar":
        with tarfile.open(path, "w") as archive:
            for name, data in encoded(images):
                info = tarfile.TarInfo(name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
                archive.members.clear()  # it remembers all it wrote
    else:
        with pq.ParquetWriter(path, pa.schema({"image": pa.binary()})) as writer:
            rows = (data for _, data in encoded(images))
            while group := list(islice(rows, 1000)):
                writer.write_table(pa.table({"image": group}))
    return path


def encoded(images: int) -> Iterator[tuple[str, bytes]]:
    """Different images of 16 × 16 pixels, by name."""
    for number in range(images):
        file = io.BytesIO()
        Image.frombytes("RGB", (16, 16), number.to_bytes(3, "little") * 256).save(file, "PNG", compress_level=1)
        yield f"{number:06}.png", file.getvalue()


if __name__ == "__main__":
    main()
