"""Damage to the files of a folder: cut, flipped, replaced, renamed, linked; what JSON and safetensors say, changed.

Each damage is a function of a path and has a name; `deliberate(folder)` gives those for every file of a folder,
`random_damage` one from a seed.
"""

from __future__ import annotations

import json
import os
import pickle
import random
import shutil
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Change = Callable[[Path], object]


@dataclass(frozen=True)
class Damage:
    """One damage to one file of a folder.

    Attributes:
        name: The file and what is done to it.
        file: The file's path below the folder.
        change: Does it.
    """

    name: str
    file: str
    change: Change

    def copy(self, folder: Path, target: Path) -> Path:
        """A damaged copy of a folder."""
        shutil.copytree(folder, target, symlinks=True)
        self.change(target / self.file)
        return target


def deliberate(folder: Path, outside: Path) -> Iterator[Damage]:
    """Every damage to every file; `outside` is a folder that links lead to.

    Of files of one kind in one folder, as the pictures of a run, one is damaged.
    """
    for file in files_of(folder):
        changes = {**_of_any(outside), **_of_kind(folder / file)}
        for name, change in changes.items():
            yield Damage(f"{file}: {name}", file, change)


def files_of(folder: Path) -> list[str]:
    """The files of a folder; of pictures, the first."""
    found = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    pictures = [file for file in found if file.endswith((".png", ".jpg"))]
    return [file for file in found if file not in pictures[1:]]


class Touch:
    """A pickle of it makes a file when it is loaded."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        """What loading runs."""
        return open, (self.path, "w")


def _of_any(outside: Path) -> dict[str, Change]:
    def link(target: Path) -> Change:
        def change(path: Path) -> None:
            path.unlink()
            path.symlink_to(target)

        return change

    def folder(path: Path) -> None:
        path.unlink()
        path.mkdir()

    def pipe(path: Path) -> None:
        path.unlink()
        os.mkfifo(path)

    content = {
        "empty": b"",
        "NUL bytes": bytes(1000),
        "no UTF-8": b"\xff\xfe\x00\xd8" * 50,
        "a pickle": pickle.dumps(Touch(str(outside / "code-was-run"))),
        "a zip archive": b"PK\x03\x04" + bytes(100),
    }
    changes: dict[str, Change] = {name: _written(data) for name, data in content.items()}
    changes |= {
        "missing": lambda path: path.unlink(),
        "cut in half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
        "cut by a byte": lambda path: path.write_bytes(path.read_bytes()[:-1]),
        "doubled": lambda path: path.write_bytes(path.read_bytes() * 2),
        "a folder": folder,
        "a pipe": pipe,
        "a link to a file outside": link(outside / "victim.json"),
        "a link to nothing": link(outside / "nothing"),
        "a link without end": link(Path("/dev/zero")),
        "a link to itself": lambda path: link(path)(path),
        "renamed": lambda path: path.rename(path.with_name(f"other-{path.name}")),
    }
    return changes


def _written(data: bytes) -> Change:
    return lambda path: path.write_bytes(data)


# ---- JSON


VALUES: dict[str, str] = {
    "null": "null",
    "true": "true",
    "a number": "7",
    "minus": "-1",
    "a fraction": "0.5",
    "NaN": "NaN",
    "infinite": "1e999",
    "5,000 digits": "9" * 5000,
    "no text": '""',
    "text": '"x"',
    "lone surrogate": '"\\ud800"',
    "NUL": '"a\\u0000b"',
    "a path": '"../../../../etc/passwd"',
    "an empty list": "[]",
    "a list": "[1]",
    "an empty object": "{}",
    "an object": '{"a": null}',
    "deep": "[" * 20_000 + "]" * 20_000,
}


def _of_kind(path: Path) -> dict[str, Change]:
    changes: dict[str, Change] = {}
    if path.suffix == ".json":
        for name, text in VALUES.items():
            changes[f"as a whole {name}"] = _written(text.encode())
        record = json.loads(path.read_text("utf-8"))
        for place in places_of(record):
            for name in ("null", "a number", "text", "a list", "an object", "deep", "5,000 digits"):
                changes[f"{'.'.join(map(str, place))} is {name}"] = _replaced(place, VALUES[name])
            changes[f"{'.'.join(map(str, place))} is missing"] = _replaced(place, None)
    if path.suffix == ".jsonl":
        for name, text in VALUES.items():
            changes[f"a line more, {name}"] = _appended(text.encode() + b"\n")
        changes["the first line twice"] = _lines(lambda lines: [lines[0], *lines])
        changes["no first line"] = _lines(lambda lines: lines[1:])
        changes["backwards"] = _lines(lambda lines: lines[::-1])
        changes["a line cut"] = _lines(lambda lines: [lines[0][: len(lines[0]) // 2], *lines[1:]])
        first = json.loads(path.read_bytes().split(b"\n")[0])
        for place in places_of(first):
            for name in ("null", "a number", "text", "an object", "a path"):
                changes[f"{'.'.join(map(str, place))} of a line is {name}"] = _replaced(place, VALUES[name], line=True)
    if path.suffix == ".safetensors":
        changes |= _of_weights()
    return changes


def places_of(record: Any, most: int = 40) -> list[tuple[str | int, ...]]:
    """Where values are in an object, the outer ones first."""
    found: list[tuple[str | int, ...]] = []
    pending: list[tuple[tuple[str | int, ...], Any]] = [((), record)]
    while pending and len(found) < most:
        place, value = pending.pop(0)
        if place:
            found.append(place)
        if isinstance(value, dict):
            pending += [((*place, key), each) for key, each in value.items()]
        elif isinstance(value, list) and value:
            pending.append(((*place, 0), value[0]))
    return found


def _replaced(place: tuple[str | int, ...], text: str | None, line: bool = False) -> Change:
    """Put a text in a value's place; None takes it away."""

    def change(path: Path) -> None:
        first, _, rest = path.read_text("utf-8").partition("\n") if line else (path.read_text("utf-8"), "", "")
        record = json.loads(first)
        inner = record
        for key in place[:-1]:
            inner = inner[key]
        if text is None:
            del inner[place[-1]]
        else:
            inner[place[-1]] = "@@HERE@@"
        written = json.dumps(record).replace('"@@HERE@@"', text or "")
        path.write_text(f"{written}\n{rest}" if line else written, "utf-8")

    return change


def _appended(data: bytes) -> Change:
    return lambda path: path.write_bytes(path.read_bytes() + data)


def _lines(change: Callable[[list[bytes]], list[bytes]]) -> Change:
    def changed(path: Path) -> None:
        path.write_bytes(b"".join(line + b"\n" for line in change(path.read_bytes().splitlines())))

    return changed


# ---- safetensors


def _of_weights() -> dict[str, Change]:
    def header(change: Callable[[dict[str, Any]], object]) -> Change:
        def changed(path: Path) -> None:
            data = path.read_bytes()
            size = struct.unpack("<Q", data[:8])[0]
            record = json.loads(data[8 : 8 + size])
            change(record)
            text = json.dumps(record).encode()
            path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + size :])

        return changed

    def size(value: int) -> Change:
        return lambda path: path.write_bytes(struct.pack("<Q", value) + path.read_bytes()[8:])

    def first(record: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = next(value for key, value in record.items() if key != "__metadata__")
        return found

    def tensors(change: Callable[[dict[str, Any]], object]) -> Change:
        def changed(path: Path) -> None:
            from safetensors.torch import load_file, save_file

            found = load_file(path)
            change(found)
            save_file(found, path)

        return changed

    def fill(value: float) -> Change:
        return tensors(lambda found: next(iter(found.values())).view(-1)[:1].fill_(value))

    return {
        "a header of no bytes": size(0),
        "a header of 2^63 bytes": size(2**63),
        "a header of 100 MB": size(10**8),
        "offsets outside": header(lambda record: first(record).update(data_offsets=[0, 2**40])),
        "offsets backwards": header(lambda record: first(record).update(data_offsets=[4, 0])),
        "another dtype": header(lambda record: first(record).update(dtype="I8")),
        "an unknown dtype": header(lambda record: first(record).update(dtype="X99")),
        "another shape": header(lambda record: first(record).update(shape=[1])),
        "a huge shape": header(lambda record: first(record).update(shape=[2**31, 2**31])),
        "deep metadata": header(lambda record: record.update(__metadata__={"a": "[" * 1000})),
        "NaN": fill(float("nan")),
        "infinite": fill(float("inf")),
        "no tensors": tensors(lambda found: found.clear()),
        "half of the tensors": tensors(lambda found: [found.pop(name) for name in sorted(found)[::2]]),
        "renamed tensors": tensors(
            lambda found: [found.update({f"x.{name}": found.pop(name)}) for name in sorted(found)]
        ),
    }


# ---- at random


def random_damage(folder: Path, seed: int, index: int) -> Damage:
    """A few bytes of one file changed, cut or doubled, the same for the same seed and index."""
    chance = random.Random(f"{seed}-{index}")
    file = chance.choice(files_of(folder))

    def change(path: Path) -> None:
        data = bytearray(path.read_bytes())
        # what files say of themselves is at their beginning
        reach = len(data) if chance.random() < 0.5 else min(len(data), 400)
        for _ in range(chance.randrange(1, 4)):
            place = chance.randrange(max(1, reach))
            match chance.randrange(4):
                case 0:
                    data[place : place + 1] = bytes([chance.randrange(256)])
                case 1:
                    del data[place : place + chance.randrange(1, 30)]
                case 2:
                    data[place:place] = data[place : place + chance.randrange(1, 30)]
                case 3:
                    data[place:place] = chance.choice([b'"', b"{", b"]", b"\\u", b"\0", b"\n", b"\xff", b"1e9", b"NaN"])
        path.write_bytes(data)

    return Damage(f"{file}: damage {index}", file, change)
