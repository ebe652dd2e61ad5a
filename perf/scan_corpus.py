"""Drawn corpora and scanners that perf/scan.py measures with; no program of its own."""

from __future__ import annotations

import io
import os
import sys
import tarfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from PIL import Image, ImageChops

from holisafe.errors import ImageError
from holisafe.images import open_identified
from holisafe.records import ImageRef
from holisafe.scan import Scanner
from holisafe.scan.on_ray import ROWS_FOLDER, written_files
from holisafe.scan.parts import parts_in

ROOT = Path(__file__).parents[1]
LABELS = ["safe", "terrorism"]
THRESHOLD = 0.5


@dataclass
class ColourScanner:
    """Decodes images, and calls an image unsafe by its mean red: what a scan does without a model."""

    seconds: float = 0.0
    log: str = ""

    def __call__(self, rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """As `Scanner`."""
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
                    "image": name, "digest": digest, "label": LABELS[unsafe >= THRESHOLD],
                    "probability": max(unsafe, 1 - unsafe), "distribution": {"safe": 1 - unsafe, "terrorism": unsafe},
                    "unsafe": unsafe, "threshold": THRESHOLD, "flagged": unsafe >= THRESHOLD, "calibrated": False,
                }
            )  # fmt: skip
        time.sleep(self.seconds * len(found))
        if self.log:
            with Path(self.log).open("a") as file:
                file.write(f"{os.getpid()} {begun} {time.time()} {len(found)}\n")
        return found


def rows_of(out: Path) -> list[dict[str, Any]]:
    """Rows that are whole."""
    files = written_files(out) if (out / ROWS_FOLDER).is_dir() else parts_in(out)
    columns = ["image", "digest", "label", "unsafe"]
    return [row for file in files for row in pq.read_table(file, columns=columns).to_pylist()]


def rows_in(out: Path) -> int:
    """How many rows are whole; 0 where nothing was begun."""
    return len(rows_of(out)) if out.is_dir() else 0


def draw_shards(folder: Path, images: int, per_shard: int, size: tuple[int, int] = (24, 24), grain: int = 0) -> Path:
    """Tar shards of drawn images, all different, in img2dataset's layout; of photographs' detail with a `grain`."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for first in range(0, images, per_shard):
        with tarfile.open(folder / f"{first // per_shard:05}.tar", "w") as archive:
            for number in range(first, min(images, first + per_shard)):
                _add(archive, f"{number:09}.jpg", drawn(number, size, rng, grain))
                _add(archive, f"{number:09}.txt", f"drawing {number}".encode())
                archive.members.clear()  # it remembers all it wrote
    return folder


def drawn(number: int, size: tuple[int, int], rng: Any, grain: int = 0) -> bytes:
    """A JPEG of coloured patches, with noise of so many levels; another one for each number."""
    coarse = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    coarse[0, 0] = (number % 256, number // 256 % 256, number // 65536)
    image = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
    if grain:
        image = ImageChops.add(image, Image.fromarray(rng.integers(0, grain, (*size[::-1], 3), dtype=np.uint8)))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=92)
    return file.getvalue()


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    archive.addfile(info, io.BytesIO(data))


def tiny_scanner(folder: Path) -> Scanner:
    """A tiny LLaVA with random weights, saved with a guard."""
    sys.path.insert(0, str(ROOT / "tests"))
    import tiny_models
    from holisafe.guard import GuardConfig, attach_guard, save_guard

    tiny = tiny_models.llava()
    tiny_models.save(tiny, folder)
    attach_guard(tiny.model, GuardConfig(features="projector", joint_head=False))
    save_guard(tiny.model, folder / "guard")
    return Scanner(str(folder), batch_size=64)
