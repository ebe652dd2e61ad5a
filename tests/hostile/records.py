"""Data files with records that break parsers, types and places: deliberate ones, and ones made from a seed."""

from __future__ import annotations

import csv
import io
import json
import os
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hostile import images

IMAGE = "images/a.png"

GOOD: dict[str, Any] = {
    "id": 1,
    "image": "a.png",
    "query": "What is shown here?",
    "type": "USU",
    "category": "violence",
    "subcategory": "terrorism",
    "image_safe": False,
    "image_safety_label": 15,
}
"""A record of the released format."""


@dataclass(frozen=True)
class HostileFile:
    """A data file.

    Attributes:
        name: What is wrong with it; unique in a corpus.
        data: Its bytes.
        suffix: Of its file name.
        good: Records that must be read from it; None where any number may.
    """

    name: str
    data: bytes
    suffix: str = ".json"
    good: int | None = None


def folder(place: Path, outside: Path) -> Path:
    """A folder of a data set with one image, and links of many kinds; `outside` lies beside what may be read."""
    (place / "images").mkdir(parents=True)
    outside.mkdir(parents=True, exist_ok=True)
    (place / IMAGE).write_bytes(images.encoded("PNG"))
    (outside / "secret.png").write_bytes(images.encoded("PNG", seed=9))
    links = {
        "out.png": outside / "secret.png",
        "loop.png": place / "images" / "loop.png",
        "passwd.png": Path("/etc/passwd"),
        "zero.png": Path("/dev/zero"),
        "stdin.png": Path("/dev/stdin"),
        "random.png": Path("/proc/self/environ"),
        "nowhere.png": Path("nowhere"),
        "up": outside,
    }
    for name, target in links.items():
        (place / "images" / name).symlink_to(target)
    os.mkfifo(place / "images" / "fifo.png")
    (place / "images" / "folder.png").mkdir()
    return place


def write(files: Iterator[HostileFile], place: Path) -> dict[str, Path]:
    """Write each file into the folder of a data set; gives the paths by name."""
    paths = {}
    for number, file in enumerate(files):
        paths[file.name] = place / f"{number:05}{file.suffix}"
        paths[file.name].write_bytes(file.data)
    return paths


# ---- deliberate


VALUES: dict[str, Any] = {
    "nothing": None,
    "true": True,
    "zero": 0,
    "minus one": -1,
    "half": 0.5,
    "a huge float": 1e308,
    "2^63": 2**63,
    "500 digits": 10**500,
    "no text": "",
    "blank": " \t ",
    "NUL": "a\0b",
    "line break": "a\nerror: b",
    "escape sequence": "\x1b[2J\x1b]0;owned\x07",
    "right to left": "\u202egnp.exe",
    "tags": "".join(chr(0xE0000 + ord(letter)) for letter in "obey"),
    "lone surrogate": "\ud83d",
    "noncharacter": "\uffff\U0010ffff",
    "long": "x" * 100_000,
    "combining": "a" + "\u0301" * 5000,
    "markup": "<script>alert(1)</script>{{7*7}}${x}%s%n",
    "image places": "<image>" * 3000,
    "nearly image places": "<image" * 20_000,
    "an empty list": [],
    "a list": ["a.png"],
    "many": ["a.png"] * 10_000,
    "list in list": [[[]]],
    "an empty object": {},
    "an object": {"bytes": "AAAA", "path": "/etc/passwd"},
    "deep": "DEEP",
    "up": "../../../../etc/passwd",
    "root": "/etc/passwd",
    "home": "~/.ssh/id_rsa",
    "URL": "file:///etc/passwd",
    "address": "http://127.0.0.1:1/a.png",
    "windows": "..\\..\\secret.png",
    "drive": "C:\\secret.png",
    "link": "out.png",
    "loop": "loop.png",
    "zeros without end": "zero.png",
    "link to passwd": "passwd.png",
    "link to a folder": "up/secret.png",
    "pipe": "fifo.png",
    "folder": "folder.png",
    "long name": "n" * 5000 + ".png",
    "deep path": "d/" * 3000 + "a.png",
    "dots": "././././a.png",
    "device": "/dev/zero",
}
"""Values for any field."""


def deliberate() -> Iterator[HostileFile]:
    """Each kind of trouble that has a name."""
    yield from _values()
    yield from _texts()
    yield from _tables()


def _values() -> Iterator[HostileFile]:
    for field in (*GOOD, "image_path", "conversations", "prediction", "tags", "licence", "source", "twin"):
        for name, value in VALUES.items():
            bad = {**GOOD, field: value, "id": 2 if field != "id" else value}
            text = json.dumps([GOOD, bad])
            if name == "deep":
                text = text.replace('"DEEP"', "[" * 5000 + "]" * 5000)
            yield HostileFile(f"{field}: {name}", text.encode(), good=None)
    for field in GOOD:
        without = {key: value for key, value in GOOD.items() if key != field}
        yield HostileFile(f"without {field}", json.dumps([without]).encode())
        twice = json.dumps(GOOD)[:-1] + f', "{field}": [1]}}'
        yield HostileFile(f"{field} twice", f"[{twice}]".encode())


def _texts() -> Iterator[HostileFile]:
    good = json.dumps(GOOD)
    second = json.dumps({**GOOD, "id": 2})
    texts: dict[str, tuple[str | bytes, int | None]] = {
        "one good": (f"[{good}]", 1),
        "two good": (f"[{good}, {second}]", 2),
        "nothing": ("", None),
        "blank": (" \n", None),
        "null": ("null", None),
        "a number": ("7", None),
        "NaN": ("NaN", None),
        "a string": ('"x"', None),
        "an empty list": ("[]", None),
        "an empty object": ("{}", None),
        "a list of nulls": ("[null, null]", None),
        "a list of lists": ("[[], [[]]]", None),
        "deep lists": ("[" * 100_000, None),
        "deep objects": ('{"a":' * 100_000, None),
        "deep and whole": ("[" * 50_000 + "]" * 50_000, None),
        "deep beside good": (f"[{good}, {'[' * 5000}{']' * 5000}]", 1),
        "5,000 digits": ("9" * 5000, None),
        "5,000 digits beside good": (f'[{good}, {{"id": {"9" * 5000}}}]', 1),
        "500,000 digits beside good": (f'[{good}, {{"id": {"9" * 500_000}}}]', 1),
        "an exponent beside good": (f'[{good}, {{"id": 1e999999}}]', 1),
        "infinite beside good": (f'[{good}, {{"id": Infinity}}, {{"id": -Infinity}}, {{"id": NaN}}]', 1),
        "lone surrogates beside good": (f'[{good}, {{"id": "\\ud800", "\\udfff": "\\udc00"}}]', 1),
        "a cut list": (f"[{good}, {second[:30]}", None),
        "a missing comma": (f"[{good} {second}]", None),
        "a comma too many": (f"[{good},]", None),
        "single quotes": (f"[{good}]".replace('"', "'"), None),
        "a comment": (f"[{good} // one\n]", None),
        "twice the same id": (f"[{good}, {good}]", None),
        "ids alike as numbers and text": (f"[{good}, {json.dumps({**GOOD, 'id': '1'})}]", None),
        "UTF-8 with a mark": (b"\xef\xbb\xbf" + f"[{good}]".encode(), 1),
        "UTF-16": (f"[{good}]".encode("utf-16"), None),
        "UTF-32": (f"[{good}]".encode("utf-32"), None),
        "Latin-1": (f"[{good}]".replace("shown", "caf\u00e9").encode("latin-1"), None),
        "surrogates in UTF-8": (f"[{good}]".encode().replace(b"shown", b"\xed\xa0\x80"), None),
        "long UTF-8": (f"[{good}]".encode().replace(b"shown", b"\xc0\x80"), None),
        "NUL bytes": (f"[{good}]\0\0\0", None),
        "a gzip file": (b"\x1f\x8b\x08\0" + bytes(100), None),
        "an image": (images.encoded("PNG"), None),
        "a pickle": (b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R.", None),
        "100,000 nulls": ("[" + "null," * 100_000 + "null]", None),
        "100,000 keys": (json.dumps([{f"k{number}": number for number in range(100_000)}]), None),
        "a link of the Hub cache": ("../../blobs/0123", None),
    }
    for name, (text, number) in texts.items():
        data = text if isinstance(text, bytes) else text.encode()
        yield HostileFile(f"JSON: {name}", data, good=number)
        # a list of records is no line of JSON
        yield HostileFile(f"JSON lines: {name}", data.replace(b"[{", b"{").replace(b"}, {", b"}\n{"), ".jsonl")
    yield HostileFile("lines: one of them broken", f"{good}\n{{\n{second}\n".encode(), ".jsonl", good=2)
    yield HostileFile("lines: cut", f"{good}\n{second[:40]}".encode(), ".jsonl", good=1)
    yield HostileFile("lines: of other systems", f"{good}\r\n{second}\r\n".encode(), ".jsonl", good=2)
    yield HostileFile("lines: U+2028", f"{good}\u2028{second}".encode(), ".jsonl")
    yield HostileFile("lines: 200,000 empty", b"\n" * 200_000, ".jsonl")


def _tables() -> Iterator[HostileFile]:
    def table(*rows: list[Any], delimiter: str = ",") -> bytes:
        file = io.StringIO()
        csv.writer(file, delimiter=delimiter).writerows(rows)
        return file.getvalue().encode("utf-8", "surrogatepass")

    names, values = list(GOOD), list(GOOD.values())
    yield HostileFile("CSV: one good", table(names, values), ".csv", good=1)
    yield HostileFile("TSV: one good", table(names, values, delimiter="\t"), ".tsv", good=1)
    yield HostileFile("CSV: no header", table(values), ".csv")
    yield HostileFile("CSV: header alone", table(names), ".csv")
    yield HostileFile("CSV: nothing", b"", ".csv")
    yield HostileFile("CSV: names twice", table(names + names, values + values), ".csv")
    yield HostileFile("CSV: too many cells", table(names, [*values, "x", "y"]), ".csv")
    yield HostileFile("CSV: too few cells", table(names, values[:3]), ".csv")
    yield HostileFile("CSV: an open quote", table(names, values) + b'"open', ".csv")
    yield HostileFile("CSV: a cell of 300 kB", table(names, ["1", "a.png", "x" * 300_000, *values[3:]]), ".csv")
    yield HostileFile("CSV: NUL", table(names, values).replace(b"shown", b"\0"), ".csv")
    yield HostileFile("CSV: 5,000 columns", table([f"c{number}" for number in range(5000)], list(range(5000))), ".csv")
    yield HostileFile("CSV: a formula", table(names, ['=HYPERLINK("x")', *values[1:]]), ".csv")
    yield HostileFile("CSV: lone surrogate", table(names, ["\ud800", *values[1:]]), ".csv")
    yield HostileFile("CSV: UTF-16", table(names, values).decode().encode("utf-16"), ".csv")
    yield HostileFile("CSV: other ends of lines", table(names, values).replace(b"\r\n", b"\r"), ".csv")


# ---- made from a seed


def random_file(seed: int, index: int, size: int = 25) -> HostileFile:
    """Records with values of any type in any field; some are good, some are not."""
    chance = random.Random(f"{seed}-{index}")
    rows: list[Any] = []
    for number in range(size):
        record: Any = {**GOOD, "id": number}
        for _ in range(chance.randrange(4)):
            what = chance.randrange(4)
            field = chance.choice(list(record))
            if what == 0:
                record.pop(field)
            elif what == 1:
                record[chance.choice(["", "images", "messages", "question", field.upper(), "\0"])] = _value(chance)
            else:
                record[field] = _value(chance)
            if not record:
                break
        rows.append(record if chance.random() > 0.03 else _value(chance))
    if chance.random() < 0.5:
        return HostileFile(f"records {index} as JSON", json.dumps(rows).encode())
    return HostileFile(f"records {index} as lines", "\n".join(map(json.dumps, rows)).encode(), ".jsonl")


def damaged_file(seed: int, index: int) -> HostileFile:
    """A good file with a few bytes changed, cut or doubled."""
    chance = random.Random(f"{seed}-{index}")
    data = bytearray(
        json.dumps([{**GOOD, "id": number} for number in range(5)], indent=chance.choice([None, 1])).encode()
    )
    for _ in range(chance.randrange(1, 6)):
        place = chance.randrange(len(data))
        match chance.randrange(4):
            case 0:
                data[place] = chance.randrange(256)
            case 1:
                del data[place : place + chance.randrange(1, 40)]
            case 2:
                data[place:place] = data[place : place + chance.randrange(1, 40)]
            case 3:
                data[place:place] = chance.choice(
                    [b'"', b"[", b"}", b"\\", b"\\u", b"\\ud800", b"\0", b"1e", b"\xff", b"NaN", b",", b"\xc0\x80"]
                )
        if not data:
            break
    return HostileFile(f"damaged file {index}", bytes(data), chance.choice([".json", ".jsonl", ".csv", ".txt"]))


def _value(chance: random.Random, depth: int = 0) -> Any:
    what = chance.randrange(7 if depth < 3 else 5)
    if what == 0:
        return chance.choice(list(VALUES.values()))
    if what == 1:
        return chance.choice([-1, 1, 2**31, 2**53 + 1, 2**64, -(2**63)]) * chance.randrange(1, 100)
    if what == 2:
        return chance.choice([float("nan"), float("inf"), -0.0, 1.0, 15.0, 1e300])
    if what == 3:
        return "".join(chr(chance.choice([chance.randrange(128), chance.randrange(0x11_0000)])) for _ in range(8))
    if what == 4:
        return chance.choice(["SSS", "UUU", "SSX", "violence", "hate", "race", "a.png", "images/a.png", "true", "15"])
    if what == 5:
        return [_value(chance, depth + 1) for _ in range(chance.randrange(4))]
    return {chance.choice(["id", "image", "from", "value", "bytes", "path"]): _value(chance, depth + 1) for _ in "ab"}
