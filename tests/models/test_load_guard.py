"""A model is loaded with the guard that comes with it, or with another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import tiny_models
from holisafe.errors import GuardError, ModelError
from holisafe.guard import GuardConfig, attach_guard, detach_guard, guard_of, save_guard
from holisafe.models import MODELS, ModelSpec, load, model
from holisafe.models.registry import registered_guard


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A checkpoint, and a guard made for it in a folder of its own."""
    folder = tmp_path_factory.mktemp("guarded")
    tiny_models.save(tiny_models.llava(), folder / "model")
    loaded = load(str(folder / "model"))
    attach_guard(loaded.model, GuardConfig.paper())
    save_guard(loaded.model, folder / "another")
    return folder / "model", folder / "another"


def weights(guarded: Any) -> torch.Tensor:
    return torch.cat([weight.flatten() for weight in guard_of(guarded).parameters()])


def test_no_guard_comes_unasked(parts: tuple[Path, Path]) -> None:
    loaded = load(str(parts[0]))
    assert loaded.guard is None
    with pytest.raises(GuardError, match="no guard"):
        guard_of(loaded.model)


def test_a_guard_is_loaded_from_a_folder(parts: tuple[Path, Path]) -> None:
    loaded = load(str(parts[0]), guard=parts[1])
    assert loaded.guard == str(parts[1])
    assert not guard_of(loaded.model).training
    assert guard_of(loaded.model).config.joint_head is False


@pytest.mark.parametrize("place", ["guard", "."])
def test_a_checkpoint_brings_its_own_guard_in_its_folder_or_below(
    place: str, parts: tuple[Path, Path], tmp_path: Path
) -> None:
    tiny = tiny_models.llava()
    folder = tiny_models.save(tiny, tmp_path)
    attach_guard(tiny.model)
    save_guard(tiny.model, folder / place)
    kept = weights(tiny.model)
    loaded = load(str(folder), guard="own")
    assert loaded.guard == str(folder / place)
    assert torch.equal(weights(loaded.model), kept)


def test_a_checkpoint_without_a_guard_says_where_it_was_looked_for(parts: tuple[Path, Path]) -> None:
    with pytest.raises(ModelError, match=r"no guard comes with .*guard_config\.json"):
        load(str(parts[0]), guard="own")


def test_a_folder_without_a_guard_is_named(parts: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(GuardError, match=r"nowhere"):
        load(str(parts[0]), guard=tmp_path / "nowhere")


def test_a_registered_model_brings_its_guard(
    parts: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MODELS, "_parts", dict(MODELS._parts))
    tiny = tiny_models.llava()

    @model("mine", guard=parts[1])
    def build(spec: ModelSpec) -> tuple[object, object]:
        return tiny.model, tiny.processor

    @model("bare")
    def build_bare(spec: ModelSpec) -> tuple[object, object]:
        return tiny.model, tiny.processor

    assert load("mine", guard="own").guard == str(parts[1])
    detach_guard(tiny.model)
    with pytest.raises(ModelError, match="no guard comes with bare"):
        load("bare", guard="own")


def test_a_registered_guard_that_is_not_installed_is_said_to_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MODELS, "_parts", dict(MODELS._parts))
    tiny = tiny_models.llava()

    @model("mine", guard=tmp_path / "guard")
    def build(spec: ModelSpec) -> tuple[object, object]:
        return tiny.model, tiny.processor

    with pytest.raises(ModelError, match="mine: the guard that comes with it is not in this installation"):
        load("mine", guard="own")


def test_pocket_names_its_guard() -> None:
    folder = registered_guard("pocket")
    assert folder is not None and folder.parts[-2:] == ("pocket", "guard") and (folder / "guard_config.json").is_file()
