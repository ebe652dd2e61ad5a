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

from holisafe.errors import TuningError
from holisafe.tuning import TuneConfig, _config

OTHER = TuneConfig(
    method="meta-token",
    image_weight=0.5,
    lora_targets=("q_proj",),
    vision_rate=None,
    epochs=1,
    steps=20,
    max_tokens=2048,
    precision="float32",
    checkpointing=True,
    cache_features=False,
)


@pytest.mark.parametrize("config", [TuneConfig(), OTHER])
def test_a_recipe_comes_back_as_it_was_written(config: TuneConfig) -> None:
    assert TuneConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


def test_missing_fields_have_their_defaults() -> None:
    assert TuneConfig.from_json({"seed": 3}) == TuneConfig(seed=3)


def test_the_defaults_are_the_published_batch_rank_and_rates() -> None:
    config = TuneConfig()
    assert config.batch * config.accumulation == 128
    assert (config.lora_rank, config.lora_alpha, config.epochs, config.image_weight) == (64, 64, 5, 1)
    assert {config.language_rate, config.projector_rate, config.vision_rate, config.guard_rate} == {5e-5}


def test_every_field_says_what_it_is() -> None:
    tree = ast.parse(inspect.getsource(_config))
    body = next(node for node in tree.body if isinstance(node, ast.ClassDef)).body
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
        ({"method": "rlhf"}, 'mine.json: method: expected one of vgm, meta-token, sft, found "rlhf"'),
        ({"method": ["vgm"]}, "method: expected one of"),
        ({"precision": "float16"}, "precision: expected one of float32, bfloat16"),
        ({"image_weight": -1}, "image_weight: expected a number at least 0, found -1"),
        ({"image_weight": "1"}, 'image_weight: expected a number, found "1"'),
        ({"joint_weight": math.nan}, "joint_weight: expected a number at least 0, found nan"),
        ({"image_weight": math.inf}, "image_weight: expected a number at least 0, found inf"),
        ({"lora_rank": 0}, "lora_rank: expected a number at least 1"),
        ({"lora_rank": 8.0}, "lora_rank: expected a whole number, found 8.0"),
        ({"lora_rank": True}, "lora_rank: expected a whole number, found true"),
        ({"lora_alpha": 0}, "lora_alpha: expected a number above 0"),
        ({"lora_dropout": 1}, "lora_dropout: expected a number at least 0 and below 1"),
        ({"lora_targets": "q_proj"}, "lora_targets: expected a list of names"),
        ({"lora_targets": [1]}, "lora_targets: expected a list of names"),
        ({"lora_targets": []}, "lora_targets: found none"),
        ({"vision_rate": 0}, "vision_rate: expected a number above 0"),
        ({"guard_rate": "fast"}, "guard_rate: expected a number or null"),
        ({"epochs": 0}, "epochs: expected a number above 0"),
        ({"epochs": None}, "epochs: expected a number, found null"),
        ({"steps": 0}, "steps: expected a number at least 1"),
        ({"batch": 0}, "batch: expected a number at least 1"),
        ({"accumulation": 0}, "accumulation: expected a number at least 1"),
        ({"warmup": 1}, "warmup: expected a number at least 0 and below 1"),
        ({"seed": -1}, "seed: expected a number at least 0"),
        ({"general_share": 1}, "general_share: expected a number at least 0 and below 1"),
        ({"max_tokens": 0}, "max_tokens: expected a number at least 1"),
        ({"checkpointing": 1}, "checkpointing: expected true or false, found 1"),
        ({"cache_features": None}, "cache_features: expected true or false, found null"),
        ({"rank": 8}, "unknown field rank; expected some of method, image_weight"),
        ([], r"mine.json: expected a JSON object, found \[\]"),
        (dict.fromkeys(("language_rate", "projector_rate", "vision_rate", "guard_rate")), "nothing learns"),
        (
            {"method": "sft", **dict.fromkeys(("language_rate", "projector_rate", "vision_rate"))},
            'nothing learns: method="sft"',
        ),
    ],
)
def test_a_recipe_that_cannot_be_used_is_refused_by_field(values: Any, message: str) -> None:
    with pytest.raises(TuningError, match=message):
        TuneConfig.from_json(values, "mine.json")
