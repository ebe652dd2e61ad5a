from __future__ import annotations

import json
import pickle
import threading
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from holisafe.errors import ImageError
from holisafe.images import _remote
from holisafe.images.sources import Shard
from holisafe.scan import Units
from holisafe.scan.units import chunks, rows_of_unit
from scan.corpus import img2dataset, pack, png


def rows(places: list[str], **options: Any) -> list[dict[str, Any]]:
    units = Units(places, **options)
    return [row for unit in units for row in rows_of_unit(pickle.loads(pickle.dumps(unit)))]


def test_a_folder_of_img2dataset_gives_each_key_once_and_no_row_for_its_metadata(tmp_path: Path) -> None:
    found = rows([str(img2dataset(tmp_path / "set"))])
    assert [row["key"] for row in found] == [
        "000000000",
        "000000001",
        "000000002",
        "000010000",
        "000010001",
        "000010002",
    ]
    assert all(row["bytes"] and not row["error"] for row in found)
    keys = pq.read_table(sorted((tmp_path / "set").glob("*.parquet")))["key"].to_pylist()
    assert keys == [row["key"] for row in found]


def test_single_images_are_read_in_groups_and_archives_one_by_one(tmp_path: Path) -> None:
    for number in range(300):
        (tmp_path / f"{number:03}.png").write_bytes(png(number))
    pack(tmp_path / "x.tar", [("a.png", png(1))])
    units = list(Units([str(tmp_path)]))
    assert [len(list(unit.items())) for unit in units] == [256, 44, 1]
    assert [len(chunk) for unit in units for chunk in chunks(rows_of_unit(unit))] == [64] * 4 + [44, 1]


def test_files_of_one_name_in_an_archive_have_a_row_each(tmp_path: Path) -> None:
    pack(tmp_path / "x.tar", [("a.png", png(1)), ("a.png", png(2)), ("a.png", png(3))])
    assert [Path(row["id"]).name for row in rows([str(tmp_path)])] == ["a.png", "a.png#2", "a.png#3"]


def test_a_name_that_an_archive_gives_itself_is_not_given_again(tmp_path: Path) -> None:
    pack(tmp_path / "x.tar", [("a.png", png(1)), ("a.png#2", png(2)), ("a.png", png(3)), ("a.png#2", png(4))])
    assert [Path(row["id"]).name for row in rows([str(tmp_path)])] == ["a.png", "a.png#2", "a.png#3", "a.png#2#2"]


def test_a_shard_without_its_end_or_its_beginning_is_a_row_with_the_reason(tmp_path: Path) -> None:
    whole = pack(tmp_path / "b.tar", [("0.png", png(0)), ("1.png", png(1))]).read_bytes()
    (tmp_path / "b.tar").write_bytes(whole[:1024])  # ends where the second file would begin
    (tmp_path / "a.tar").write_bytes(b"\1" * 2000)
    (tmp_path / "c.parquet").write_bytes(b"")
    pack(tmp_path / "d.tar", [])
    found = {Path(row["id"]).name: row["error"] for row in rows([str(tmp_path)])}
    assert list(found) == ["a.tar", "0.png", "b.tar", "c.parquet"] and not found["0.png"]
    assert "lacks the empty block" in found["b.tar"]
    assert "does not begin as" in found["a.tar"] and "does not begin as" in found["c.parquet"]
    [named] = rows([str(tmp_path / "a.tar")])
    assert named["error"] == found["a.tar"]


def test_hostile_names_are_text_and_lead_nowhere(tmp_path: Path) -> None:
    names = ["../../etc/x.png", "/x.png", "a\nb.png", "<script>.png", "\u202egnp.png", "a" * 900 + ".png"]
    pack(tmp_path / "x.tar", [(name, png(place)) for place, name in enumerate(names)])
    found = rows([str(tmp_path)])
    assert len(found) == len(names)
    assert [bool(row["error"]) for row in found] == [True, True, False, False, False, False]
    for row in found:
        row["id"].encode()


def test_a_damaged_shard_gives_what_comes_before_the_damage_and_a_reason(tmp_path: Path) -> None:
    whole = pack(tmp_path / "x.tar", [(f"{place}.png", png(place)) for place in range(5)])
    whole.write_bytes(whole.read_bytes()[:2600])
    found = rows([str(tmp_path)])
    assert [bool(row["error"]) for row in found[:3]] == [False, False, True] and "cut off" in found[2]["error"]


@pytest.mark.parametrize("count", [1, 2, 5])
def test_shards_are_disjoint_and_complete(tmp_path: Path, count: int) -> None:
    place = [str(img2dataset(tmp_path / "set"))]
    parts = [[row["id"] for row in rows(place, shard=Shard(index, count))] for index in range(count)]
    assert sorted(chain.from_iterable(parts)) == sorted(row["id"] for row in rows(place))


# ---- a data set that is streamed


def test_a_streamed_data_set_gives_encoded_images(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    for part in range(3):
        images = [{"bytes": png(10 * part + place), "path": None} for place in range(4)]
        pq.write_table(pa.table({"picture": images, "text": ["a"] * 4}), tmp_path / f"train-{part}.parquet")
    found = rows([f"hf:{tmp_path}"], column="picture")
    assert len({row["id"] for row in found}) == 12 and {row["bytes"] for row in found} == {
        png(10 * part + place) for part in range(3) for place in range(4)
    }
    for count in (2, 5):
        parts = [[row["id"] for row in rows([f"hf:{tmp_path}"], shard=Shard(at, count))] for at in range(count)]
        assert sorted(chain.from_iterable(parts)) == sorted(row["id"] for row in found)


def test_a_streamed_data_set_that_is_not_there_is_one_error(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    with pytest.raises(ImageError, match="cannot be streamed"):
        Units([f"hf:{tmp_path}/nowhere"])
    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "train.parquet")
    with pytest.raises(ImageError, match="no column of images"):
        Units([f"hf:{tmp_path}"])


# ---- buckets


@pytest.fixture(scope="module")
def bucket() -> Iterator[Any]:
    """A bucket on a real server on loopback; gives the file system that reads it."""
    server_module = pytest.importorskip("moto.server")
    s3fs = pytest.importorskip("s3fs")
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    system = s3fs.S3FileSystem(
        key="testing",
        secret="testing",
        endpoint_url=f"http://{host}:{port}",
        client_kwargs={"region_name": "eu-west-1"},
    )
    system.mkdir("pictures")
    yield system
    s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


@pytest.fixture
def url(bucket: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """Two tar shards in the bucket, and the settings by which fsspec finds it."""
    import fsspec.config

    options = {"key": "testing", "secret": "testing", "endpoint_url": bucket.endpoint_url}
    monkeypatch.setitem(fsspec.config.conf, "s3", options | {"client_kwargs": {"region_name": "eu-west-1"}})
    for path in sorted(img2dataset(tmp_path / "set").iterdir()):
        bucket.put(str(path), f"pictures/set/{path.name}")
    return "s3://pictures/set"


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_a_bucket_is_read_shard_by_shard(url: str) -> None:
    found = rows([url])
    assert [row["id"] for row in found] == [
        f"s3://pictures/set/{shard:05}.tar/{shard:05}{place:04}.jpg" for shard in range(2) for place in range(3)
    ]
    assert not any(row["error"] for row in found)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_a_shard_that_shrank_after_it_was_listed_is_a_reason_and_the_others_are_read(url: str, bucket: Any) -> None:
    units = list(Units([url]))
    bucket.pipe("pictures/set/00000.tar", bucket.cat("pictures/set/00000.tar")[:2000])
    found = [row for unit in units for row in rows_of_unit(unit)]
    assert [bool(row["error"]) for row in found].count(True) == 1 and len(found) >= 4


class _Breaking:
    """A store that refuses as often as it was told to, after some items."""

    def __init__(self, times: int) -> None:
        self.times = times
        self.calls = 0

    def __call__(self) -> Iterator[int]:
        self.calls += 1
        for number in range(10):
            if number == 4 and self.calls <= self.times:
                raise OSError("SlowDown: please reduce your request rate")
            yield number


def test_a_store_that_throttles_is_asked_again_and_gives_each_item_once() -> None:
    store = _Breaking(3)
    assert list(_remote.patiently(store, (0, 0, 0))) == list(range(10)) and store.calls == 4
    given: list[int] = []
    with pytest.raises(OSError, match="SlowDown"):
        for number in _remote.patiently(_Breaking(4), (0, 0, 0)):
            given.append(number)
    assert given == [0, 1, 2, 3]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_a_bucket_that_answers_with_slow_down_is_a_reason_in_the_end(
    url: str, bucket: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_remote, "PAUSES", ())
    units = list(Units([url]))
    refused = threading.Event()
    opened = type(units[0].files[0].place).open  # type: ignore[attr-defined]

    def refuse(self: Any) -> Any:
        if self.name.endswith("00000.tar"):
            refused.set()
            raise OSError("SlowDown")
        return opened(self)

    monkeypatch.setattr(_remote.RemoteFile, "open", refuse)
    monkeypatch.setattr(_remote.patiently, "__defaults__", ((),))
    found = [row for unit in units for row in rows_of_unit(unit)]
    assert refused.is_set() and [bool(row["error"]) for row in found] == [True, False, False, False]
    assert "SlowDown" in found[0]["error"] and json.dumps(found[0]["id"])
