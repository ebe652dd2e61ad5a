"""Which model is meant, and how it is loaded: one description for commands, runs and functions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from pathlib import Path
from types import NoneType
from typing import Any

from holisafe._checks import check_type
from holisafe._enums import parse_enum
from holisafe.errors import ModelError, UnknownNameError

OWN_GUARD = "own"
"""Asks for the guard that comes with the model."""


class Dtype(StrEnum):
    """Precision of the weights."""

    AUTO = "auto"
    """As saved."""
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"


class Quantization(StrEnum):
    """Quantization while loading, by bitsandbytes."""

    FOUR_BIT = "4bit"
    """NF4, computing in bfloat16."""
    EIGHT_BIT = "8bit"
    """LLM.int8()."""


DeviceMap = str | Mapping[str, str | int]
"""How accelerate places modules: "auto", "balanced", ..., or a device for each module."""

_LONGEST = 4096
"""Characters of a model's name or path, as file systems take them."""

_DEVICE_MAPS = ("auto", "balanced", "balanced_low_0", "sequential")


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A model by name, and how it is loaded; `parse` makes one of what users write.

    Attributes:
        source: A registered short name ("pocket"), a folder with a checkpoint or that `holisafe tune` made, or a Hub
            id ("org/name").
        revision: Branch, tag or commit on the Hub.
        dtype: Precision; None for as saved on a GPU, float32 on the CPU.
        device: Where to put it, such as "cpu" or "cuda:1"; None for the first GPU, else the CPU.
        device_map: Several devices: "auto", another name that accelerate knows, or a device for each module.
        quantization: "4bit", "8bit", or the settings of a transformers quantization config, with its `quant_method`.
        attention: A transformers attention implementation, such as "eager", "sdpa" or "flash_attention_2".
        trust_remote_code: Whether to run code that comes with the checkpoint.
        guard: "own" for the guard that comes with the model, else a folder or Hub id; None for no guard.
    """

    source: str
    revision: str | None = None
    dtype: Dtype | None = None
    device: str | None = None
    device_map: DeviceMap | None = None
    quantization: Quantization | Mapping[str, Any] | None = None
    attention: str | None = None
    trust_remote_code: bool = False
    guard: str | None = None

    @classmethod
    def parse(
        cls,
        source: str | Path,
        *,
        revision: str | None = None,
        dtype: Dtype | str | None = None,
        device: str | None = None,
        device_map: DeviceMap | None = None,
        quantization: Quantization | str | Mapping[str, Any] | None = None,
        attention: str | None = None,
        trust_remote_code: bool = False,
        guard: str | Path | None = None,
    ) -> ModelSpec:
        """Read and check what a user wrote; nothing is loaded.

        Raises:
            ModelError: A value is unknown, or two exclude each other.
            TypeError: A value has another type.
        """
        for name, value, kinds in (
            ("source", source, (str, Path)),
            ("revision", revision, (str, NoneType)),
            ("device_map", device_map, (str, Mapping, NoneType)),
            ("attention", attention, (str, NoneType)),
            ("trust_remote_code", trust_remote_code, bool),
            ("guard", guard, (str, Path, NoneType)),
        ):
            check_type(value, kinds, name)
        if len(str(source)) > _LONGEST:
            raise ModelError(
                f"the model's name or path has {len(str(source)):,} characters; at most {_LONGEST:,} are read"
            )
        if not str(source).strip():
            raise ModelError("no model is named; give a short name such as pocket, a folder, or a Hub id org/name")
        if device is not None and device_map is not None:
            raise ModelError(f"device {device!r} and device_map {device_map!r} exclude each other; give one of them")
        return cls(
            source=str(source),
            revision=revision,
            dtype=None if dtype is None else _parse_dtype(dtype),
            device=None if device is None else _parse_device(device),
            device_map=None if device_map is None else _parse_device_map(device_map),
            quantization=None if quantization is None else _parse_quantization(quantization),
            attention=attention,
            trust_remote_code=trust_remote_code,
            guard=None if guard is None else str(guard),
        )

    @classmethod
    def of(cls, source: str | Path | ModelSpec, **options: Any) -> ModelSpec:
        """What a function means that takes a spec, or a name with options.

        Args:
            source: A spec, or what `parse` takes.
            options: As `parse` takes them; None and False are not given.

        Raises:
            ModelError: As `parse`, or a spec is given and options as well.
        """
        if not isinstance(source, ModelSpec):
            return cls.parse(source, **options)
        given = [name for name, value in options.items() if value is not None and value is not False]
        if given:
            raise ModelError(
                f"the model is a ModelSpec, and {', '.join(given)} was given beside it; give that in the ModelSpec"
            )
        return cls.parse(source.source, **source.options())  # one that was made by hand has not been checked

    def options(self) -> dict[str, Any]:
        """Everything but the source, by name, as plain strings, numbers and mappings."""
        options = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "source"}
        return {name: str(value) if isinstance(value, StrEnum) else value for name, value in options.items()}


def _parse_dtype(value: Dtype | str) -> Dtype:
    try:
        return parse_enum(Dtype, str(value).removeprefix("torch."))
    except UnknownNameError as error:
        raise ModelError(f"dtype {value!r} is not known; expected one of {', '.join(Dtype)}") from error


def _parse_device(value: str) -> str:
    if not re.fullmatch(r"(cpu|mps|(cuda|xpu|npu)(:\d{1,3})?)", str(value)):
        raise ModelError(f"device {value!r} is not known; expected cpu, cuda, cuda:N, mps, xpu or npu")
    return str(value)


def _parse_device_map(value: DeviceMap) -> DeviceMap:
    if isinstance(value, str):
        if value not in _DEVICE_MAPS:
            raise ModelError(
                f"device_map {value!r} is not known; expected one of {', '.join(_DEVICE_MAPS)}, or a device for each "
                "module"
            )
        return value
    for module, device in value.items():
        if not isinstance(module, str) or not (isinstance(device, int) or device == "disk"):
            _parse_device(str(device))
    return dict(value)


def _parse_quantization(value: Quantization | str | Mapping[str, Any]) -> Quantization | Mapping[str, Any]:
    if isinstance(value, Mapping):
        if "quant_method" not in value:
            raise ModelError(
                f"quantization: found settings for {', '.join(map(str, value)) or 'nothing'}, without quant_method; "
                "expected those of a transformers quantization config"
            )
        return dict(value)
    try:
        return parse_enum(Quantization, value)
    except UnknownNameError as error:
        raise ModelError(
            f"quantization {value!r} is not known; expected {' or '.join(Quantization)}, or the settings of a "
            "transformers quantization config"
        ) from error
