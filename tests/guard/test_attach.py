"""What `attach_guard` accepts and refuses, and how a guarded model trains, copies, spreads and saves."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import dispatch_model
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from torch.utils._pytree import tree_flatten, tree_unflatten
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MllamaConfig,
    MllamaForConditionalGeneration,
    T5Config,
    T5ForConditionalGeneration,
    Trainer,
    TrainingArguments,
)

from guard.prompts import assert_same, batch, guard, pictures, tiny, two_rows, watched
from holisafe.errors import GuardError, HoliSafeError
from holisafe.guard import GuardConfig, GuardSite, attach_guard, detach_guard, guard_of, guarded_generate, train_guard
from holisafe.guard._config import Features, Pooling
from holisafe.guard.attach import observer_of
from holisafe.guard.head import Guard
from tiny_models import FAMILIES, TEXT

GREEDY = {"do_sample": False, "max_new_tokens": 4}


def verdicts(model: Any, inputs: dict[str, Any]) -> Any:
    return guarded_generate(model, inputs, **GREEDY).verdicts


def hooks_of(model: Any) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())


def assert_refused(model: Any, match: str, config: GuardConfig | None = None) -> None:
    """`attach_guard` says why not and leaves the model as it was."""
    modules, hooks, attributes = [name for name, _ in model.named_modules()], hooks_of(model), set(vars(model))
    state = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(GuardError, match=match):
        attach_guard(model, config)
    assert [name for name, _ in model.named_modules()] == modules
    assert hooks_of(model) == hooks and set(vars(model)) == attributes
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


class TestWhatIsRefused:
    def test_a_second_guard(self) -> None:
        made = tiny("llava")
        model = guard(made)
        inputs = batch(made, two_rows())
        before = verdicts(model, inputs)
        assert_refused(model, "has a guard already")
        assert_same(verdicts(model, inputs), before)

    def test_a_model_without_images(self) -> None:
        assert_refused(LlamaForCausalLM(LlamaConfig(vocab_size=32, **TEXT)), "llama models cannot be guarded")

    def test_a_model_whose_images_an_encoder_reads(self) -> None:
        model = T5ForConditionalGeneration(
            T5Config(vocab_size=32, d_model=16, d_kv=4, d_ff=16, num_layers=1, num_heads=2, decoder_start_token_id=0)
        )
        assert_refused(model, "read by an encoder")

    def test_a_model_that_reads_images_by_cross_attention(self) -> None:
        text = {"vocab_size": 48, **TEXT, "cross_attention_layers": [1], "pad_token_id": 0, "rope_parameters": ROPE}
        vision = {
            "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_global_layers": 1,
            "attention_heads": 4, "image_size": 32, "patch_size": 8, "vision_output_dim": 64, "max_num_tiles": 1,
            "supported_aspect_ratios": [[1, 1]], "intermediate_layers_indices": [0],
        }  # fmt: skip
        model = MllamaForConditionalGeneration(MllamaConfig(text_config=text, vision_config=vision))
        assert_refused(model, "cross-attention")

    def test_a_model_without_a_head_for_words(self) -> None:
        assert_refused(tiny("llava").model.model, "LlavaModel gives no answers")

    def test_tiles_that_only_the_tokenizer_knows(self) -> None:
        assert_refused(tiny("smolvlm").model, r"attach_guard\(model, config, processor=processor\)")

    def test_something_that_is_no_model(self) -> None:
        assert_refused(nn.Linear(2, 2), "expected a transformers model, found Linear")


ROPE = {"rope_type": "default", "rope_theta": 1e4}


def test_detaching_a_model_without_guard_is_refused() -> None:
    model = tiny("llava").model
    for use in (detach_guard, guard_of, train_guard):
        with pytest.raises(GuardError, match="has no guard"):
            use(model)


@pytest.mark.parametrize("meta_token", [False, True])
def test_detached_it_leaves_no_hook(meta_token: bool) -> None:
    made = tiny("qwen2_5_vl")
    hooks, attributes = hooks_of(made.model), set(vars(made.model))
    detach_guard(guard(made, meta_token=meta_token))
    assert hooks_of(made.model) == hooks and set(vars(made.model)) == attributes
    assert not any("guard" in name for name, _ in made.model.named_modules())


class TestParameters:
    def test_the_papers_head_has_as_many_as_published(self) -> None:
        assert GuardConfig.paper().head_parameters(3584) == 6_460_180
        with torch.device("meta"):
            made = Guard(GuardConfig.paper(), GuardSite("qwen2_5_vl", "", 3584))
        assert sum(weight.numel() for weight in made.parameters()) == 6_460_180

    @pytest.mark.parametrize("depth", [1, 2, 3])
    @pytest.mark.parametrize("hidden_ratio", [0.001, 0.3, 0.5, 2.0])
    def test_depth_and_ratio_are_what_the_configuration_counts(self, depth: int, hidden_ratio: float) -> None:
        config = GuardConfig.paper(depth=depth, hidden_ratio=hidden_ratio, labels=("safe", "suicide"))
        made = Guard(config, GuardSite("llava", "", 40))
        assert made.image_head is not None
        assert sum(weight.numel() for weight in made.parameters()) == config.head_parameters(40)
        assert sum(type(layer) is nn.Linear for layer in made.image_head.mlp) == depth


class TestCopies:
    @pytest.mark.parametrize("family", FAMILIES)
    def test_a_deep_copy_has_a_guard_of_its_own(self, family: str) -> None:
        made = tiny(family)
        model = guard(made)
        inputs = batch(made, two_rows())
        before = watched(model, **inputs)["image_logits"]  # with gradients, of which the model must keep none
        other = copy.deepcopy(model)
        assert observer_of(other).base is other and observer_of(model).base is model
        with torch.no_grad():
            guard_of(other).image_head.mlp[-1].weight.zero_()
        assert not torch.equal(watched(other, **inputs)["image_logits"], before)
        detach_guard(other)
        assert "image_logits" not in other(**inputs)
        assert torch.equal(watched(model, **inputs)["image_logits"], before)

    def test_a_copy_after_an_answer_answers_the_same(self) -> None:
        made = tiny("llava")
        model = guard(made, pooling="attention", meta_token=True)
        inputs = batch(made, two_rows())
        before = verdicts(model, inputs)
        assert_same(verdicts(copy.deepcopy(model), inputs), before)

    @pytest.mark.parametrize("family", ["llava", "gemma3"])
    def test_save_pretrained_and_from_pretrained_go_on_working(self, family: str, tmp_path: Path) -> None:
        made = tiny(family)
        inputs = batch(made, two_rows())
        plain = made.model.generate(**inputs, **GREEDY)
        guard(made).save_pretrained(tmp_path)
        again = type(made.model).from_pretrained(tmp_path)
        assert torch.equal(again.generate(**inputs, **GREEDY), plain)


class TestPeft:
    @pytest.mark.parametrize("family", FAMILIES)
    @pytest.mark.parametrize("way", ["before", "after", "saved with the adapter", "in all linear layers"])
    def test_verdicts_are_the_same(self, family: str, way: str) -> None:
        made = tiny(family)
        inputs = batch(made, two_rows())
        expected = verdicts(guard(made), inputs)
        if way == "before":
            model = guard(made, get_peft_model(detach_guard(made.model), lora()))
        else:
            more: dict[str, Any] = {"saved with the adapter": {"modules_to_save": ["guard"]}}.get(way, {})
            if way == "in all linear layers":
                more = {"target_modules": "all-linear"}
            model = get_peft_model(made.model, lora(**more))
        assert_same(verdicts(model.eval(), inputs), expected)

    @pytest.mark.parametrize("meta_token", [False, True])
    def test_a_guard_saved_with_the_adapter_learns_and_comes_back(self, meta_token: bool, tmp_path: Path) -> None:
        made = tiny("llava")
        inputs = batch(made, two_rows())
        parts = {"meta_token": meta_token, "pooling": "attention"}
        model = get_peft_model(guard(made, **parts), lora(modules_to_save=["guard"]))
        names = [name for name, weight in model.named_parameters() if weight.requires_grad and "guard" in name]
        assert len(names) == len(list(guard_of(made.model).parameters())) // 2  # the copy learns, the first rests
        with torch.no_grad():
            for name, weight in model.named_parameters():
                if name in names:
                    weight.add_(0.1)
        learned = verdicts(model.eval(), inputs)
        model.save_pretrained(tmp_path)
        fresh = tiny("llava")
        again = PeftModel.from_pretrained(guard(fresh, **parts), tmp_path)
        assert_same(verdicts(again.eval(), inputs), learned)


def lora(**options: Any) -> LoraConfig:
    return LoraConfig(**{"r": 2, "target_modules": ["q_proj", "v_proj"], **options})


class TestTraining:
    @pytest.mark.parametrize("features", ["language", "projector"])
    @pytest.mark.parametrize("family", FAMILIES)
    def test_gradient_checkpointing_gives_the_same_gradients(self, family: str, features: str) -> None:
        gradients = []
        for checkpointing in (False, True):
            made = tiny(family)
            model = guard(made, features=features, dropout=0.0).train()
            model.config.get_text_config().use_cache = False
            if checkpointing:
                model.activation_checkpointing_enable()
            output = watched(model, **batch(made, two_rows()), use_cache=False)
            (output["image_logits"].logsumexp(-1).sum() + output["joint_logits"].logsumexp(-1).sum()).backward()
            gradients.append({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
        plain, saved = gradients
        assert plain.keys() == saved.keys() and any("vision" in name or "visual" in name for name in plain)
        for name, gradient in plain.items():
            torch.testing.assert_close(saved[name], gradient)

    @pytest.mark.parametrize("side", ["left", "right"])
    @pytest.mark.parametrize("family", FAMILIES)
    def test_the_joint_head_reads_the_position_before_the_first_learned_label(self, family: str, side: str) -> None:
        made = tiny(family)
        model = guard(made)
        inputs = batch(made, two_rows(), side)
        answer = 3  # tokens at the end of each prompt are taken as its answer
        mask = inputs["attention_mask"].bool()
        ends = mask.shape[1] - mask.flip(1).long().argmax(1)
        columns = torch.arange(mask.shape[1])
        is_answer = mask & (columns >= ends[:, None] - answer) & (columns < ends[:, None])
        labels = inputs["input_ids"].masked_fill(~is_answer, -100)
        with torch.no_grad():
            output = watched(model, **inputs, labels=labels, output_hidden_states=True)
            hidden = output.hidden_states[-1][torch.arange(2), ends - answer - 1]
            torch.testing.assert_close(output["joint_logits"], guard_of(model).joint_head(hidden))  # type: ignore[misc]
            unlearned = watched(model, **inputs, labels=torch.full_like(labels, -100))["joint_logits"]
            torch.testing.assert_close(unlearned, watched(model, **inputs)["joint_logits"])

    @pytest.mark.parametrize("family", ["llava", "qwen2_5_vl"])
    def test_the_trainer_learns_answers_and_verdicts_and_evaluates_both(self, family: str, tmp_path: Path) -> None:
        made = tiny(family)
        model = train_guard(get_peft_model(guard(made), lora()))
        before = {name: weight.detach().clone() for name, weight in model.named_parameters() if weight.requires_grad}
        a, b, c = pictures()
        rows = [([a], "one"), ([b], "two"), ([c], "three and more"), ([a], "four")]

        def collate(items: list[Any]) -> dict[str, Any]:
            inputs = batch(made, items, "right")
            return {**inputs, "labels": inputs["input_ids"].masked_fill(inputs["attention_mask"] == 0, -100)}

        class Both(Trainer):
            def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **_: Any) -> Any:
                output = watched(model, **inputs)
                target = torch.zeros(len(output["image_logits"]), dtype=torch.long)
                loss = output.loss + nn.functional.cross_entropy(output["image_logits"], target)
                return (loss, output) if return_outputs else loss

        options = TrainingArguments(
            tmp_path, max_steps=2, report_to=[], use_cpu=True, disable_tqdm=True, remove_unused_columns=False,
            per_device_train_batch_size=2, per_device_eval_batch_size=2, dataloader_pin_memory=False, save_steps=2,
            label_names=["labels"], learning_rate=0.01, include_for_metrics=["loss"],
        )  # fmt: skip
        trainer = Both(model, options, train_dataset=rows, eval_dataset=rows, data_collator=collate)
        trainer.train()
        now = dict(model.named_parameters())
        changed = {name for name, weight in before.items() if not torch.equal(weight, now[name])}
        assert any("image_head" in name for name in changed) and any("lora" in name for name in changed)
        assert trainer.evaluate()["eval_loss"] > 0
        predictions = trainer.predict(rows).predictions
        assert any(getattr(part, "shape", None) == (4, 20) for part in predictions), "logits of the images"
        assert any(getattr(part, "shape", None) == (4, 12) for part in predictions), "logits of the prompts"


class TestDevices:
    @pytest.mark.parametrize("family", ["llava", "qwen2_5_vl"])
    @pytest.mark.parametrize("first", ["dispatch", "attach"])
    def test_a_model_partly_on_disk_says_the_same(self, family: str, first: str, tmp_path: Path) -> None:
        made = tiny(family)
        inputs = batch(made, two_rows())
        expected = guarded_generate(guard(made), inputs, **GREEDY)
        places = {f"model.{name}": "cpu" for name, _ in made.model.model.named_children()}
        places |= {"model.language_model": "disk", "lm_head": "cpu"}
        if first == "dispatch":
            detach_guard(made.model)
            dispatch_model(made.model, places, offload_dir=str(tmp_path), main_device="cpu")
            guard(made)
        else:
            dispatch_model(made.model, places | {"guard": "cpu"}, offload_dir=str(tmp_path), main_device="cpu")
        found = guarded_generate(made.model, inputs, **GREEDY)
        assert torch.equal(found.sequences, expected.sequences)
        assert_same(found.verdicts, expected.verdicts)

    def test_a_device_map_of_one_device_changes_nothing(self, tmp_path: Path) -> None:
        made = tiny("llava")
        inputs = batch(made, two_rows())
        made.model.save_pretrained(tmp_path)
        expected = verdicts(guard(made), inputs)
        made = type(made)(type(made.model).from_pretrained(tmp_path, device_map={"": "cpu"}), made.processor)
        assert_same(verdicts(guard(made), inputs), expected)

    def test_a_model_compiled_whole_says_the_same(self) -> None:
        made = tiny("llava")
        model = guard(made)
        inputs = batch(made, two_rows())
        with torch.no_grad():
            plain = watched(model, **inputs)
            torch._dynamo.reset()
            found = watched(torch.compile(model, backend="eager"), **inputs)
        torch.testing.assert_close(found["image_logits"], plain["image_logits"])
        torch.testing.assert_close(found["joint_logits"], plain["joint_logits"])

    @pytest.mark.parametrize("family", FAMILIES)
    def test_an_output_can_be_taken_apart_and_built_anew_as_ddp_does(self, family: str) -> None:
        made = tiny(family)
        output = watched(guard(made), **batch(made, two_rows()))
        values, form = tree_flatten(output)
        again = tree_unflatten(values, form)
        assert type(again) is type(output)
        for name in ("logits", "image_logits", "image_rows", "joint_logits"):
            assert torch.equal(again[name], output[name])


class TestConfiguration:
    @pytest.mark.parametrize(
        ("parts", "match"),
        [
            ({"labels": ("safe", "dragons")}, "labels: .*dragons"),
            ({"labels": ()}, "labels: expected different ones, found none"),
            ({"labels": ("safe", "Safe")}, "labels: expected different ones"),
            ({"features": "pixels"}, "unknown features 'pixels'. Known: language, projector"),
            ({"features": "projektor"}, "Did you mean projector"),
            ({"labels": ("suicide", "terrorism")}, "labels: 'safe' is missing"),
            ({"pooling": "max"}, "unknown pooling 'max'. Did you mean mean"),
            ({"depth": 0}, "depth: expected at least 1, found 0"),
            ({"hidden_ratio": 0.0}, "hidden_ratio: expected a number in"),
            ({"hidden_ratio": float("nan")}, "hidden_ratio: expected a number in"),
            ({"dropout": 1.0}, "dropout: expected a number in"),
            ({"image_head": False, "joint_head": False}, "all off"),
            ({"meta_token": True, "features": "projector"}, "meta_token needs features"),
        ],
    )
    def test_parts_that_make_no_guard_are_refused(self, parts: dict[str, Any], match: str) -> None:
        with pytest.raises(HoliSafeError, match=match):
            GuardConfig(**parts)

    def test_names_are_read_in_upper_and_lower_case(self) -> None:
        config = GuardConfig(features="PROJECTOR", pooling="Attention")
        assert config == GuardConfig(features=Features.PROJECTOR, pooling=Pooling.ATTENTION)

    def test_json_comes_back_as_it_was(self) -> None:
        config = GuardConfig(pooling="attention", depth=3, labels=("safe", "suicide"), meta_token=True)
        assert GuardConfig.from_json(json.loads(json.dumps(config.to_json()))) == config
        site = GuardSite("smolvlm", "some/model", 8, boundary_ids=((1, 2), (3,)), meta_token_id=9)
        assert GuardSite.from_json(json.loads(json.dumps(site.to_json()))) == site

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("features", 1), ("pooling", None), ("labels", "safe"), ("labels", [1]), ("depth", 2.5), ("depth", True),
            ("hidden_ratio", "half"), ("dropout", True), ("image_head", 1), ("joint_head", "yes"), ("meta_token", 0),
            ("labels", ["dragons"]), ("depth", -1),
        ],
    )  # fmt: skip
    def test_a_broken_field_is_named_with_its_file(self, field: str, value: Any) -> None:
        broken = GuardConfig().to_json() | {field: value}
        with pytest.raises(GuardError, match=f"^here.json: {field}: "):
            GuardConfig.from_json(broken, "here.json")

    def test_an_unknown_name_is_named_with_its_file(self) -> None:
        with pytest.raises(GuardError, match=r"^here.json: unknown features 'pixels'"):
            GuardConfig.from_json({"features": "pixels"}, "here.json")

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("meta_token_id", "7"), ("boundary_ids", [[1]]), ("boundary_ids", [[1], ["a"]]), ("width", "32"),
            ("width", True), ("base_model", 7), ("width", 0), ("model_type", None),
        ],
    )  # fmt: skip
    def test_a_broken_field_of_the_site_is_named_with_its_file(self, field: str, value: Any) -> None:
        broken = GuardSite("llava", "some/model", 8).to_json() | {field: value}
        with pytest.raises(GuardError, match=f"^here.json: {field}: "):
            GuardSite.from_json(broken, "here.json")

    def test_a_missing_field_of_the_site_is_named(self) -> None:
        values = GuardSite("llava", "some/model", 8).to_json()
        del values["width"]
        with pytest.raises(GuardError, match=r"^here.json: width is missing"):
            GuardSite.from_json(values, "here.json")

    def test_an_unknown_field_is_named(self) -> None:
        with pytest.raises(GuardError, match=r"^guard_config.json: unknown field colour; expected some of features"):
            GuardConfig.from_json({"colour": "red"})
