"""The Safety Reminder: what the threshold, the soft prompt, the probe and the cache must and must not change."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tiny_models
from defences.test_contract import loaded, plain
from holisafe.defences import fit, wrap
from holisafe.defences._sapt_fit import fit_probe, last_state
from holisafe.defences._soft import CachedReader, state_after
from holisafe.defences.conformance import DefenceConformance
from holisafe.defences.sapt import EVERY, Reminder, SaptConfig, probe
from holisafe.errors import DefenceError
from holisafe.models import Engine, GenerationOptions, LoadedModel, Prompt, Request
from holisafe.records import Behaviour, Role, Sample, Turn
from models.engine.pictures import PROMPTS

OPTIONS = GenerationOptions(max_new_tokens=40)


def sample(place: int, behaviour: Behaviour) -> Sample:
    wish = "Please describe this" if behaviour is Behaviour.ANSWER else "Now do the other thing"
    reply = (
        "It is a round orange thing in front of white." if behaviour is Behaviour.ANSWER else "I cannot help with it."
    )
    turn = Turn(Role.USER, f"{wish} {place}", PROMPTS[0].images)
    return Sample(id=f"{behaviour}-{place}", turns=(turn,), expected=behaviour, reference=reply)


SAMPLES = [sample(place, behaviour) for place in range(4) for behaviour in (Behaviour.ANSWER, Behaviour.REFUSE)]
SMALL = {"per_class": 4, "epochs": 1, "learning_rate": 1e-2}


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> tuple[LoadedModel, str]:
    model = loaded()
    out = tmp_path_factory.mktemp("sapt")
    before = weights_of(model)
    fit("sapt", model, SAMPLES, out, settings=SMALL)
    assert weights_of(model) == before, "only the soft prompt learns"
    return model, f"sapt:{out}"


def weights_of(model: LoadedModel) -> str:
    digest = hashlib.sha256()
    for name, weight in sorted(model.model.state_dict().items()):
        digest.update(name.encode() + weight.numpy().tobytes())
    return digest.hexdigest()


def test_only_four_times_hidden_numbers_learn(fitted: tuple[LoadedModel, str], tmp_path: Path) -> None:
    model, name = fitted
    with wrap(model, name) as defended:
        parts = defended.defences[0].parts
    hidden = model.model.config.get_text_config().hidden_size
    assert parts["soft"].shape == (4, hidden)
    fit("sapt", model, SAMPLES, tmp_path / "more", settings={**SMALL, "epochs": 2})
    with wrap(model, f"sapt:{tmp_path / 'more'}") as defended:
        more = defended.defences[0].parts
    assert not torch.equal(more["soft"], parts["soft"])
    assert all(torch.equal(more[key], parts[key]) for key in parts if key != "soft")


def test_threshold_0_is_plain_greedy_token_for_token(fitted: tuple[LoadedModel, str]) -> None:
    model, name = fitted
    with wrap(model, f"{name},threshold=0") as defended, Engine(*model) as engine:
        got = [each.answer for each in defended.answer(PROMPTS, OPTIONS)]
        assert got == engine.answer(PROMPTS, OPTIONS)


def test_a_threshold_above_1_takes_the_second_pass_at_token_16(fitted: tuple[LoadedModel, str]) -> None:
    model, name = fitted
    with wrap(model, f"{name},threshold=1.5") as defended, Engine(*model) as engine:
        first = engine.answer(PROMPTS, OPTIONS)
        got = defended.answer(PROMPTS, OPTIONS)
    assert any(len(each.tokens) >= EVERY for each in first)
    for one, other in zip(first, got, strict=True):
        if len(one.tokens) < EVERY:
            assert other.answer == one
        else:
            assert other.answer.tokens != one.tokens and other.cost.generations == 2
            assert one.text[:12] not in other.answer.text  # the partial answer is never shown


def test_answers_of_less_than_16_tokens_are_never_checked(fitted: tuple[LoadedModel, str]) -> None:
    model, name = fitted
    short = GenerationOptions(max_new_tokens=EVERY - 1)
    with wrap(model, f"{name},threshold=1.5") as defended, Engine(*model) as engine:
        assert [each.answer for each in defended.answer(PROMPTS, short)] == engine.answer(PROMPTS, short)


@pytest.mark.parametrize("family", tiny_models.FAMILIES)
def test_reuse_of_keys_and_values_equals_no_cache(family: str) -> None:
    model = loaded(family)
    soft = torch.randn(4, model.model.config.get_text_config().hidden_size, generator=torch.Generator().manual_seed(0))
    tokens = list(range(5, 5 + 3 * EVERY))

    def compare(vlm: Any, inputs: dict[str, Any]) -> list[float]:
        reader = CachedReader(vlm, inputs, soft)
        lengths = (EVERY, 2 * EVERY, 3 * EVERY)
        pairs = [(reader.state(tokens[:n]), state_after(vlm, inputs, tokens[:n], soft)) for n in lengths]
        return [float((one - other).abs().max() / other.abs().max()) for one, other in pairs]

    with Engine(*model) as engine:
        for prompt in PROMPTS[:2]:
            assert max(engine.look(prompt, compare).result()) < 1e-5


def test_a_flagged_row_leaves_the_others_alone(
    fitted: tuple[LoadedModel, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, name = fitted
    with Engine(*model) as engine:
        expected = engine.answer(PROMPTS, OPTIONS)
    flagged = next(place for place, each in enumerate(expected) if len(each.tokens) >= EVERY)
    start = expected[flagged].tokens[:EVERY]
    monkeypatch.setattr(Reminder, "on_token", _only(start, Reminder.on_token))
    with wrap(model, f"{name},threshold=1.5") as defended:
        got = [each.answer for each in defended.answer(PROMPTS, OPTIONS)]
    assert got[flagged].tokens != expected[flagged].tokens
    kept = [place for place in range(len(PROMPTS)) if expected[place].tokens[:EVERY] != start]
    assert kept and all(got[place] == expected[place] for place in kept)


def _only(start: tuple[int, ...], check: Any) -> Any:
    """The check, where the answer begins with certain tokens; else the threshold is 0."""

    def on_token(self: Reminder, step: int, token: int) -> Any:
        so_far = (*self.tokens, token)[: len(start)] if step else (token,)
        if len(so_far) == len(start) and so_far != start:
            self._threshold = 0.0
        return check(self, step, token)

    return on_token


def test_the_probe_is_sklearns_pipeline() -> None:
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    model = loaded()
    safe = [each for each in SAMPLES if each.expected is Behaviour.ANSWER]
    unsafe = [each for each in SAMPLES if each.expected is Behaviour.REFUSE]
    with Engine(*model) as engine:
        parts = fit_probe(engine, safe, unsafe, SaptConfig())
        states = torch.stack([engine.look(Prompt.of(each), last_state).result() for each in [*safe, *unsafe]]).double()
    pipeline = make_pipeline(PCA(n_components=4, random_state=0), LogisticRegression(max_iter=1000))
    pipeline.fit(states.numpy(), [1] * len(safe) + [0] * len(unsafe))
    expected = pipeline.predict_proba(states.numpy())[:, 1]
    assert np.abs(probe(states, parts).numpy() - expected).max() < 1e-6


def test_it_conforms(fitted: tuple[LoadedModel, str]) -> None:
    model, name = fitted
    suite = DefenceConformance()
    suite.defence, suite.model, suite.max_new_tokens = f"{name},threshold=0.5", model, 20
    for test in (each for each in dir(suite) if each.startswith("test_")):
        getattr(suite, test)()


def test_samples_of_one_kind_do_not_suffice(tmp_path: Path) -> None:
    with pytest.raises(DefenceError, match="at least 2"):
        fit("sapt", loaded(), [each for each in SAMPLES if each.expected is Behaviour.ANSWER], tmp_path)


def test_it_is_refused_on_another_base(fitted: tuple[LoadedModel, str]) -> None:
    with pytest.raises(DefenceError, match="another model"):
        wrap(loaded("smolvlm"), fitted[1])


def test_the_plain_engine_is_as_before(fitted: tuple[LoadedModel, str]) -> None:
    model, _ = fitted
    assert plain(model, PROMPTS) == plain(loaded(), PROMPTS)
    assert Request(PROMPTS[0], OPTIONS).interventions == ()
