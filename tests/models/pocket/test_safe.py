"""Safe Pocket: Pocket with another tower and projector, one more adapter, and a guard that learned with them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from research.pocket.facts import rebase, tuned_from
from research.pocket.ship_safe import added, ship
from safetensors.torch import load_file, save_file

from holisafe.checkpoints.adapter import ADAPTER_FILE, merge_adapter
from holisafe.checkpoints.tuned import apply_tuned_weights, find_tuned
from holisafe.errors import ModelError
from holisafe.guard import GuardConfig, attach_guard, guard_of, load_guard
from holisafe.models import load
from holisafe.models.pocket import load_pocket, load_safe_pocket
from holisafe.models.pocket._assemble import parts
from holisafe.models.pocket._load import build_safe, checkpoint_folder, pocket_weights, safe_weights
from holisafe.models.registry import registered_guard
from holisafe.tuning import TuneConfig, configure_trainable_parts
from holisafe.tuning._result import learned_parts
from holisafe.tuning._save import save_tuned

CONFIG = TuneConfig(lora_r=2, learning_rates={"vision": None}, precision="float32")
FACTS = replace(CONFIG, method="sft", lora_r=3, lora_alpha=9.0, learning_rates={"vision": None, "projector": None})
TOWER, PROJECTOR = "model.vision_tower._bn1.bias", "model.multi_modal_projector.linear_1.bias"
QUERY = "model.language_model.layers.3.self_attn.q_proj.weight"


def describe(base: Path) -> dict[str, Any]:
    """What `tuned.json` says of a run."""
    loss = {"step": 1, "loss": 1.0}
    return {
        "format": 2,
        "holisafe": "0",
        "base": {"name": str(base), "revision": None, "model_type": "llava", "weights_sha256": None},
        "method": "vgm",
        "recipe": None,
        "settings": CONFIG.to_json(),
        "guard": {"features": "projector"},
        "learned": {},
        "data": {
            "name": str(base.parent / "more"),
            "split": "train",
            "samples": 1,
            "by_combination": {"SSS": 1},
            "sha256": "0",
            "general": None,
            "licences": [],
            "skipped": {},
            "left_out_ids": [],
        },
        "training": {"steps": 1, "drawn": 1, "by_combination": {"SSS": 1}, "processes": 1, "first": loss, "last": loss,
                     "stopped": None},
        "evaluations": [],
        "versions": {},
    }  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the stages leave: `names`, whose tower is another one, `facts`, and `run`, in which the rest learned."""
    place = tmp_path_factory.mktemp("safe")
    (place / "names").mkdir()
    (place / "names" / "names.json").write_text('{"harm": {"steps": 1}, "names": {"epochs": 1}}')
    (place / "facts").mkdir()
    (place / "facts" / "model").symlink_to(checkpoint_folder())
    (place / "facts" / "facts.json").write_text('{"steps": 1}')
    shaken(configure_trainable_parts(load_pocket()[0], FACTS), 2).save_pretrained(place / "facts" / "adapter")
    vision = load_file(pocket_weights() / "vision.safetensors")
    vision[TOWER] = vision[TOWER] + 1
    save_file(vision, place / "names" / "vision.safetensors")
    model, processor = load_pocket()
    attach_guard(model, GuardConfig(features="projector", joint_head=False), processor=processor)
    adapted = shaken(configure_trainable_parts(model, CONFIG), 1)
    told = describe(place / "facts" / "model") | {"learned": learned_parts(adapted, CONFIG)}
    save_tuned(adapted, place / "run" / "tuned", told)
    ship(place / "names", place / "facts", place / "run", place / "safe")
    return place


def shaken(model: Any, seed: int) -> Any:
    """The model with noise on whatever learns, in place."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.add_(torch.randn(weight.shape, generator=generator) * 0.02)
    return model


@pytest.fixture(scope="module")
def built(made: Path) -> Any:
    return build_safe(made / "safe")


def test_its_language_model_has_learned_in_both_stages_and_its_projector_in_the_last(made: Path, built: Any) -> None:
    tuned = find_tuned(made / "run")
    assert tuned is not None
    base, _ = load_pocket()
    before = {name: base.state_dict()[name].clone() for name in (QUERY, PROJECTOR)}
    expected = apply_tuned_weights(merge_adapter(base, made / "facts" / "adapter"), tuned).state_dict()
    found = built.state_dict()
    for name, old in before.items():
        assert not torch.equal(expected[name], old), name
    for name, tensor in expected.items():
        if name != TOWER and tensor.is_floating_point():
            torch.testing.assert_close(found[name], tensor, atol=2e-3, rtol=2e-3, msg=name)


def test_its_tower_is_that_of_the_stages_before(built: Any) -> None:
    base, _ = load_pocket()
    torch.testing.assert_close(built.state_dict()[TOWER], base.state_dict()[TOWER] + 1, atol=2e-3, rtol=2e-3)


def test_its_guard_is_the_runs_and_knows_it_by_name(made: Path, built: Any) -> None:
    values = json.loads((made / "safe" / "guard" / "guard_config.json").read_text())
    assert values["site"]["base_model"].startswith("pocket-safe-")
    assert f"Guard for {values['site']['base_model']}" in (made / "safe" / "guard" / "README.md").read_text()
    load_guard(built, made / "safe" / "guard", any_base=True)
    kept = load_file(made / "run" / "tuned" / "guard" / "guard.safetensors")
    assert all(torch.equal(guard_of(built).state_dict()[name], tensor) for name, tensor in kept.items())


def test_facts_taught_again_take_the_place_of_the_first(made: Path, tmp_path: Path) -> None:
    """The second teaching's folder holds both: its adapter, and the tuned model with another base."""
    tuned, again = tuned_from(made / "facts", made / "run"), tmp_path / "again"
    again.mkdir()
    (again / "model").symlink_to(checkpoint_folder())
    (again / "facts.json").write_text('{"steps": 2}')
    shaken(configure_trainable_parts(load_pocket()[0], FACTS), 3).save_pretrained(again / "adapter")
    rebase(tuned, again / "model", "0", again / "tuned")
    assert tuned_from(again, again).weights == "0"
    ship(made / "names", again, again, tmp_path / "safe")
    first, second = (load_file(safe / "adapter" / ADAPTER_FILE) for safe in (made / "safe", tmp_path / "safe"))
    name = next(name for name in first if ".lora_A." in name)
    rank = FACTS.lora_r
    assert not torch.equal(first[name][:rank], second[name][:rank])
    assert torch.equal(first[name][rank:], second[name][rank:])
    with pytest.raises(SystemExit, match="was tuned from"):
        tuned_from(tmp_path, made / "run")
    with pytest.raises(SystemExit, match=r"holds no tuned\.json"):
        tuned_from(again, made / "names")


def test_an_adapter_of_too_high_a_rank_ships_as_the_nearest_of_a_lower_one(made: Path, tmp_path: Path) -> None:
    """Nearest layer by layer: no other matrix of that rank is (Eckart and Young, 1936)."""
    both, config = added(made / "facts" / "adapter", made / "run" / "tuned" / "adapter", 99)
    fewer, smaller = added(made / "facts" / "adapter", made / "run" / "tuned" / "adapter", 3)
    assert (config["r"], smaller["r"], smaller["lora_alpha"]) == (5, 3, 3.0)
    for down in (name for name in both if ".lora_A." in name):
        up = down.replace(".lora_A.", ".lora_B.")
        whole, part = both[up] @ both[down], fewer[up] @ fewer[down]
        lost = torch.linalg.svdvals(whole.double())[3:].square().sum().sqrt()
        assert fewer[down].shape[0] == 3
        torch.testing.assert_close((whole - part).double().norm(), lost, rtol=1e-3, atol=1e-6)


def named_values(values: Any) -> Iterator[tuple[str, Any]]:
    """Every key with its value, however deep."""
    if isinstance(values, dict):
        for key, value in values.items():
            yield key, value
            yield from named_values(value)
    elif isinstance(values, list):
        for value in values:
            yield from named_values(value)


def test_the_recipe_names_no_folder_of_this_machine(made: Path) -> None:
    text = (made / "safe" / "recipe.json").read_text()
    recipe = json.loads(text)
    assert [recipe[stage] for stage in ("harm", "names", "facts")] == [{"steps": 1}, {"epochs": 1}, {"steps": 1}]
    assert (recipe["tuned"]["base"]["name"], recipe["tuned"]["data"]["name"]) == (checkpoint_folder().name, "more")
    for folder in (made / "safe", safe_weights()):
        for path in folder.rglob("*.json"):
            names = [
                value
                for key, value in named_values(json.loads(path.read_text()))
                if key.endswith(("name", "base_model"))
            ]
            assert not [name for name in names if str(name).startswith(("/", "."))], path


def test_a_run_on_another_model_is_not_shipped(made: Path, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    with pytest.raises(SystemExit, match="was tuned from"):
        ship(made / "names", tmp_path, made / "run", tmp_path / "safe")
    assert not (tmp_path / "safe").exists()


@pytest.mark.parametrize("lost", ["vision.safetensors", "adapter/adapter_model.safetensors"])
def test_a_missing_file_is_named_with_the_remedy(lost: str, made: Path, tmp_path: Path) -> None:
    for name in {"vision.safetensors", "adapter/adapter_model.safetensors", "adapter/adapter_config.json"} - {lost}:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).symlink_to(made / "safe" / name)
    with pytest.raises(ModelError, match=f"{lost}: Safe Pocket's own weights are missing .* install holisafe again"):
        load_safe_pocket(weights=tmp_path)


def test_a_tower_without_a_weight_is_named(made: Path, tmp_path: Path) -> None:
    vision = load_file(made / "safe" / "vision.safetensors")
    del vision[TOWER]
    save_file(vision, tmp_path / "vision.safetensors")
    (tmp_path / "adapter").symlink_to(made / "safe" / "adapter")
    with pytest.raises(ModelError, match=f"{TOWER} is missing"):
        build_safe(tmp_path)


def test_what_we_ship_of_it_is_small() -> None:
    assert 0 < sum(path.stat().st_size for path in safe_weights().rglob("*") if path.is_file()) <= 25 * 2**20


def test_the_general_loader_knows_it_by_name_with_its_guard() -> None:
    loaded = load("pocket-safe", guard="own")
    assert loaded.guard == str(registered_guard("pocket-safe"))
    assert not guard_of(loaded.model).training


def test_it_is_pocket_but_for_what_it_learned() -> None:
    (base, _), (safe, _) = load_pocket(), load_safe_pocket()
    changed = {name for name, tensor in parts(base).items() if not torch.equal(tensor, safe.state_dict()[name])}
    assert {name.split(".")[1] for name in changed} == {"vision_tower", "multi_modal_projector"}
    assert not torch.equal(base.state_dict()[QUERY], safe.state_dict()[QUERY])
    embeddings = "model.language_model.embed_tokens.weight"
    assert torch.equal(base.state_dict()[embeddings], safe.state_dict()[embeddings])


def test_it_still_answers() -> None:
    model, processor = load_safe_pocket()
    content = [{"type": "image"}, {"type": "text", "text": "What is this?"}]
    prompt = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    inputs = processor(text=prompt, images=Image.new("RGB", (64, 64), "red"), return_tensors="pt")
    answer = model.generate(**inputs, max_new_tokens=8, do_sample=False)[0, inputs["input_ids"].shape[1] :]
    assert processor.decode(answer, skip_special_tokens=True).strip()


def test_the_shipped_guard_was_made_for_the_shipped_weights() -> None:
    load_guard(load_safe_pocket()[0], safe_weights() / "guard")  # not by its family alone: also by name
