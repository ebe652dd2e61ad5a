"""Checkpoints that cannot be edited: one line that names file and tensor, and nothing is written."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from editing.tiny import safe_relative, vision_language
from holisafe.editing import EDITING_METHODS, Change, EditingConfig, EditingMethod, edit
from holisafe.errors import EditingError, HoliSafeError, ModelError, RegistryError, UnknownNameError
from tiny_models import llava, qwen2_5_vl, save

FILE = "model.safetensors"
UP = "language_model.model.layers.0.mlp.up_proj.weight"


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return vision_language(tmp_path / "base")


@pytest.fixture
def safe(tmp_path: Path) -> Path:
    return safe_relative(tmp_path / "safe")


def rewrite(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(folder / FILE)
    change(tensors)
    save_file(tensors, folder / FILE, {"format": "pt"})


def configure(folder: Path, change: Callable[[dict[str, object]], object]) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text())
    change(config)
    path.write_text(json.dumps(config))


def pickled(folder: Path) -> None:
    torch.save(load_file(folder / FILE), folder / "pytorch_model.bin")
    (folder / FILE).unlink()


def truncated(folder: Path) -> None:
    content = (folder / FILE).read_bytes()
    (folder / FILE).write_bytes(content[: len(content) // 2])


def indexed(folder: Path, places: object) -> None:
    (folder / FILE).rename(folder / "model-00001-of-00002.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "pickled weights": (pickled, "pytorch_model.bin: pickled weights"),
    "no weights": (lambda folder: (folder / FILE).unlink(), "holds neither"),
    "no configuration": (lambda folder: (folder / "config.json").unlink(), "holds no config.json"),
    "a truncated file": (truncated, "no whole safetensors file"),
    "an empty file": (lambda folder: (folder / FILE).write_bytes(b""), "no whole safetensors file"),
    "a missing tensor": (lambda folder: rewrite(folder, lambda all_: all_.pop(UP)), "lacks model.language_model"),
    "NaN": (
        lambda folder: rewrite(folder, lambda all_: all_[UP].view(-1)[5].fill_(float("nan"))), f"{UP} holds values"
    ),
    "another dtype": (
        lambda folder: rewrite(folder, lambda all_: all_.update({UP: all_[UP].half()})), "F16.*dtype"
    ),
    "another shape": (
        lambda folder: rewrite(folder, lambda all_: all_.update({UP: all_[UP][:-1].contiguous()})), "another size"
    ),
    "whole numbers": (
        lambda folder: rewrite(folder, lambda all_: all_.update({UP: all_[UP].to(torch.int8)})), "I8"
    ),
    "quantized weights": (
        lambda folder: configure(folder, lambda config: config.update(quantization_config={"quant_method": "x"})),
        "quantized",
    ),
    "an unknown type": (
        lambda folder: configure(folder, lambda config: config.update(model_type="nothing")), "configuration cannot"
    ),
    "a list as configuration": (lambda folder: (folder / "config.json").write_text("[]"), "expected an object"),
    "an index without its files": (
        lambda folder: indexed(folder, {UP: "model-00002-of-00002.safetensors"}), "missing, though"
    ),
    "an index that leaves the folder": (lambda folder: indexed(folder, {UP: "../x.safetensors"}), "is no name"),
    "an index of other tensors": (
        lambda folder: indexed(folder, {UP: "model-00001-of-00002.safetensors"}), "is not listed in the index"
    ),
    "an index without places": (lambda folder: indexed(folder, [UP]), "weight_map"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BROKEN)
@pytest.mark.parametrize("which", ["base", "safe"])
def test_a_broken_checkpoint_is_refused_before_anything_is_written(
    kind: str, which: str, base: Path, safe: Path, tmp_path: Path
) -> None:
    damage, message = BROKEN[kind]
    damage({"base": base, "safe": safe}[which])
    with pytest.raises((ModelError, EditingError), match=message) as told:
        edit("merge", base, tmp_path / "out", safe=str(safe))
    assert "\n" not in str(told.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base", "safe"]


def test_nan_in_a_tensor_that_would_stay_is_refused_too(base: Path, safe: Path, tmp_path: Path) -> None:
    name = "multi_modal_projector.linear_1.bias"
    rewrite(base, lambda all_: all_[name][:1].fill_(float("nan")))
    with pytest.raises(ModelError, match=f"{name} holds values that are not finite"):
        edit("merge", base, tmp_path / "out", safe=str(safe))


def test_a_model_of_another_origin_is_refused(base: Path, tmp_path: Path) -> None:
    other = llava()
    with torch.no_grad():
        for weight in other.model.parameters():
            weight.copy_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(7)))
    with pytest.raises(EditingError, match=r"do not go back to one language model: .* 0\.0|-0\.0"):
        edit("merge", base, tmp_path / "out", safe=str(save(other, tmp_path / "other")))


def test_a_model_of_another_architecture_is_refused(base: Path, tmp_path: Path) -> None:
    with pytest.raises(EditingError, match=r"no language model of .*'s kind|another"):
        edit("merge", base, tmp_path / "out", safe=str(save(qwen2_5_vl(), tmp_path / "other")))


def test_another_number_of_heads_is_refused_though_shapes_agree(base: Path, safe: Path, tmp_path: Path) -> None:
    def other(config: dict[str, object]) -> None:
        config["text_config"] |= {"num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 4}  # type: ignore[operator]

    configure(safe, other)
    with pytest.raises(EditingError, match="num_attention_heads is 8"):
        edit("merge", base, tmp_path / "out", safe=str(safe))


def test_another_vocabulary_of_the_same_size_is_refused(base: Path, safe: Path, tmp_path: Path) -> None:
    path = safe / "tokenizer.json"
    tokens = json.loads(path.read_text())
    vocabulary = tokens["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]
    path.write_text(json.dumps(tokens))
    with pytest.raises(EditingError, match="another vocabulary"):
        edit("merge", base, tmp_path / "out", safe=str(safe))


def test_a_larger_vocabulary_is_refused(base: Path, tmp_path: Path) -> None:
    larger = llava()
    larger.model.resize_token_embeddings(300, mean_resizing=False)
    with pytest.raises(EditingError, match="another vocabulary"):
        edit("merge", base, tmp_path / "out", safe=str(save(larger, tmp_path / "larger")))


def test_rows_of_tokens_that_the_safe_model_lacks_stay_the_bases(safe: Path, tmp_path: Path) -> None:
    larger = llava()
    larger.processor.tokenizer.add_tokens(["<one more>"])
    larger.model.resize_token_embeddings(len(larger.processor.tokenizer), mean_resizing=False)
    base = save(larger, tmp_path / "larger")
    edited = edit("merge", base, tmp_path / "out", safe=str(safe), c=1.0)
    name = "language_model.model.embed_tokens.weight"
    found, ours, theirs = (load_file(each / FILE)[name] for each in (edited.folder, base, safe))
    assert torch.equal(found[: len(theirs)], theirs) and torch.equal(found[len(theirs) :], ours[len(theirs) :])
    assert edited.description["found"]["rows_kept"] == 1


def test_a_model_without_a_tokenizer_is_refused(base: Path, safe: Path, tmp_path: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json", "processor_config.json"):
        (safe / name).unlink(missing_ok=True)
    with pytest.raises(EditingError, match="tokenizer"):
        edit("merge", base, tmp_path / "out", safe=str(safe))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "safe: is missing"),
        ({"safe": ""}, "safe"),
        ({"safe": "x", "c": 1.5}, "c: input should be less than or equal to 1, found 1.5"),
        ({"safe": "x", "c": "half"}, "c: input should be a valid number"),
        ({"safe": "x", "c": True}, "c: "),
        ({"safe": "x", "strength": 1}, "strength: the method has no such setting"),
    ],
)
def test_wrong_settings_are_refused_before_models_are_opened(
    settings: dict[str, object], message: str, tmp_path: Path
) -> None:
    with pytest.raises(EditingError, match=message):
        edit("merge", "no/where", tmp_path / "out", **settings)


def test_unknown_methods_and_models_are_refused(base: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean merge"):
        edit("merg", base, tmp_path / "out", safe="x")
    with pytest.raises(HoliSafeError, match="pocket"):
        edit("merge", base, tmp_path / "out", safe="pocke")
    with pytest.raises(ModelError):
        edit("merge", base, tmp_path / "out", safe=str(tmp_path / "nothing"))


def test_a_language_model_alone_is_no_base(base: Path, safe: Path, tmp_path: Path) -> None:
    from editing.tiny import language_alone

    alone = language_alone(tmp_path / "alone", llava())
    with pytest.raises(ModelError, match="expected a vision-language model"):
        edit("merge", alone, tmp_path / "out", safe=str(safe))


class _Careless(EditingMethod):
    """Gives what it is told to."""

    name = "careless"
    about = "Does what it likes."
    config = EditingConfig

    def __init__(self, result: Callable[[torch.Tensor], torch.Tensor]) -> None:
        self.result = result

    def change(self, base: object, config: object, sources: object) -> Change:
        return Change(frozenset({UP}), lambda _, tensor: self.result(tensor))


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (lambda tensor: tensor[:1], "gave torch.float32 of shape"),
        (lambda tensor: tensor.double(), "gave torch.float64"),
        (lambda tensor: tensor * float("inf"), "overflow"),
    ],
)
def test_what_a_method_gives_is_checked(
    result: Callable[[torch.Tensor], torch.Tensor],
    message: str,
    base: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(EDITING_METHODS, "_parts", {**EDITING_METHODS._parts, "careless": _Careless(result)})
    with pytest.raises(EditingError, match=message):
        edit("careless", base, tmp_path / "out")
    assert not (tmp_path / "out").exists() and not (tmp_path / "out.unfinished").exists()


def test_only_editing_methods_are_registered() -> None:
    with pytest.raises(RegistryError, match="expected an EditingMethod"):
        EDITING_METHODS.add("wrong", object())  # type: ignore[arg-type]


def test_a_link_in_place_of_the_folder_is_refused(base: Path, safe: Path, tmp_path: Path) -> None:
    (tmp_path / "out").symlink_to(tmp_path / "nowhere")
    with pytest.raises(EditingError, match="out is a link"):
        edit("merge", base, tmp_path / "out", safe=str(safe))


def test_the_folder_one_is_in_is_refused(
    base: Path, safe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(EditingError, match="a new folder with a name of its own"):
        edit("merge", base, ".", safe=str(safe))
