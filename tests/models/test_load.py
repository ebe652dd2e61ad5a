"""Checkpoints load from folders and by name, and what cannot be loaded says why."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from importlib.metadata import EntryPoint
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import tiny_models
from holisafe.errors import MissingDependencyError, ModelError, RegistryError, UnknownNameError
from holisafe.models import (
    MODELS,
    Engine,
    GenerationOptions,
    ModelSpec,
    Prompt,
    load,
    model,
    registered_models,
)
from holisafe.records import ImageRef


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


@pytest.mark.parametrize("device_map", ["auto", {"": "cpu"}])
def test_accelerate_places_the_modules(checkpoint: Path, device_map: Any) -> None:
    placed = load(str(checkpoint), device_map=device_map)
    whole = load(str(checkpoint), device="cpu")
    prompts = [Prompt.ask("What is it?", picture())]
    found = []
    for loaded in (placed, whole):
        with Engine(*loaded) as engine:
            found.append(engine.answer(prompts, GenerationOptions(max_new_tokens=6)))
    assert found[0] == found[1]
    assert {each.device.type for each in placed.model.parameters()} == {"cpu"}


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
@pytest.mark.parametrize("name", ["pocket", "checkpoint"])
def test_a_gpu_that_is_not_there_is_said_in_one_line(checkpoint: Path, name: str) -> None:
    with pytest.raises(ModelError, match="device 'cuda': found none") as raised:
        load(str(checkpoint) if name == "checkpoint" else name, device="cuda")
    assert "\n" not in str(raised.value)


@pytest.mark.skipif(find_spec("bitsandbytes") is not None, reason="needs an installation without bitsandbytes")
@pytest.mark.parametrize("quantization", ["4bit", "8bit", {"quant_method": "bitsandbytes", "load_in_4bit": True}])
def test_a_missing_bitsandbytes_is_named_with_its_command(checkpoint: Path, quantization: Any) -> None:
    with pytest.raises(MissingDependencyError, match="pip install bitsandbytes"):
        load(str(checkpoint), quantization=quantization)


def test_quantization_settings_that_transformers_does_not_know_are_refused(checkpoint: Path) -> None:
    with pytest.raises(ModelError, match="quantization: transformers does not take these settings"):
        load(str(checkpoint), quantization={"quant_method": "no-such"})


@pytest.mark.parametrize("name", ["org/name/more", "a b/c", "org/na--me", "org/..", "org/name.git", "org/"])
def test_a_mistyped_path_is_said_in_one_line(name: str) -> None:
    with pytest.raises(ModelError, match="no folder, and no Hub id") as raised:
        load(name)
    assert "\n" not in str(raised.value)


TEXT_ONLY = {
    "no place for images": (
        "{% for m in messages %}{{ m['role'] }}: {% for p in m['content'] if p['type']=='text' %}{{ p['text'] }}"
        "{% endfor %}\n{% endfor %}assistant:"
    ),
    "strings only": "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}assistant:",
    "broken": "{% for m in messages %}{{ m.",
    "raises": "{{ raise_exception('not for you') }}",
}


@pytest.mark.parametrize("kind", TEXT_ONLY)
@pytest.mark.parametrize("family", ["llava", "qwen2_5_vl", "gemma3"])
def test_a_template_that_cannot_ask_about_images_is_named(family: str, kind: str, tmp_path: Path) -> None:
    tiny = tiny_models.FAMILIES[family](TEXT_ONLY[kind])
    message = r"the chat template \(chat_template\.jinja\) cannot ask about an image"
    with pytest.raises(ModelError, match=message) as raised:
        load(str(tiny_models.save(tiny, tmp_path)))
    assert "\n" not in str(raised.value)


def damage(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> str:
    path = folder / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata={"format": "pt"})
    return str(folder)


def rename(tensors: dict[str, torch.Tensor]) -> None:
    for name in [name for name in tensors if "multi_modal_projector" in name]:
        tensors[name.replace("projector", "projection")] = tensors.pop(name)


def drop_projector(tensors: dict[str, torch.Tensor]) -> None:
    for name in [name for name in tensors if "multi_modal_projector" in name]:
        del tensors[name]


def reshape(tensors: dict[str, torch.Tensor]) -> None:
    name = next(name for name in tensors if name.endswith("q_proj.weight"))
    tensors[name] = tensors[name][:3].contiguous()


def add_weight(tensors: dict[str, torch.Tensor]) -> None:
    tensors["model.language_model.layers.9.extra.weight"] = torch.zeros(2)


def not_a_number(tensors: dict[str, torch.Tensor]) -> None:
    name = next(name for name in sorted(tensors) if name.endswith("mlp.up_proj.weight"))
    tensors[name].view(-1)[7] = torch.nan


DAMAGE: dict[str, tuple[Callable[[dict[str, torch.Tensor]], None], str]] = {
    "no projector": (drop_projector, "lacks weights that the model needs: .*multi_modal_projector"),
    "renamed": (rename, "lacks weights that the model needs: .*multi_modal_projector"),
    "another shape": (reshape, "weights"),
    "one more": (add_weight, r"no place for: model\.language_model\.layers\.9\.extra\.weight"),
    "not finite": (not_a_number, r"mlp\.up_proj\.weight holds values that are not finite"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_checkpoint_is_refused(kind: str, checkpoint: Path, tmp_path: Path) -> None:
    shutil.copytree(checkpoint, tmp_path / "model")
    change, message = DAMAGE[kind]
    with pytest.raises(ModelError, match=message) as raised:
        load(damage(tmp_path / "model", change), device="cpu")
    assert "\n" not in str(raised.value)


def test_weights_of_a_guard_that_was_saved_with_the_model_are_no_damage(checkpoint: Path, tmp_path: Path) -> None:
    shutil.copytree(checkpoint, tmp_path / "model")

    def add_guard(tensors: dict[str, torch.Tensor]) -> None:
        tensors["guard.image_head.weight"] = torch.zeros(2)

    assert load(damage(tmp_path / "model", add_guard), device="cpu")


def test_a_broken_entry_point_is_one_error_and_concerns_its_model_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [
        EntryPoint("broken", "no_such_package_here:build", MODELS.group),
        EntryPoint("odd", "math:pi", MODELS.group),
    ]
    monkeypatch.setattr(
        "holisafe._registry.entry_points",
        lambda group, name=None: [p for p in points if p.group == group and name in (None, p.name)],
    )
    assert {"broken", "odd", "pocket"} <= set(registered_models())
    with pytest.raises(RegistryError, match=r"model 'broken' .* cannot be imported"):
        load("broken")
    with pytest.raises(RegistryError, match=r"model 'odd' (.*) is added as float; expected a function"):
        load("odd")


def picture() -> ImageRef:
    encoded = io.BytesIO()
    Image.new("RGB", (40, 30), "teal").save(encoded, "PNG")
    return ImageRef("teal", data=encoded.getvalue())
