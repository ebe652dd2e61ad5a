"""Shipped recipes: what they say is published, and that the models they are for learn by them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from guard.prompts import tiny
from holisafe.errors import TuningError
from holisafe.guard import GuardConfig, attach_guard
from holisafe.guard._released import RELEASED
from holisafe.guard.attach import base_model
from holisafe.tuning import GuardedTrainer, TuneConfig, plan
from holisafe.tuning._config import PARTS
from holisafe.tuning._parts import _by_part
from holisafe.tuning._recipes import Recipe, read_recipe, recipe_names
from tiny_models import save
from tuning.data import in_pairs, picture, sample
from tuning.train_tiny import samples

FAMILY_OF = {
    "gemma-3-12b": "gemma3",
    "gemma-3-27b": "gemma3",
    "llava-1.5-13b": "llava",
    "llava-1.5-7b": "llava",
    "qwen2.5-vl-32b": "qwen2_5_vl",
    "qwen2.5-vl-7b": "qwen2_5_vl",
}


OF_METHODS = {
    "dpo-llava-1.5-7b": "llava",
    "mirage-qwen2.5-vl-7b": "qwen2_5_vl",
    "vlguard-mixed-llava-1.5-7b": "llava",
    "vlguard-post-hoc-llava-1.5-7b": "llava",
}
"""Recipes of other methods, without a guard."""

SIZES = sorted(FAMILY_OF)
"""Recipes of the released checkpoints' sizes; Pocket's own is "pocket-safe"."""


@pytest.mark.parametrize("name", recipe_names())
def test_a_step_of_a_recipe_moves_the_parts_that_learn_and_no_others(name: str, tmp_path: Path) -> None:
    recipe = read_recipe(name)
    made = tiny({**FAMILY_OF, **OF_METHODS}.get(name, "llava"))
    torch.manual_seed(0)
    if recipe.config.method_part.has_guard:
        attach_guard(made.model, recipe.guard, processor=made.processor)
    # one step has no warm-up: its rate would be 0
    small = replace(recipe.config, batch_size=2, gradient_accumulation_steps=1, warmup_ratio=0.0)
    pairs = in_pairs(samples(2))
    run = GuardedTrainer(made.model, made.processor, small, pairs, tmp_path, logging_steps=1, use_cpu=True)
    base = base_model(run.model)
    before = {id(weight): weight.detach().clone() for weight in base.parameters()}
    run.tune()
    moved = {part for part, weight in _by_part(base) if not torch.equal(before[id(weight)], weight)}
    has_guard = recipe.config.method_part.has_guard
    assert moved == set(recipe.config.rates) - (set() if has_guard else {"guard"})
    assert moved == set(PARTS) - ({"vision"} if name not in FAMILY_OF else set()) - (set() if has_guard else {"guard"})
    for weight_name, weight in base.named_parameters():
        assert weight.requires_grad or torch.equal(before[id(weight)], weight), weight_name
    learned = {"loss_preference"} if recipe.config.method == "dpo" else {"loss_answer"}
    assert learned | ({"loss_image"} if has_guard else set()) <= run.state.log_history[0].keys()


@pytest.mark.parametrize("name", OF_METHODS)
def test_a_dry_run_of_a_methods_recipe_draws_what_it_says(name: str, tmp_path: Path) -> None:
    save(tiny(OF_METHODS[name]), tmp_path)
    config = replace(read_recipe(name).config, batch_size=2, gradient_accumulation_steps=2, max_steps=9)
    two = {"images": (picture("red"), picture("blue")), "image_labels": ()}
    general = [sample("general", combination=None, category=None)] if config.general_share else None
    found = plan(tmp_path, in_pairs([sample("a", **two), sample("b", **two)]), config, general=general)
    shares = {"dpo": 0, "mirage": 4, "vlguard": 36 if config.general_share else 0}
    assert found.by_combination.get("general", 0) == shares[config.method]
    assert sum(found.by_combination.values()) == 36 and found.steps == 9
    assert set(found.learned) == {"language", "projector"}


def test_there_is_a_recipe_for_each_released_checkpoint() -> None:
    assert recipe_names() == sorted([*FAMILY_OF, *OF_METHODS, "pocket-safe"])
    assert len(RELEASED) == len(FAMILY_OF)
    for each in RELEASED:
        size = each.name.rpartition("-")[2].lower()
        name = next(name for name, family in FAMILY_OF.items() if family == each.model_type and name.endswith(size))
        recipe = read_recipe(name)
        assert each.name in recipe.about
        assert size in recipe.model.lower().split("-")


def names(above: str, values: dict[str, Any]) -> list[str]:
    """The dotted name of every value."""
    found = [
        names(f"{above}.{key}", each) if isinstance(each, dict) else [f"{above}.{key}"] for key, each in values.items()
    ]
    return [name for each in found for name in each]


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_says_of_every_value_where_it_is_from(name: str) -> None:
    recipe = read_recipe(name)
    file = json.loads((_folder() / f"{name}.json").read_text())
    stated = [name for part in ("settings", "guard") for name in names(part, file.get(part, {}))]
    assert list(recipe.source) == stated
    kinds = {text.partition(":")[0].split()[0] for text in recipe.source.values()}
    assert kinds - {"inferred"} == {"published", "ours"}
    assert "inferred" in kinds or name == "mirage-qwen2.5-vl-7b"  # of which next to nothing is published


@pytest.mark.parametrize("name", SIZES)
def test_the_published_numbers_are_in_every_recipe(name: str) -> None:
    recipe = read_recipe(name)
    config, features = recipe.config, "projector" if "gemma" in name else "language"
    assert config.batch_size * config.gradient_accumulation_steps == 128
    assert (config.method, config.lora_r, config.lora_alpha, config.num_train_epochs) == ("vgm", 64, 64, 5)
    assert set(config.rates.values()) == {5e-5}
    assert recipe.guard == GuardConfig.paper(features=features)


@pytest.mark.parametrize("name", SIZES)
def test_only_the_numbers_of_the_qwen_recipes_are_called_published(name: str) -> None:
    kinds = {key: text.split()[0].rstrip(":") for key, text in read_recipe(name).source.items()}
    expected = "published" if name.startswith("qwen") else "ours"
    for key in (
        "lora_r",
        "lora_alpha",
        "learning_rates.language",
        "learning_rates.guard",
        "num_train_epochs",
        "gradient_accumulation_steps",
    ):
        assert kinds[f"settings.{key}"] == expected
    for key in (
        "lora_dropout",
        "lora_target_modules",
        "batch_size",
        "warmup_ratio",
        "weight_decay",
        "max_grad_norm",
        "general_share",
    ):
        assert kinds[f"settings.{key}"] == "ours"


def test_the_heads_have_the_published_number_of_weights() -> None:
    guard = read_recipe("qwen2.5-vl-7b").guard
    assert guard is not None
    assert guard.head_parameters(3584) == 6_460_180


def test_a_file_of_ones_own_is_read(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    values: dict[str, Any] = {"about": "α", "settings": {"num_train_epochs": 1}, "guard": {"pooling": "attention"}}
    path.write_text(json.dumps(values))
    expected = Recipe(TuneConfig(num_train_epochs=1), GuardConfig(pooling="attention"), "α")
    assert read_recipe(path) == read_recipe(str(path)) == expected


def test_what_a_file_leaves_out_has_its_default(tmp_path: Path) -> None:
    path = tmp_path / "empty.json"
    path.write_text("{}")
    assert read_recipe(path) == Recipe(TuneConfig())


def test_an_unknown_recipe_lists_the_known_ones() -> None:
    with pytest.raises(
        TuningError, match=r"unknown recipe 'llava'; expected one of gemma-3-12b, .*, qwen2.5-vl-7b, or"
    ):
        read_recipe("llava")


@pytest.mark.parametrize("name", ["", ".", "\0"])
def test_what_is_no_file_is_refused(name: str) -> None:
    with pytest.raises(TuningError, match="recipe"):
        read_recipe(name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "mine.json: expected JSON"),
        ("", "mine.json: expected JSON"),
        ("\xff", "mine.json: expected JSON"),
        ("[" * 100_000, "mine.json: expected JSON"),
        ("[]", r"mine.json: expected a JSON object, found \[\]"),
        ('{"setings": {}}', "unknown field setings; expected some of about, model, source, settings, guard"),
        ('{"settings": {"rank": 3}}', "mine.json: settings: unknown field rank"),
        ('{"settings": {"num_train_epochs": NaN}}', "mine.json: settings: num_train_epochs: expected a number above 0"),
        ('{"settings": []}', "mine.json: settings: expected a JSON object"),
        ('{"guard": {"depths": 3}}', "mine.json: guard: unknown field depths"),
        ('{"guard": {"depth": "3"}}', 'mine.json: guard: depth: found "3"'),
        ('{"guard": {"depth": 0}}', "mine.json: guard: depth: expected at least 1"),
        ('{"guard": true}', "mine.json: guard: expected a JSON object or null, found true"),
        ('{"about": 3}', "mine.json: about: expected a text, found 3"),
        ('{"source": {"settings.epochs": 1}}', "mine.json: source: expected a JSON object of texts"),
        ('{"settings": {"method": "sft"}, "guard": {}}', 'guard: method="sft" has no guard'),
        ('{"guard": {"meta_token": true}}', 'guard: method="vgm": the guard has a meta token'),
        ('{"settings": {"method": "meta-token"}, "guard": {}}', "the guard has no meta token"),
    ],
)
def test_a_file_that_is_no_recipe_says_where(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mine.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(TuningError, match=message):
        read_recipe(path)


def _folder() -> Path:
    from holisafe import tuning

    return Path(tuning.__file__).parent / "recipes"
