"""Unsafe Weights Manipulation: what it selects, what it changes, and how SafeGround measures it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModel, AutoProcessor

from editing.tiny import QUADRUPLES, clip, quadruples, siglip, vision_language
from holisafe.benchmarks.safeground import Quadruples, safeground_scores
from holisafe.editing import Checkpoint, edit, measure_safeground
from holisafe.editing._encoders import open_encoders
from holisafe.editing._pairs import read_pairs
from holisafe.editing.methods.uwm._scores import RunningScore, _read_by
from holisafe.editing.methods.uwm._select import select
from holisafe.errors import DataError, EditingError
from tiny_models import llava, save

OUT, IN, TOKENS = 8, 64, 12


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    return quadruples(tmp_path / "pairs")


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return clip(tmp_path / "clip")


def layer(folder: Path, name: str) -> torch.Tensor:
    return load_file(folder / "model.safetensors")[name]


VISION_FC2 = "vision_model.encoder.layers.0.mlp.fc2.weight"
TEXT_OUT = "text_model.encoder.layers.0.self_attn.out_proj.weight"


def test_a_planted_input_direction_is_selected_exactly() -> None:
    """Unsafe input is larger in one direction, so each weight of its column scores the same multiple of the rest."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(OUT, IN, generator=generator)
    running = RunningScore(weight, by_magnitude=False)
    for _ in range(50):
        safe = torch.randn(TOKENS, IN, generator=generator)
        unsafe = safe.clone()
        unsafe[:, 37] += 1.0 + safe[:, 37].abs().max()
        running.add(safe, unsafe)
    score = running.score
    share = float(score[:, 37].double().sum() / score.double().sum())
    selected, found = select(score, 1 - share - 1e-9)
    assert selected.tolist() == [row * IN + 37 for row in range(OUT)]
    assert found == pytest.approx(share)


def test_the_score_is_the_ratio_of_the_two_saliencies() -> None:
    """Against Eq. 8 to 10 written out weight by weight."""
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(3, 5, generator=generator)
    samples = [torch.randn(7, 5, generator=generator) for _ in range(4)]

    def saliency(read: torch.Tensor) -> torch.Tensor:
        norm, spread = read.norm(dim=0), read.std(dim=0, correction=0)
        moved = norm[None, :] * weight.abs()  # (out, in)
        return moved.mean(1)[:, None] * moved.mean(0)[None, :] / spread

    running = RunningScore(weight, by_magnitude=True)
    running.add(samples[0], samples[1])
    running.add(samples[2], samples[3])
    ratios = [saliency(samples[at + 1]) / saliency(samples[at]) for at in (0, 2)]
    torch.testing.assert_close(running.score, sum(ratios) / 2 * weight.abs(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("sparsity", [0.98, 0.915, 0.5])
def test_what_is_selected_has_at_most_the_rest_of_the_score(sparsity: float) -> None:
    score = torch.rand(40, 60, generator=torch.Generator().manual_seed(0)) ** 4
    selected, share = select(score, sparsity)
    flat = score.double().flatten()
    assert share == pytest.approx(float(flat[selected.long()].sum() / flat.sum()))
    assert 0.9 * (1 - sparsity) < share <= 1 - sparsity
    rest = torch.ones(len(flat), dtype=torch.bool).index_fill_(0, selected.long(), False)
    assert flat[selected.long()].min() >= flat[rest].max()


def test_alpha_1_changes_nothing(base: Path, pairs: Path, tmp_path: Path) -> None:
    folder = edit("uwm", base, tmp_path / "out", pairs=str(pairs), encoders="both", alpha=1.0).folder
    assert (folder / "model.safetensors").read_bytes() == (base / "model.safetensors").read_bytes()


def test_alpha_minus_1_twice_with_one_selection_changes_nothing(base: Path, pairs: Path, tmp_path: Path) -> None:
    once = edit("uwm", base, tmp_path / "once", pairs=str(pairs), encoders="both").folder
    assert (once / "model.safetensors").read_bytes() != (base / "model.safetensors").read_bytes()
    kept = str(once / "selection.safetensors")
    twice = edit("uwm", once, tmp_path / "twice", selection=kept, encoders="both").folder
    assert (twice / "model.safetensors").read_bytes() == (base / "model.safetensors").read_bytes()


def test_the_selected_weights_change_sign_and_no_others_change(base: Path, pairs: Path, tmp_path: Path) -> None:
    folder = edit("uwm", base, tmp_path / "out", pairs=str(pairs), encoders="both", sparsity=0.9).folder
    for name, positions in load_file(folder / "selection.safetensors").items():
        before, after = layer(base, name).flatten(), layer(folder, name).flatten()
        assert torch.equal((before != after).nonzero().flatten().int(), positions) and len(positions) > 0
        assert torch.equal(after[positions.long()], -before[positions.long()])


def test_each_encoder_is_edited_alone(base: Path, pairs: Path, tmp_path: Path) -> None:
    for encoder, changed, kept in (("vision", VISION_FC2, TEXT_OUT), ("text", TEXT_OUT, VISION_FC2)):
        folder = edit("uwm", base, tmp_path / encoder, pairs=str(pairs), encoders=encoder, sparsity=0.9).folder
        assert not torch.equal(layer(folder, changed), layer(base, changed))
        assert torch.equal(layer(folder, kept), layer(base, kept))


def test_the_same_texts_padded_give_the_same_scores(base: Path, pairs: Path) -> None:
    """Padding is not among the tokens that are read."""
    encoders = open_encoders(Checkpoint.read(base))
    text = "a picture of a garden"
    modules = {"out": encoders.model.text_model.encoder.layers[0].self_attn.out_proj}
    plain = _read_by(modules, (lambda: encoders.encode_text(text), None))["out"]
    padded = encoders.processor.tokenizer([text], padding="max_length", max_length=40, return_tensors="pt")
    run = lambda: encoders.model.get_text_features(**padded)  # noqa: E731
    with torch.inference_mode():
        cut = _read_by(modules, (run, encoders.text_tokens(text)))["out"]
    assert len(plain) == encoders.text_tokens(text) < 40
    torch.testing.assert_close(cut, plain)


def test_the_vision_encoder_of_a_vision_language_model_is_edited_alone(pairs: Path, tmp_path: Path) -> None:
    base = vision_language(tmp_path / "base")
    folder = edit("uwm", base, tmp_path / "out", pairs=str(pairs), sparsity=0.9).folder
    before, after = load_file(base / "model.safetensors"), load_file(folder / "model.safetensors")
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed and all(name.startswith("vision_tower.") and name.endswith("fc2.weight") for name in changed)


def test_twins_of_holisafe_open_are_pairs(tmp_path: Path) -> None:
    base = save(llava(), tmp_path / "base")
    record = edit("uwm", base, tmp_path / "out", limit=3).description
    assert record["settings"]["pairs"] == "open@2" and record["found"]["weights_selected"] > 0


def test_pairs_of_a_data_set_differ_in_what_is_asked_for() -> None:
    images = read_pairs("open@2", images=True, texts=False, limit=5)
    texts = read_pairs("open@2", images=False, texts=True, limit=5)
    assert all(pair.safe_image != pair.unsafe_image for pair in images)
    assert all(pair.safe_text != pair.unsafe_text for pair in texts)
    assert len(images) == len(texts) == 5


def test_safeground_measures_an_encoder_as_its_embeddings_say(base: Path, pairs: Path) -> None:
    """Against a batch in plain transformers."""
    from PIL import Image

    model, processor = AutoModel.from_pretrained(base), AutoProcessor.from_pretrained(base)
    found = read_pairs(str(pairs), images=True, texts=True)
    assert len(found) == QUADRUPLES

    def images(kind: str) -> np.ndarray:
        opened = [Image.open(getattr(pair, kind).path).convert("RGB") for pair in found]
        features = model.get_image_features(**processor.image_processor(images=opened, return_tensors="pt"))
        return features.pooler_output.detach().numpy()

    def texts(kind: str) -> np.ndarray:
        inputs = processor.tokenizer([getattr(pair, kind) for pair in found], padding=True, return_tensors="pt")
        return model.get_text_features(**inputs).pooler_output.detach().numpy()

    expected = safeground_scores(
        Quadruples.of(images("safe_image"), images("unsafe_image"), texts("safe_text"), texts("unsafe_text"))
    )
    scores = measure_safeground(base, pairs)
    assert {name: one.value for name, one in scores.items()} == {name: one.value for name, one in expected.items()}


def test_safeground_pads_texts_for_models_that_were_trained_so(pairs: Path, tmp_path: Path) -> None:
    base = siglip(tmp_path / "siglip")
    model, processor = AutoModel.from_pretrained(base), AutoProcessor.from_pretrained(base)
    encoders = open_encoders(Checkpoint.read(base))
    inputs = processor.tokenizer(["a garden"], padding="max_length", max_length=48, return_tensors="pt")
    with torch.inference_mode():
        expected = model.get_text_features(input_ids=inputs["input_ids"]).pooler_output
    torch.testing.assert_close(encoders.encode_text("a garden"), expected)
    assert len(measure_safeground(base, pairs)) == 9


def test_safeground_of_an_edited_encoder_is_measured(base: Path, pairs: Path, tmp_path: Path) -> None:
    """Most weights of its own pairs' score flipped: some preference changes."""
    folder = edit("uwm", base, tmp_path / "out", pairs=str(pairs), encoders="both", sparsity=0.2).folder
    before, after = measure_safeground(base, pairs), measure_safeground(folder, pairs)
    assert [one.value for one in before.values()] != [one.value for one in after.values()]


def test_safeground_needs_a_text_encoder(pairs: Path, tmp_path: Path) -> None:
    with pytest.raises(EditingError, match="CLIP-like"):
        measure_safeground(vision_language(tmp_path / "base"), pairs)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"vision_layer": "mlp_out"}, "no linear layer named mlp_out.*fc1, fc2"),
        ({"selection": "missing.safetensors"}, "no such file"),
        ({"sparsity": 1.0}, "sparsity: input should be less than 1"),
        ({"encoders": "audio"}, "encoders"),
        ({"alpha": float("nan")}, "alpha"),
        ({"limit": 0}, "limit"),
    ],
)
def test_wrong_settings_are_refused_by_name(
    base: Path, pairs: Path, tmp_path: Path, settings: dict[str, object], message: str
) -> None:
    with pytest.raises(EditingError, match=message):
        edit("uwm", base, tmp_path / "out", **{"pairs": str(pairs), **settings})
    assert not (tmp_path / "out").exists()


def test_a_selection_of_another_model_is_refused(base: Path, pairs: Path, tmp_path: Path) -> None:
    other = vision_language(tmp_path / "other")
    kept = edit("uwm", other, tmp_path / "edited", pairs=str(pairs)).folder / "selection.safetensors"
    with pytest.raises(EditingError, match="made for other layers"):
        edit("uwm", base, tmp_path / "out", selection=str(kept))


def test_a_vision_language_model_has_no_text_encoder_to_edit(pairs: Path, tmp_path: Path) -> None:
    with pytest.raises(EditingError, match="no text encoder"):
        edit("uwm", vision_language(tmp_path / "base"), tmp_path / "out", pairs=str(pairs), encoders="text")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "quadruples.jsonl:1"),
        ("[1]", "expected an object"),
        ('{"safe_image": "safe-0.png"}', "unsafe_image: expected a text"),
        ('{"safe_image": 3, "unsafe_image": "unsafe-0.png"}', "safe_image: expected a text"),
        ("", "holds no pairs"),
    ],
)
def test_broken_pairs_are_refused_by_file_line_and_field(
    base: Path, pairs: Path, tmp_path: Path, line: str, message: str
) -> None:
    pairs.write_text(line + "\n")
    with pytest.raises(DataError, match=message):
        edit("uwm", base, tmp_path / "out", pairs=str(pairs))


def test_images_outside_the_folder_of_the_pairs_are_refused(base: Path, pairs: Path, tmp_path: Path) -> None:
    from holisafe.errors import ImageError

    pairs.write_text('{"safe_image": "../secret.png", "unsafe_image": "unsafe-0.png"}\n')
    (tmp_path / "secret.png").write_bytes((pairs.parent / "safe-0.png").read_bytes())
    with pytest.raises(ImageError):
        edit("uwm", base, tmp_path / "out", pairs=str(pairs))
