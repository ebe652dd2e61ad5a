"""Merging language models: exact at both ends, nothing else touched, what does not fit refused."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageTextToText, LlavaForConditionalGeneration, Qwen2Config, Qwen2ForCausalLM

from editing.tiny import language_alone, safe_relative, shifted, vision_language
from holisafe.editing import edit
from holisafe.editing.methods.ties import merged_vector
from holisafe.errors import EditingError
from tiny_models import FAMILIES, TEXT, Tiny, llava, qwen2_5_vl, save


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return {
        name: tensor for file in sorted(folder.glob("model*.safetensors")) for name, tensor in load_file(file).items()
    }


def equal(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Bit for bit: 0 and -0 differ."""
    return torch.equal(one.flatten().view(torch.uint8), other.flatten().view(torch.uint8))


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return vision_language(tmp_path / "base")


@pytest.fixture
def safe(tmp_path: Path) -> Path:
    return safe_relative(tmp_path / "safe")


def test_c_0_is_the_base_and_c_1_the_safe_language_model_bit_for_bit(base: Path, safe: Path, tmp_path: Path) -> None:
    with torch.no_grad():
        one = load_file(base / "model.safetensors")
        one["language_model.model.norm.weight"][0] = -0.0  # adding 0 would lose the sign
        save_file(one, base / "model.safetensors", {"format": "pt"})
    ours, theirs = weights(base), weights(safe)
    for c, wanted in ((0.0, ours), (1.0, theirs)):
        found = weights(edit("merge", base, tmp_path / f"{c}", safe=str(safe), c=c).folder)
        assert all(equal(found[name], wanted[name]) for name in found if name.startswith("language_model."))


@pytest.mark.parametrize("c", [0.0, 0.3, 1.0])
def test_tower_and_projector_are_the_bases_for_every_c(base: Path, safe: Path, tmp_path: Path, c: float) -> None:
    ours, theirs = weights(base), weights(safe)
    found = weights(edit("merge", base, tmp_path / "out", safe=str(safe), c=c).folder)
    others = [name for name in ours if not name.startswith("language_model.")]
    assert others and all(equal(found[name], ours[name]) for name in others)
    assert not all(torch.equal(ours[name], theirs[name]) for name in others)


def test_in_between_every_language_weight_is_the_weighted_mean(base: Path, safe: Path, tmp_path: Path) -> None:
    ours, theirs = weights(base), weights(safe)
    found = weights(edit("merge", base, tmp_path / "out", safe=str(safe), c=0.3).folder)
    for name in (name for name in ours if name.startswith("language_model.")):
        torch.testing.assert_close(found[name], 0.3 * theirs[name] + 0.7 * ours[name])


def test_logits_are_affine_in_c_where_only_the_output_layer_differs(base: Path, tmp_path: Path) -> None:
    other = llava()
    with torch.no_grad():
        other.model.lm_head.weight.mul_(0.8).add_(0.02)
    safe = save(other, tmp_path / "safe")
    ids = torch.tensor([[1, 5, 9, 200]])

    def logits(c: float) -> torch.Tensor:
        folder = edit("merge", base, tmp_path / f"c{c}", safe=str(safe), c=c).folder
        model = LlavaForConditionalGeneration.from_pretrained(folder)
        with torch.inference_mode():
            found: torch.Tensor = model(input_ids=ids).logits
        return found

    torch.testing.assert_close(logits(0.25), 0.25 * logits(1.0) + 0.75 * logits(0.0))


def test_a_language_model_alone_gives_what_the_vision_language_model_gives(
    base: Path, safe: Path, tmp_path: Path
) -> None:
    alone = language_alone(tmp_path / "alone", shifted(llava()))
    one = weights(edit("merge", base, tmp_path / "one", safe=str(safe), c=0.4).folder)
    other = weights(edit("merge", base, tmp_path / "other", safe=str(alone), c=0.4).folder)
    assert all(equal(one[name], other[name]) for name in one)


def test_a_language_model_of_another_class_is_matched_by_its_tensors(tmp_path: Path) -> None:
    """Qwen2.5-VL's language model alone is a Qwen2."""
    base, moved = save(qwen2_5_vl(), tmp_path / "base"), shifted(qwen2_5_vl())
    text = moved.model.config.get_text_config().to_dict()
    kept = {name: text[name] for name in (*TEXT.keys() - {"head_dim"}, "vocab_size", "hidden_act", "rms_norm_eps")}
    alone = Qwen2ForCausalLM(Qwen2Config(**kept, rope_parameters={"rope_type": "default", "rope_theta": 1e4}))
    alone.model.load_state_dict(moved.model.model.language_model.state_dict())
    alone.lm_head.load_state_dict(moved.model.lm_head.state_dict())
    alone.save_pretrained(tmp_path / "alone")
    moved.processor.tokenizer.save_pretrained(tmp_path / "alone")
    found = weights(edit("merge", base, tmp_path / "out", safe=str(tmp_path / "alone"), c=1.0).folder)
    theirs = load_file(tmp_path / "alone" / "model.safetensors")
    for name, tensor in weights(base).items():
        assert equal(found[name], tensor if name.startswith("visual.") else theirs[name]), name


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_only_language_tensors_change_in_every_family(family: str, tmp_path: Path) -> None:
    base, safe = save(FAMILIES[family](), tmp_path / "base"), save(shifted(FAMILIES[family]()), tmp_path / "safe")
    folder = edit("merge", base, tmp_path / "out", safe=str(safe), c=1.0).folder
    merged = AutoModelForImageTextToText.from_pretrained(folder)
    ours = AutoModelForImageTextToText.from_pretrained(base).state_dict()
    theirs = AutoModelForImageTextToText.from_pretrained(safe).state_dict()
    is_language = {name: "language_model" in name or "text_model" in name or "lm_head" in name for name in ours}
    assert {*is_language.values()} == {True, False}
    for name, tensor in merged.state_dict().items():
        assert equal(tensor, (theirs if is_language[name] else ours)[name]), name


def tied(by: float = 0.0) -> Tiny:
    """LLaVA whose output layer is its embeddings."""
    one = llava()
    one.model.config.text_config.tie_word_embeddings = one.model.config.tie_word_embeddings = True
    one.model.lm_head.weight = one.model.model.language_model.embed_tokens.weight
    return shifted(one, by=by) if by else one


def test_tied_embeddings_stay_tied(tmp_path: Path) -> None:
    base, safe = save(tied(), tmp_path / "base"), save(tied(0.05), tmp_path / "safe")
    folder = edit("merge", base, tmp_path / "out", safe=str(safe), c=0.5).folder
    assert weights(folder).keys() == weights(base).keys() and "language_model.lm_head.weight" not in weights(folder)
    merged = LlavaForConditionalGeneration.from_pretrained(folder)
    assert merged.lm_head.weight is merged.model.language_model.embed_tokens.weight


def test_an_output_layer_of_its_own_is_not_merged_into_tied_embeddings(safe: Path, tmp_path: Path) -> None:
    base = save(tied(), tmp_path / "tied")
    with pytest.raises(EditingError, match="output layer of its own"):
        edit("merge", base, tmp_path / "out", safe=str(safe))


def test_shards_are_merged_one_by_one_into_the_same_shards(base: Path, safe: Path, tmp_path: Path) -> None:
    sharded = tmp_path / "sharded"
    llava().model.save_pretrained(sharded, max_shard_size="60KB")
    llava().processor.save_pretrained(sharded)
    files = sorted(path.name for path in sharded.glob("*.safetensors*"))
    assert len(files) > 2
    folder = edit("merge", sharded, tmp_path / "out", safe=str(safe), c=0.5).folder
    assert sorted(path.name for path in folder.glob("*.safetensors*")) == files
    whole = weights(edit("merge", base, tmp_path / "whole", safe=str(safe), c=0.5).folder)
    found = weights(folder)
    assert found.keys() == whole.keys() and all(equal(found[name], whole[name]) for name in whole)


def test_never_more_than_one_tensor_of_each_model_is_held(
    base: Path, safe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import weakref

    from holisafe.editing import Checkpoint

    held: list[weakref.ref[torch.Tensor]] = []
    most, read = 0, Checkpoint.tensor

    def counted(self: Checkpoint, name: str) -> torch.Tensor:
        nonlocal most
        tensor = read(self, name)
        held.append(weakref.ref(tensor))
        most = max(most, sum(each() is not None for each in held))
        return tensor

    monkeypatch.setattr(Checkpoint, "tensor", counted)
    edit("merge", base, tmp_path / "out", safe=str(safe), c=0.5)
    assert len(held) > 80 and most <= 4  # the two at hand, and two that are about to be let go


def test_half_precision_is_computed_in_float32(tmp_path: Path) -> None:
    one, other = llava(), shifted(llava())
    base = save(Tiny(one.model.to(torch.bfloat16), one.processor), tmp_path / "base")
    safe = save(Tiny(other.model.to(torch.bfloat16), other.processor), tmp_path / "safe")
    found = weights(edit("merge", base, tmp_path / "out", safe=str(safe), c=0.3).folder)
    name = "language_model.model.layers.0.mlp.up_proj.weight"
    wanted = (0.3 * weights(safe)[name].float() + 0.7 * weights(base)[name].float()).to(torch.bfloat16)
    assert equal(found[name], wanted)


def test_images_that_either_model_learned_from_stay_known(base: Path, safe: Path, tmp_path: Path) -> None:
    (base / "learned_images.txt").write_text("aa\nbb\n")
    (safe / "learned_images.txt").write_text("bb\ncc\n")
    folder = edit("merge", base, tmp_path / "out", safe=str(safe)).folder
    assert (folder / "learned_images.txt").read_text() == "aa\nbb\ncc\n"


def test_the_record_holds_the_hash_of_each_file(base: Path, safe: Path, tmp_path: Path) -> None:
    import hashlib

    folder = edit("merge", base, tmp_path / "out", safe=str(safe)).folder
    record = json.loads((folder / "edit.json").read_text())
    found = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert record["files"] == {"model.safetensors": found}
    assert record["found"]["cosine"]["safe"] == pytest.approx(0.97, abs=0.02)


def test_task_arithmetic_from_the_base_itself_is_merging(base: Path, safe: Path, tmp_path: Path) -> None:
    added = edit("task-arithmetic", base, tmp_path / "a", safe=str(safe), reference=str(base), weight=0.4)
    merged = weights(edit("merge", base, tmp_path / "m", safe=str(safe), c=0.4).folder)
    for name, tensor in weights(added.folder).items():
        torch.testing.assert_close(tensor, merged[name])


def test_ties_with_the_base_as_reference_and_all_entries_gives_the_safe_model(
    base: Path, safe: Path, tmp_path: Path
) -> None:
    settings = {"safe": str(safe), "reference": str(base), "density": 1.0}
    found = weights(edit("ties", base, tmp_path / "out", **settings).folder)
    theirs = weights(safe)
    for name in (name for name in found if name.startswith("language_model.")):
        torch.testing.assert_close(found[name], theirs[name])


def test_ties_keeps_the_largest_elects_signs_and_averages_what_agrees() -> None:
    one = torch.tensor([4.0, 1.0, -3.0, 0.5])
    other = torch.tensor([2.0, -5.0, 3.5, 0.1])
    whole = merged_vector([one, other], 1.0)
    assert whole.tolist() == pytest.approx([3.0, -5.0, 3.5, 0.3])
    assert merged_vector([one, other], 0.5).tolist() == pytest.approx([4.0, -5.0, 3.5, 0.0])


def test_a_killed_edit_leaves_no_model(base: Path, safe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import holisafe.editing._edit as editing

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(editing, "write_weights", full)
    with pytest.raises(EditingError, match="make room"):
        edit("merge", base, tmp_path / "out", safe=str(safe))
    assert not (tmp_path / "out").exists() and not (tmp_path / "out.unfinished").exists()


def test_files_of_an_earlier_format_are_read_by_their_own_names(base: Path, safe: Path, tmp_path: Path) -> None:
    old = tmp_path / "old"
    shutil.copytree(safe, old)
    renamed = {
        f"model.{name}" if "lm_head" not in name else "lm_head.weight": tensor for name, tensor in weights(safe).items()
    }
    renamed = {
        name.replace("model.language_model.model.", "model.language_model."): each for name, each in renamed.items()
    }
    save_file(renamed, old / "model.safetensors", {"format": "pt"})
    one = weights(edit("merge", base, tmp_path / "one", safe=str(old), c=1.0).folder)
    other = weights(edit("merge", base, tmp_path / "other", safe=str(safe), c=1.0).folder)
    assert all(equal(one[name], other[name]) for name in other)
    with safe_open(tmp_path / "one" / "model.safetensors", "pt") as file:
        assert set(file.keys()) == weights(base).keys()
