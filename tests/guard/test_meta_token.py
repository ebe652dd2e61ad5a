"""The safety meta token: where it stands, what it sees and who sees it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor

from guard.families.all import BUILDERS
from guard.prompts import assert_same, batch, guard, pictures, tiny, two_rows, watched
from holisafe.errors import GuardError
from holisafe.guard import GuardConfig, add_meta_tokens, attach_guard, guard_of, guarded_generate, session, train_guard
from holisafe.guard.attach import observer_of
from tiny_models import FAMILIES

UNUSED = 200  # a byte that no ASCII text has
GREEDY = {"do_sample": False, "max_new_tokens": 4}


def token_of(model: Any) -> int:
    token = observer_of(model).site.meta_token_id
    assert token is not None
    return token


def generated(model: Any, marked: dict[str, Any]) -> Tensor:
    """Tokens for prompts that have their meta tokens already."""
    with session(model):
        tokens: Tensor = model.generate(**marked, **GREEDY)
    return tokens


def learned(model: Any) -> Tensor:
    vector = guard_of(model).meta_token
    assert vector is not None
    return vector


@pytest.mark.parametrize("family", FAMILIES)
def test_its_id_means_nothing_else(family: str) -> None:
    made = tiny(family)
    model = guard(made, meta_token=True)
    assert token_of(model) != observer_of(model).image_token
    others = {"pad_token_id", "eos_token_id"}
    assert token_of(model) not in {getattr(made.processor.tokenizer, name) for name in others}
    assert token_of(model) < model.get_input_embeddings().weight.shape[0]


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("images", [1, 2, 3])
@pytest.mark.parametrize("family", FAMILIES)
def test_one_follows_each_image_and_the_rest_of_a_prompt_stays(family: str, images: int, side: str) -> None:
    made = tiny(family)
    model = guard(made, meta_token=True, meta_token_id=UNUSED)
    inputs = batch(made, [(pictures()[:images], "a question"), (pictures()[:1], "hi")], side)
    inputs["labels"] = inputs["input_ids"].masked_fill(inputs["attention_mask"] == 0, -100)
    found = add_meta_tokens(model, inputs)
    ids, mask, labels = found["input_ids"], found["attention_mask"].bool(), found["labels"]
    assert ids.shape == (2, inputs["input_ids"].shape[1] + images)
    for row, count in enumerate((images, 1)):
        before = inputs["input_ids"][row][inputs["attention_mask"][row].bool()]
        after, spoken = ids[row][mask[row]], labels[row][mask[row]]
        is_meta = after == token_of(model)
        assert int(is_meta.sum()) == count
        assert torch.equal(after[~is_meta], before)
        assert torch.equal(spoken[~is_meta], before) and bool((spoken[is_meta] == -100).all())
        is_image = after == observer_of(model).image_token
        assert bool(is_image[is_meta.nonzero()[:, 0] - 1].all()), "right after the last visual token"
        assert bool((labels[row][~mask[row]] == -100).all())
        assert bool((ids[row][~mask[row]] == made.processor.tokenizer.pad_token_id).all())
    pads_left = bool(mask[:, -1].all())
    assert pads_left == (side == "left")


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_language_model_gets_the_learned_vector_and_the_head_reads_its_state(family: str, side: str) -> None:
    made = tiny(family)
    model = guard(made, meta_token=True, meta_token_id=UNUSED)
    found = add_meta_tokens(model, batch(made, two_rows(), side))
    seen: list[Tensor] = []
    layer = model.get_decoder().layers[0]
    hook = layer.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    with torch.no_grad():
        output = watched(model, **found, output_hidden_states=True)
        hook.remove()
        is_meta = found["input_ids"] == token_of(model)
        torch.testing.assert_close(seen[0][is_meta], learned(model).expand(3, -1))
        states = output.hidden_states[-1][is_meta]  # row by row, so in the order of the images
        torch.testing.assert_close(output["image_logits"], guard_of(model).image_head(states))  # type: ignore[misc]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_answer_sees_it_and_what_is_before_it_does_not(family: str) -> None:
    made = tiny(family)
    model = guard(made, meta_token=True, meta_token_id=UNUSED)
    found = add_meta_tokens(model, batch(made, two_rows()[:1]))
    first = int((found["input_ids"][0] == token_of(model)).nonzero()[0, 0])
    with torch.no_grad():
        before = watched(model, **found)
        learned(model).add_(torch.randn(32, generator=torch.Generator().manual_seed(1)))
        after = watched(model, **found)
    torch.testing.assert_close(after.logits[:, :first], before.logits[:, :first])
    assert not torch.allclose(after.logits[:, -1], before.logits[:, -1], atol=1e-3)
    assert not torch.allclose(after["image_logits"], before["image_logits"], atol=1e-3)


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_it_learns_from_the_head_and_from_the_answer(family: str, kept: bool) -> None:
    made = tiny(family)
    options = {"modules_to_save": ["guard"]} if kept else {}
    peft = get_peft_model(
        guard(made, meta_token=True, meta_token_id=UNUSED), LoraConfig(r=2, target_modules=["q_proj"], **options)
    )
    model = train_guard(peft)
    inputs = batch(made, two_rows(), "right")
    labels = inputs["input_ids"].masked_fill(inputs["attention_mask"] == 0, -100)
    for loss_of in (lambda output: output["image_logits"].logsumexp(-1).sum(), lambda output: output.loss):
        model.zero_grad()
        loss_of(watched(model, **add_meta_tokens(model, {**inputs, "labels": labels}))).backward()
        learns = [
            weight.grad is not None and bool(weight.grad.abs().sum() > 0)
            for name, weight in model.named_parameters()
            if "meta_token" in name and "original_module" not in name
        ]
        assert learns == [True]


@pytest.mark.parametrize("family", FAMILIES)
def test_generating_with_it_is_generating_from_marked_prompts(family: str) -> None:
    made = tiny(family)
    model = guard(made, meta_token=True, meta_token_id=UNUSED)
    inputs = batch(made, two_rows())
    found = guarded_generate(model, inputs, **GREEDY)
    plain = generated(model, add_meta_tokens(model, inputs))
    assert torch.equal(found.sequences, plain)
    alone = [guarded_generate(model, batch(made, [row]), **GREEDY).verdicts[0] for row in two_rows()]
    assert_same(found.verdicts, alone)
    beams = guarded_generate(model, inputs, num_beams=2, num_return_sequences=2, **GREEDY)
    assert_same(beams.verdicts, found.verdicts)
    if family != "gemma3":  # its image tokens attend to each other in both directions, which chunks cut
        chunked = guarded_generate(model, inputs, prefill_chunk_size=5, **GREEDY)
        assert torch.equal(chunked.sequences, found.sequences)
        assert_same(chunked.verdicts, found.verdicts)


@pytest.mark.parametrize("family", FAMILIES)
def test_without_a_cache_every_pass_sees_it(family: str) -> None:
    made = tiny(family)
    model = guard(made, meta_token=True, meta_token_id=UNUSED)
    inputs = batch(made, two_rows())
    expected = guarded_generate(model, inputs, **GREEDY).sequences
    seen: list[Tensor] = []
    layer = model.get_decoder().layers[0]
    layer.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    assert torch.equal(guarded_generate(model, inputs, use_cache=False, **GREEDY).sequences, expected)
    assert len(seen) == 4 and seen[-1].shape[1] > seen[0].shape[1]
    for states in seen:
        assert int((states == learned(model)).all(-1).sum()) == sum(len(shown) for shown, _ in two_rows())


def test_three_dimensional_positions_go_on_after_it_by_one() -> None:
    made = tiny("qwen2_5_vl")
    model = guard(made, meta_token=True, meta_token_id=UNUSED)
    inputs = batch(made, two_rows()[1:])
    keys = ("input_ids", "mm_token_type_ids", "image_grid_thw", "attention_mask")
    before, _ = model.model.get_rope_index(**{key: inputs[key] for key in keys})
    found = add_meta_tokens(model, inputs)
    after, _ = model.model.get_rope_index(**{key: found[key] for key in keys})
    is_meta = (found["input_ids"] == token_of(model))[0]
    shift = is_meta.cumsum(0)[~is_meta]
    assert torch.equal(after[:, 0, ~is_meta], before[:, 0] + shift), "one more per meta token before"
    assert torch.equal(after[0, 0, is_meta], after[1, 0, is_meta]), "the same in all three, as of text"


def test_prompts_without_mask_get_one_where_rows_come_to_differ_in_length() -> None:
    made = tiny("llava_onevision")
    model = guard(made, meta_token=True, meta_token_id=UNUSED)
    one = batch(made, two_rows()[:1])["input_ids"]
    mark = observer_of(model).image_token
    ids = torch.cat([one, one])
    place = int((one[0] == mark).nonzero()[3, 0])
    ids[1, place] = 7  # cuts one image in two
    pixels = {"input_ids": ids, "position_ids": torch.arange(ids.shape[1]).expand(2, -1)}
    found = add_meta_tokens(model, pixels)
    assert found["attention_mask"].sum(1).tolist() == [ids.shape[1] + 1, ids.shape[1] + 2]
    assert "position_ids" not in found


def test_prompts_without_it_are_refused_with_what_to_do() -> None:
    made = tiny("llava")
    model = guard(made, meta_token=True, meta_token_id=UNUSED)
    inputs = batch(made, two_rows())
    with pytest.raises(GuardError, match=r"add_meta_tokens\(model, inputs\)"):
        watched(model, **inputs)
    assert guarded_generate(model, inputs, **GREEDY).verdicts


def test_a_language_model_that_embeds_prompts_itself_is_refused() -> None:
    case = BUILDERS["chameleon"]()
    attach_guard(case.model, GuardConfig(meta_token=True), processor=case.processor)
    with pytest.raises(GuardError, match="chameleon models cannot have a meta token"):
        guarded_generate(case.model, case.inputs([pictures()[:1]], ["hi"]), **GREEDY)


def test_it_is_the_same_in_half_precision_up_to_rounding() -> None:
    made = tiny("llava")
    model = guard(made, meta_token=True, meta_token_id=UNUSED)
    inputs = batch(made, two_rows())
    full = guarded_generate(model, inputs, **GREEDY).verdicts
    model.to(torch.bfloat16)
    inputs["pixel_values"] = inputs["pixel_values"].bfloat16()
    assert_same(guarded_generate(model, inputs, **GREEDY).verdicts, full, 0.04)
