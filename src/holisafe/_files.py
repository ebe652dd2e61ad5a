"""Files of a run and files from strangers: atomic writes, locks, hashes, and the one reader of untrusted JSON.

Writing: `write_atomically` for content at hand, `atomic_file` for what is streamed. Neither follows a link: the file
that a link points to is never changed. `hold` locks a folder for one process.

Reading: `read_json` and `parse_json` raise one typed error, which names the file, line and column, for whatever is
wrong with JSON: size, encoding, syntax, nesting, integers of thousands of digits, NaN, lone surrogates.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import math
import os
import re
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Literal

from holisafe.errors import HoliSafeError

MAX_JSON_BYTES = 2**28
MAX_JSON_DEPTH = 100


def write_atomically(path: str | Path, content: str | bytes) -> None:
    """Write a whole file or nothing: readers see the old content or the new, whenever the process is killed.

    Args:
        path: The file; one that exists is replaced. If it is a link, the link is replaced, not what it points to.
        content: All of it; text is written as UTF-8.

    Raises:
        OSError: It cannot be written; the old content is still there.
    """
    with atomic_file(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextlib.contextmanager
def atomic_file(path: str | Path, *, replace: bool = True) -> Iterator[BinaryIO]:
    """Give a binary file to write to, which appears under `path` when the block ends without an error.

    Args:
        path: Where the file appears. Until then it is a hidden `.<random>.part` in the same folder.
        replace: Whether a file that exists is replaced.

    Raises:
        FileExistsError: `path` exists when the block ends, and `replace` is off.
        OSError: It cannot be written.
    """
    path = Path(path)
    part = path.parent / f".{secrets.token_hex(8)}{PART}"
    with _open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, "wb") as file:
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())
            if replace:
                part.replace(path)
            else:
                os.link(part, path, follow_symlinks=False)
                part.unlink()
        except BaseException:
            part.unlink(missing_ok=True)
            raise
    _sync_folder(path.parent)


PART = ".part"
"""How the hidden names of unfinished files end."""


def open_unlinked(path: str | Path, mode: Literal["rb", "wb", "ab", "xb"]) -> BinaryIO:
    """Open a file of a run without following a link at `path`, as a stranger might have left there.

    Raises:
        OSError: `path` is a link (errno ELOOP), or cannot be opened.
    """
    flags = {
        "rb": os.O_RDONLY,
        "wb": os.O_WRONLY | os.O_CREAT | os.O_TRUNC,
        "ab": os.O_WRONLY | os.O_CREAT | os.O_APPEND,
        "xb": os.O_WRONLY | os.O_CREAT | os.O_EXCL,
    }
    return _open(Path(path), flags[mode], mode)


@contextlib.contextmanager
def hold(folder: Path, error: type[HoliSafeError], *, alone: bool = True) -> Iterator[None]:
    """Make a run's folder and lock it while the block runs; the lock ends with the process.

    Args:
        folder: The run's folder.
        error: Kind of error to raise.
        alone: Whether to take the lock; of several processes of one run, one does.

    Raises:
        HoliSafeError: Of the given kind: the folder cannot be written, its lock is a link, or another process
            holds it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = open_unlinked(folder / ".lock", "ab")
    except OSError as why:
        found = "its .lock is a link; remove it" if why.errno == errno.ELOOP else why.strerror or str(why)
        raise error(f"cannot write to {folder}: {found}, or choose another --out") from why
    with lock:
        try:
            if alone:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as why:
            raise error(f"another run is active in {folder}; wait for it, or choose another --out") from why
        yield


def sha256_of(path: str | Path) -> str:
    """SHA-256 of a file's content, in hex.

    Raises:
        OSError: It cannot be read.
    """
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_json(
    path: str | Path,
    error: type[HoliSafeError],
    *,
    max_bytes: int = MAX_JSON_BYTES,
    max_depth: int = MAX_JSON_DEPTH,
    allow_nan: bool = False,
    replace_surrogates: bool = False,
    follow_links: bool = True,
) -> Any:
    """Read a JSON file that anybody may have written.

    Args:
        path: The file.
        error: Kind of error to raise.
        max_bytes: Largest file that is read, in bytes.
        max_depth: Deepest nesting of arrays and objects.
        allow_nan: Whether NaN, Infinity and numbers beyond float are read as such.
        replace_surrogates: Whether a lone surrogate, which UTF-8 cannot hold, becomes U+FFFD instead of an error.
        follow_links: Whether the path may be a symbolic link.

    Returns:
        What it holds. Of a key that is given twice, the last value counts.

    Raises:
        HoliSafeError: Of the given kind; the message names the file, and the line and column where there is one.
    """
    content = read_bounded(path, error, max_bytes=max_bytes, follow_links=follow_links)
    return parse_json(
        content,
        error,
        source=str(path),
        max_bytes=max_bytes,
        max_depth=max_depth,
        allow_nan=allow_nan,
        replace_surrogates=replace_surrogates,
    )


def parse_json(
    text: str | bytes,
    error: type[HoliSafeError],
    *,
    source: str,
    max_bytes: int = MAX_JSON_BYTES,
    max_depth: int = MAX_JSON_DEPTH,
    allow_nan: bool = False,
    replace_surrogates: bool = False,
) -> Any:
    """Parse JSON that anybody may have written; see `read_json`.

    Args:
        text: The JSON; bytes are read as UTF-8, with or without a byte order mark.
        error: Kind of error to raise.
        source: Where it is from, for messages: "run.json", "data.jsonl:12".
        max_bytes: Longest text, in bytes of UTF-8 (characters where it is a str).
        max_depth: Deepest nesting of arrays and objects.
        allow_nan: Whether NaN, Infinity and numbers beyond float are read as such.
        replace_surrogates: Whether a lone surrogate becomes U+FFFD instead of an error.

    Raises:
        HoliSafeError: Of the given kind.
    """
    if len(text) > max_bytes:
        raise error(f"{source}: larger than the {max_bytes:,} bytes allowed; split it, or give another file")
    text = _decoded(text, error, source)

    def refuse(position: int, found: str, expected: str) -> HoliSafeError:
        return error(f"{source}: {_line_and_column(text, position)}: found {found}; expected {expected}")

    deep = f"arrays and objects nested more than {max_depth} deep"
    try:
        value = json.loads(
            text,
            parse_constant=None if allow_nan else _no_constant,
            parse_float=_finite if not allow_nan and _HUGE_NUMBER.search(text) else None,
        )
    except json.JSONDecodeError as why:
        raise refuse(why.pos, f"text that is not JSON ({why.msg})", "JSON") from None
    except RecursionError:
        raise refuse(_position_of_depth(text, max_depth), deep, f"at most {max_depth}") from None
    except _NotFinite as why:
        raise refuse(_position_of(text, str(why)), f"the number {str(why)[:20]}", "a finite number") from None
    except ValueError:  # Python refuses integers of more than 4,300 digits, by default
        long = _LONG_INTEGER.search(text)
        raise refuse(long.start() if long else 0, "an integer of thousands of digits", "a number") from None
    if not _is_within_depth(value, max_depth):
        raise refuse(_position_of_depth(text, max_depth), deep, f"at most {max_depth}")
    surrogate = _lone_surrogate(text)
    if surrogate is None:
        return value
    if replace_surrogates:
        return _without_surrogates(value)
    raise refuse(surrogate, f"the lone surrogate {text[surrogate : surrogate + 6]!a}", "text that UTF-8 can hold")


def read_bounded(path: str | Path, error: type[HoliSafeError], *, max_bytes: int, follow_links: bool = True) -> bytes:
    """The content of a file, of which no more than `max_bytes` are read.

    Raises:
        HoliSafeError: Of the given kind: there is no such file, it is a folder, a device, a link where none is
            allowed, unreadable or too large.
    """
    path = Path(path)
    try:
        # not blocking: a pipe that nobody writes to is empty instead of never ending
        with _open(path, os.O_RDONLY | os.O_NONBLOCK, "rb", follow_links=follow_links) as file:
            mode = os.fstat(file.fileno()).st_mode
            if not (stat.S_ISREG(mode) or (follow_links and stat.S_ISFIFO(mode))):
                kind = "a folder" if stat.S_ISDIR(mode) else "a device, pipe or socket"
                raise error(f"{path}: {kind}; expected a file")
            os.set_blocking(file.fileno(), True)
            content = file.read(max_bytes + 1)
    except FileNotFoundError:
        raise error(f"{path}: no such file; check the path") from None
    except IsADirectoryError:
        raise error(f"{path}: a folder; expected a file") from None
    except (OSError, ValueError) as why:  # ValueError: NUL in the path
        reason = why.strerror if isinstance(why, OSError) else str(why)
        if isinstance(why, OSError) and why.errno == errno.ELOOP:
            reason = "a link, which is not followed" if not follow_links else "links in a circle"
        raise error(f"{_short(path)}: cannot be read ({reason}); check the path and its permissions") from why
    if len(content) > max_bytes:
        raise error(f"{path}: larger than the {max_bytes:,} bytes allowed; split it, or give another file")
    return content


def _open(path: Path, flags: int, mode: str, *, follow_links: bool = False) -> BinaryIO:
    links = 0 if follow_links else os.O_NOFOLLOW
    return os.fdopen(os.open(path, flags | links | os.O_CLOEXEC, 0o666), mode)  # type: ignore[return-value]


def _sync_folder(folder: Path) -> None:
    """Make a new name durable, where the file system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _decoded(text: str | bytes, error: type[HoliSafeError], source: str) -> str:
    if isinstance(text, str):
        return text.removeprefix("\ufeff")
    try:
        return text.decode("utf-8-sig")
    except UnicodeDecodeError as why:
        line = text.count(b"\n", 0, why.start) + 1
        raise error(
            f"{source}: line {line}, byte {why.start}: found bytes that are not UTF-8 "
            f"({text[why.start : why.start + 4].hex(' ')}); expected JSON in UTF-8; save the file as UTF-8"
        ) from None


class _NotFinite(Exception):
    """A number that is NaN or infinite, as it is written."""


def _no_constant(name: str) -> float:
    raise _NotFinite(name)


def _finite(number: str) -> float:
    value = float(number)
    if math.isinf(value):
        raise _NotFinite(number)
    return value


_HUGE_NUMBER = re.compile(r"[eE]\+?\d{2}|\d{300}")
"""Without a match, no number of the text is beyond float."""
_LONG_INTEGER = re.compile(r"\d{4000,}+(?![.eE])")
_TOKEN = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"|"(?s:.*)|[\[\]{}]|-?[\w.+-]+')
"""A string (the last one may be open), a bracket, or a number or name."""
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|.)", re.DOTALL)


def _position_of_depth(text: str, max_depth: int) -> int:
    """Where the nesting first exceeds the limit."""
    depth = 0
    for token in _TOKEN.finditer(text):
        depth += (token[0] in ("[", "{")) - (token[0] in ("]", "}"))
        if depth > max_depth:
            return token.start()
    return 0


def _position_of(text: str, value: str) -> int:
    """Where a number is first written as such, outside strings."""
    return next((token.start() for token in _TOKEN.finditer(text) if token[0] == value), 0)


def _is_within_depth(value: Any, max_depth: int) -> bool:
    level = [value] if isinstance(value, (dict, list)) else []
    for _ in range(max_depth):
        if not level:
            return True
        level = [
            child
            for container in level
            for child in (container.values() if isinstance(container, dict) else container)
            if isinstance(child, (dict, list))
        ]
    return not level


def _lone_surrogate(text: str) -> int | None:
    """Position of the first surrogate that is no half of a pair: escaped, or as a character where `text` was a str."""
    high: re.Match[str] | None = None
    for escape in _ESCAPE.finditer(text) if "\\u" in text else ():
        code = int(escape[1], 16) if escape[1] else 0
        if high is not None:
            if 0xDC00 <= code < 0xE000 and escape.start() == high.end():
                high = None
                continue
            return high.start()
        if 0xD800 <= code < 0xDC00:
            high = escape
        elif 0xDC00 <= code < 0xE000:
            return escape.start()
    if high is not None:
        return high.start()
    try:
        text.encode()
    except UnicodeEncodeError as why:
        return why.start
    return None


def _without_surrogates(value: Any) -> Any:
    """The same values with U+FFFD for every lone surrogate; pairs are characters by now."""
    if isinstance(value, str):
        return _SURROGATE.sub("\ufffd", value)
    if isinstance(value, list):
        return [_without_surrogates(each) for each in value]
    if isinstance(value, dict):
        return {_without_surrogates(key): _without_surrogates(each) for key, each in value.items()}
    return value


_SURROGATE = re.compile("[\ud800-\udfff]")


def _line_and_column(text: str, position: int) -> str:
    line, column = text.count("\n", 0, position) + 1, position - text.rfind("\n", 0, position)
    return f"line {line}, column {column}"


def _short(path: Path) -> str:
    """A path for a message; one of thousands of characters is cut."""
    text = ascii(str(path))[1:-1] if "\0" in str(path) else str(path)
    return text if len(text) <= 300 else f"{text[:300]}… ({len(text)} characters)"
