"""The tests that every editing method has to pass.

Run them on your own:

    from holisafe.editing.conformance import MethodConformance

    class TestMine(MethodConformance):
        name = "mine"

        def model(self, folder):
            return folder / "base"  # a small checkpoint, saved there

        def settings(self, folder):
            return {"strength": 0.5}

        def neutral(self, folder):
            return {"strength": 0.0}

pytest finds the inherited tests by their names and gives them its `tmp_path`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import torch
from transformers import AutoConfig, AutoModel, AutoModelForImageTextToText, AutoProcessor

from holisafe.editing._checkpoint import Checkpoint, header_bytes
from holisafe.editing._edit import edit
from holisafe.editing._method import EDITING_METHODS
from holisafe.errors import EditingError


class MethodConformance:
    """Tests of the method that is registered as `name`."""

    name: ClassVar[str]

    def model(self, folder: Path) -> Path:
        """A small checkpoint that the method can edit, saved below the folder."""
        raise NotImplementedError

    def settings(self, folder: Path) -> dict[str, Any]:
        """Settings with which it changes some weights; called after `model`, with the same folder."""
        raise NotImplementedError

    def neutral(self, folder: Path) -> dict[str, Any]:
        """Settings with which it changes nothing; called after `model`, with the same folder."""
        raise NotImplementedError

    def test_its_settings_are_read_back_as_they_were_written(self, tmp_path: Path) -> None:
        """JSON and back."""
        self.model(tmp_path)
        config = EDITING_METHODS.get(self.name).config
        found = config.from_mapping(self.settings(tmp_path))
        assert config.from_mapping(json.loads(json.dumps(found.to_json()))) == found

    def test_every_setting_is_described(self) -> None:
        """The descriptions become `--help`; a strength is a setting, and so is what names a model."""
        method = EDITING_METHODS.get(self.name)
        fields = method.config.model_fields
        assert all(field.description for field in fields.values())
        assert {method.strength, *method.models} - {""} <= fields.keys()

    def test_an_unknown_setting_is_refused_by_name(self) -> None:
        """Before any model is opened."""
        config = EDITING_METHODS.get(self.name).config
        assert "nonsense" in _refusal(lambda: config.from_mapping({"nonsense": 1}))

    def test_files_keep_names_shapes_and_dtypes(self, tmp_path: Path) -> None:
        """The header of each file is the base's, byte for byte."""
        base, edited = self._edited(tmp_path)
        assert [path.name for path in base.files] == [path.name for path in edited.files]
        for one, other in zip(base.files, edited.files, strict=True):
            assert header_bytes(one) == header_bytes(other)

    def test_only_the_tensors_that_it_names_change(self, tmp_path: Path) -> None:
        """Some do; all others are the base's, bit for bit."""
        base, edited = self._edited(tmp_path)
        changed = {name for name in base.tensors if not _same(base, edited, name)}
        assert 0 < len(changed) <= json.loads((edited.folder / "edit.json").read_text("utf-8"))["tensors_changed"]

    def test_neutral_settings_change_nothing(self, tmp_path: Path) -> None:
        """Bit for bit."""
        base = Checkpoint.read(self.model(tmp_path))
        written = edit(self.name, base.folder, tmp_path / "edited", **self.neutral(tmp_path))
        edited = Checkpoint.read(written.folder)
        assert all(_same(base, edited, name) for name in base.tensors)

    def test_plain_transformers_loads_what_was_written(self, tmp_path: Path) -> None:
        """Model, whole, and processor."""
        _, edited = self._edited(tmp_path)
        config = AutoConfig.from_pretrained(edited.folder)
        kind = AutoModelForImageTextToText if type(config) in AutoModelForImageTextToText._model_mapping else AutoModel
        _, info = kind.from_pretrained(edited.folder, output_loading_info=True)
        assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
        assert AutoProcessor.from_pretrained(edited.folder) is not None

    def test_a_folder_that_holds_something_is_refused(self, tmp_path: Path) -> None:
        """And what it holds stays."""
        model = self.model(tmp_path)
        kept = tmp_path / "taken" / "kept"
        kept.parent.mkdir()
        kept.touch()
        settings = self.settings(tmp_path)
        assert "is there already" in _refusal(lambda: edit(self.name, model, kept.parent, **settings))
        assert [path.name for path in kept.parent.iterdir()] == ["kept"]

    def test_the_card_says_what_was_done(self, tmp_path: Path) -> None:
        """Method and settings, without paths of this machine."""
        _, edited = self._edited(tmp_path)
        card = (edited.folder / "README.md").read_text("utf-8")
        assert f"`{self.name}`" in card and str(tmp_path) not in card

    def _edited(self, folder: Path) -> tuple[Checkpoint, Checkpoint]:
        model = self.model(folder)
        edited = edit(self.name, model, folder / "edited", **self.settings(folder))
        return Checkpoint.read(model), Checkpoint.read(edited.folder)


def _refusal(call: Callable[[], object]) -> str:
    """The message with which something is refused."""
    try:
        call()
    except EditingError as error:
        return str(error)
    raise AssertionError("expected an EditingError")


def _same(one: Checkpoint, other: Checkpoint, name: str) -> bool:
    """Bit for bit, NaN included."""
    first, second = one.tensor(name), other.tensor(name)
    return first.dtype == second.dtype and torch.equal(
        first.flatten().view(torch.uint8), second.flatten().view(torch.uint8)
    )
