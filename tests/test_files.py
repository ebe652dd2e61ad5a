"""What `_files` promises: nothing half written, nothing written through links, one error for any bad JSON."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holisafe._files import (
    atomic_file,
    hold,
    open_unlinked,
    parse_json,
    read_bounded,
    read_json,
    sha256_of,
    write_atomically,
)
from holisafe.errors import DataError, RunError


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_a_file_is_written_and_replaced_whole(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a.txt", "één")
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "één"
    write_atomically(str(tmp_path / "a.txt"), b"\x00two")
    assert (tmp_path / "a.txt").read_bytes() == b"\x00two"
    assert names(tmp_path) == ["a.txt"]


def test_a_name_of_full_length_can_be_written(tmp_path: Path) -> None:
    write_atomically(tmp_path / ("x" * 255), "1")
    assert names(tmp_path) == ["x" * 255]


def test_a_link_is_replaced_and_its_target_left_alone(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("kept")
    (tmp_path / "run.json").symlink_to(tmp_path / "victim")
    write_atomically(tmp_path / "run.json", "new")
    assert (tmp_path / "victim").read_text() == "kept"
    assert not (tmp_path / "run.json").is_symlink() and (tmp_path / "run.json").read_text() == "new"


def test_what_fails_leaves_the_old_content_and_no_part(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a", "old")
    with pytest.raises(KeyboardInterrupt), atomic_file(tmp_path / "a") as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert names(tmp_path) == ["a"] and (tmp_path / "a").read_text() == "old"


def test_without_replace_a_file_that_exists_is_kept(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a", "old")
    with pytest.raises(FileExistsError), atomic_file(tmp_path / "a", replace=False) as file:
        file.write(b"new")
    assert names(tmp_path) == ["a"] and (tmp_path / "a").read_text() == "old"
    with atomic_file(tmp_path / "b", replace=False) as file:
        file.write(b"new")
    assert names(tmp_path) == ["a", "b"]


def test_a_killed_write_leaves_the_old_content(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a", "old")
    code = (
        "import sys,time\nfrom holisafe._files import atomic_file\n"
        "with atomic_file(sys.argv[1]) as file:\n"
        "    file.write(b'half'); file.flush(); print('now', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "a")], stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert (tmp_path / "a").read_text() == "old"


@pytest.mark.parametrize("mode", ["rb", "wb", "ab", "xb"])
def test_a_file_of_a_run_is_not_opened_through_a_link(tmp_path: Path, mode: Any) -> None:
    (tmp_path / "victim").write_text("kept")
    (tmp_path / "journal").symlink_to(tmp_path / "victim")
    with pytest.raises(OSError):
        open_unlinked(tmp_path / "journal", mode)
    assert (tmp_path / "victim").read_text() == "kept"
    with open_unlinked(tmp_path / "other", "ab") as file:
        file.write(b"1")
    with open_unlinked(tmp_path / "other", "rb") as file:
        assert file.read() == b"1"


def test_a_lock_that_is_a_link_is_refused_and_its_target_left_alone(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("kept")
    (tmp_path / "run").mkdir()
    (tmp_path / "run/.lock").symlink_to(tmp_path / "victim")
    with pytest.raises(RunError, match=r"\.lock is a link"), hold(tmp_path / "run", RunError):
        pass
    assert (tmp_path / "victim").read_text() == "kept"


def test_a_folder_is_held_by_one(tmp_path: Path) -> None:
    with hold(tmp_path / "run", RunError):
        with pytest.raises(RunError, match="another run"), hold(tmp_path / "run", RunError):
            pass
        with hold(tmp_path / "run", RunError, alone=False):
            pass
    with hold(tmp_path / "run", RunError):
        pass


def test_the_hash_is_that_of_the_content(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256_of(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "line 1, column 1: found text that is not JSON (Expecting value)"),
        (b'{"a":\n 1,}', "line 2, column"),
        (b"[" * 101 + b"]" * 101, "line 1, column 101: found arrays and objects nested more than 100 deep"),
        (b"[" * 200_000, "nested more than 100 deep"),
        (b'{"a":' * 200_000, "nested more than 100 deep"),
        (b'[1,\n"\\"[[[", ' + b"[" * 5_000 + b"]" * 5_001, "line 2, column"),
        (b'{"a":\n ' + b"9" * 5_000 + b"}", "line 2, column 2: found an integer of thousands of digits"),
        (b'["NaN",\nNaN]', "line 2, column 1: found the number NaN"),
        (b"[-Infinity]", "column 2: found the number -Infinity"),
        (b"[1e999]", "column 2: found the number 1e999"),
        (b"[-" + b"9" * 400 + b".0]", "found the number -999"),
        (b'[1,\n"a\xff"]', "line 2, byte 6: found bytes that are not UTF-8 (ff 22 5d)"),
        ('["a"]'.encode("utf-16"), "not UTF-8"),
        (b'["a",\n"b\\ud800"]', "line 2, column 3: found the lone surrogate"),
        (b'["\\udc00\\ud800"]', "lone surrogate"),
        (b'["\\ud800\\\\udc00"]', "lone surrogate"),
    ],
)
def test_bad_json_is_one_error_that_names_file_and_place(tmp_path: Path, content: bytes, told: str) -> None:
    (tmp_path / "bad.json").write_bytes(content)
    with pytest.raises(DataError) as raised:
        read_json(tmp_path / "bad.json", DataError)
    assert str(raised.value).startswith(f"{tmp_path / 'bad.json'}: ") and told in str(raised.value)
    assert len(str(raised.value)) < 400 + len(str(tmp_path))


def test_what_is_unusual_but_right_is_read() -> None:
    def read(text: str | bytes, **options: Any) -> Any:
        return parse_json(text, DataError, source="x", **options)

    assert read(b'\xef\xbb\xbf{"a": 1, "a": 2}') == {"a": 2}
    assert read('["\\ud83d\\ude00", "\\\\ud800", "1e999"]') == ["😀", "\\ud800", "1e999"]
    assert read("[" * 100 + "]" * 100) is not None
    assert read("[NaN, 1e999]", allow_nan=True)[1] == float("inf")
    assert read('{"\\ud800": ["a\\udfff", "\\ud83d\\ude00"]}', replace_surrogates=True) == {"\ufffd": ["a\ufffd", "😀"]}
    assert read("[1.5e10, 1e-400]") == [1.5e10, 0.0]


def test_a_str_with_a_surrogate_in_it_is_refused_too() -> None:
    with pytest.raises(DataError, match="lone surrogate"):
        parse_json('["\udc80"]', DataError, source="x")


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "huge.json").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(DataError, match="larger than the 1,024 bytes"):
        read_json(tmp_path / "huge.json", DataError, max_bytes=1024)


def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "a.json").write_text("{}")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "link").symlink_to(tmp_path / "a.json")
    for path, told in {
        tmp_path: "a folder",
        tmp_path / "gone": "no such file",
        tmp_path / "pipe": "Expecting value",
        tmp_path / "loop": "cannot be read",
        tmp_path / "nul\0": "cannot be read",
        tmp_path / ("x" * 5000): "cannot be read",
        Path("/dev/zero"): "a device",
    }.items():
        with pytest.raises(RunError, match=told) as raised:
            read_json(path, RunError)
        assert len(str(raised.value)) < 600
    assert read_json(tmp_path / "link", RunError) == {}
    with pytest.raises(RunError, match="a link, which is not followed"):
        read_bounded(tmp_path / "link", RunError, max_bytes=10, follow_links=False)


@given(st.binary(max_size=200) | st.text(alphabet='[]{}",:\\ud89NaInfity1e+-.0 \n', max_size=200).map(str.encode))
def test_any_bytes_are_parsed_or_refused_by_one_error(content: bytes) -> None:
    try:
        value = parse_json(content, DataError, source="x")
    except DataError:
        return
    json.dumps(value, allow_nan=False, ensure_ascii=False).encode()


def test_megabytes_of_hostile_json_are_refused() -> None:
    for text in ('["' + '\\"' * 500_000, "[" * 500_000 + '"' * 500_000, "9" * 2_000_000, '["' + "\\ud800" * 300_000):
        with pytest.raises(DataError):
            parse_json(text, DataError, source="x")
