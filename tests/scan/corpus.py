"""Small corpora and models that tests of scans share."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

import tiny_models
from holisafe.guard import GuardConfig, attach_guard, save_guard


def png(number: int = 0, size: tuple[int, int] = (20, 20)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, (number % 256, number // 256, 0)).save(file, "PNG")
    return file.getvalue()


def pack(path: Path, files: list[tuple[str, bytes]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def img2dataset(folder: Path, shards: int = 2, each: int = 3) -> Path:
    """What img2dataset writes: per key an image, its text and its record; a Parquet table and statistics per shard."""
    for shard in range(shards):
        files, keys = [], [f"{shard:05}{place:04}" for place in range(each)]
        for place, key in enumerate(keys):
            record = f'{{"key": "{key}", "status": "success"}}'.encode()
            files += [(f"{key}.jpg", png(100 * shard + place)), (f"{key}.json", record), (f"{key}.txt", b"a drawing")]
        pack(folder / f"{shard:05}.tar", files)
        pq.write_table(
            pa.table({"key": keys, "url": [f"https://x/{key}" for key in keys]}), folder / f"{shard:05}.parquet"
        )
        (folder / f"{shard:05}_stats.json").write_text('{"count": 3}')
    return folder


def guarded(folder: Path, **config: object) -> str:
    """A tiny LLaVA with random weights and a guard of its own, saved; where it is."""
    tiny = tiny_models.llava()
    tiny_models.save(tiny, folder)
    attach_guard(tiny.model, GuardConfig.paper(features="projector", **config))  # type: ignore[arg-type]
    save_guard(tiny.model, folder / "guard")
    return str(folder)
