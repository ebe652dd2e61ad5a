"""The tests every family that can be guarded has to pass.

Run them on your own model:

    from holisafe.guard.conformance import GuardCase, GuardConformance

    class TestMine(GuardConformance):
        def case(self) -> GuardCase:
            return GuardCase(model, inputs)

pytest finds the inherited tests by their names; nothing here needs pytest. `results_of` runs them without it. Small
models with random weights do.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from holisafe.guard._config import GuardConfig
from holisafe.guard.attach import attach_guard, base_model, detach_guard, guard_of, language_model_of, train_guard
from holisafe.guard.checkpoint import load_guard, save_guard
from holisafe.guard.family import guardable_family
from holisafe.guard.generate import guarded_generate
from holisafe.guard.sessions import session

Inputs = Callable[[Sequence[Sequence[Image.Image]], Sequence[str]], dict[str, Any]]
"""Images of each row and the text of each row to a left-padded batch of model inputs, images before the text."""

TOKENS = 4
"""Tokens to generate where answers are compared."""


@dataclass(frozen=True)
class GuardCase:
    """What the tests need of a model.

    Attributes:
        model: The model, small, in float32 on the CPU.
        inputs: Makes a batch of model inputs.
        processor: Its processor, for families whose boundary tokens only the tokenizer knows.
    """

    model: Any
    inputs: Inputs
    processor: Any = None


class GuardConformance:
    """Tests of the guard on the model that `case()` gives, which is made anew for each."""

    tolerance = 2e-4
    sees_later_images = False
    """Whether an image's tokens attend to images that come after it, so that its verdict depends on them."""

    def case(self) -> GuardCase:
        """The model under test."""
        raise NotImplementedError

    def last_hidden_states(self, model: Any, batch: dict[str, Any]) -> Tensor:
        """The plain reference: the language model's last hidden states (rows, columns, width)."""
        states: Tensor = model(**batch, output_hidden_states=True).hidden_states[-1]
        return states

    def test_language_verdicts_equal_a_plain_reference(self) -> None:
        """Each image's verdict is that of the mean of its last hidden states, found with `output_hidden_states`."""
        case, batch, counts = self._mixed()
        attach_guard(case.model, GuardConfig(features="language"), processor=case.processor)
        with torch.no_grad():
            with session(case.model):
                plain = case.model(**batch)
            hidden = self.last_hidden_states(case.model, batch)
        means = _means(hidden, _is_image(case.model, batch), counts)
        self._same(plain["image_logits"], guard_of(case.model).image_head(means))  # type: ignore[misc]
        last = guard_of(case.model).joint_head(hidden[:, -1])  # type: ignore[misc]
        self._same(plain["joint_logits"], last)

    def test_projector_verdicts_equal_a_plain_reference(self) -> None:
        """Each image's verdict is that of the mean of what is put into the language model for it."""
        case, batch, counts = self._mixed()
        if guardable_family(case.model).language_only:
            return
        attach_guard(case.model, GuardConfig(features="projector"), processor=case.processor)
        seen: list[Tensor] = []
        language_model = language_model_of(base_model(case.model), guardable_family(base_model(case.model)))
        hook = language_model.register_forward_pre_hook(
            lambda _, __, kwargs: seen.append(kwargs["inputs_embeds"]), with_kwargs=True
        )
        with torch.no_grad(), session(case.model):
            found = case.model(**batch)["image_logits"]
        hook.remove()
        means = _means(seen[0], _is_image(case.model, batch), counts)
        self._same(found, guard_of(case.model).image_head(means))  # type: ignore[misc]

    def test_one_two_and_three_images_get_a_verdict_each(self) -> None:
        """And the first image's does not depend on how many follow."""
        case = self.case()
        attach_guard(case.model, GuardConfig(), processor=case.processor)
        pictures = _pictures(3)
        firsts = []
        for count in (1, 2, 3):
            answer = guarded_generate(case.model, case.inputs([pictures[:count]], ["hello"]), max_new_tokens=1)
            assert len(answer.verdicts[0].images) == count, f"{count} images got {len(answer.verdicts[0].images)}"
            firsts.append((_visual_tokens(case, pictures[0], count), answer.verdicts[0].images[0]))
        for tokens, verdict in firsts:
            # some families cut an image into fewer tiles where it has company
            if tokens == firsts[0][0] and not self.sees_later_images:
                self._close(verdict.distribution, firsts[0][1].distribution)

    def test_batched_verdicts_are_those_given_alone(self) -> None:
        """Padding and other rows change nothing."""
        case = self.case()
        attach_guard(case.model, GuardConfig(), processor=case.processor)
        a, b, c = _pictures(3)
        together = guarded_generate(case.model, case.inputs([[a], [b, c]], ["hi", "what is this?"]), max_new_tokens=1)
        alone = [
            guarded_generate(case.model, case.inputs([[a]], ["hi"]), max_new_tokens=1),
            guarded_generate(case.model, case.inputs([[b, c]], ["what is this?"]), max_new_tokens=1),
        ]
        for row, single in enumerate(alone):
            for one, other in zip(together.verdicts[row].images, single.verdicts[0].images, strict=True):
                self._close(one.distribution, other.distribution)
            self._close(together.verdicts[row].request.distribution, single.verdicts[0].request.distribution)  # type: ignore[union-attr]

    def test_answers_are_those_of_the_unguarded_model_in_one_prefill(self) -> None:
        """Token for token, and no module of the model runs more often."""
        case, batch, _ = self._mixed()
        options: dict[str, Any] = {"max_new_tokens": TOKENS, "do_sample": False}
        plain, plain_calls = _counted(case.model, lambda: case.model.generate(**batch, **options))
        attach_guard(case.model, GuardConfig(), processor=case.processor)
        guarded, calls = _counted(case.model, lambda: guarded_generate(case.model, batch, **options).sequences)
        assert torch.equal(plain, guarded), "the guarded model answers otherwise"
        assert calls == plain_calls, f"{calls} module calls with the guard, {plain_calls} without"

    def test_a_plain_generate_still_works(self) -> None:
        """`model.generate`, outside a session, gives the same answer with a guard as without."""
        case, batch, _ = self._mixed()
        plain = case.model.generate(**batch, max_new_tokens=TOKENS, do_sample=False)
        attach_guard(case.model, GuardConfig(), processor=case.processor)
        assert torch.equal(plain, case.model.generate(**batch, max_new_tokens=TOKENS, do_sample=False))

    def test_lora_and_backward_reach_the_head(self) -> None:
        """With PEFT, each head's loss gives gradients to all of that head and to the adapter."""
        from peft import LoraConfig, get_peft_model

        case, batch, _ = self._mixed()
        model = attach_guard(case.model, GuardConfig(), processor=case.processor)
        peft = train_guard(get_peft_model(model, LoraConfig(r=2, target_modules=_linear_names(model))))
        peft.train()
        with session(peft):
            output = peft(**batch)
        for head, logits in (("image_head", "image_logits"), ("joint_head", "joint_logits")):
            peft.zero_grad()
            output[logits].logsumexp(-1).sum().backward(retain_graph=True)
            learned = [_learns(weight) for weight in guard_of(peft).get_submodule(head).parameters()]
            assert all(learned), f"no gradient reached all of the {head}"
            adapters = [_learns(weight) for name, weight in peft.named_parameters() if "lora_B" in name]
            assert any(adapters), f"no gradient went through the {head} into the adapter"

    def test_saved_and_loaded_it_says_the_same(self) -> None:
        """`save_guard`, then `load_guard` on the model without it."""
        case, batch, _ = self._mixed()
        attach_guard(case.model, GuardConfig(), processor=case.processor)
        with torch.no_grad(), session(case.model):
            before = case.model(**batch)["image_logits"]
            with tempfile.TemporaryDirectory() as folder:
                save_guard(case.model, Path(folder))
                detach_guard(case.model)
                load_guard(case.model, Path(folder), processor=case.processor)
            with session(case.model):
                after = case.model(**batch)["image_logits"]
        assert torch.equal(before, after), "the loaded guard says otherwise"

    def test_detached_it_leaves_no_trace(self) -> None:
        """State and outputs are those of before."""
        case, batch, _ = self._mixed()
        state = copy.deepcopy(case.model.state_dict())
        with torch.no_grad():
            before = case.model(**batch).logits
            detach_guard(attach_guard(case.model, GuardConfig(), processor=case.processor))
            after = case.model(**batch)
        assert torch.equal(before, after.logits), "outputs changed"
        assert "image_logits" not in after, "the guard still speaks"
        now = case.model.state_dict()
        assert list(state) == list(now), "the state's keys changed"
        assert all(torch.equal(value, now[key]) for key, value in state.items()), "weights changed"

    def _mixed(self) -> tuple[GuardCase, dict[str, Any], list[int]]:
        """A row with one image and a row with two, and how many visual tokens each of the three has."""
        case = self.case()
        case.model.eval()
        a, b, c = _pictures(3)
        batch = case.inputs([[a], [b, c]], ["hello", "what do these show?"])
        counts = [_visual_tokens(case, a, 1), _visual_tokens(case, b, 2), _visual_tokens(case, c, 2)]
        found = int(_is_image(case.model, batch).sum())
        assert found == sum(counts), f"{found} visual tokens; {counts} were expected of the three images"
        return case, batch, counts

    def _same(self, found: Tensor, expected: Tensor) -> None:
        torch.testing.assert_close(found, expected, atol=self.tolerance, rtol=self.tolerance)

    def _close(self, one: Any, other: Any) -> None:
        np.testing.assert_allclose(list(one.values()), list(other.values()), atol=self.tolerance)


def results_of(suite: GuardConformance) -> dict[str, str]:
    """Run all tests of a suite: for each by name, "" where it passed, else what went wrong."""
    results = {}
    for name in sorted(name for name in dir(suite) if name.startswith("test_")):
        try:
            getattr(suite, name)()
            results[name] = ""
        except Exception as error:  # whatever a family raises is its result
            results[name] = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
    return results


def _pictures(count: int) -> list[Image.Image]:
    rng = np.random.default_rng(0)
    sizes = [(32, 32), (64, 32), (48, 80)]
    return [Image.fromarray(rng.integers(0, 256, (h, w, 3), dtype=np.uint8)) for w, h in sizes[:count]]


def _visual_tokens(case: GuardCase, picture: Image.Image, together: int) -> int:
    """Visual tokens of an image in a prompt that shows it so many times."""
    return int(_is_image(case.model, case.inputs([[picture] * together], [""])).sum()) // together


def _is_image(model: Any, batch: dict[str, Any]) -> Tensor:
    """Which positions hold visual tokens (rows, columns)."""
    base = base_model(model)
    found: Tensor = batch["input_ids"] == getattr(base.config, guardable_family(base).image_token)
    return found


def _means(states: Tensor, is_image: Tensor, counts: Sequence[int]) -> Tensor:
    """Mean state of each image (images, width), their tokens being in order and so many each."""
    return torch.stack([part.mean(0) for part in torch.split(states[is_image], list(counts))])


def _counted(model: nn.Module, run: Callable[[], Any]) -> tuple[Any, int]:
    """What `run` gives, and how many forward calls the model's modules other than the guard made."""
    calls = 0

    def count(*_: Any) -> None:
        nonlocal calls
        calls += 1

    hooks = [m.register_forward_hook(count) for n, m in model.named_modules() if not n.startswith("guard")]
    try:
        result = run()
    finally:
        for hook in hooks:
            hook.remove()
    return result, calls


def _learns(parameter: Tensor) -> bool:
    return parameter.grad is not None and bool(parameter.grad.abs().sum() > 0)


def _linear_names(model: Any) -> list[str]:
    """Names of the language model's linear layers."""
    base = base_model(model)
    language_model = language_model_of(base, guardable_family(base))
    inside = {id(module) for module in language_model.modules() if type(module) is nn.Linear}
    return [name for name, module in base.named_modules() if id(module) in inside]
