"""The safety meta token in the vision encoder: it reads the patches, and comes out as one more visual token."""

from __future__ import annotations

import copy
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor
from transformers import LlamaConfig, LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor, SiglipVisionConfig
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from guard.families.all import BUILDERS
from guard.families.weights import spread
from guard.prompts import assert_same, batch, guard, pictures, tiny, two_rows, watched
from holisafe.errors import GuardError, HoliSafeError
from holisafe.guard import (
    GuardConfig,
    add_meta_tokens,
    attach_guard,
    classify_images,
    detach_guard,
    disable,
    guard_of,
    guarded_generate,
    load_guard,
    save_guard,
    session,
    train_guard,
)
from holisafe.guard.attach import observer_of
from holisafe.models import Answer, Engine, GenerationOptions, Prompt
from holisafe.models.engine.reuse import Way
from holisafe.records import ImageRef, Role, Turn
from tiny_models import IMAGE_FIRST, IMAGE_LAST, TEXT, VISION, Tiny, tokenizer

GREEDY = {"do_sample": False, "max_new_tokens": 4}
IN_ENCODER: dict[str, Any] = {"meta_token": True, "meta_token_in": "encoder"}
PATCHES = 16


def llava_siglip() -> Tiny:
    """LLaVA with SigLIP, wider than the language model and with no class token; all tokens are used."""
    tokens = tokenizer("<image>", image_token="<image>")
    processor = LlavaProcessor(
        CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}),
        tokens,
        patch_size=8,
        vision_feature_select_strategy="full",
        chat_template=IMAGE_FIRST.replace("IMAGE", "<image>"),
    )
    config = LlavaConfig(
        vision_config=SiglipVisionConfig(**{**VISION, "hidden_size": 48}),
        text_config=LlamaConfig(vocab_size=len(tokens), **TEXT),
        image_token_id=tokens.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
    )
    return Tiny(spread(LlavaForConditionalGeneration(config), tokens), processor)


def vipllava() -> Tiny:
    """ViP-LLaVA: several layers of CLIP side by side."""
    case = BUILDERS["vipllava"]()
    case.processor.chat_template = IMAGE_FIRST.replace("IMAGE", "<image>")
    return Tiny(case.model, case.processor)


MODELS = {"llava": lambda: tiny("llava"), "llava_siglip": llava_siglip, "vipllava": vipllava}
every_model = pytest.mark.parametrize("name", MODELS)


def hooks_of(model: Any) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())


def generated(model: Any, marked: dict[str, Any]) -> Tensor:
    """Tokens for prompts that have their meta tokens already."""
    with session(model):
        tokens: Tensor = model.generate(**marked, **GREEDY)
    return tokens


def learned(model: Any) -> Tensor:
    vector = guard_of(model).meta_token
    assert vector is not None
    return vector


def moved(model: Any) -> None:
    """Change the learned vector."""
    with torch.no_grad():
        learned(model).add_(torch.randn(learned(model).shape, generator=torch.Generator().manual_seed(1)))


def meta_places(model: Any, ids: Tensor) -> Tensor:
    """Where the meta tokens of marked prompts are: the last placeholder of each image, (rows, columns)."""
    is_image = ids == observer_of(model).image_token
    count = is_image.flatten().long().cumsum(0).reshape(ids.shape)
    return is_image & (count % (PATCHES + 1) == 0)


@every_model
def test_it_goes_into_the_encoder_after_the_patches_and_has_no_position(name: str) -> None:
    made = MODELS[name]()
    pixels = batch(made, two_rows())["pixel_values"]
    embeddings = made.model.model.vision_tower.embeddings
    with torch.no_grad():
        before = embeddings(pixels)
        model = guard(made, **IN_ENCODER)
        with session(model):
            after = embeddings(pixels)
        assert torch.equal(embeddings(pixels), before), "outside a session it is not there"
    assert torch.equal(after[:, :-1], before)
    assert torch.equal(after[:, -1], learned(model).expand(3, -1))
    assert learned(model).shape == (made.model.config.vision_config.hidden_size,)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("images", [1, 2, 3])
@every_model
def test_each_image_has_one_more_placeholder_and_the_rest_of_a_prompt_stays(name: str, images: int, side: str) -> None:
    made = MODELS[name]()
    model = guard(made, **IN_ENCODER)
    inputs = batch(made, [(pictures()[:images], "a question"), (pictures()[:1], "hi")], side)
    inputs["labels"] = inputs["input_ids"].masked_fill(inputs["attention_mask"] == 0, -100)
    inputs["mm_token_type_ids"] = (inputs["input_ids"] == observer_of(model).image_token).long()
    found = add_meta_tokens(model, inputs)
    ids, mask, labels = found["input_ids"], found["attention_mask"].bool(), found["labels"]
    assert ids.shape == (2, inputs["input_ids"].shape[1] + images)
    for row, count in enumerate((images, 1)):
        before = inputs["input_ids"][row][inputs["attention_mask"][row].bool()]
        after, spoken = ids[row][mask[row]], labels[row][mask[row]]
        is_meta = meta_places(model, after[None])[0]
        assert int(is_meta.sum()) == count
        assert torch.equal(after[~is_meta], before)
        assert torch.equal(spoken[~is_meta], before) and bool((spoken[is_meta] == -100).all())
        assert bool((labels[row][~mask[row]] == -100).all())
    assert torch.equal(found["mm_token_type_ids"] == 1, ids == observer_of(model).image_token)
    assert bool(mask[:, -1].all()) == (side == "left")


@pytest.mark.parametrize("side", ["left", "right"])
@every_model
def test_the_head_reads_the_state_at_what_came_out_of_the_encoder_last(name: str, side: str) -> None:
    made = MODELS[name]()
    model = guard(made, **IN_ENCODER)
    inputs = batch(made, two_rows(), side)
    found = add_meta_tokens(model, inputs)
    layers = model.config.vision_feature_layer
    seen: list[Tensor] = []
    with torch.no_grad():
        with session(model):
            tower = model.model.vision_tower(inputs["pixel_values"], output_hidden_states=True).hidden_states
        last = torch.cat([tower[layer][:, -1] for layer in ([layers] if isinstance(layers, int) else layers)], -1)
        hook = model.get_decoder().layers[0].register_forward_pre_hook(lambda _, args: seen.append(args[0]))
        output = watched(model, **found, output_hidden_states=True)
        hook.remove()
        is_meta = meta_places(model, found["input_ids"])
        torch.testing.assert_close(seen[0][is_meta], model.model.multi_modal_projector(last))
        states = output.hidden_states[-1][is_meta]  # row by row, so in the order of the images
        torch.testing.assert_close(output["image_logits"], guard_of(model).image_head(states))  # type: ignore[misc]
    assert not torch.allclose(last[0], last[1], atol=1e-3), "it has read the patches"


@every_model
def test_the_patches_and_the_answer_see_it(name: str) -> None:
    made = MODELS[name]()
    model = guard(made, **IN_ENCODER)
    inputs = batch(made, two_rows()[:1])
    with torch.no_grad():
        before = add_meta_tokens(model, inputs)
        moved(model)
        after = add_meta_tokens(model, inputs)
        features = [torch.as_tensor(one["mm_encoder_outputs"]["image"].pooler_output[0]) for one in (before, after)]
        outputs = [watched(model, **one) for one in (before, after)]
    # encoders look in both directions, so this is a price of having it there
    assert bool(((features[0] - features[1]).abs().amax(-1) > 1e-4).all())
    assert not torch.allclose(outputs[0].logits[:, -1], outputs[1].logits[:, -1], atol=1e-3)
    assert not torch.allclose(outputs[0]["image_logits"], outputs[1]["image_logits"], atol=1e-3)


@pytest.mark.parametrize("kept", [False, True])
@every_model
def test_it_learns_from_the_head_and_from_the_answer_and_so_does_the_encoder(name: str, kept: bool) -> None:
    made = MODELS[name]()
    options = {"modules_to_save": ["guard"]} if kept else {}
    lora = LoraConfig(r=2, target_modules=r".*vision_tower.*\.q_proj", **options)
    model = train_guard(get_peft_model(guard(made, **IN_ENCODER), lora))
    inputs = batch(made, two_rows(), "right")
    labels = inputs["input_ids"].masked_fill(inputs["attention_mask"] == 0, -100)
    for loss_of in (lambda output: output["image_logits"].logsumexp(-1).sum(), lambda output: output.loss):
        model.zero_grad()
        loss_of(watched(model, **add_meta_tokens(model, {**inputs, "labels": labels}))).backward()
        for part in ("meta_token", "vision_tower.encoder.layers.0.self_attn.q_proj.lora_B"):
            assert [
                weight.grad is not None and bool(weight.grad.abs().sum() > 0)
                for name, weight in model.named_parameters()
                if part in name and "original_module" not in name
            ] == [True]


@every_model
def test_generating_with_it_is_generating_from_marked_prompts(name: str) -> None:
    made = MODELS[name]()
    model = guard(made, **IN_ENCODER)
    inputs = batch(made, two_rows())
    found = guarded_generate(model, inputs, **GREEDY)
    assert torch.equal(found.sequences, generated(model, add_meta_tokens(model, inputs)))
    alone = [guarded_generate(model, batch(made, [row]), **GREEDY).verdicts[0] for row in two_rows()]
    assert_same(found.verdicts, alone)
    assert len({image.probability for row in found.verdicts for image in row.images}) == 3
    beams = guarded_generate(model, inputs, num_beams=2, num_return_sequences=2, **GREEDY)
    assert_same(beams.verdicts, found.verdicts)
    for options in ({"prefill_chunk_size": 5}, {"cache_implementation": "static"}):
        other = guarded_generate(model, inputs, **options, **GREEDY)
        assert torch.equal(other.sequences, found.sequences)
        assert_same(other.verdicts, found.verdicts)


@every_model
def test_an_image_without_a_question_has_the_same_verdict(name: str) -> None:
    made = MODELS[name]()
    for features in ("language", "projector"):  # out of the encoder it has features of its own
        model = guard(made, features=features, **IN_ENCODER)
        shown = pictures()[:2]
        found = list(classify_images(model, shown, processor=made.processor))
        asked = guarded_generate(model, batch(made, [([image], "hi") for image in shown]), **GREEDY).verdicts
        for verdict, other in zip(found, asked, strict=True):
            assert dict(verdict.distribution) == pytest.approx(dict(other.images[0].distribution), abs=1e-5)
        detach_guard(model)


class TestRefused:
    @pytest.mark.parametrize("family", ["llava_onevision", "qwen2_5_vl", "gemma3", "llava_pixtral", "paligemma"])
    def test_models_whose_encoders_tokens_are_not_the_visual_tokens(self, family: str) -> None:
        case = BUILDERS[family]()
        before = dict(case.model.named_modules())
        kind = "llava models with PixtralVisionModel" if family == "llava_pixtral" else f"{family} models"
        with pytest.raises(GuardError, match=rf"^{kind} cannot have .*, as in llava, vipllava models; use"):
            attach_guard(case.model, GuardConfig(**IN_ENCODER), processor=case.processor)
        assert dict(case.model.named_modules()) == before

    @every_model
    def test_prompts_without_it(self, name: str) -> None:
        made = MODELS[name]()
        model = guard(made, **IN_ENCODER)
        inputs = batch(made, two_rows())
        for use in (model, lambda **inputs: model.generate(**inputs, **GREEDY)):
            with session(model), pytest.raises(GuardError, match=r"add_meta_tokens\(model, inputs\)"):
                use(**inputs)
        assert guarded_generate(model, inputs, **GREEDY).verdicts

    def test_prompts_that_have_it_already(self) -> None:
        made = MODELS["llava"]()
        model = guard(made, **IN_ENCODER)
        with pytest.raises(GuardError, match=r"through add_meta_tokens already.*pass each prompt once"):
            guarded_generate(model, add_meta_tokens(model, batch(made, two_rows())), **GREEDY)

    def test_features_from_before_the_guard(self) -> None:
        made = MODELS["llava"]()
        inputs = batch(made, two_rows())
        old = made.model.get_image_features(inputs.pop("pixel_values"), return_dict=True)
        model = guard(made, **IN_ENCODER)
        with pytest.raises(GuardError, match="computed without the guard"):
            add_meta_tokens(model, {**inputs, "mm_encoder_outputs": {"image": old}})

    @pytest.mark.parametrize(
        ("parts", "match"),
        [
            ({"meta_token_in": "encoder"}, "needs meta_token=True"),
            ({"meta_token_in": "projector"}, "unknown meta place 'projector'"),
        ],
    )
    def test_parts_that_do_not_go_together(self, parts: dict[str, Any], match: str) -> None:
        with pytest.raises(HoliSafeError, match=match):
            GuardConfig(**parts)


class TestKept:
    @every_model
    def test_a_loaded_guard_gives_the_same_verdicts(self, name: str, tmp_path: Path) -> None:
        made = MODELS[name]()
        model = guard(made, **IN_ENCODER)
        inputs = batch(made, two_rows())
        before = guarded_generate(model, inputs, **GREEDY)
        save_guard(model, tmp_path)
        assert "a safety meta token in the vision encoder" in (tmp_path / "README.md").read_text()
        loaded = load_guard(detach_guard(model), tmp_path)
        after = guarded_generate(loaded, inputs, **GREEDY)
        assert torch.equal(after.sequences, before.sequences)
        assert_same(after.verdicts, before.verdicts, 0)

    @pytest.mark.parametrize(
        ("width", "match"),
        [
            (None, "vision_width is missing"),
            (64, r"meta_token: expected shape \[64\], found \[48\]"),
            (-1, "vision_width: expected a hidden size, found -1"),
            ("48", 'vision_width: found "48"'),
        ],
    )
    def test_a_width_that_does_not_fit_is_refused(self, width: Any, match: str, tmp_path: Path) -> None:
        model = guard(llava_siglip(), **IN_ENCODER)
        path = save_guard(model, tmp_path) / "guard_config.json"
        values = json.loads(path.read_text())
        values["site"]["vision_width"] = width
        path.write_text(json.dumps(values))
        with pytest.raises(GuardError, match=match):
            load_guard(detach_guard(model), tmp_path)
        assert "guard" not in dict(model.named_children())

    def test_another_encoder_is_refused(self, tmp_path: Path) -> None:
        save_guard(guard(MODELS["llava"](), **IN_ENCODER), tmp_path)
        other = llava_siglip().model
        with pytest.raises(GuardError, match="vision encoder of hidden size 32, not 48"):
            load_guard(other, tmp_path)
        assert "guard" not in dict(other.named_children())

    def test_its_configuration_comes_back_as_it_was(self) -> None:
        there = GuardConfig(**IN_ENCODER)
        assert GuardConfig.from_json(json.loads(json.dumps(there.to_json()))) == there


class TestWithoutTrace:
    @every_model
    def test_detached_disabled_or_outside_a_session_the_model_is_as_before(self, name: str) -> None:
        made = MODELS[name]()
        inputs = batch(made, two_rows())
        before = made.model(**inputs).logits  # transformers puts hooks of its own in on the first pass
        hooks = hooks_of(made.model)
        model = guard(made, **IN_ENCODER)
        assert torch.equal(model(**inputs).logits, before)
        with session(model), disable(model):
            assert torch.equal(model(**inputs).logits, before)
        detach_guard(model)
        assert torch.equal(model(**inputs).logits, before)
        assert hooks_of(model) == hooks

    def test_a_deep_copy_has_a_token_of_its_own(self) -> None:
        made = MODELS["llava"]()
        model = guard(made, **IN_ENCODER)
        inputs = batch(made, two_rows())
        before = guarded_generate(model, inputs, **GREEDY).verdicts
        other = copy.deepcopy(model)
        assert_same(guarded_generate(other, inputs, **GREEDY).verdicts, before, 0)
        moved(other)
        assert guarded_generate(other, inputs, **GREEDY).verdicts != before
        detach_guard(other)
        assert_same(guarded_generate(model, inputs, **GREEDY).verdicts, before, 0)

    def test_an_encoder_that_peft_copies_sees_the_models_own_token(self) -> None:
        made = MODELS["llava"]()
        model = guard(made, **IN_ENCODER)
        inputs = batch(made, two_rows())
        before = guarded_generate(model, inputs, **GREEDY).verdicts
        lora = LoraConfig(r=2, target_modules=r".*language_model.*\.q_proj", modules_to_save=["vision_tower"])
        peft = get_peft_model(model, lora).eval()
        assert_same(guarded_generate(peft, inputs, **GREEDY).verdicts, before)
        train_guard(peft)
        watched(peft, **add_meta_tokens(peft, inputs))["image_logits"].sum().backward()
        gradient = learned(model).grad
        assert gradient is not None and bool(gradient.abs().sum() > 0)
        detach_guard(peft)
        assert torch.isfinite(peft(**inputs).logits).all()


def test_it_is_the_same_in_half_precision_up_to_rounding() -> None:
    made = MODELS["llava"]()
    model = guard(made, **IN_ENCODER)
    inputs = batch(made, two_rows())
    full = guarded_generate(model, inputs, **GREEDY).verdicts
    model.to(torch.bfloat16)
    inputs["pixel_values"] = inputs["pixel_values"].bfloat16()
    assert_same(guarded_generate(model, inputs, **GREEDY).verdicts, full, 0.04)


class TestManyPrompts:
    def answers(self, made: Tiny, prompts: Sequence[Prompt], **options: Any) -> tuple[list[Answer], Way, int]:
        with Engine(made.model, made.processor, **options) as engine:
            return engine.answer(prompts, GenerationOptions(max_new_tokens=6)), engine.reuse.way, engine.prefixes

    @pytest.mark.parametrize("name", ["llava", "llava_siglip"])
    @pytest.mark.parametrize(
        ("template", "way"), [(IMAGE_FIRST, Way.PREFIX), (IMAGE_FIRST, Way.PLAIN), (IMAGE_LAST, Way.FEATURES)]
    )
    def test_every_way_of_reading_them_says_the_same(self, name: str, template: str, way: Way) -> None:
        made = MODELS[name]()
        made.processor.chat_template = template.replace("IMAGE", "<image>")
        guard(made, **IN_ENCODER)
        alone, *_ = self.answers(made, prompts(), batch_size=1, reuse=False)
        found, taken, prefixes = self.answers(made, prompts(), batch_size=5, reuse=way is not Way.PLAIN, prefix_worth=0)
        assert taken is way and (prefixes > 0) == (way is Way.PREFIX)
        assert [answer.tokens for answer in found] == [answer.tokens for answer in alone]
        read = [[answer.verdict for answer in said] for said in (found, alone)]
        assert_same(read[0], read[1], 1e-4)
        assert [len(answer.verdict.images) for answer in found] == [1, 2, 1, 1, 0]


def prompts() -> list[Prompt]:
    """Prompts some of which share their images; the last has none."""
    a, b, c = (_encoded(str(place), place) for place in range(3))
    asked = [("What?", (a,)), ("Which one?", (b, c)), ("Can I eat it with a spoon?", (a,)), ("Hello", (c,))]
    return [*(Prompt.ask(text, *images) for text, images in asked), Prompt((Turn(Role.USER, "Why?"),))]


def _encoded(key: str, place: int) -> ImageRef:
    encoded = io.BytesIO()
    pictures()[place].save(encoded, "PNG")
    return ImageRef(key, data=encoded.getvalue())
