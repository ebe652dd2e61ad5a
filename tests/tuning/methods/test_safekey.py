"""What SafeKey must be exactly, on a tiny real model."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import LlavaProcessor, PreTrainedTokenizerFast

from guard.prompts import guard
from holisafe.errors import TuningError
from holisafe.guard import GuardConfig
from holisafe.models import load
from holisafe.records import Behaviour, Sample
from holisafe.tuning import (
    GuardedTrainer,
    Loss,
    TuneConfig,
    configure_trainable_parts,
    merge_tuned,
    plan,
    read_recipe,
    tune,
)
from holisafe.tuning._parts import TRAINING_ONLY
from holisafe.tuning._spans import squeezed, token_starts
from holisafe.tuning.conformance import MethodConformance, drawn_samples
from holisafe.tuning.methods import METHODS
from holisafe.tuning.methods.safekey import SafeKeyConfig
from holisafe.tuning.methods.safekey.data import KEY_TAG, SPANS, UNDERSTANDING_TAG
from holisafe.tuning.methods.safekey.loss import with_masked_query
from tiny_models import FAMILIES, IMAGE_FIRST, Tiny, save
from tuning.answers import KNOWS_THOUGHTS, thoughtful
from tuning.data import SETTINGS, held_out, mixed
from tuning.tiny_run import general, safety

ALONE = replace(SETTINGS, method="safekey", lora_dropout=0.0)
THINKING = IMAGE_FIRST + KNOWS_THOUGHTS
"""A template that knows thoughts, and writes none by itself."""

OPENING = IMAGE_FIRST.replace("assistant:{%", "assistant: <think>{%")
"""A template whose generation prompt opens the thought, as those of thinking models do."""


def thinking(family: str = "llava", template: str = THINKING) -> Tiny:
    return FAMILIES[family](template)


class Run:
    """A tiny model that learns by a method, and the loss of samples."""

    def __init__(
        self, made: Tiny | None = None, method: str = "safekey", with_guard: bool = False, **args: Any
    ) -> None:
        made = thinking() if made is None else made
        if with_guard:
            guard(made)
        self.config: TuneConfig = replace(ALONE, method=method, method_args=args)
        self.processor = made.processor
        torch.manual_seed(0)  # of the adapter
        self.model = configure_trainable_parts(made.model, self.config).eval()

    def batch(self, samples: Sequence[Sample], parts: GuardConfig | None = None) -> dict[str, Any]:
        found: dict[str, Any] = self.config.method_part.collator(self.processor, parts)(samples)
        return found

    def loss(self, batch: dict[str, Any]) -> Loss:
        return self.config.method_part.loss(self.model, batch, self.config.method_config)

    def gradients(self, loss: Any) -> dict[str, Tensor]:
        self.model.zero_grad()
        loss.backward()
        return {name: each.grad for name, each in self.model.named_parameters() if each.grad is not None}


def test_without_both_weights_it_is_cross_entropy_bit_for_bit() -> None:
    run, plain = Run(key_weight=0.0, head_weight=0.0), Run(method="sft")
    samples = thoughtful(mixed())
    found, expected = run.loss(run.batch(samples)).total(), plain.loss(plain.batch(samples)).total()
    assert torch.equal(found, expected)
    ours, theirs = run.gradients(found), plain.gradients(expected)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_the_auxiliary_terms_begin_in_the_last_two_of_five_epochs() -> None:
    method, config = METHODS.get("safekey"), SafeKeyConfig()
    steps = 50  # ten each epoch
    on = [step for step in range(steps) if method.settings_at(config, step / steps).key_weight]
    assert on == list(range(30, 50))
    assert method.settings_at(config, 0.59) == replace(config, key_weight=0.0, head_weight=0.0)


def test_the_log_has_the_auxiliary_terms_once_they_begin(tmp_path: Path) -> None:
    made = thinking()
    config = replace(ALONE, batch_size=1, gradient_accumulation_steps=1)
    samples = [replace(each, id=f"{turn}-{each.id}") for turn in range(5) for each in thoughtful(mixed())[:1]]
    run = GuardedTrainer(made.model, made.processor, config, samples, tmp_path, logging_steps=1, use_cpu=True)
    heads = run.model.get_submodule(f"base_model.model.{TRAINING_ONLY}")
    before = [weight.detach().clone() for weight in heads.parameters()]
    run.tune()
    rows = [row for row in run.state.log_history if "loss" in row]
    assert ["loss_key" in row and "loss_head" in row and "accuracy_head" in row for row in rows] == [False] * 3 + [
        True
    ] * 2
    assert any(not torch.equal(one, other) for one, other in zip(before, heads.parameters(), strict=True))


@pytest.mark.parametrize("family", FAMILIES)
def test_with_the_query_masked_other_tokens_of_the_query_leave_the_key_sentence_unmoved(family: str) -> None:
    run = Run(thinking(family))
    batch = run.batch(thoughtful(mixed()))
    other = {name: each.clone() if isinstance(each, Tensor) else each for name, each in batch.items()}
    tokenizer = run.processor.tokenizer
    text = set(tokenizer.encode("abcdefghijklmnopqrstuvwxyz ?,", add_special_tokens=False))
    for row, (answer, _, _) in enumerate(batch[SPANS].tolist()):
        for column in range(answer):
            if int(batch["input_ids"][row, column]) in text:
                other["input_ids"][row, column] = tokenizer.encode("z", add_special_tokens=False)[0]
    assert not torch.equal(other["input_ids"], batch["input_ids"])
    one, two = run.loss(batch), run.loss(other)
    assert torch.equal(one.terms[1].sum, two.terms[1].sum) and one.means["key"] > 0
    assert one.means["answer"] != two.means["answer"]


def test_a_masked_row_learns_the_key_sentence_and_nothing_else() -> None:
    run = Run()
    batch = run.batch(thoughtful(mixed()))
    doubled = with_masked_query({name: batch[name] for name in ("input_ids", "attention_mask", "labels")}, batch[SPANS])
    for row in range(2):
        answer, key, end = batch[SPANS][row].tolist()
        learned = doubled["labels"][2 + row]
        assert run.processor.tokenizer.decode(learned[learned != -100]) == " That decides it."
        assert (learned != -100).nonzero()[:, 0].tolist() == list(range(key, end))
        assert (
            not doubled["attention_mask"][2 + row, :answer].any()
            and doubled["attention_mask"][2 + row, answer:end].all()
        )
    assert torch.equal(doubled["labels"][:2], batch["labels"])


def merging_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE with merges, as language models have it: words with the space before them, parts of letters."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=700,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<pad>", "<eos>", "<image>"],
    )
    core.train_from_iterator([_text(random.Random(seed)) for seed in range(300)], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad>", eos_token="<eos>", extra_special_tokens={"image_token": "<image>"}
    )


def _text(rng: random.Random) -> str:
    words = ["they", "ask", "harm", "why", "ümläut", "so", "it is", "no", "日本", "🦁", "can't", "ok"]
    return "".join(f"{rng.choice(words)}{rng.choice([' ', ', ', '. ', chr(10)])}" for _ in range(rng.randint(2, 12)))


def test_the_spans_of_random_responses_read_as_their_key_sentences() -> None:
    made, tokens = thinking().processor, merging_tokenizer()
    processor = LlavaProcessor(
        made.image_processor,
        tokens,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=made.chat_template,
    )
    collate = METHODS.get("safekey").collator(processor, None)
    rng = random.Random(0)
    for _ in range(200):
        first, key, rest = (_text(rng) for _ in range(3))
        understanding = f"<think>{first}"
        ends = {UNDERSTANDING_TAG: str(len(understanding)), KEY_TAG: str(len(understanding + key))}
        batch = collate([replace(mixed()[0], reference=f"{understanding}{key}{rest}</think>No.", tags=ends)])
        answer, start, stop = batch[SPANS][0].tolist()
        ids = batch["input_ids"][0]
        assert tokens.decode(ids[start:stop]).split() == key.split()
        assert tokens.decode(ids[answer:start]).split() == understanding.split()


@given(st.text(st.characters(codec="utf-8", exclude_characters="<>"), min_size=1), st.text(min_size=0))
def test_each_token_begins_where_the_characters_before_it_end(first: str, second: str) -> None:
    ids = TOKENS.encode(first + second, add_special_tokens=False)
    starts = token_starts(TOKENS, ids)
    assert starts == sorted(starts) and starts[-1] == len(squeezed(TOKENS.decode(ids)))


TOKENS = merging_tokenizer()


def test_what_the_generation_prompt_opens_is_not_learned_again() -> None:
    run = Run(thinking(template=OPENING))
    batch = run.batch(thoughtful(mixed()))
    for row, one in enumerate(thoughtful(mixed())):
        answer, start, stop = batch[SPANS][row].tolist()
        ids = batch["input_ids"][row]
        decode = run.processor.tokenizer.decode
        assert decode(ids[:answer]).endswith("<think>")
        assert decode(ids[answer:start]) == f"They ask {one.query}" and decode(ids[start:stop]) == " That decides it."


def test_the_heads_are_not_in_what_is_saved(tmp_path: Path) -> None:
    folder = save(thinking(), tmp_path / "model")
    keys = load(str(folder)).model.state_dict().keys()
    config = replace(ALONE, max_steps=2, batch_size=4)
    with_key, without = thoughtful(general()[:1]), replace(general()[1], reference="<think>A colour.</think>Pink.")
    more = [*with_key, without]
    config = replace(config, general_share=0.25)
    tuned = tune(
        str(folder), thoughtful(safety()), tmp_path / "run", config, general=more, eval_steps=2, evaluate_on=held_out()
    )
    assert [each["step"] for each in tuned.description["evaluations"]] == [0, 2]
    assert load(str(tuned.folder)).model.state_dict().keys() == keys
    assert tuned.description["learned"].keys() == {"language", "projector", "vision"}
    merge_tuned(tuned.folder, tmp_path / "plain")
    assert load(str(tmp_path / "plain")).model.state_dict().keys() == keys


def test_a_dry_run_of_its_recipe_says_what_would_learn(tmp_path: Path) -> None:
    folder = save(thinking(), tmp_path / "model")
    config = replace(read_recipe("safekey").config, max_steps=2, batch_size=4, gradient_accumulation_steps=1)
    found = plan(folder, thoughtful(safety()), config)
    assert found.learned.keys() == {"language"} and found.steps == 2
    assert plan(folder, thoughtful(safety()), config, guard=True).learned.keys() == {"language", "guard"}


def test_a_guard_learns_beside_it_from_the_plain_rows() -> None:
    run = Run(with_guard=True)
    samples = thoughtful(mixed())
    found = run.loss(run.batch(samples, GuardConfig()))
    plain = Run(method="vgm", with_guard=True)
    expected = plain.loss(plain.batch(samples, GuardConfig()))
    assert [term.name for term in found.terms] == ["answer", "key", "head", "image", "combination", "category"]
    for name in ("answer", "image", "combination"):
        assert found.means[name] == pytest.approx(expected.means[name], rel=1e-5)


def test_a_request_is_harmful_where_it_is_to_be_refused() -> None:
    refused, answered = thoughtful(mixed())
    unknown = replace(refused, expected=None)
    plain = replace(refused, tags={})
    assert Run().batch([refused, answered, unknown, plain])["unsafe"].tolist() == [1, 0, -100, -100]
    assert refused.expected is Behaviour.REFUSE


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"reference": "No."}, "sample one: reference: found no thought .* is for thinking models"),
        ({"reference": "No. <think>x</think>"}, "sample one: reference: found no thought"),
        ({"tags": {}}, f"sample one: tags: {UNDERSTANDING_TAG}: expected how many characters"),
        ({"tags": {UNDERSTANDING_TAG: "9", KEY_TAG: "many"}}, f"sample one: tags: {KEY_TAG}: .* found 'many'"),
        (
            {"tags": {UNDERSTANDING_TAG: "9", KEY_TAG: "9"}},
            "found 9 and 9 in a reference of .* expected an understanding",
        ),
        ({"tags": {UNDERSTANDING_TAG: "9", KEY_TAG: "9999"}}, "found 9 and 9999 in a reference of"),
    ],
)
def test_data_without_thoughts_or_key_sentences_are_refused_in_one_line(changes: dict[str, Any], message: str) -> None:
    method = METHODS.get("safekey")
    (good,) = thoughtful(mixed()[:1])
    assert method.prepare([good], SafeKeyConfig()) == [good]
    with pytest.raises(TuningError, match=message) as error:
        method.prepare([replace(good, **changes)], SafeKeyConfig())
    assert "\n" not in str(error.value)


def test_a_model_that_does_not_think_is_refused_in_one_line() -> None:
    made = FAMILIES["llava"]()
    with pytest.raises(TuningError, match=r"neither its chat template nor its vocabulary knows <think>"):
        METHODS.get("safekey").collator(made.processor, None)


class TestConformance(MethodConformance):
    name = "safekey"
    method_args = {"auxiliary_start": 0.0}  # noqa: RUF012

    def fresh(self) -> tuple[Any, Any]:
        made = thinking()
        return made.model, made.processor

    def samples(self) -> list[Sample]:
        first, *rest = drawn_samples()
        plain = replace(first, id="plain", reference="<think>Hm.</think>No.")
        return [plain, *thoughtful(rest)]


class TestConformanceWithGuard(TestConformance):
    guard = GuardConfig()
