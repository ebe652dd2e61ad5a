"""A tuned model is loaded as its base with what it learned laid over it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import tiny_models
from guard.prompts import batch, guard, tiny, two_rows
from holisafe.checkpoints.manifest import file_manifest
from holisafe.checkpoints.tuned import hash_weights
from holisafe.errors import GuardError, ModelError
from holisafe.guard import guard_of, session
from holisafe.guard.attach import base_model
from holisafe.models import load
from holisafe.tuning import TuneConfig, configure_trainable_parts
from holisafe.tuning._result import learned_parts
from holisafe.tuning._save import save_tuned

CONFIG = TuneConfig(precision="float32", lora_r=2)


def write(family: str, folder: Path) -> Any:
    """A base model, and beside it what a copy of it came to after it had learned; gives that copy."""
    made = tiny(family)
    tiny_models.save(made, folder / "base")
    weights = hash_weights(made.model)
    guard(made)
    model = configure_trainable_parts(made.model, CONFIG)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.add_(torch.randn(weight.shape, generator=generator) * 0.05)
    told = description(folder / "base", weights) | {"learned": learned_parts(model, CONFIG)}
    save_tuned(model, folder / "run" / "tuned", told)
    return model.eval()


def description(base: Path, weights: str | None = None) -> dict[str, Any]:
    """What `tuned.json` says of a run."""
    return {
        "format": 2,
        "holisafe": "0",
        "base": {"name": str(base), "revision": None, "weights_sha256": weights},
        "method": "vgm",
        "recipe": None,
        "settings": CONFIG.to_json(),
        "guard": {},
        "learned": {},
        "data": {
            "name": "open",
            "split": "train",
            "samples": 1,
            "by_combination": {"SSS": 1},
            "sha256": "0",
            "general": None,
            "licences": [],
            "skipped": {},
        },
        "training": {"steps": 1, "drawn": 1, "by_combination": {"SSS": 1}, "first": {"step": 1}, "last": {"step": 1},
                     "stopped": None},
        "evaluations": [],
    }  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The place of a tuned tiny LLaVA."""
    where = tmp_path_factory.mktemp("tuned")
    write("llava", where)
    return where


@pytest.mark.parametrize("family", tiny_models.FAMILIES)
@torch.no_grad()
def test_it_computes_what_the_tuned_model_did(family: str, tmp_path: Path) -> None:
    tuned = write(family, tmp_path)
    loaded = load(str(tmp_path / "run"), device="cpu", guard="own")
    inputs = batch(tiny(family), two_rows())
    with session(tuned):
        expected = base_model(tuned)(**inputs)
    with session(loaded.model):
        found = loaded.model(**inputs)
    assert torch.allclose(found.logits, expected.logits, atol=1e-4)
    assert torch.allclose(found["image_logits"], expected["image_logits"], atol=1e-4)
    before = load(str(tmp_path / "base"), device="cpu").model(**inputs)
    assert not torch.allclose(found.logits, before.logits, atol=1e-2)
    assert not any("lora" in name for name, _ in loaded.model.named_parameters())


def test_the_folder_of_the_run_and_that_of_the_result_are_the_same(folder: Path) -> None:
    run, result = (load(str(folder / name), device="cpu") for name in ("run", "run/tuned"))
    weights = result.model.state_dict()
    assert all(torch.equal(tensor, weights[name]) for name, tensor in run.model.state_dict().items())
    assert run.name == str(folder / "run") and run.guard is None and not run.model.training
    with pytest.raises(GuardError, match="no guard"):
        guard_of(run.model)


def test_its_own_guard_fits_whatever_the_base_is_called_now(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "moved")
    (tmp_path / "moved" / "base").rename(tmp_path / "moved" / "other")
    edit(tmp_path / "moved" / "run", base={"name": str(tmp_path / "moved" / "other"), "revision": None})
    loaded = load(str(tmp_path / "moved" / "run"), device="cpu", guard="own")
    assert loaded.guard == str(tmp_path / "moved" / "run" / "tuned" / "guard")


def edit(run: Path, **changes: Any) -> None:
    path = run / "tuned" / "tuned.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 1}, "format: found 1, expected 2"),
        ({"base": "pocket"}, "cannot be read"),
        ({"base": {"name": 5, "revision": None}}, "expected a name, a revision and a hash"),
        ({"base": {"name": "/no/such/base", "revision": None}}, "no model folder at /no/such/base"),
    ],
)
def test_a_description_that_cannot_be_followed_is_named(
    folder: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    shutil.copytree(folder / "run", tmp_path / "run")
    edit(tmp_path / "run", **changes)
    with pytest.raises(ModelError, match=message):
        load(str(tmp_path / "run"), device="cpu")


def record_again(run: Path) -> None:
    """Write the list of files anew, as somebody who changes a folder on purpose would."""
    edit(run, files=file_manifest(run / "tuned"))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


def halve(path: Path) -> None:
    tensors = load_file(path)
    save_file({name: tensors[name] for name in sorted(tensors)[: len(tensors) // 2]}, path)


def rename(path: Path) -> None:
    save_file({name.replace("q_proj", "r_proj").replace("linear_1", "linear_9"): each
               for name, each in load_file(path).items()}, path)  # fmt: skip


def not_finite(path: Path) -> None:
    tensors = load_file(path)
    next(iter(tensors.values())).view(-1)[0] = torch.inf
    save_file(tensors, path)


@pytest.mark.parametrize(("name", "part"), [("parts.safetensors", "projector"), ("adapter", "language")])
def test_what_is_said_to_have_learned_must_be_there_whatever_the_list_of_files_says(
    folder: Path, tmp_path: Path, name: str, part: str
) -> None:
    shutil.copytree(folder / "run", tmp_path / "run")
    (tmp_path / "run" / "tuned" / name).rename(tmp_path / "elsewhere")
    edit(tmp_path / "run", learned={part: {"parameters": 1, "learning_rate": 0.1}})
    record_again(tmp_path / "run")
    with pytest.raises(ModelError, match=f"{name}: is missing, .* {part} learned"):
        load(str(tmp_path / "run"), device="cpu")


@pytest.mark.parametrize("name", ["parts.safetensors", "adapter/adapter_model.safetensors", "adapter"])
def test_what_was_saved_must_be_there(folder: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(folder / "run", tmp_path / "run")
    path = tmp_path / "run" / "tuned" / name
    path.rename(tmp_path / "elsewhere")
    with pytest.raises(ModelError, match=r"missing, though it was saved with this model"):
        load(str(tmp_path / "run"), device="cpu")


@pytest.mark.parametrize("change", [cut, halve, rename, not_finite])
@pytest.mark.parametrize("name", ["parts.safetensors", "adapter/adapter_model.safetensors"])
def test_a_file_that_was_changed_is_named(
    folder: Path, tmp_path: Path, name: str, change: Callable[[Path], None]
) -> None:
    shutil.copytree(folder / "run", tmp_path / "run")
    change(tmp_path / "run" / "tuned" / name)
    with pytest.raises(ModelError, match=rf"{name}: not the file that was saved"):
        load(str(tmp_path / "run"), device="cpu")


def test_a_file_that_was_not_saved_is_named(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "run", tmp_path / "run")
    (tmp_path / "run" / "tuned" / "adapter" / "more.safetensors").write_bytes(b"")
    with pytest.raises(ModelError, match=r"more\.safetensors: was not saved with this model"):
        load(str(tmp_path / "run"), device="cpu")


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("parts.safetensors", cut, "no whole safetensors file"),
        ("parts.safetensors", rename, "linear_9.* found the shape .* it was tuned from another model"),
        ("parts.safetensors", halve, "holds .* parameters, and tuned.json says that .* learned; get the whole folder"),
        ("parts.safetensors", not_finite, "not finite"),
        ("adapter/adapter_model.safetensors", cut, "the adapter does not fit the base model, or is damaged"),
        ("adapter/adapter_model.safetensors", halve, "missing"),
        ("adapter/adapter_model.safetensors", rename, "the model has no .*r_proj"),
        ("adapter/adapter_model.safetensors", not_finite, "holds values that are not finite"),
    ],
)
def test_weights_are_checked_whatever_the_list_of_files_says(
    folder: Path, tmp_path: Path, name: str, change: Callable[[Path], None], message: str
) -> None:
    shutil.copytree(folder / "run", tmp_path / "run")
    change(tmp_path / "run" / "tuned" / name)
    record_again(tmp_path / "run")
    with pytest.raises(ModelError, match=message):
        load(str(tmp_path / "run"), device="cpu")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"init_lora_weights": "pissa"}, "init_lora_weights: found 'pissa', which changes the base model's weights"),
        ({"init_lora_weights": "olora"}, "init_lora_weights: found 'olora'"),
        ({"peft_type": "IA3"}, "peft_type: found 'IA3', expected 'LORA'"),
        ({"target_modules": "(a|aa|a.)*(.*.*.*.*)*b$"}, "takes more than 1 s; list the modules"),
        ({"target_modules": "(("}, "no valid regular expression"),
        ({"rank_pattern": {"(.*)*x": 3}}, "rank_pattern: expected module names"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save is not supported"),
        ({"target_modules": ["q_proj", "lm_head"]}, "weights of lm_head are missing"),
    ],
)
def test_an_adapter_that_cannot_be_merged_safely_is_refused(
    folder: Path, tmp_path: Path, settings: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holisafe.checkpoints.adapter._REGEX_SECONDS", 1.0)
    shutil.copytree(folder / "run", tmp_path / "run")
    path = tmp_path / "run" / "tuned" / "adapter" / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))
    record_again(tmp_path / "run")
    with pytest.raises(ModelError, match=message):
        load(str(tmp_path / "run"), device="cpu")


@pytest.mark.parametrize("files", [None, [], {"a": 5}, {"../a": None}, {"/etc/passwd": None}])
def test_a_list_of_files_that_is_none_is_refused(folder: Path, tmp_path: Path, files: Any) -> None:
    shutil.copytree(folder / "run", tmp_path / "run")
    edit(tmp_path / "run", files=files)
    with pytest.raises(ModelError, match=r"tuned\.json: files: "):
        load(str(tmp_path / "run"), device="cpu")


def test_parts_of_another_model_are_refused(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "run", tmp_path / "run")
    path = tmp_path / "run" / "tuned" / "parts.safetensors"
    name, tensor = next(iter(load_file(path).items()))
    save_file({name: torch.zeros(*tensor.shape, 2)}, path)
    record_again(tmp_path / "run")
    with pytest.raises(ModelError, match=rf"{name}: found the shape .* it was tuned from another model"):
        load(str(tmp_path / "run"), device="cpu")


def test_a_run_that_has_not_ended_is_said_to_be_so(tmp_path: Path) -> None:
    (tmp_path / "tune.json").write_text("{}")
    with pytest.raises(ModelError, match="has not finished"):
        load(str(tmp_path), device="cpu")


@pytest.mark.parametrize("place", [".", "tuned"])
def test_a_tuned_model_without_its_description_is_said_to_be_so(folder: Path, tmp_path: Path, place: str) -> None:
    shutil.copytree(folder / "run", tmp_path / "run")
    (tmp_path / "run" / "tune.json").write_text("{}")
    (tmp_path / "run" / "tuned" / "tuned.json").unlink()
    with pytest.raises(ModelError, match=r"tuned\.json: missing, though the folder holds what a tuned model learned"):
        load(str(tmp_path / "run" / place), device="cpu")


@pytest.mark.parametrize("learned", [None, [], {"projector": 3}, {"projector": {}}])
def test_a_description_that_does_not_say_what_learned_is_refused(folder: Path, tmp_path: Path, learned: Any) -> None:
    shutil.copytree(folder / "run", tmp_path / "run")
    edit(tmp_path / "run", learned=learned)
    with pytest.raises(ModelError, match=r"tuned\.json: learned: expected the number of parameters"):
        load(str(tmp_path / "run"), device="cpu")


def test_a_tuned_model_has_no_revision(folder: Path) -> None:
    with pytest.raises(ModelError, match=r"says itself which revision of .*; leave out 'main'"):
        load(str(folder / "run"), device="cpu", revision="main")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_base_is_known_again_in_any_dtype(folder: Path, dtype: str) -> None:
    assert load(str(folder / "run"), device="cpu", dtype=dtype).model.dtype == getattr(torch, dtype)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_base_with_other_weights_is_refused(folder: Path, tmp_path: Path, dtype: str) -> None:
    shutil.copytree(folder / "base", tmp_path / "base")
    path = next((tmp_path / "base").glob("*.safetensors"))
    tensors = load_file(path)
    name = next(name for name in sorted(tensors) if "language_model" in name)
    save_file({**tensors, name: tensors[name] + 0.5}, path, metadata={"format": "pt"})
    shutil.copytree(folder / "run", tmp_path / "run")
    told = json.loads((tmp_path / "run" / "tuned" / "tuned.json").read_text())
    told["base"]["name"] = str(tmp_path / "base")
    (tmp_path / "run" / "tuned" / "tuned.json").write_text(json.dumps(told))
    with pytest.raises(ModelError, match="are not those that it was tuned from"):
        load(str(tmp_path / "run"), device="cpu", dtype=dtype)
