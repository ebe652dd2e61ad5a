"""A small data set and a tiny checkpoint, made once."""

from __future__ import annotations

from pathlib import Path

import pytest

import tiny_models
from small_bench import write_small_bench


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty records in the released format."""
    return write_small_bench(tmp_path_factory.mktemp("small_bench"))


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LLaVA with random weights."""
    return tiny_models.save(tiny_models.llava(), tmp_path_factory.mktemp("llava"))
