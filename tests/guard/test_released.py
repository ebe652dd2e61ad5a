"""Reading the heads of released checkpoints, from files of the same keys and configurations at small width."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

import tiny_models
from guard.prompts import watched
from holisafe import GuardConfig
from holisafe.errors import GuardError
from holisafe.guard import GuardSite, guard_of, guarded_generate, import_released_guard, load_guard, save_guard
from holisafe.guard._released import RELEASED, Released
from holisafe.guard.attach import detach_guard
from holisafe.guard.head import Guard
from holisafe.taxonomy import HEAD_ORDER

HEAD_NAMES = [label.head_name for label in HEAD_ORDER]
DESCRIBED = {
    "safety_categories": HEAD_NAMES,
    "num_safety_categories": 20,
    "safety_head_hidden_scale": 0.5,
    "safety_num_hidden_layers": 1,
    "safety_loss_lambda": 1.0,
}
PREFIXES = {"llava": "", "qwen2_5_vl": "model.", "gemma3": "model.language_model."}
FEATURES = {"llava": "language", "qwen2_5_vl": "language", "gemma3": "projector"}
FAMILIES = {name: tiny_models.FAMILIES[name] for name in FEATURES}


def a_head(width: int = 32) -> nn.Sequential:
    torch.manual_seed(5)
    return nn.Sequential(
        nn.Linear(width, width // 2), nn.GELU(), nn.Dropout(0.1), nn.Linear(width // 2, len(HEAD_NAMES))
    ).eval()


def released(
    folder: Path, head: nn.Module, prefix: str = "model.", numbers: dict[str, str] | None = None, **described: Any
) -> Path:
    """A checkpoint in one file; `numbers` renames the head's layers."""
    folder.mkdir(exist_ok=True)
    weights = {"model.layers.0.weight": torch.ones(2)}
    for key, tensor in head.state_dict().items():
        number, part = key.split(".")
        weights[f"{prefix}img_safety_head.mlp.{(numbers or {}).get(number, number)}.{part}"] = tensor
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps({"model_type": "safe", **DESCRIBED, **described}))
    return folder


def shard(folder: Path) -> None:
    """Put each tensor of the head in a shard of its own, and the rest in one that cannot be read."""
    from safetensors.torch import load_file

    weights = {key: tensor.clone() for key, tensor in load_file(folder / "model.safetensors").items()}
    (folder / "model.safetensors").unlink()
    places = {}
    for place, (key, tensor) in enumerate(sorted(weights.items())):
        places[key] = f"model-{place:05}-of-{len(weights):05}.safetensors"
        if "img_safety_head" in key:
            save_file({key: tensor}, folder / places[key])
        else:
            (folder / places[key]).write_bytes(b"must not be opened")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))


def read_vectors(model: Any, inputs: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    """The vectors that came to the image head in a forward pass, and what the guard said."""
    seen: list[torch.Tensor] = []
    hook = guard_of(model).image_head.register_forward_hook(lambda _, args, __: seen.append(args[0]))  # type: ignore[union-attr]
    with torch.no_grad():
        output = watched(model, **inputs)
    hook.remove()
    return seen[0], output["image_logits"]


@pytest.mark.parametrize("is_sharded", [False, True], ids=["one file", "shards"])
@pytest.mark.parametrize("name", FAMILIES)
def test_a_released_head_gives_the_logits_of_a_plain_sequential(name: str, is_sharded: bool, tmp_path: Path) -> None:
    tiny = FAMILIES[name]()
    head = a_head()
    folder = released(tmp_path / "checkpoint", head, PREFIXES[name])
    if is_sharded:
        shard(folder)
    model = import_released_guard(tiny.model, folder)
    assert guard_of(model).config.features == FEATURES[name]
    assert guard_of(model).joint_head is None
    mark = {"llava": "<image>", "qwen2_5_vl": "<|vision_start|><|image_pad|><|vision_end|>"}
    text = mark.get(name, "<start_of_image>") + " what is this?"
    images = [Image.effect_noise((32, 32), 90).convert("RGB")]
    inputs = dict(tiny.processor(text=[text], images=[images], return_tensors="pt"))
    vectors, logits = read_vectors(model, inputs)
    assert torch.equal(logits, head(vectors))
    (verdicts,) = guarded_generate(model, inputs, max_new_tokens=1).verdicts
    expected = head(vectors)[0].detach().softmax(-1)
    assert verdicts.images[0].label is HEAD_ORDER[int(expected.argmax())]
    assert verdicts.images[0].probability == pytest.approx(float(expected.max()), abs=1e-6)


@pytest.mark.parametrize("numbers", [{}, {"3": "2"}, {"0": "1", "3": "12"}], ids=["0 and 3", "0 and 2", "1 and 12"])
def test_layers_are_known_by_their_order(numbers: dict[str, str], tmp_path: Path) -> None:
    head = a_head()
    model = import_released_guard(tiny_models.llava().model, released(tmp_path, head, numbers=numbers))
    vectors = torch.randn(4, 32)
    assert torch.equal(guard_of(model).image_head(vectors), head(vectors))  # type: ignore[misc]


@pytest.mark.parametrize(
    "given",
    [
        HEAD_NAMES,
        [label.value for label in HEAD_ORDER],
        {str(index): name for index, name in enumerate(HEAD_NAMES)},
        {name: index for index, name in enumerate(HEAD_NAMES)},
    ],
    ids=["head's names", "our names", "by index", "by name"],
)
def test_labels_are_read_however_they_are_listed(given: Any, tmp_path: Path) -> None:
    folder = released(tmp_path, a_head(), safety_categories=given)
    model = import_released_guard(tiny_models.llava().model, folder)
    assert guard_of(model).config.labels == tuple(label.value for label in HEAD_ORDER)


def test_a_deeper_and_wider_head_is_read(tmp_path: Path) -> None:
    head = nn.Sequential(
        nn.Linear(32, 23), nn.GELU(), nn.Dropout(0.1), nn.Linear(23, 23), nn.GELU(), nn.Dropout(0.1), nn.Linear(23, 20)
    ).eval()
    folder = released(tmp_path, head, safety_head_hidden_scale=0.75, safety_num_hidden_layers=2)
    with pytest.raises(GuardError, match=r"hidden_scale is 0.75, and the head's hidden layers have 23 of 32"):
        import_released_guard(tiny_models.llava().model, folder)
    folder = released(tmp_path, head, safety_head_hidden_scale=0.72, safety_num_hidden_layers=2)
    model = import_released_guard(tiny_models.llava().model, folder)
    vectors = torch.randn(4, 32)
    assert torch.equal(guard_of(model).image_head(vectors), head(vectors))  # type: ignore[misc]


def test_a_head_keeps_its_number_format(tmp_path: Path) -> None:
    model = import_released_guard(tiny_models.llava().model, released(tmp_path, a_head().to(torch.bfloat16)))
    assert {parameter.dtype for parameter in guard_of(model).parameters()} == {torch.bfloat16}


def test_an_imported_guard_is_saved_and_loaded_as_any_other(tmp_path: Path) -> None:
    model = import_released_guard(tiny_models.gemma3().model, released(tmp_path / "theirs", a_head()))
    save_guard(model, tmp_path / "ours")
    weights = guard_of(model).state_dict()
    loaded = load_guard(detach_guard(model), tmp_path / "ours")
    assert guard_of(loaded).config.features == "projector"
    assert all(torch.equal(tensor, weights[key]) for key, tensor in guard_of(loaded).state_dict().items())


def test_a_checkpoint_of_qwens_keys_and_a_head_is_read_by_the_base_class(tmp_path: Path) -> None:
    tiny = tiny_models.qwen2_5_vl()
    tiny.model.save_pretrained(tmp_path)
    from safetensors.torch import load_file

    weights = {key: tensor.clone() for key, tensor in load_file(tmp_path / "model.safetensors").items()}
    head = {f"img_safety_head.mlp.{key}": tensor for key, tensor in a_head().state_dict().items()}
    save_file(weights | head, tmp_path / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "config.json").write_text(
        json.dumps({**json.loads((tmp_path / "config.json").read_text()), **DESCRIBED})
    )
    model, report = type(tiny.model).from_pretrained(tmp_path, output_loading_info=True)
    assert report["unexpected_keys"] == set(head) and not report["missing_keys"]
    import_released_guard(model, tmp_path)
    assert torch.equal(guard_of(model).state_dict()["image_head.mlp.3.bias"], head["img_safety_head.mlp.3.bias"])


@pytest.mark.parametrize("checkpoint", RELEASED, ids=lambda checkpoint: checkpoint.name)
def test_the_published_heads_have_as_many_parameters_as_ours(checkpoint: Released) -> None:
    width = checkpoint.width
    with torch.device("meta"):
        guard = Guard(GuardConfig.paper(), GuardSite("llava", "", width))
    expected = width**2 // 2 + width // 2 + 10 * width + 20
    assert sum(parameter.numel() for parameter in guard.parameters()) == expected
    assert GuardConfig.paper().head_parameters(width) == expected


def test_the_published_count_of_the_qwen_head_is_met() -> None:
    assert GuardConfig.paper().head_parameters(3584) == 6_460_180  # arXiv 2506.04704 v5: 6.46M


def rewrite(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        from safetensors.torch import load

        weights = load((folder / "model.safetensors").read_bytes())
        change(weights)
        save_file(weights, folder / "model.safetensors")

    return write


def describe(**changes: Any) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / "config.json").write_text(json.dumps({**DESCRIBED, **changes}))

    return write


def misplace(file: Any) -> Callable[[Path], None]:
    index = {"weight_map": {"img_safety_head.mlp.0.weight": file}}
    return lambda folder: (folder / "model.safetensors.index.json").write_text(json.dumps(index)) and None


def pickle_all(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({"x": torch.ones(1)}, folder / "pytorch_model.bin")


FIRST = "model.img_safety_head.mlp.0"
BAD: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no head": (rewrite(lambda found: [found.pop(key) for key in list(found) if "img" in key]), "no weights called"),
    "no bias": (rewrite(lambda found: found.pop(f"{FIRST}.bias")), r"img_safety_head.mlp.0.bias is missing"),
    "two heads": (
        rewrite(lambda found: found.update({"img_safety_head.mlp.0.weight": torch.ones(1)})), "expected one head",
    ),
    "a packed weight": (rewrite(lambda found: found.update({f"{FIRST}.weight": torch.ones(9)})), "quantised heads"),
    "no numbers": (rewrite(lambda found: found.update({f"{FIRST}.weight": torch.ones(16, 0)})), "quantised heads"),
    "other layers": (rewrite(lambda found: found.update({f"{FIRST}.bias": torch.ones(9)})), "mlp.0.bias.*shape"),
    "another width": (
        rewrite(lambda found: found.update({f"{FIRST}.weight": torch.ones(16, 33)})),
        "for a hidden size of 33, and the model's is 32",
    ),
    "truncated": (
        lambda folder: (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-9]),
        "model.safetensors: no whole safetensors file",
    ),
    "pickled": (pickle_all, "model.safetensors is missing; pytorch_model.bin is there, but pickled files"),
    "no configuration": (lambda folder: (folder / "config.json").unlink(), "config.json is missing"),
    "no labels": (describe(safety_categories=None), "safety_categories: expected a name for each index"),
    "labels with a gap": (describe(safety_categories={"0": "safe", "2": "suicide"}), "expected a name for each index"),
    "an unknown label": (describe(safety_categories=[*HEAD_NAMES[1:], "x"]), "config.json: unknown guard label"),
    "a label twice": (describe(safety_categories=["safe"] * 20), "config.json: labels: expected different ones"),
    "fewer labels": (describe(safety_categories=["safe"], num_safety_categories=1), r"mlp.3.*expected shape \[1"),
    "another count": (describe(num_safety_categories=19), "num_safety_categories is 19, and the head has 20 labels"),
    "another depth": (describe(safety_num_hidden_layers=2), "safety_num_hidden_layers is 2, and the head has 1"),
    "another scale": (describe(safety_head_hidden_scale=0.25), "safety_head_hidden_scale is 0.25.*16 of 32"),
    "no scale": (describe(safety_head_hidden_scale="half"), "safety_head_hidden_scale is 'half'"),
    "a file outside": (misplace("../model.safetensors"), "expected the name of a file beside it"),
    "a missing shard": (misplace("model-00001-of-00002.safetensors"), "model-00001-of-00002.safetensors is missing"),
    "an index without a map": (
        lambda folder: (folder / "model.safetensors.index.json").write_text("{}"), "weight_map is missing",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("damage", "message"), BAD.values(), ids=BAD)
def test_what_does_not_fit_is_refused_and_the_model_left_as_it_was(
    tmp_path: Path, damage: Callable[[Path], Any], message: str
) -> None:
    model = tiny_models.llava().model
    keys, attributes = set(model.state_dict()), set(model.__dict__)
    damage(released(tmp_path, a_head()))
    with pytest.raises(GuardError, match=message):
        import_released_guard(model, tmp_path)
    assert set(model.state_dict()) == keys and set(model.__dict__) == attributes
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_models_of_other_families_and_missing_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(GuardError, match="for llava, qwen2_5_vl, gemma3 models, and this one is smolvlm"):
        import_released_guard(tiny_models.smolvlm().model, released(tmp_path, a_head()))
    with pytest.raises(GuardError, match="no such folder; expected that of a released checkpoint"):
        import_released_guard(tiny_models.llava().model, tmp_path / "nowhere")
