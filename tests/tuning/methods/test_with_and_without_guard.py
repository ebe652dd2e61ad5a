"""Methods that learn with a guard and without: who decides, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmarks.more_releases import spa_vl_rows, write_spa_vl
from guard.prompts import tiny
from holisafe.cli import app
from holisafe.errors import TuningError
from holisafe.guard import GuardConfig
from holisafe.models import ModelSpec
from holisafe.tuning import TuneConfig, configure_trainable_parts, plan
from holisafe.tuning._ready import guard_for, make_ready
from holisafe.tuning._samples import TrainingData, read_training
from tiny_models import save
from tuning.data import in_pairs, mixed, sample

BOTH = ("dpo", "vlguard", "mirage")
PARTS = GuardConfig(joint_head=False)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("model")
    save(tiny("llava"), folder)
    yield folder


@pytest.mark.parametrize("method", BOTH)
def test_a_guard_learns_where_it_is_asked_for(method: str, model: Path) -> None:
    config = TuneConfig(method=method)
    assert guard_for(config, None, str(model)) is None
    assert guard_for(config, False, str(model)) is None
    assert guard_for(config, True, str(model)) == GuardConfig()
    assert guard_for(config, PARTS, str(model)) == PARTS
    with pytest.raises(TuningError, match="has a meta token, which method="):
        guard_for(config, GuardConfig(meta_token=True), str(model))


@pytest.mark.parametrize(("method", "wanted", "message"), [("vgm", False, "without a"), ("sft", True, "no guard")])
def test_a_method_that_does_not_do_so_says_it(method: str, wanted: bool, message: str, model: Path) -> None:
    with pytest.raises(TuningError, match=f'method="{method}".*{message}'):
        guard_for(TuneConfig(method=method), wanted, str(model))


def test_the_guard_is_among_what_learns(model: Path) -> None:
    config = replace(TuneConfig(method="dpo"), max_steps=1, batch_size=2, gradient_accumulation_steps=1)
    samples = in_pairs(mixed())
    assert "guard" not in plan(model, samples, config).learned
    assert "guard" in plan(model, samples, config, guard=True).learned
    with pytest.raises(TuningError, match="image_labels: found none"):
        plan(model, [replace(each, image_labels=()) for each in samples], config, guard=True)


def test_without_a_guard_something_else_has_to_learn() -> None:
    config = TuneConfig(method="vlguard", learning_rates={"language": None, "projector": None, "vision": None})
    with pytest.raises(TuningError, match="nothing learns"):
        configure_trainable_parts(tiny("llava").model, config)


def test_the_command_has_an_option_for_it(model: Path, tmp_path: Path) -> None:
    (tmp_path / "pairs.jsonl").write_text('{"prompt": "hi", "chosen": "Hello.", "rejected": "Go away."}\n')
    words = ["tune", str(model), "--data", str(tmp_path / "pairs.jsonl"), "--method", "dpo", "--dry-run", "--json"]
    told = CliRunner().invoke(app, words)
    assert told.exit_code == 0, told.output
    planned = json.loads(told.stdout)
    assert set(planned["learned"]) == {"language", "projector", "vision"}
    assert planned["by_combination"]["other"] == 5 and planned["settings"]["method"] == "dpo"
    told = CliRunner().invoke(app, [*words, "--guard-head"])
    assert "guard" in json.loads(told.stdout)["learned"]
    told = CliRunner().invoke(app, ["tune", str(model), "--method", "sft", "--guard-head", "--dry-run"])
    assert told.exit_code == 2


def test_the_help_names_every_method() -> None:
    told = CliRunner().invoke(app, ["tune", "--help"])
    assert all(f"{method}:" in told.stdout for method in BOTH)


def test_spa_vls_pairs_are_read_with_what_is_broken(tmp_path: Path) -> None:
    rows = spa_vl_rows("train", 4)
    rows[1]["rejected"] = rows[1]["chosen"]
    place = write_spa_vl(tmp_path, {"train": rows})
    found = read_training(f"spa-vl:{place}", None, None, None, TuneConfig(method="dpo"))
    assert (found.split, found.broken, len(found.samples)) == ("train", 1, 3)
    assert {(each.reference, each.rejected, each.combination) for each in found.samples} == {
        ("It is red.", "Blue.", None)
    }


@pytest.mark.parametrize("change", [{"twin_share": 0.5}, {"safe_weight": 2.0}])
def test_settings_of_the_balance_are_refused_where_there_is_none(change: dict[str, float], model: Path) -> None:
    config = TuneConfig(method="vlguard", max_steps=1, **change)  # type: ignore[arg-type]
    with pytest.raises(TuningError, match=f'{next(iter(change))}: method="vlguard" draws all samples equally often'):
        make_ready(ModelSpec(str(model)), TrainingData((sample("a"), sample("b"))), config, None, [])
