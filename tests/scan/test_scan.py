from __future__ import annotations

import io
import os
import pickle
import shutil
import signal
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image

import tiny_models
from holisafe.errors import RunError
from holisafe.guard import GuardConfig, attach_guard, save_guard
from holisafe.images import ImageLimits, content_hash
from holisafe.images.sources import ImageSources, Shard
from holisafe.records import ImageVerdict
from holisafe.scan import PartsFolder, Scanner, ScanRow, scan
from holisafe.scan.stream import rows_of
from holisafe.taxonomy import GuardLabel

VERDICT = ImageVerdict(GuardLabel.SAFE, 1.0, {GuardLabel.SAFE: 1.0}, 0.5)


def png(number: int = 0, size: tuple[int, int] = (20, 20)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, (number % 256, number // 256, 0)).save(file, "PNG")
    return file.getvalue()


def pack(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


@pytest.fixture(scope="module")
def tiny() -> Any:
    made = tiny_models.llava()
    attach_guard(made.model, GuardConfig(features="projector"))
    return made


def test_every_image_has_one_row_with_its_digest_or_an_error(tiny: Any, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png())
    (tmp_path / "b.png").write_text("<html>")
    (tmp_path / "c.png").symlink_to("/nowhere")
    first, second, third = scan([tmp_path], tiny.model, processor=tiny.processor)
    assert first.id == str(tmp_path / "a.png") and first.verdict and first.digest == content_hash(png())
    assert second.verdict is None and "found text" in second.error and second.digest == content_hash(b"<html>")
    assert third.verdict is None and third.error and third.digest == ""


def test_batches_are_bounded_by_pixels_and_by_count(tmp_path: Path) -> None:
    sizes = [(10, 10)] * 5 + [(30, 30)] * 2 + [(10, 10)]
    for place, size in enumerate(sizes):
        (tmp_path / f"{place}.png").write_bytes(png(place, size))
    batches: list[int] = []

    def classify(images: Sequence[Image.Image]) -> list[ImageVerdict]:
        batches.append(sum(image.width * image.height for image in images))
        return [VERDICT] * len(images)

    rows = list(rows_of(ImageSources([tmp_path]).items(), classify, 4, ImageLimits(max_total_pixels=1000)))
    assert batches == [400, 1000, 1000]
    assert [Path(row.id).name for row in rows] == [f"{place}.png" for place in range(8)]


def test_an_image_that_breaks_its_batch_is_the_only_error(tmp_path: Path) -> None:
    for place in range(5):
        (tmp_path / f"{place}.png").write_bytes(png(place, (10 + place, 10)))

    def classify(images: Sequence[Image.Image]) -> list[ImageVerdict]:
        if any(image.width == 12 for image in images):
            raise ValueError("no\nsuch width")
        return [VERDICT] * len(images)

    rows = list(rows_of(ImageSources([tmp_path]).items(), classify))
    assert [row.error for row in rows] == ["", "", "no such width", "", ""]


@pytest.mark.parametrize("count", [1, 2, 3, 7])
@pytest.mark.parametrize("kind", ["folder", "shards", "one"])
def test_shards_are_disjoint_and_complete(tmp_path: Path, count: int, kind: str) -> None:
    for shard in range(4):
        pack(tmp_path / f"{shard:05}.tar", {f"{shard}{place}.png": png(place) for place in range(3)})
    places = {"folder": [tmp_path], "shards": sorted(tmp_path.iterdir()), "one": [tmp_path / "00000.tar"]}[kind]
    all_of_it = [item.name for item in ImageSources(places).items()]
    parts = [[item.name for item in ImageSources(places, shard=Shard(index, count)).items()] for index in range(count)]
    assert sorted(name for part in parts for name in part) == sorted(all_of_it)
    assert parts == [[i.name for i in ImageSources(places, shard=Shard(n, count)).items()] for n in range(count)]
    if kind == "one" and count <= 3:
        assert all(parts)


def test_urls_are_read(tmp_path: Path) -> None:
    fsspec = pytest.importorskip("fsspec")
    system = fsspec.filesystem("memory")
    pack(tmp_path / "x.tar", {"a.png": png(1)})
    for name in ("0.tar", "1.tar"):
        system.pipe(f"/scan-test/{name}", (tmp_path / "x.tar").read_bytes())
    system.pipe("/scan-test/b.png", png(2))
    for url, expected in {
        "memory://scan-test": 3,
        "memory://scan-test/*.tar": 2,
        f"file://{tmp_path}/x.tar": 1,
    }.items():
        items = list(ImageSources([url]).items())
        assert len(items) == expected and all(item.ref for item in items), items


# ---- parts


def row(number: int) -> ScanRow:
    return ScanRow(f"{number}.png", "00", VERDICT if number % 2 else None, "" if number % 2 else "damaged")


def test_parts_resume_without_asking_twice(tmp_path: Path) -> None:
    folder = PartsFolder(tmp_path / "out", ["safe"], {"model": "m"})
    with folder.open():
        for number in range(1500):
            folder.add(row(number))
    assert [path.name for path in folder.parts()] == ["part-00000.parquet", "part-00001.parquet"]
    with pytest.raises(RunError, match="--resume"), PartsFolder(tmp_path / "out", ["safe"], {"model": "m"}).open():
        pass
    again = PartsFolder(tmp_path / "out", ["safe"], {"model": "m"})
    with again.open(resume=True):
        todo = [number for number in range(1600) if not again.is_done(row(number).id)]
        for number in todo:
            again.add(row(number))
    assert todo == list(range(1500, 1600))
    names = pq.read_table(tmp_path / "out")["image"].to_pylist()
    assert len(names) == len(set(names)) == 1600


def test_a_scan_resumes_only_with_the_same_settings(tmp_path: Path) -> None:
    with PartsFolder(tmp_path / "out", ["safe"], {"model": "m"}).open():
        pass
    with (
        pytest.raises(RunError, match='begun with model "m", not "other"'),
        PartsFolder(tmp_path / "out", ["safe"], {"model": "other"}).open(resume=True),
    ):
        pass


@pytest.mark.parametrize("manifest", ["", "[" * 10_000, "{}", '{"format": 1, "settings": 3}', "9" * 5_000])
def test_a_damaged_manifest_is_one_error(tmp_path: Path, manifest: str) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/_manifest.json").write_text(manifest)
    with pytest.raises(RunError), PartsFolder(tmp_path / "out", ["safe"], {}).open(resume=True):
        pass


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_kill_loses_no_more_than_the_part_in_progress(tmp_path: Path, number: int) -> None:
    code = (
        "import sys\nfrom holisafe.scan import PartsFolder, ScanRow\n"
        "folder = PartsFolder(sys.argv[1], ['safe'], {})\n"
        "with folder.open(resume=True):\n"
        "    for n in range(10**9):\n"
        "        if not folder.is_done(str(n)): folder.add(ScanRow(str(n), '', None, 'x'))\n"
        "        if n == 2500: print('now', flush=True)\n"
    )
    rows = 0
    for _ in range(2):
        process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "out")], stdout=subprocess.PIPE)
        assert process.stdout is not None and process.stdout.readline()
        process.send_signal(number)
        process.wait()
        process.stdout.close()
        names = pq.read_table(tmp_path / "out")["image"].to_pylist()
        assert names == [str(n) for n in range(len(names))] and len(names) >= max(2000, rows)
        rows = len(names)


def test_a_scanner_travels_and_gives_rows_for_rows(tmp_path: Path) -> None:
    tiny = tiny_models.llava()
    tiny_models.save(tiny, tmp_path / "model")
    attach_guard(tiny.model, GuardConfig(features="projector"))
    save_guard(tiny.model, tmp_path / "model/guard")
    (tmp_path / "a.png").write_bytes(png())
    scanner = Scanner(str(tmp_path / "model"))
    rows = [{"id": 1, "bytes": png()}, {"id": "b", "path": str(tmp_path / "a.png")}, {"id": "c"}]
    found = scanner(rows)
    assert [each["image"] for each in found] == ["1", "b", "c"] and found[2]["error"]
    assert found[0]["label"] == found[1]["label"] and found[0]["digest"] == found[1]["digest"]
    travelled = pickle.loads(pickle.dumps(scanner))
    assert len(pickle.dumps(scanner)) < 2000 and travelled(rows) == found


def test_what_cannot_be_entered_or_named_is_a_row_and_the_rest_go_on(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    (tmp_path / "a.png").write_bytes(png())
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "loop.png").symlink_to("loop.png")
    (tmp_path / "closed").mkdir(0)
    here = Path.cwd()
    try:
        os.chdir(tmp_path)
        for _ in range(25):
            Path("d" * 200).mkdir()
            os.chdir("d" * 200)
        Path("deep.png").write_bytes(png())
    finally:
        os.chdir(here)
    request.addfinalizer(lambda: shutil.rmtree(tmp_path / ("d" * 200)))  # other tests list the folders above
    (tmp_path / "z.png").write_bytes(png())
    items = list(ImageSources([tmp_path], leave_out=[tmp_path / "loop"]).items())
    good = [Path(item.name).name for item in items if item.ref is not None and item.name.endswith(("/a.png", "/z.png"))]
    assert good == ["a.png", "z.png"]
    assert any("too long" in item.error for item in items)
    rows = list(rows_of(iter(items), lambda images: [VERDICT] * len(images)))
    assert len(rows) == len(items) and any("loop.png" in row.id and row.error for row in rows)
