"""From a model and data to a tuned model on the disk: what is learned from, what is kept, what is refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import tiny_models
from holisafe.datasets.export import export_parquet
from holisafe.errors import ModelError, TuningError
from holisafe.guard import GuardConfig, attach_guard, guard_of, save_guard
from holisafe.models import ModelSpec, load
from holisafe.records import ImageRef, Sample
from holisafe.tuning import Bounds, Collator, Tuned, plan, tune
from holisafe.tuning._samples import find_unfit
from tuning.data import loss_of, picture, sample, with_rates
from tuning.tiny_run import SETTINGS, general, safety, write_data, write_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def tuned(model: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Tuned:
    return run(model, data, tmp_path_factory.mktemp("tuned"))


FROZEN_GUARD = {**SETTINGS.learning_rates, "guard": None}


def run(model: Path, data: Any, out: Path, device: str = "cpu", **changes: Any) -> Tuned:
    config = replace(SETTINGS, **changes.pop("settings", {}))
    given = {"save_steps": 2, "logging_steps": 1, **changes}
    return tune(ModelSpec(str(model), device=device), data, out, config, **given)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return {f"{p.name}:{n}": t for p in sorted(folder.rglob("*.safetensors")) for n, t in load_file(p).items()}


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def assert_same(one: Path, other: Path) -> None:
    found, expected = weights(one), weights(other)
    assert found.keys() == expected.keys() and found
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_the_folder_holds_the_documented_files(tuned: Tuned) -> None:
    out = tuned.folder.parent
    inside = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file() and "checkpoint" not in str(path)}
    assert inside == {
        ".lock",
        "log.jsonl",
        "recipe.json",
        "tune.json",
        "tuned/README.md",
        "tuned/adapter/adapter_config.json",
        "tuned/adapter/adapter_model.safetensors",
        "tuned/guard/README.md",
        "tuned/guard/guard.safetensors",
        "tuned/guard/guard_config.json",
        "tuned/learned_images.txt",
        "tuned/parts.safetensors",
        "tuned/tuned.json",
    }


def test_the_loaded_model_computes_what_the_trained_one_did(model: Path, tuned: Tuned) -> None:
    both = safety(4)
    loaded = load(str(tuned.folder.parent), device="cpu", guard="own")
    batch = Collator(loaded.processor, GuardConfig())(both)
    with torch.no_grad():
        after = loss_of(loaded.model, batch).means
    base = load(str(model), device="cpu")
    torch.manual_seed(0)
    attach_guard(base.model)
    with torch.no_grad():
        before = loss_of(base.model.eval(), batch).means
    last = tuned.description["training"]["last"]
    assert {f"loss_{name}" for name in after} < last.keys()
    assert all(after[name] < before[name] for name in ("answer", "image"))


def test_the_log_has_what_is_learned_from_and_every_step(tuned: Tuned) -> None:
    first, *rows = lines(tuned.folder.parent)
    assert first == {
        "samples": {"SSS": 8, "SSU": 0, "USU": 8, "UUU": 0, "SUU": 0},
        "guard": "new",
        "broken": 0,
        "skipped": [],
    }
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert all({"loss", "loss_answer", "loss_image", "learning_rate"} <= row.keys() for row in rows)


def test_the_card_is_written_from_the_run(tuned: Tuned, model: Path, data: Path) -> None:
    card = (tuned.folder / "README.md").read_text()
    description = json.loads((tuned.folder / "tuned.json").read_text())
    assert f"# {model.name}, tuned for safety" in card and str(model.parent) not in card
    assert description["data"]["sha256"] in card and "6 samples (SSS 3, SSU 0, USU 3, UUU 0, SUU 0)" in card
    assert "4 optimizer steps; seed 0" in card
    assert "Drawn for the whole run: 16 samples (SSS 8, SSU 0, USU 8, UUU 0, SUU 0)." in card
    assert f"{description['training']['last']['loss']:.4g}" in card
    assert "The data hold no samples of SSU, UUU, SUU." in card and "Not evaluated" in card
    assert "`learning_rates`: {'language': 0.003," in card and "Not known here: check that of" in card


def test_a_second_call_finds_it_done(tuned: Tuned, model: Path, data: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in tuned.folder.rglob("*")}
    again = run(model, data, tuned.folder.parent)
    assert again.was_there and again.description == json.loads((tuned.folder / "tuned.json").read_text())
    assert {path: path.stat().st_mtime_ns for path in tuned.folder.rglob("*")} == before


def test_killed_between_last_checkpoint_and_result_it_only_writes_the_result(
    tuned: Tuned, model: Path, data: Path, tmp_path: Path
) -> None:
    shutil.copytree(tuned.folder.parent, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "tuned")
    (tmp_path / "run" / "tuned.unfinished").mkdir()
    made = run(model, data, tmp_path / "run")
    assert not made.was_there
    assert_same(made.folder, tuned.folder)
    assert made.description["training"] == tuned.description["training"]
    assert lines(tmp_path / "run") == lines(tuned.folder.parent)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"settings": {"lora_r": 4, "seed": 1}}, r"settings.lora_r is 2 there, 4 now; settings.seed is 0"),
        ({"guard": GuardConfig.paper()}, r"guard.joint_head is true there, false now"),
        ({"split": "calibration"}, r"data_sha256 is"),
    ],
)
def test_another_recipe_in_the_same_folder_is_refused(
    tuned: Tuned, model: Path, data: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(TuningError, match=f"holds another run: {message}.*another --out"):
        run(model, data, tuned.folder.parent, **changes)


def test_a_base_that_was_changed_is_refused(tuned: Tuned, model: Path, data: Path, tmp_path: Path) -> None:
    shutil.copytree(tuned.folder.parent, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "tuned")
    request = json.loads((tmp_path / "run" / "tune.json").read_text())
    (tmp_path / "run" / "tune.json").write_text(json.dumps({**request, "weights_sha256": "0" * 64}))
    with pytest.raises(TuningError, match="the base model's weights were changed"):
        run(model, data, tmp_path / "run")


def test_a_folder_of_something_else_is_left_alone(model: Path, data: Path) -> None:
    with pytest.raises(TuningError, match=r"holds config.json but no tune.json"):
        run(model, data, model)


def test_sft_has_no_guard_and_meta_token_has_its_token(model: Path, data: Path, tmp_path: Path) -> None:
    plain = run(model, data, tmp_path / "sft", settings={"method": "sft", "max_steps": 1})
    assert not (plain.folder / "guard").exists() and plain.description["guard"] is None
    token = run(model, data, tmp_path / "token", settings={"method": "meta-token", "max_steps": 1})
    assert token.description["guard"]["meta_token"] is True
    assert load(str(token.folder), device="cpu", guard="own").guard == str(token.folder / "guard")


def test_parts_that_rest_are_not_saved(model: Path, data: Path, tmp_path: Path) -> None:
    rates = {"learning_rates": {"language": None, "vision": None, "projector": None, "guard": 1e-2}}
    made = run(model, data, tmp_path, settings={**rates, "max_steps": 1})
    assert set(made.description["learned"]) == {"guard"}
    assert {path.name for path in made.folder.iterdir()} == {"README.md", "guard", "learned_images.txt", "tuned.json"}


def test_general_data_come_in_their_share(model: Path, data: Path, tmp_path: Path) -> None:
    export_parquet(general(), tmp_path / "general", "train")
    planned = plan(
        model,
        data,
        replace(SETTINGS, general_share=0.25, max_steps=None, num_train_epochs=2),
        general=tmp_path / "general",
    )
    assert planned.by_combination == {"SSS": 6, "SSU": 0, "USU": 6, "UUU": 0, "SUU": 0, "general": 4}
    assert planned.steps == 4


def test_general_data_without_a_share_are_refused(model: Path, data: Path) -> None:
    with pytest.raises(TuningError, match="there are general data, but general_share is 0"):
        plan(model, data, SETTINGS, general=general())


def test_a_plan_counts_what_learns_and_writes_nothing(model: Path, data: Path, tuned: Tuned) -> None:
    before = sorted(data.parent.rglob("*"))
    planned = plan(model, data, SETTINGS)
    assert sorted(data.parent.rglob("*")) == before
    assert planned.learned == tuned.description["learned"]
    assert planned.learned["language"]["learning_rate"] == 3e-3 and planned.steps == 4
    assert planned.parameters > sum(part["parameters"] for part in planned.learned.values())


def test_images_shared_with_another_split_are_refused(model: Path, tmp_path: Path) -> None:
    export_parquet(safety(), tmp_path, "train")
    export_parquet(
        [replace(safety()[3], id="other").with_query("else?"), *safety(2, first=20)], tmp_path, "calibration"
    )
    with pytest.raises(TuningError, match=r"sample s3: its image .* is in the split calibration"):
        plan(model, tmp_path, SETTINGS)


def test_what_is_for_measuring_is_learned_from_only_where_it_is_named(model: Path, tmp_path: Path) -> None:
    export_parquet(safety(), tmp_path, "training")
    export_parquet(safety(2, first=20), tmp_path, "test")
    with pytest.raises(TuningError, match="has no split 'train', and 'test' is for measuring or calibrating"):
        plan(model, tmp_path, SETTINGS)
    assert plan(model, tmp_path, SETTINGS, split="training").by_combination["SSS"] == 8
    (tmp_path / "test.parquet").rename(tmp_path / "more.parquet")
    assert (
        sum(plan(model, tmp_path, replace(SETTINGS, max_steps=None, num_train_epochs=1.0)).by_combination.values()) == 8
    )


def test_general_data_are_held_against_the_other_splits_too(model: Path, data: Path) -> None:
    shared = general()[0].with_images(safety(1, first=20)[0].images)
    with pytest.raises(TuningError, match=r"sample g0: .* split calibration"):
        plan(model, data, replace(SETTINGS, general_share=0.2), general=[shared])


def broken(name: str = "broken") -> Sample:
    whole = picture("green").data
    assert whole is not None
    return sample(name, images=(ImageRef("cut.png", data=whole[:60]),))


def test_what_is_too_long_or_cannot_be_opened_is_left_out_and_named(model: Path, tmp_path: Path) -> None:
    odd = [sample("long", reference="no " * 100), broken()]
    made = run(model, [*safety(), *odd], tmp_path, settings={"max_steps": 1, "max_length": 120})
    first = lines(tmp_path)[0]
    found = {each["id"]: (each["reason"], each["why"]) for each in first["skipped"]}
    assert found["long"][0] == "length" and "at most 120" in found["long"][1]
    assert found["broken"][0] == "image" and "cut.png" in found["broken"][1] and len(found) == 2
    assert made.description["data"]["skipped"] == {"broken": 0, "image": 1, "length": 1}
    card = (made.folder / "README.md").read_text()
    assert "1 with images that cannot be opened or taken in, 1 longer than the limit" in card


@pytest.mark.parametrize("family", tiny_models.FAMILIES)
def test_lengths_are_those_of_the_collator(family: str) -> None:
    processor = tiny_models.FAMILIES[family]().processor
    samples = [sample("a", reference="no"), sample("b", reference="no, ümläut", images=(picture("red", (90, 40)),))]
    collate = Collator(processor)
    lengths = [collate([each])["input_ids"].shape[1] for each in samples]
    for each, length in zip(samples, lengths, strict=True):
        assert find_unfit([each], collate, length) == []
        (found,) = find_unfit([each], collate, length - 1)
        assert found.why.startswith(f"{length} tokens")
        (found,) = find_unfit([each], collate, length + 1, extra=2)
        assert found.why.startswith(f"{length + 2} tokens")


def test_a_shape_that_the_processor_refuses_is_left_out() -> None:
    collate = Collator(tiny_models.qwen2_5_vl().processor)
    (found,) = find_unfit([sample("thin", images=(picture("red", (900, 1)),))], collate, None)
    assert (found.id, found.reason) == ("thin", "image") and "aspect ratio" in found.why


def test_samples_that_are_all_too_long_are_refused(model: Path, data: Path, tmp_path: Path) -> None:
    with pytest.raises(TuningError, match=r"none of the 6 samples can be learned from; the first, s0: .* at most 20"):
        run(model, data, tmp_path, settings={"max_length": 20})
    assert not (tmp_path / "tune.json").exists()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "no samples to learn from"),
        (safety()[::2], "hold USU alone"),
        ([replace(safety()[0], image_labels=()), *safety()[1:]], "sample s0: image_labels: found none"),
        ([replace(safety()[0], reference=None), *safety()[1:]], "sample s0: reference: found none"),
    ],
)
def test_data_that_cannot_be_learned_from_are_refused(
    model: Path, tmp_path: Path, data: list[Sample], message: str
) -> None:
    with pytest.raises(TuningError, match=message):
        run(model, data, tmp_path)


def test_a_device_that_is_not_there_is_refused(model: Path, data: Path, tmp_path: Path) -> None:
    with pytest.raises(TuningError, match="expected cpu or cuda, found 'cuda:1'"):
        run(model, data, tmp_path, device="cuda:1")
    with pytest.raises(ModelError, match="device 'tpu' is not known"):
        run(model, data, tmp_path, device="tpu")


@pytest.mark.parametrize("option", [{"device_map": "auto"}, {"quantization": "4bit"}, {"guard": "own"}])
def test_a_spec_with_what_tuning_decides_itself_is_refused(model: Path, data: Path, option: dict[str, Any]) -> None:
    with pytest.raises(TuningError, match=f"leave {next(iter(option))} out of the ModelSpec"):
        plan(ModelSpec(str(model), **option), data, SETTINGS)


def test_a_guard_with_a_meta_token_needs_its_method(model: Path, data: Path) -> None:
    with pytest.raises(TuningError, match='use method="meta-token"'):
        plan(model, data, SETTINGS, guard=GuardConfig(meta_token=True))


@pytest.fixture(scope="module")
def twice(tuned: Tuned, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Tuned:
    """Tuned once more, its guard at rest."""
    return run(
        tuned.folder,
        data,
        tmp_path_factory.mktemp("twice"),
        settings={"max_steps": 1, "learning_rates": FROZEN_GUARD},
    )


def test_a_tuned_model_can_be_tuned_again_and_so_can_its_guard(
    tuned: Tuned, twice: Tuned, data: Path, tmp_path: Path
) -> None:
    assert (tuned.description["guard_began"], twice.description["guard_began"]) == ("new", "own")
    before, kept = (load_file(each.folder / "guard" / "guard.safetensors") for each in (tuned, twice))
    assert before.keys() == kept.keys() and all(torch.equal(kept[name], each) for name, each in before.items())
    assert "The guard began as the one that came with the model." in (twice.folder / "README.md").read_text()
    loaded = load(str(twice.folder), device="cpu", guard="own")
    save_guard(loaded.model, tmp_path / "guard")
    again = load_file(tmp_path / "guard" / "guard.safetensors")
    assert all(torch.equal(again[name], each) for name, each in kept.items())


def test_a_guard_of_other_parts_is_a_new_one(tuned: Tuned, data: Path, tmp_path: Path) -> None:
    settings = {"max_steps": 1}
    other = run(tuned.folder, data, tmp_path / "run", settings=settings, guard=GuardConfig(joint_head=False))
    assert other.description["guard_began"] == "new"
    with pytest.raises(TuningError, match=r"the guard is new \(that of the model has other parts\)"):
        run(
            tuned.folder,
            data,
            tmp_path,
            settings={"learning_rates": FROZEN_GUARD},
            guard=GuardConfig(joint_head=False),
        )


def test_a_guard_that_was_changed_since_the_run_began_is_refused(tuned: Tuned, data: Path, tmp_path: Path) -> None:
    shutil.copytree(tuned.folder.parent, tmp_path / "once")
    run(tmp_path / "once", data, tmp_path / "twice", settings={"max_steps": 1})
    shutil.rmtree(tmp_path / "twice" / "tuned")
    other = load(str(tmp_path / "once"), device="cpu", guard="own").model
    with torch.no_grad():
        next(guard_of(other).parameters()).add_(1.0)
    save_guard(other, tmp_path / "once" / "tuned" / "guard")
    with pytest.raises(TuningError, match="the base model's guard's weights were changed since the run in"):
        run(tmp_path / "once", data, tmp_path / "twice", settings={"max_steps": 1})


def test_a_new_guard_has_to_learn(model: Path, data: Path) -> None:
    with pytest.raises(TuningError, match=r"the guard is new \(the model was not tuned with one\)"):
        plan(model, data, with_rates(SETTINGS, guard=None))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_model_tuned_twice_knows_its_base_again(twice: Tuned, dtype: str) -> None:
    assert load(str(twice.folder), device="cpu", dtype=dtype).model.dtype == getattr(torch, dtype)


def test_a_model_tuned_twice_is_refused_on_a_changed_base(tuned: Tuned, data: Path, tmp_path: Path) -> None:
    shutil.copytree(tuned.folder.parent, tmp_path / "once")
    twice = run(tmp_path / "once", data, tmp_path / "twice", settings={"max_steps": 1})
    path = tmp_path / "once" / "tuned" / "adapter" / "adapter_model.safetensors"
    save_file({name: each + 1 for name, each in load_file(path).items()}, path)
    with pytest.raises(ModelError, match="not the file that was saved"):
        load(str(twice.folder), device="cpu")


def test_a_bound_that_is_passed_before_there_is_a_checkpoint_is_said(model: Path, data: Path, tmp_path: Path) -> None:
    wild = {"learning_rates": {**SETTINGS.learning_rates, "language": 30.0}, "max_steps": 3}
    bounds = Bounds(utility_drop=0.01)
    with pytest.raises(TuningError, match=r"stopped at step \d: the utility has fallen .* no checkpoint is within"):
        run(model, data, tmp_path, settings=wild, save_steps=100, eval_steps=2, bounds=bounds)
