"""A recipe comes back as it was written, and says what is wrong with one that cannot be used."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import json
import math
from typing import Any

import pytest

from holisafe.errors import TuningError, UnknownNameError
from holisafe.tuning import TuneConfig, _config
from holisafe.tuning._config import PARTS
from holisafe.tuning.methods.vgm import VgmConfig

OTHER = TuneConfig(
    method="meta-token",
    method_args={"image_weight": 0.5},
    lora_target_modules=("q_proj",),
    learning_rates={"vision": None, "guard": 1e-3},
    num_train_epochs=1,
    max_steps=20,
    max_length=2048,
    precision="float32",
    gradient_checkpointing=True,
    cache_features=False,
)


@pytest.mark.parametrize("config", [TuneConfig(), OTHER])
def test_a_recipe_comes_back_as_it_was_written(config: TuneConfig) -> None:
    assert TuneConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


def test_missing_fields_have_their_defaults() -> None:
    assert TuneConfig.from_json({"seed": 3}) == TuneConfig(seed=3)


def test_the_defaults_are_the_published_batch_rank_and_rates() -> None:
    config = TuneConfig()
    assert config.batch_size * config.gradient_accumulation_steps == 128
    assert (config.lora_r, config.lora_alpha, config.num_train_epochs) == (64, 64, 5)
    assert config.method_config == VgmConfig(image_weight=1.0)
    assert set(config.rates.values()) == {5e-5} and len(config.rates) == 4


def test_every_field_says_what_it_is() -> None:
    tree = ast.parse(inspect.getsource(_config))
    body = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "TuneConfig").body
    said = {
        node.target.id
        for node, after in itertools.pairwise(body)
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
    }
    assert said == {field.name for field in dataclasses.fields(TuneConfig)}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"method": "rlhf"}, "unknown tuning method 'rlhf'. Known: dpo, meta-token, mirage"),
        ({"method": ["vgm"]}, "mine.json: method: expected a text"),
        ({"precision": "float16"}, "precision: unknown precision 'float16'. Did you mean bfloat16"),
        ({"precision": 16}, "precision: expected one of float32, bfloat16, found 16"),
        ({"method_args": 1}, "method_args: expected names and values, found 1"),
        ({"method_args": {"image_weight": -1}}, "method_args: image_weight: expected a number at least 0, found -1"),
        ({"method_args": {"image_weight": "1"}}, 'image_weight: expected a number, found "1"'),
        ({"method_args": {"joint_weight": math.nan}}, "joint_weight: expected a number at least 0, found nan"),
        ({"method_args": {"image_weight": math.inf}}, "image_weight: expected a number at least 0, found inf"),
        ({"method_args": {"lambda": 1}}, "unknown field lambda; expected some of image_weight, joint_weight"),
        ({"method": "sft", "method_args": {"lambda": 1}}, "unknown field lambda; the method takes none"),
        ({"lora_r": 0}, "lora_r: expected a number at least 1"),
        ({"lora_r": 8.0}, "lora_r: expected a whole number, found 8.0"),
        ({"lora_r": True}, "lora_r: expected a whole number, found true"),
        ({"lora_alpha": 0}, "lora_alpha: expected a number above 0"),
        ({"lora_dropout": 1}, "lora_dropout: expected a number at least 0 and below 1"),
        ({"lora_target_modules": "q_proj"}, "lora_target_modules: expected a list of names"),
        ({"lora_target_modules": [1]}, "lora_target_modules: expected a list of names"),
        ({"lora_target_modules": []}, "lora_target_modules: found none"),
        ({"learning_rate": 0}, "learning_rate: expected a number above 0"),
        ({"learning_rates": {"vision": 0}}, "learning_rates: vision: expected a number above 0"),
        ({"learning_rates": {"guard": "fast"}}, "learning_rates: guard: expected a number or null"),
        ({"learning_rates": {"tail": 1}}, "learning_rates: expected some of language, projector, vision, guard"),
        ({"num_train_epochs": 0}, "epochs: expected a number above 0"),
        ({"num_train_epochs": None}, "epochs: expected a number, found null"),
        ({"max_steps": 0}, "max_steps: expected a number at least 1"),
        ({"batch_size": 0}, "batch_size: expected a number at least 1"),
        ({"gradient_accumulation_steps": 0}, "gradient_accumulation_steps: expected a number at least 1"),
        ({"warmup_ratio": 1}, "warmup_ratio: expected a number at least 0 and below 1"),
        ({"seed": -1}, "seed: expected a number at least 0"),
        ({"general_share": 1}, "general_share: expected a number at least 0 and below 1"),
        ({"max_length": 0}, "max_length: expected a number at least 1"),
        ({"gradient_checkpointing": 1}, "checkpointing: expected true or false, found 1"),
        ({"cache_features": None}, "cache_features: expected true or false, found null"),
        ({"rank": 8}, "unknown field rank; expected some of method, method_args"),
        ([], r"mine.json: expected a JSON object, found \[\]"),
        ({"learning_rates": dict.fromkeys(PARTS)}, "nothing learns"),
        (
            {"method": "sft", "learning_rates": dict.fromkeys(("language", "projector", "vision"))},
            "nothing learns: .*sft has no guard",
        ),
    ],
)
def test_a_recipe_that_cannot_be_used_is_refused_by_field(values: Any, message: str) -> None:
    with pytest.raises((TuningError, UnknownNameError), match=message):
        TuneConfig.from_json(values, "mine.json")
