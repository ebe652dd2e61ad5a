"""Saving a guard and loading it again."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import dispatch_model
from peft import LoraConfig, get_peft_model
from PIL import Image
from safetensors.torch import load, save_file
from torch import nn
from transformers import LlavaForConditionalGeneration, Trainer, TrainingArguments

import tiny_models
from holisafe import GuardConfig, attach_guard, detach_guard, guarded_generate
from holisafe.errors import GuardError
from holisafe.guard import (
    Calibration,
    add_meta_tokens,
    calibration_of,
    guard_of,
    load_guard,
    save_guard,
    set_calibration,
)

CALIBRATION = Calibration(
    temperature=1.7, threshold=0.31, flag_rate=0.05, joint_temperature=0.8, joint_threshold=0.6, records=40,
    safe_records=20, data="abc",
)  # fmt: skip


@pytest.fixture(scope="module")
def saved_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.save(tiny_models.llava(), tmp_path_factory.mktemp("models") / "tiny-llava")


@pytest.fixture
def fresh(saved_base: Path) -> Callable[[], Any]:
    return lambda: LlavaForConditionalGeneration.from_pretrained(saved_base).eval()


@pytest.fixture(scope="module")
def inputs() -> dict[str, Any]:
    images = [Image.new("RGB", (32, 32), color) for color in ("red", "blue", "green")]
    processor = tiny_models.llava().processor
    texts = ["<image> and <image> differ?", "what is this? <image>"]
    return dict(
        processor(text=texts, images=[images[:2], images[2:]], padding=True, padding_side="left", return_tensors="pt")
    )


def load_file(path: Path) -> dict[str, torch.Tensor]:
    return load(path.read_bytes())  # safetensors' own load_file maps the file, which the tests write over


def said(model: Any, inputs: dict[str, Any]) -> Any:
    return guarded_generate(model, inputs, max_new_tokens=2).verdicts


def guarded(model: Any, config: GuardConfig | None = None) -> Any:
    attach_guard(model, config)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in guard_of(model).parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    set_calibration(model, CALIBRATION)
    return model


@pytest.fixture
def saved(fresh: Callable[[], Any], tmp_path: Path) -> Path:
    return save_guard(guarded(fresh()), tmp_path / "guard")


CONFIGS = [
    GuardConfig(features=features, pooling=pooling, joint_head=joint)
    for features in ("language", "projector")
    for pooling in ("mean", "attention", "last")
    for joint in (False, True)
] + [
    GuardConfig(meta_token=True),
    GuardConfig(image_head=False),
    GuardConfig(depth=1),
    GuardConfig(depth=3, hidden_ratio=0.3, labels=("suicide", "safe"), dropout=0.4),
]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: f"{config.features}-{config.pooling}")
def test_a_loaded_guard_gives_the_same_verdicts(
    fresh: Callable[[], Any], inputs: dict[str, Any], tmp_path: Path, config: GuardConfig
) -> None:
    model = guarded(fresh(), config)
    save_guard(model, tmp_path)
    loaded = load_guard(fresh(), tmp_path)
    assert said(loaded, inputs) == said(model, inputs)
    assert guard_of(loaded).config == dataclasses.replace(guard_of(model).config, base_model="tiny-llava")
    assert calibration_of(loaded) == CALIBRATION


def test_a_loaded_guard_gives_the_same_verdicts_in_a_family_of_tiles(tmp_path: Path) -> None:
    tiny = tiny_models.smolvlm()
    image = Image.effect_noise((64, 48), 90).convert("RGB")
    inputs = dict(tiny.processor(text="<image>what?", images=[[image]], return_tensors="pt"))
    attach_guard(tiny.model, processor=tiny.processor)
    save_guard(tiny.model, tmp_path)
    before = said(tiny.model, inputs)
    loaded = load_guard(detach_guard(tiny.model), tmp_path)  # without the processor: the token ids are saved
    assert said(loaded, inputs) == before


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_weights_keep_the_number_format_they_were_trained_in(
    fresh: Callable[[], Any], inputs: dict[str, Any], tmp_path: Path, kind: torch.dtype
) -> None:
    model = guarded(fresh().to(torch.bfloat16))
    guard_of(model).to(kind)
    save_guard(model, tmp_path)
    loaded = load_guard(fresh().to(torch.bfloat16), tmp_path)
    assert {parameter.dtype for parameter in guard_of(loaded).parameters()} == {kind}
    assert said(loaded, inputs) == said(model, inputs)


def test_loaded_weights_are_the_models_own(fresh: Callable[[], Any], saved: Path) -> None:
    model = load_guard(fresh(), saved)
    before = load_file(saved / "guard.safetensors")
    with torch.no_grad():
        next(guard_of(model).parameters()).add_(1)
    assert all(parameter.requires_grad for parameter in guard_of(model).parameters())
    assert all(torch.equal(tensor, before[key]) for key, tensor in load_file(saved / "guard.safetensors").items())


def test_a_saved_guard_names_its_model_and_no_folder_of_this_machine(saved: Path, saved_base: Path) -> None:
    described = json.loads((saved / "guard_config.json").read_text())
    assert (described["base_model"], described["base_model_type"]) == ("tiny-llava", "llava")
    assert str(saved_base.parent) not in (saved / "guard_config.json").read_text() + (saved / "README.md").read_text()


def test_the_model_card_tells_labels_and_calibration(saved: Path) -> None:
    card = (saved / "README.md").read_text()
    assert "Guard for tiny-llava" in card and "weapon_related_violence" in card
    assert "| image | 1.700 | 0.310 |" in card and "at most 5.0% of safe ones flagged" in card


def test_only_our_own_model_card_is_written_over(fresh: Callable[[], Any], saved: Path) -> None:
    model = load_guard(fresh(), saved)
    set_calibration(model, Calibration())
    save_guard(model, saved)
    assert "Not calibrated" in (saved / "README.md").read_text()
    (saved / "README.md").write_text("# Theirs")
    save_guard(model, saved)
    assert (saved / "README.md").read_text() == "# Theirs"
    save_guard(model, saved, model_card="# New")
    assert (saved / "README.md").read_text() == "# New"


def test_saving_leaves_no_other_files(saved: Path) -> None:
    assert {path.name for path in saved.iterdir()} == {"guard_config.json", "guard.safetensors", "README.md"}


def test_a_folder_that_cannot_be_written_is_told(fresh: Callable[[], Any], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(GuardError, match="cannot be saved in"):
        save_guard(attach_guard(fresh()), tmp_path / "file")


def test_a_model_without_a_guard_has_none_to_save(fresh: Callable[[], Any], tmp_path: Path) -> None:
    with pytest.raises(GuardError, match="the model has no guard"):
        save_guard(fresh(), tmp_path)
    assert not list(tmp_path.iterdir())


def lora(**options: Any) -> LoraConfig:
    return LoraConfig(r=2, target_modules=options.pop("target_modules", ["q_proj"]), **options)


def test_of_a_guard_that_peft_trains_the_trained_copy_is_saved(
    fresh: Callable[[], Any], inputs: dict[str, Any], tmp_path: Path
) -> None:
    model = get_peft_model(guarded(fresh()), lora(modules_to_save=["guard"])).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "modules_to_save" in name:
                parameter.add_(1)
    save_guard(model, tmp_path)
    loaded = load_guard(get_peft_model(fresh(), lora()).eval(), tmp_path)  # adapters begin as nothing
    assert said(loaded, inputs) == said(model, inputs)
    with model.disable_adapter():
        save_guard(model, tmp_path / "before")
    assert not torch.equal(
        *(load_file(folder / "guard.safetensors")[KEY] for folder in (tmp_path, tmp_path / "before"))
    )


def test_adapters_in_the_guards_own_layers_are_merged(fresh: Callable[[], Any], tmp_path: Path) -> None:
    model = get_peft_model(guarded(fresh()), lora(target_modules=["q_proj", "mlp.0"])).eval()
    head = guard_of(model).image_head
    assert head is not None and "lora_B" in dict(head.mlp[0].named_children())
    with torch.no_grad():
        head.mlp[0].lora_B.default.weight.add_(0.5)
    vectors = torch.randn(3, 32)
    expected = head(vectors)
    save_guard(model, tmp_path)
    loaded = guard_of(load_guard(fresh(), tmp_path)).image_head
    assert loaded is not None
    torch.testing.assert_close(loaded(vectors), expected)
    torch.testing.assert_close(head(vectors), expected)  # the model itself is not merged
    assert "lora_B" in dict(head.mlp[0].named_children())


class Wrapper(nn.Module):
    """As DistributedDataParallel, which needs processes to talk to."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module


def test_a_wrapped_model_saves_and_loads(fresh: Callable[[], Any], inputs: dict[str, Any], tmp_path: Path) -> None:
    model = guarded(fresh())
    save_guard(Wrapper(model), tmp_path)
    wrapped = load_guard(Wrapper(fresh()), tmp_path)
    assert isinstance(wrapped, Wrapper) and said(wrapped, inputs) == said(model, inputs)


def test_a_model_spread_over_devices_saves_and_loads(
    fresh: Callable[[], Any], inputs: dict[str, Any], tmp_path: Path
) -> None:
    places = {"model": "cpu", "lm_head": "disk"}  # a tensor on disk is on the meta device between passes
    model = guarded(dispatch_model(fresh(), places, offload_dir=str(tmp_path / "first"), main_device="cpu"))
    save_guard(model, tmp_path / "guard")
    other = dispatch_model(fresh(), places, offload_dir=str(tmp_path / "second"), main_device="cpu")
    assert said(load_guard(other, tmp_path / "guard"), inputs) == said(model, inputs)


KEY = "image_head.mlp.0.weight"


def edit(field: str, value: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        values = json.loads((folder / "guard_config.json").read_text())
        *path, name = field.split(".")
        target = values[path[0]] if path else values
        target[name] = value
        (folder / "guard_config.json").write_text(json.dumps(values))

    return change


def drop(field: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        values = json.loads((folder / "guard_config.json").read_text())
        del values[field]
        (folder / "guard_config.json").write_text(json.dumps(values))

    return change


def replace_weights(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    """Other weights with the right checksum, so that what is wrong with them must be seen."""

    def replace(folder: Path) -> None:
        path = folder / "guard.safetensors"
        tensors = load_file(path)
        change(tensors)
        save_file(tensors, path)
        edit("weights_sha256", hashlib.sha256(path.read_bytes()).hexdigest())(folder)

    return replace


def truncate(folder: Path) -> None:
    content = (folder / "guard.safetensors").read_bytes()
    (folder / "guard.safetensors").write_bytes(content[: len(content) // 2])


def flip(folder: Path) -> None:
    content = bytearray((folder / "guard.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "guard.safetensors").write_bytes(content)


def pickle_weights(folder: Path) -> None:
    torch.save(load_file(folder / "guard.safetensors"), folder / "guard.safetensors")


def old_pickle(folder: Path) -> None:
    tensors = load_file(folder / "guard.safetensors")
    torch.save(tensors, folder / "guard.safetensors", _use_new_zipfile_serialization=False)


def pickled_beside(folder: Path) -> None:
    torch.save(load_file(folder / "guard.safetensors"), folder / "guard.bin")
    (folder / "guard.safetensors").unlink()


def write(name: str, content: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(content) and None


BAD: dict[str, tuple[Callable[[Path], Any], str]] = {
    "truncated": (truncate, "guard.safetensors: no whole safetensors file .*truncated"),
    "one bit flipped": (flip, "guard.safetensors is not the file that guard_config.json was written with"),
    "pickled": (pickle_weights, "guard.safetensors is a pickled file, which can run code"),
    "pickled the old way": (old_pickle, "guard.safetensors is a pickled file, which can run code"),
    "pickled beside": (pickled_beside, r"guard.safetensors is missing; guard.bin is there, but pickled files"),
    "no weights": (lambda folder: (folder / "guard.safetensors").unlink(), "guard.safetensors is missing$"),
    "empty weights": (write("guard.safetensors", b""), "no whole safetensors file"),
    "no configuration": (lambda folder: (folder / "guard_config.json").unlink(), "guard_config.json is missing$"),
    "broken JSON": (write("guard_config.json", b'{"format": 1,'), "guard_config.json: no readable JSON"),
    "no text": (write("guard_config.json", b"\xff\xfe\x00"), "guard_config.json: no readable JSON"),
    "deep JSON": (write("guard_config.json", b"[" * 100_000), "guard_config.json: no readable JSON"),
    "a list": (write("guard_config.json", b"[1]"), "expected a JSON object, found"),
    "no format": (drop("format"), "guard_config.json: format is missing"),
    "an earlier format": (edit("format", 1), "format 1, written by holisafe .* reads format 2"),
    "format as text": (edit("format", "2"), "reads format 2"),
    "no checksum": (drop("weights_sha256"), "weights_sha256 is missing"),
    "no calibration": (drop("calibration"), "calibration is missing"),
    "a wrong calibration": (edit("calibration", {"temperature": 0}), "guard_config.json: calibration"),
    "an unknown field": (edit("hight", 3), "guard_config.json: unknown field hight"),
    "an unknown label": (
        edit("config.labels", ["safe", "dragon"]),
        "config: labels: unknown guard label 'dragon'",
    ),
    "labels that are numbers": (edit("config.labels", [0, 1]), "guard_config.json: config: labels: found"),
    "fewer labels": (edit("config.labels", ["safe", "suicide"]), r"image_head.mlp.3.*expected shape \[2"),
    "other boundaries": (edit("site.boundary_ids", [["a"], []]), "guard_config.json: site: boundary_ids: found"),
    "no width": (edit("site.width", None), "site: width: found null"),
    "another width": (edit("site.width", 64), "hidden size 64.*this model is .*hidden size 32"),
    "another base": (
        edit("site.base_model", "org/other"),
        "made for org/other .*model is tiny-llava.*any_base=True",
    ),
    "another family": (edit("site.model_type", "gemma3"), r"made for tiny-llava \(gemma3.*\(llava.*any_base=True"),
    "deeper": (edit("config.depth", 3), "image_head.mlp.6.weight.*missing"),
    "absurdly deep": (edit("config.depth", 10**9), "1000000000 layers deep"),
    "a missing key": (replace_weights(lambda found: found.pop(KEY)), f"{KEY} missing"),
    "an unexpected key": (replace_weights(lambda found: found.update(x=torch.ones(1))), "x not expected"),
    "a wrong shape": (replace_weights(lambda found: found.update({KEY: torch.ones(2)})), f"{KEY}: expected shape"),
    "whole numbers": (
        replace_weights(lambda found: found.update({KEY: torch.ones(16, 32, dtype=torch.int8)})),
        f"{KEY}: expected floating-point numbers, found torch.int8",
    ),
    "not finite": (replace_weights(lambda found: found[KEY].fill_(torch.nan)), f"{KEY} has values that are not finite"),
    "a meta token outside": (edit("site.meta_token_id", 10**6), "meta_token_id 1000000: the model's vocabulary has"),
}


@pytest.mark.parametrize(("damage", "message"), BAD.values(), ids=BAD)
def test_what_does_not_fit_is_refused_and_the_model_left_as_it_was(
    fresh: Callable[[], Any], saved: Path, damage: Callable[[Path], Any], message: str
) -> None:
    model = fresh()
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    attributes = set(model.__dict__)
    damage(saved)
    with pytest.raises(GuardError, match=message):
        load_guard(model, saved)
    assert model.state_dict().keys() == before.keys()
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())
    assert set(model.__dict__) == attributes
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


@pytest.mark.parametrize("where", [Path("nowhere"), "./nowhere", "/no/where", "no where", "a/b/c"])
def test_a_folder_that_is_not_there_is_told_without_asking_the_hub(fresh: Callable[[], Any], where: str | Path) -> None:
    with pytest.raises(GuardError, match="no such folder; expected one with"):
        load_guard(fresh(), where)


def test_a_model_with_a_guard_takes_no_second_one(
    fresh: Callable[[], Any], saved: Path, inputs: dict[str, Any]
) -> None:
    model = attach_guard(fresh())
    before = said(model, inputs)
    with pytest.raises(GuardError, match="has a guard already"):
        load_guard(model, saved)
    assert said(model, inputs) == before


def test_names_are_compared_by_their_last_part(fresh: Callable[[], Any], saved: Path) -> None:
    edit("site.base_model", "some-org/Tiny-LLaVA")(saved)
    load_guard(fresh(), saved)


def test_a_folder_of_the_hubs_cache_counts_by_the_repositorys_name(fresh: Callable[[], Any], saved: Path) -> None:
    edit("site.base_model", "org/known")(saved)
    model = fresh()
    model.config._name_or_path = "/cache/models--org--known/snapshots/0a1b"
    load_guard(model, saved)


def test_a_model_that_was_not_loaded_by_name_is_not_compared_by_it(saved: Path) -> None:
    load_guard(tiny_models.llava().model, saved)


@pytest.mark.parametrize("below", [".", "guard"])
def test_a_tuned_model_and_the_guard_in_its_folder_belong_together(
    fresh: Callable[[], Any], inputs: dict[str, Any], tmp_path: Path, below: str
) -> None:
    model = guarded(fresh())
    plain = detach_guard(guarded(fresh()))
    plain.save_pretrained(tmp_path / "tuned")
    save_guard(model, tmp_path / "tuned" / below)
    again = LlavaForConditionalGeneration.from_pretrained(tmp_path / "tuned").eval()
    assert said(load_guard(again, tmp_path / "tuned" / below), inputs) == said(model, inputs)


def test_any_base_takes_another_name_and_family_but_no_other_width(saved: Path, fresh: Callable[[], Any]) -> None:
    edit("site.base_model", "org/other")(saved)
    load_guard(fresh(), saved, any_base=True)
    load_guard(tiny_models.gemma3().model, saved, any_base=True)
    with pytest.raises(GuardError, match="only its tokenizer knows"):
        load_guard(tiny_models.smolvlm().model, saved, any_base=True)
    edit("site.width", 64)(saved)
    replace_weights(
        lambda found: (
            [found.update({k: torch.ones(32, 64)}) for k in found if k.endswith("0.weight")]
            + [found.update({k: torch.ones(32)}) for k in found if k.endswith("0.bias")]
            + [found.update({k: torch.ones(len(found[k]), 32)}) for k in found if k.endswith("3.weight")]
        )
    )(saved)
    with pytest.raises(GuardError, match="for a hidden size of 64, and the model's is 32"):
        load_guard(fresh(), saved, any_base=True)


def test_a_whole_saved_model_loads_without_the_guard(
    fresh: Callable[[], Any], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model = guarded(fresh())
    model.save_pretrained(tmp_path)
    with warnings.catch_warnings(record=True) as caught:
        again, report = LlavaForConditionalGeneration.from_pretrained(tmp_path, output_loading_info=True)
    assert not caught and not report["missing_keys"]
    assert report["unexpected_keys"] == {f"guard.{key}" for key in guard_of(model).state_dict()}
    plain = detach_guard(model).state_dict()
    assert all(torch.equal(tensor, plain[key]) for key, tensor in again.state_dict().items())


def test_the_trainer_puts_a_checkpoints_guard_back(
    fresh: Callable[[], Any], inputs: dict[str, Any], tmp_path: Path
) -> None:
    row = {key: value[:1] for key, value in inputs.items() if key != "pixel_values"}
    batch = {**row, "pixel_values": inputs["pixel_values"][:2], "labels": row["input_ids"]}
    options = TrainingArguments(
        tmp_path, max_steps=1, save_steps=1, report_to=[], use_cpu=True, disable_tqdm=True, remove_unused_columns=False,
        per_device_train_batch_size=1, dataloader_pin_memory=False,
    )  # fmt: skip

    def trainer(model: Any) -> Trainer:
        return Trainer(model, options, train_dataset=[batch], data_collator=lambda rows: rows[0])

    first = guarded(fresh())
    trainer(first).train()
    other = attach_guard(fresh())
    trainer(other).train(resume_from_checkpoint=str(tmp_path / "checkpoint-1"))
    expected = guard_of(first).state_dict()
    assert all(torch.equal(tensor, expected[key]) for key, tensor in guard_of(other).state_dict().items())


def test_a_meta_token_that_was_learned_is_what_the_answer_sees(
    fresh: Callable[[], Any], inputs: dict[str, Any], tmp_path: Path
) -> None:
    model = guarded(fresh(), GuardConfig(meta_token=True))
    save_guard(model, tmp_path)
    loaded = load_guard(fresh(), tmp_path)
    with torch.no_grad():
        logits = [each(**add_meta_tokens(each, inputs)).logits for each in (model, loaded)]
    torch.testing.assert_close(*logits, rtol=0, atol=0)
