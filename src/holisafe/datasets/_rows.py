"""Records as files hold them: JSON, JSON Lines, CSV and Parquet, read by one function."""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from holisafe._files import MAX_JSON_BYTES, parse_json, read_bounded
from holisafe.datasets import _layouts
from holisafe.datasets._values import show
from holisafe.errors import DataError
from holisafe.images import parquet

JSON = (".json",)
JSON_LINES = (".jsonl", ".ndjson")
CSV = (".csv", ".tsv")
PARQUET = (".parquet",)
SUFFIXES = JSON + JSON_LINES + CSV + PARQUET


@dataclass(frozen=True, slots=True)
class BrokenRow:
    """A record of which the text cannot be read; why."""

    reason: str


def read_file(path: Path, *, replace_surrogates: bool = False) -> Iterable[Any]:
    """The records of one file, told by its suffix; text of another suffix is read as JSON.

    Args:
        path: The file.
        replace_surrogates: Whether a lone surrogate becomes U+FFFD; else its record is broken.

    Returns:
        Mappings, where the file is as it should be; `BrokenRow` for a record that cannot be parsed.

    Raises:
        DataError: There are no records to be had.
    """
    if path.suffix.lower() in PARQUET:
        return parquet.read_rows(path, DataError, batch_rows=64)
    return rows_of(read_bounded(path, DataError, max_bytes=MAX_JSON_BYTES), path, replace_surrogates=replace_surrogates)


def rows_of(content: bytes, path: Path, *, replace_surrogates: bool = False) -> Iterable[Any]:
    """The records of a text file whose bytes are at hand; as `read_file`, but for Parquet.

    Args:
        content: Its bytes.
        path: Its name, for its suffix and for messages.
        replace_surrogates: Whether a lone surrogate becomes U+FFFD; else its record is broken.

    Raises:
        DataError: There are no records to be had.
    """
    suffix = path.suffix.lower()
    if suffix in CSV:
        return _csv_rows(content, path, "\t" if suffix == ".tsv" else ",")
    if suffix in JSON_LINES or _are_lines(content):
        return _json_lines(content, path, replace_surrogates)
    return _json_records(content, path, replace_surrogates)


def _json_records(content: bytes, path: Path, replace: bool) -> Iterable[Any]:
    try:
        records = parse_json(content, DataError, source=str(path), allow_nan=True, replace_surrogates=replace)
    except DataError as error:
        if content.startswith(b"../") and content.count(b"\n") < 2 and b"blobs/" in content:
            raise DataError(
                f"{path}: holds the name of another file, {show(content.decode(errors='replace').strip())}: a link of "
                "the Hub cache that was copied as text; get the files again with `hf download --local-dir`"
            ) from None
        rows = _one_by_one(content, replace)
        if not any(isinstance(row, Mapping) for row in rows):
            raise error from None
        return rows
    if isinstance(records, dict):
        return _layouts.top_level_records(records, str(path))
    if not isinstance(records, list):
        raise DataError(f"{path}: found {show(records)} at the top level, expected a list of records")
    return records


def _json_lines(content: bytes, path: Path, replace: bool) -> list[Any]:
    rows: list[Any] = []
    for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        if line.strip():
            rows.append(_parsed(line, f"line {number}, ", replace))
    if rows and all(isinstance(row, BrokenRow) for row in rows):
        raise DataError(f"{path}: {rows[0].reason}; expected one JSON object a line")
    return rows


def _are_lines(content: bytes) -> bool:
    """Whether the text begins with a line that is a whole JSON object, and another follows."""
    first, _, rest = content.removeprefix(b"\xef\xbb\xbf").lstrip().partition(b"\n")
    if not (first.startswith(b"{") and rest.lstrip().startswith(b"{")):
        return False
    try:
        return isinstance(parse_json(first, DataError, source="", allow_nan=True, replace_surrogates=True), dict)
    except DataError:
        return False


def _parsed(text: str | bytes, place: str, replace: bool) -> Any:
    try:
        return parse_json(text, DataError, source="", allow_nan=True, replace_surrogates=replace)
    except DataError as error:
        found, _, _ = str(error).removeprefix(": line 1, ").replace(": found ", ": ", 1).partition("; expected ")
    try:
        parse_json(text, DataError, source="", allow_nan=True, replace_surrogates=True)
    except DataError:
        return BrokenRow(f"{place}{found}")
    return json.loads(text)  # a lone surrogate is all that is wrong: reading the record names its field


_TOKEN = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[\[\]{},]', re.DOTALL)


def _one_by_one(content: bytes, replace: bool) -> list[Any]:
    """The records of a JSON list of which one cannot be parsed; none where the list itself is damaged."""
    try:
        text = content.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        return []
    if not (text.startswith("[") and text.endswith("]")):
        return []
    rows: list[Any] = []
    depth = 0
    start = 1
    for token in _TOKEN.finditer(text):
        mark = token[0]
        if mark in ("[", "{"):
            depth += 1
        elif mark in ("]", "}"):
            depth -= 1
        is_end = depth == 0
        if is_end or (mark == "," and depth == 1):
            rows.append(_parsed(text[start : token.start()], "", replace))
            start = token.end()
        if is_end:
            return rows if token.end() == len(text) else []
    return []


def _csv_rows(content: bytes, path: Path, delimiter: str) -> list[dict[str, Any]]:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text at byte {error.start}; save it as UTF-8") from None
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, restkey="", strict=True)
    rows: list[dict[str, Any]] = []
    try:
        for row in reader:
            if row.get(""):
                raise DataError(
                    f"{path}: line {reader.line_num} has more cells than the header names "
                    f"({len(reader.fieldnames or ())}); put texts that hold {delimiter!r} in quotes"
                )
            rows.append({name.strip(): _cell(name.strip(), value) for name, value in row.items() if name})
    except csv.Error as error:
        raise DataError(f"{path}: line {reader.line_num}: not readable as CSV: {error}; repair the line") from None
    return rows


def _cell(name: str, value: str | None) -> Any:
    """A cell as JSON would hold it: an empty one is null, numbers and truth values are what they say."""
    if value is None or (value == "" and name != "prediction"):
        return None
    if name in ("image_safe", "image_safety_label"):
        if value.lower() in ("true", "false"):
            return value.lower() == "true"
        with contextlib.suppress(ValueError):
            return float(value)
    return value


def read_files(files: Iterable[Path], *, replace_surrogates: bool = False) -> Iterable[Any]:
    """The records of several files, one after the other.

    Raises:
        DataError: There are no records to be had.
    """
    files = list(files)
    if len(files) == 1:
        return read_file(files[0], replace_surrogates=replace_surrogates)
    return itertools.chain.from_iterable(read_file(file, replace_surrogates=replace_surrogates) for file in files)
