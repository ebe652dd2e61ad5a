"""Prompts of settings, as data beside each benchmark: `prompts/NAME.toml`."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from importlib.resources import files
from typing import Any


def prompts(name: str) -> Mapping[str, Any]:
    """The texts of a benchmark's prompts, by the names of its file's tables and keys."""
    file = files("holisafe.benchmarks") / "prompts" / f"{name}.toml"
    return tomllib.loads(file.read_text(encoding="utf-8"))
