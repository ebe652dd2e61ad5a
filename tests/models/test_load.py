"""Checkpoints load from folders and by name, and what cannot be loaded says why."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import tiny_models
from holisafe.errors import ModelError, UnknownNameError
from holisafe.models import MODELS, ModelSpec, load, model, registered_models


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.save(tiny_models.llava(), tmp_path_factory.mktemp("llava"))


@pytest.mark.parametrize("family", tiny_models.FAMILIES)
def test_a_saved_checkpoint_of_any_family_loads_with_its_processor(family: str, tmp_path: Path) -> None:
    tiny = tiny_models.FAMILIES[family]()
    model, processor = load(str(tiny_models.save(tiny, tmp_path)))
    assert type(model) is type(tiny.model)
    assert processor.chat_template == tiny.processor.chat_template
    assert not model.training


def test_device_dtype_and_attention_are_as_asked(checkpoint: Path) -> None:
    loaded = load(str(checkpoint), device="cpu", dtype="bfloat16", attention="eager")
    assert loaded.model.dtype == torch.bfloat16
    assert loaded.model.config._attn_implementation == "eager"


def test_an_unknown_short_name_offers_the_closest() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean pocket"):
        load("pockett")


def test_a_missing_folder_is_named() -> None:
    with pytest.raises(ModelError, match=r"no model folder at .*nowhere"):
        load("./nowhere")


def test_a_folder_without_configuration_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no config\.json"):
        load(str(tmp_path))


def test_a_hub_id_that_cannot_be_had_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match="nobody/no-such-model"):
        load("nobody/no-such-model")


def test_a_processor_without_chat_template_is_refused(tmp_path: Path) -> None:
    tiny = tiny_models.llava()
    tiny.processor.chat_template = None
    with pytest.raises(ModelError, match="no chat template"):
        load(str(tiny_models.save(tiny, tmp_path)))


def test_a_checkpoint_without_image_processor_is_refused(tmp_path: Path) -> None:
    tiny = tiny_models.llava()
    tiny.model.save_pretrained(tmp_path)
    tiny.processor.tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="processor"):
        load(str(tmp_path))


def test_a_text_model_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    tiny = tiny_models.llava()
    tiny.processor.save_pretrained(tmp_path)
    tiny.model.model.language_model.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="not an image-text-to-text model"):
        load(str(tmp_path))


def test_damaged_weights_are_reported(checkpoint: Path, tmp_path: Path) -> None:
    for file in checkpoint.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(ModelError, match="its weights could not be loaded"):
        load(str(tmp_path))


def test_damaged_configuration_is_reported(checkpoint: Path, tmp_path: Path) -> None:
    for file in checkpoint.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "no-such-type"}))
    with pytest.raises(ModelError):
        load(str(tmp_path))


def test_an_unknown_dtype_lists_those_that_exist(checkpoint: Path) -> None:
    with pytest.raises(ModelError, match="bfloat16"):
        load(str(checkpoint), dtype="int3")


def test_others_can_add_models_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MODELS, "_parts", dict(MODELS._parts))
    tiny = tiny_models.llava()

    @model("mine")
    def build(spec: ModelSpec) -> tuple[object, object]:
        assert spec == ModelSpec("mine", device="cpu")
        return tiny.model, tiny.processor

    assert "mine" in registered_models()
    assert load("mine", device="cpu").model is tiny.model
    with pytest.raises(ModelError, match="no revisions"):
        load("mine", revision="main")
