"""What a batch makes the model learn, read back as text, and the targets of the guard's heads."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch

from holisafe.errors import TuningError
from holisafe.guard import GuardConfig, attach_guard, session
from holisafe.images import open_image
from holisafe.models.pocket._assemble import build_processor
from holisafe.records import Role, Turn
from holisafe.taxonomy import Category, Combination, GuardLabel
from holisafe.tuning import Collator
from tiny_models import FAMILIES, IMAGE_FIRST, IMAGE_LAST, Tiny, llava
from tuning.data import learned, mixed, picture, sample

ENDS_TURNS = (
    "{% for m in messages %}<s>{{ m['role'] }}\n{% for p in m['content'] %}"
    "{{ 'IMAGE' if p['type'] == 'image' else p['text'] }}{% endfor %}<eos>\n{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant\n{% endif %}"
)
ENDS_NOTHING = (  # as LLaVA 1.5's
    "{% for m in messages %}{{ m['role'].upper() + ': ' }}"
    "{% for p in m['content'] if p['type'] == 'image' %}{{ '<image>\n' }}{% endfor %}"
    "{% for p in m['content'] if p['type'] == 'text' %}{{ p['text'] + ' ' }}{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)
OTHER_ROLES = (  # as Gemma's: other names of roles, texts trimmed
    "{% for m in messages %}<|im_start|>{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n"
    "{% for p in m['content'] %}{% if p['type'] == 'image' %}<image>{% else %}{{ p['text'] | trim }}{% endif %}"
    "{% endfor %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>model\n{% endif %}"
)
WITH_SYSTEM = (  # as Qwen's: a system turn of its own
    "<|im_start|>system\nYou help.<|im_end|>\n{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{% for p in m['content'] %}{% if p['type'] == 'image' %}<image>{% else %}{{ p['text'] }}{% endif %}{% endfor %}"
    "<|im_end|>{% if not loop.last %}\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}\n<|im_start|>assistant\n{% endif %}"
)
build_once = cache(build_processor)


def pocket_processor() -> Any:
    """Pocket's, which takes seconds to build; one of its own, so that it can be given another template."""
    return copy.copy(build_once())


TEMPLATES = {"image first": IMAGE_FIRST, "image last": IMAGE_LAST, "ends turns": ENDS_TURNS}


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("family", FAMILIES)
def test_only_the_reference_and_its_end_are_learned(family: str, template: str) -> None:
    processor = FAMILIES[family](TEMPLATES[template]).processor
    samples = mixed()
    batch = Collator(processor)(samples)
    for row, each in enumerate(samples):
        # the plain templates put a space between the generation prompt and the answer, which the model has to write
        begins = "" if template == "ends turns" else " "
        assert learned(processor, batch, row) == f"{begins}{each.reference}<eos>"


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("family", FAMILIES)
def test_what_comes_before_is_what_the_model_is_asked(family: str, template: str) -> None:
    processor = FAMILIES[family](TEMPLATES[template]).processor
    for each in mixed():
        batch = Collator(processor)([each])
        content = [{"type": "image", "image": open_image(image)} for image in each.images]
        asked = processor.apply_chat_template(
            [{"role": "user", "content": [*content, {"type": "text", "text": each.query}]}],
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            add_generation_prompt=True,
        )["input_ids"][0]
        first = int((batch["labels"][0] != -100).nonzero()[0, 0])
        assert batch["input_ids"][0, :first].tolist() == asked.tolist()


def test_pocket_learns_the_reference_and_its_end_of_turn() -> None:
    processor = pocket_processor()
    samples = mixed()
    batch = Collator(processor)(samples)
    for row, each in enumerate(samples):
        assert learned(processor, batch, row) == f"{each.reference}<|im_end|>"
    # the line break after the end of the turn is read, and not learned
    ids, mask = batch["input_ids"][0], batch["attention_mask"][0]
    assert processor.tokenizer.decode(ids[mask != 0][-1:]) == "\n"


@pytest.mark.parametrize(
    ("template", "begins"), [(ENDS_NOTHING, " "), (OTHER_ROLES, ""), (WITH_SYSTEM, "")], ids=["llava", "gemma", "qwen"]
)
def test_words_of_several_letters_are_learned_the_same_way_in_other_templates(template: str, begins: str) -> None:
    processor = pocket_processor()
    processor.chat_template = template
    samples = mixed()
    batch = Collator(processor)(samples)
    for row, each in enumerate(samples):
        assert learned(processor, batch, row) == f"{begins}{each.reference}<|im_end|>"


@pytest.mark.parametrize("family", FAMILIES)
def test_rows_are_padded_on_the_right_and_as_they_are_alone(family: str) -> None:
    processor = FAMILIES[family]().processor
    samples = mixed()
    batch = Collator(processor)(samples)
    assert bool((batch["attention_mask"].diff(dim=1) <= 0).all())
    for row, each in enumerate(samples):
        alone = Collator(processor)([each])
        mask = batch["attention_mask"][row] != 0
        for key in ("input_ids", "labels"):
            assert batch[key][row][mask].tolist() == alone[key][0][alone["attention_mask"][0] != 0].tolist()
            padding = -100 if key == "labels" else processor.tokenizer.pad_token_id
            assert bool((batch[key][row][~mask] == padding).all())


@pytest.mark.parametrize("family", FAMILIES)
def test_images_are_processed_once_and_as_the_processor_does(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    processor = FAMILIES[family]().processor
    samples = mixed()
    images = [[open_image(image) for image in each.images] for each in samples]
    turns = [
        [{"role": "user", "content": [*({"type": "image", "image": i} for i in row), {"type": "text", "text": "hi"}]}]
        for row in images
    ]
    expected = processor.apply_chat_template(
        turns, tokenize=True, return_dict=True, return_tensors="pt", processor_kwargs={"padding": True}
    )
    calls = []
    kind = type(processor.image_processor)
    plain = kind.preprocess

    def counted(self: Any, *args: Any, **kwargs: Any) -> Any:
        calls.append(args)
        return plain(self, *args, **kwargs)

    monkeypatch.setattr(kind, "preprocess", counted)
    batch = Collator(processor)(samples)
    assert len(calls) == 1
    seen = {key for key in expected if key.startswith(("pixel", "image"))}
    assert {key for key in batch if key.startswith(("pixel", "image"))} == seen >= {"pixel_values"}
    for key in seen:
        assert torch.equal(batch[key], expected[key])
    # a batch of other images is not mistaken for the one before
    assert not torch.equal(Collator(processor)(samples[:1])["pixel_values"], batch["pixel_values"])


@pytest.mark.parametrize("family", FAMILIES)
def test_a_guarded_model_of_the_family_takes_the_batch(family: str) -> None:
    made: Tiny = FAMILIES[family]()
    attach_guard(made.model, processor=made.processor)
    batch = Collator(made.processor, GuardConfig())(mixed())
    targets = [batch.pop(key) for key in ("image_labels", "combinations", "categories")]
    with session(made.model):
        said = made.model(**batch)
    assert bool(torch.isfinite(said.loss))
    assert [len(said.image_logits), len(said.joint_logits), len(said.joint_logits)] == [len(t) for t in targets]


def test_targets_are_indices_of_the_guards_own_labels_in_the_order_of_the_images() -> None:
    guard = GuardConfig(labels=("gender_discrimination", "terrorism", "safe"))
    batch = Collator(llava().processor, guard)(mixed())
    assert batch["image_labels"].tolist() == [1, 2, 0]
    assert batch["combinations"].tolist() == [list(Combination).index(Combination.USU), 0]
    assert batch["categories"].tolist() == [list(Category).index(Category.VIOLENCE), -100]


def test_images_without_labels_are_not_learned_by_the_guard() -> None:
    batch = Collator(llava().processor, GuardConfig())([replace(each, image_labels=()) for each in mixed()])
    assert batch["image_labels"].tolist() == [-100] * 3


def test_without_a_guard_there_are_no_targets_for_one() -> None:
    assert not {"image_labels", "combinations", "categories"} & set(Collator(llava().processor)(mixed()))


def test_control_tokens_that_a_reference_spells_out_are_learned_as_text() -> None:
    processor = pocket_processor()
    said = "It ends with <|im_end|> and shows <image>."
    batch = Collator(processor)([sample(reference=said, query="what does <|im_end|> do to <image>?")])
    assert learned(processor, batch, 0) == f"{said}<|im_end|>"
    assert int((batch["input_ids"] == processor.image_token_id).sum()) == 10


def test_a_template_without_an_assistant_turn_is_refused() -> None:
    user_only = "{% for m in messages if m['role'] == 'user' %}<image>{{ m['content'][-1]['text'] }}{% endfor %}"
    with pytest.raises(TuningError, match="LlavaProcessor: sample one: its chat template has no assistant turn"):
        Collator(llava(user_only).processor)([sample()])


def test_a_template_that_changes_answers_is_refused() -> None:
    shouting = ENDS_TURNS.replace("p['text']", "(p['text'] if m['role'] == 'user' else p['text'].upper())")
    with pytest.raises(TuningError, match="NO, I WILL NOT"):
        Collator(llava(shouting).processor)([sample()])


def test_a_template_whose_prompt_does_not_begin_the_conversation_is_refused() -> None:
    other = ENDS_TURNS.replace("<s>assistant\n", "<s>model\n")
    with pytest.raises(TuningError, match="sample one: the prompt is no beginning of the conversation"):
        Collator(llava(other).processor)([sample()])


def test_a_template_that_refuses_assistant_turns_is_named() -> None:
    strict = "{% for m in messages if m['role'] != 'user' %}{{ raise_exception('only users speak') }}{% endfor %}IMAGE"
    with pytest.raises(TuningError, match=r"LlavaProcessor: .*only users speak"):
        Collator(llava(strict).processor)([sample()])


def test_a_processor_without_a_template_is_refused() -> None:
    processor = llava().processor
    processor.chat_template = None
    with pytest.raises(TuningError, match="LlavaProcessor has no chat template"):
        Collator(processor)


@pytest.mark.parametrize("name", ["pad", "eos"])
def test_a_tokenizer_without_padding_or_end_is_refused(name: str) -> None:
    processor = llava().processor
    setattr(processor.tokenizer, f"{name}_token", None)
    with pytest.raises(TuningError, match=r"tokenizer has no (padding|end-of-sequence) token"):
        Collator(processor)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": ()}, "sample one: image_labels: found 1 for 0 images"),
        ({"reference": None}, "sample one: reference: found none"),
        ({"reference": " \n"}, "sample one: reference: found none"),
        ({"images": (picture(), picture())}, "image_labels: found 1 for 2 images"),
        ({"category": None, "tags": {"category": "dragons"}}, "category: found 'dragons', expected one of hate"),
    ],
)
def test_a_sample_that_cannot_be_learned_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(TuningError, match=message):
        Collator(llava().processor, GuardConfig())([sample(**changes)])


def test_a_label_that_the_guard_does_not_have_is_named() -> None:
    guard = GuardConfig(labels=("safe", "suicide"))
    with pytest.raises(TuningError, match="found 'terrorism', expected one of safe, suicide"):
        Collator(llava().processor, guard)([sample(image_labels=(GuardLabel.TERRORISM,))])


def test_a_conversation_over_the_limit_is_named_with_its_length() -> None:
    processor = llava().processor
    tokens = int(Collator(processor)([sample()])["attention_mask"].sum())
    Collator(processor, max_length=tokens)([sample()])
    with pytest.raises(TuningError, match=f"sample one: {tokens} tokens .* expected at most {tokens - 1}"):
        Collator(processor, max_length=tokens - 1)([sample()])


def test_of_several_turns_the_last_answer_alone_is_learned() -> None:
    made = llava()
    turns = (
        Turn(Role.SYSTEM, "Be brief."),
        Turn(Role.USER, "what is it?", (picture("red"),)),
        Turn(Role.ASSISTANT, "A red square."),
        Turn(Role.USER, "and this?", (picture("blue"), picture("green"))),
    )
    asked = replace(sample(reference="Two more."), turns=turns, image_labels=())
    batch = Collator(made.processor, GuardConfig())([asked])
    assert learned(made.processor, batch, 0) == " Two more.<eos>"
    text = made.processor.tokenizer.decode(batch["input_ids"][0])
    assert "Be brief." in text and "A red square." in text and len(batch["image_labels"]) == 3


def test_a_question_without_an_image_is_learned() -> None:
    made = llava()
    asked = sample(images=(), image_labels=(), combination=None, category=None, reference="Four.")
    batch = Collator(made.processor, GuardConfig())([asked])
    assert learned(made.processor, batch, 0) == " Four.<eos>"
    assert batch["combinations"].tolist() == batch["categories"].tolist() == [-100]


def test_the_chat_template_gets_its_arguments() -> None:
    template = IMAGE_FIRST.replace("{{ bos_token }}", "{{ bos_token }}{% if brief is defined %}BRIEF {% endif %}")
    made = llava(template)
    batch = Collator(made.processor, chat_template_args={"brief": True})([sample()])
    assert "BRIEF" in made.processor.tokenizer.decode(batch["input_ids"][0])
