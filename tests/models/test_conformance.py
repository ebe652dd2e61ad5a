"""The conformance tests pass for a model that does what it should, and notice one that does not."""

from __future__ import annotations

from pathlib import Path

import pytest

import tiny_models
from holisafe.models.conformance import ModelConformance


class TestALlavaFromAFolder(ModelConformance):
    @pytest.fixture(autouse=True)
    def _saved(self, tmp_path: Path) -> None:
        self.name = str(tiny_models.save(tiny_models.llava(), tmp_path))


def test_a_model_of_another_dtype_is_noticed(tmp_path: Path) -> None:
    class Asked(ModelConformance):
        name = str(tiny_models.save(tiny_models.llava(), tmp_path))
        options = {"device": "cpu", "dtype": "auto"}  # noqa: RUF012

    with pytest.raises(AssertionError):
        Asked().test_it_loads_where_and_as_asked()
