"""CoCA: what the strength and the principle must and must not change."""

from __future__ import annotations

import pytest
import torch

import tiny_models
from defences.test_contract import OPTIONS, loaded, plain
from holisafe.defences import wrap
from holisafe.defences.coca import Coca, CocaConfig
from holisafe.defences.conformance import DefenceConformance
from holisafe.defences.prompt import around
from holisafe.errors import DefenceError
from holisafe.models import Prompt
from models.engine.pictures import PROMPTS


class TestConforms(DefenceConformance):
    defence = "coca:alpha=2"
    model = loaded("qwen2_5_vl")


@pytest.mark.parametrize("family", tiny_models.FAMILIES)
def test_alpha_0_is_the_branch_with_the_principle(family: str) -> None:
    model = loaded(family)
    with wrap(model, Coca(CocaConfig(alpha=0.0, principle="Be kind."))) as defended:
        got = [each.answer for each in defended.answer(PROMPTS, OPTIONS)]
    assert got == plain(model, [around(prompt, "Be kind.", "") for prompt in PROMPTS])


@pytest.mark.parametrize("alpha", [0.5, 4.0])
def test_an_empty_principle_is_the_identity_for_every_alpha(alpha: float) -> None:
    model = loaded()
    with wrap(model, Coca(CocaConfig(alpha=alpha, principle=""))) as defended:
        assert [each.answer for each in defended.answer(PROMPTS, OPTIONS)] == plain(model, PROMPTS)


def next_logits(model: object, prompt: Prompt, tokens: list[int]) -> torch.Tensor:
    """Logits after a prompt and tokens, computed anew and without a cache."""
    from holisafe.models.prompts import prepare

    prepared = prepare(model.processor, prompt)  # type: ignore[attr-defined]
    ids = torch.cat([prepared.ids, torch.tensor(tokens, dtype=torch.long)])[None]
    with torch.inference_mode():
        out = model.model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False, **prepared.vision)  # type: ignore[attr-defined]
    return out.logits[0, -1].float()


def test_cached_equals_recomputed() -> None:
    model, alpha, principle = loaded(), 3.0, "Be kind."
    prompt = PROMPTS[0]
    with wrap(model, Coca(CocaConfig(alpha=alpha, principle=principle))) as defended:
        (got,) = defended.answer([prompt], OPTIONS)
    tokens: list[int] = []
    for token in got.answer.tokens:
        with_it = next_logits(model, around(prompt, principle, ""), tokens)
        without = next_logits(model, prompt, tokens)
        assert int((with_it + alpha * (with_it - without)).argmax()) == token
        tokens.append(token)
    assert len(tokens) > 1 and got.cost.passes >= 2 * len(tokens)


def test_a_negative_strength_is_refused() -> None:
    with pytest.raises(DefenceError, match="alpha"):
        CocaConfig(alpha=-1.0)
