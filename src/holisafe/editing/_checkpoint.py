"""A checkpoint in safetensors files, read one tensor at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from holisafe._files import read_json
from holisafe.errors import ModelError

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
CONFIG = "config.json"
_PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
_LENGTH_BYTES = 8
_FLOATS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a tensor is.

    Attributes:
        file: Its file.
        dtype: safetensors' name of its dtype, such as "BF16".
        shape: Its shape.
        start: First byte, counted from the end of the file's header.
        end: One behind the last byte.
    """

    file: Path
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A folder that `save_pretrained` wrote.

    Attributes:
        folder: The folder.
        name: What the user called the model.
        config: Its `config.json`.
        tensors: Every tensor by its name in the files.
    """

    folder: Path
    name: str
    config: dict[str, Any]
    tensors: dict[str, Entry]
    _open: dict[Path, Any] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def read(cls, folder: Path, name: str | None = None) -> Checkpoint:
        """Read the headers of a checkpoint's files.

        Args:
            folder: The folder.
            name: What the user called it; the folder if None.

        Raises:
            ModelError: The folder is no checkpoint, its weights are pickled, quantized, incomplete or damaged.
        """
        config = _config(folder)
        tensors: dict[str, Entry] = {}
        for path, listed in _files(folder).items():
            found = _entries(path)
            if listed is not None and (wrong := sorted(listed ^ found.keys())):
                state = "is missing" if wrong[0] in listed else "is not listed in the index"
                raise ModelError(f"{path}: {wrong[0]} {state}, and {len(wrong) - 1} more; get the checkpoint again")
            if twice := sorted(found.keys() & tensors.keys()):
                raise ModelError(f"{path}: {twice[0]} is in another file too; get the checkpoint again")
            tensors |= found
        if not tensors:
            raise ModelError(f"{folder}: its safetensors files hold no tensors; get the checkpoint again")
        return cls(folder, name or str(folder), config, tensors)

    @property
    def files(self) -> list[Path]:
        """The files with weights, in order."""
        return sorted({entry.file for entry in self.tensors.values()})

    def tensor(self, name: str) -> Tensor:
        """One tensor, read from its file.

        Raises:
            ModelError: It cannot be read any more.
        """
        file = self.tensors[name].file
        try:
            if file not in self._open:
                opened: Any = safe_open(file, "pt")
                self._open[file] = opened.__enter__()
            tensor: Tensor = self._open[file].get_tensor(name)
        except (SafetensorError, OSError) as error:
            raise ModelError(f"{file}: {name} cannot be read ({error}); get the file again") from error
        return tensor

    def finite(self, name: str) -> Tensor:
        """One tensor of floating-point numbers that are all finite.

        Raises:
            ModelError: It is of another dtype, or holds NaN or infinity.
        """
        tensor = self.tensor(name)
        if tensor.dtype not in _FLOATS:
            raise ModelError(
                f"{self.name}: {name} is {self.tensors[name].dtype}; expected floating-point weights: edit the model "
                "before it is quantized"
            )
        self._refuse_infinite(name, tensor)
        return tensor

    def check_finite(self, name: str) -> None:
        """Refuse a tensor of floating-point numbers that are not all finite; others are not looked at.

        Raises:
            ModelError: It holds NaN or infinity.
        """
        tensor = self.tensor(name)
        if tensor.dtype in _FLOATS:
            self._refuse_infinite(name, tensor)

    def _refuse_infinite(self, name: str, tensor: Tensor) -> None:
        if not bool(torch.isfinite(tensor).all()):
            raise ModelError(f"{self.name}: {name} holds values that are not finite; the checkpoint is damaged")

    def in_file(self, file: Path) -> Iterator[tuple[str, Entry]]:
        """The tensors of one file, in the order of their bytes."""
        found = [(name, entry) for name, entry in self.tensors.items() if entry.file == file]
        return iter(sorted(found, key=lambda pair: pair[1].start))


def header_bytes(path: Path) -> bytes:
    """A safetensors file's length field and header, as they are.

    Raises:
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        length = file.read(_LENGTH_BYTES)
        return length + file.read(int.from_bytes(length, "little"))


def _config(folder: Path) -> dict[str, Any]:
    if not (folder / CONFIG).is_file():
        raise ModelError(f"{folder} holds no {CONFIG}; expected a checkpoint saved with save_pretrained")
    config = read_json(folder / CONFIG, ModelError)
    if not isinstance(config, dict):
        raise ModelError(f"{folder / CONFIG}: expected an object, found {type(config).__name__}")
    if "quantization_config" in config:
        raise ModelError(f"{folder}: the weights are quantized; edit the model before it is quantized")
    return config


def _files(folder: Path) -> dict[Path, set[str] | None]:
    """The files of a checkpoint, each with the tensors that the index says it holds; None where there is no index."""
    if (folder / SINGLE).is_file():
        return {folder / SINGLE: None}
    if not (folder / INDEX).is_file():
        pickled = sorted(path.name for pattern in _PICKLED for path in folder.glob(pattern))
        if pickled:
            raise ModelError(
                f"{folder / pickled[0]}: pickled weights can run code and are not read; convert them to safetensors "
                "where you trust them (load with transformers, then save_pretrained)"
            )
        raise ModelError(f"{folder} holds neither {SINGLE} nor {INDEX}; get the checkpoint again")
    index = read_json(folder / INDEX, ModelError)
    places = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(places, dict) or not all(isinstance(file, str) for file in places.values()):
        raise ModelError(f"{folder / INDEX}: weight_map: expected a file name for each tensor")
    found: dict[Path, set[str] | None] = {}
    for file in sorted(set(places.values())):
        if Path(file).name != file or not file.endswith(".safetensors"):
            raise ModelError(f"{folder / INDEX}: {file!r} is no name of a safetensors file in this folder")
        if not (folder / file).is_file():
            raise ModelError(f"{folder / file}: missing, though {INDEX} names it; get the checkpoint again")
        found[folder / file] = {name for name, place in places.items() if place == file}
    return found


def _entries(path: Path) -> dict[str, Entry]:
    try:
        with safe_open(path, "pt"):  # checks lengths, offsets and dtypes against the file
            pass
        header = json.loads(header_bytes(path)[_LENGTH_BYTES:])
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(f"{path}: no whole safetensors file ({error}); is it truncated? get it again") from error
    return {
        name: Entry(path, each["dtype"], tuple(each["shape"]), *each["data_offsets"])
        for name, each in header.items()
        if name != "__metadata__"
    }
