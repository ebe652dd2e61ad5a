"""Writing a checkpoint with another one's names, shapes and dtypes, one tensor at a time."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from holisafe.editing._checkpoint import Checkpoint, header_bytes
from holisafe.editing._method import Change
from holisafe.errors import EditingError

_CHUNK = 2**24
_COPIED = (".json", ".jinja", ".txt", ".model", ".tiktoken")
"""Endings of the files that belong to the configuration, the processor and the tokenizer."""

_NOT_COPIED = frozenset({"edit.json", "tuned.json"})


def write_weights(base: Checkpoint, change: Change, folder: Path) -> dict[str, str]:
    """Write the files of `base` with the tensors that change replaced.

    Headers are copied, so names, order, dtypes, shapes and metadata are the base's.

    Returns:
        SHA-256 of each file, in hex, by its name.

    Raises:
        EditingError: The method gave a tensor of another shape or dtype, or one that is not finite.
        OSError: The disk does not take it.
    """
    digests = {}
    for source in base.files:
        with source.open("rb") as original, (folder / source.name).open("xb") as target:
            digest = hashlib.sha256()
            header = header_bytes(source)
            for chunk in (header, *_tensors(base, change, source, original, len(header))):
                target.write(chunk)
                digest.update(chunk)
        digests[source.name] = digest.hexdigest()
    return digests


def copy_other_files(base: Checkpoint, folder: Path) -> None:
    """Copy what a checkpoint holds beside its weights: configuration, processor, tokenizer.

    Raises:
        OSError: The disk does not take it.
    """
    for path in sorted(base.folder.iterdir()):
        if path.is_file() and path.suffix in _COPIED and path.name not in _NOT_COPIED:
            shutil.copyfile(path, folder / path.name)


def _tensors(
    base: Checkpoint, change: Change, file: Path, original: BinaryIO, header: int
) -> Iterator[bytes | memoryview]:
    """The bytes of a file's tensors, in order; those that stay are copied in chunks."""
    for name, entry in base.in_file(file):
        if name in change.tensors:
            yield _bytes_of(_checked(name, base.tensor(name), change))
            continue
        original.seek(header + entry.start)
        left = entry.end - entry.start
        while left:
            chunk = original.read(min(_CHUNK, left))
            left -= len(chunk)
            yield chunk


def _checked(name: str, before: Tensor, change: Change) -> Tensor:
    after = change.value(name, before)
    if after.shape != before.shape or after.dtype != before.dtype:
        raise EditingError(
            f"{name}: the method gave {after.dtype} of shape {list(after.shape)}; expected {before.dtype} of shape "
            f"{list(before.shape)}"
        )
    if not bool(torch.isfinite(after).all()):
        raise EditingError(f"{name}: the edited weights overflow {before.dtype}; use a weaker setting")
    return after


def _bytes_of(tensor: Tensor) -> memoryview:
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    raw: Any = flat.view(torch.uint8).numpy()
    return memoryview(raw)
