"""The study of combinations held out of training, on hidden states made by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from blind.asked import ask
from holisafe.datasets import load
from holisafe.metrics import cluster_name
from holisafe.records import Sample
from holisafe.taxonomy import UNSAFE_COMBINATIONS, Combination
from research import held_out_combinations as subject
from tiny_models import llava, save

STATES = {
    Combination.SSS: (0, 0),
    Combination.SSU: (3, 0),
    Combination.USU: (4, 0),
    Combination.UUU: (4, 0),
    Combination.SUU: (-6, 6),
}
"""Where hidden states lie: SUU away from all others, on the far side of SSS; the others near each other."""


def samples(count: int, start: int) -> list[Sample]:
    return [
        ask(f"{kind.value} {start + at}", start + 5 * at + place, f"{kind.value} word{at % 3}", kind)
        for place, kind in enumerate(Combination)
        for at in range(count)
    ]


def states_of(asked: list[Sample]) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    directions = generator.normal(0, 1, (2, 64))
    states = {}
    for sample in asked:
        vector = np.array(STATES[sample.required_combination]) @ directions + generator.normal(0, 0.2, 64)
        states[subject.key_of(sample)] = vector.astype(np.float32)
    return states


@pytest.fixture(scope="module")
def rows() -> list[subject.Row]:
    train, scored = samples(40, 0), samples(8, 5000)
    return list(subject.study(train, scored, states_of([*train, *scored]), rr=0.0, seeds=2))


def test_each_combination_and_classifier_has_a_row(rows: list[subject.Row]) -> None:
    assert [(row.combination, row.method) for row in rows] == [
        (kind, method) for kind in UNSAFE_COMBINATIONS for method in subject.METHODS
    ]
    assert all(row.known.n == 16 and len(row.seeds) == 2 for row in rows)


@pytest.mark.parametrize("method", [subject.JOINT_HEAD, subject.PROBE])
def test_what_resembles_another_combination_is_refused_unseen_and_what_does_not_is_not(
    rows: list[subject.Row], method: str
) -> None:
    found = {row.combination: row for row in rows if row.method == method}
    assert all(row.known.value == 0 for row in found.values())
    assert all(found[kind].held_out.value == 0 for kind in (Combination.SSU, Combination.USU, Combination.UUU))
    assert found[Combination.SUU].held_out.value > 0.9
    assert found[Combination.SUU].lost.value == found[Combination.SUU].held_out.value


def test_no_rate_is_exceeded(rows: list[subject.Row]) -> None:
    assert {rate for row in rows for rate in row.rr} == {0.0}


def test_seeds_draw_whole_images_and_differ() -> None:
    train = samples(20, 0)
    first, again, other = (subject.learned_by(train, seed) for seed in (0, 0, 1))
    assert first == again != other
    assert len({cluster_name(sample) for sample in first}) == round(0.8 * len({*map(cluster_name, train)}))


def test_images_that_are_scored_are_not_learned_from(monkeypatch: pytest.MonkeyPatch) -> None:
    train, scored = samples(6, 0), samples(6, 5000)
    shared = [sample.with_images(train[0].images) for sample in samples(1, 9000)]
    seen: list[set[str]] = []

    def spy(part: list[Sample], rest: list[Sample], states: object, seed: int) -> np.ndarray:
        seen.append({sample.images[0].digest for sample in part})
        return np.zeros(len(rest))

    monkeypatch.setattr(subject, "METHODS", {subject.QUESTION: spy})
    list(subject.study([*train, *shared], [*scored, train[0]], {}, rr=0.0, seeds=1))
    assert seen and all(train[0].images[0].digest not in images for images in seen)


def test_hidden_states_are_computed_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = str(save(llava(), tmp_path / "tiny"))
    asked = samples(1, 0)
    first = subject.hidden_states(model, asked[:3], tmp_path / "states.npz")
    assert "3 of 3" in capsys.readouterr().err
    second = subject.hidden_states(model, asked, tmp_path / "states.npz")
    assert "2 of 2" in capsys.readouterr().err
    assert all((second[key] == state).all() for key, state in first.items())


def test_the_command_writes_both_files(
    rows: list[subject.Row], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subject, "hidden_states", lambda name, asked, cache: {})
    monkeypatch.setattr(subject, "study", lambda *_, **__: iter(rows))
    assert subject.main(["--cache", str(tmp_path / "x.npz"), "--results", str(tmp_path / "out")]) == 0
    text = (tmp_path / "out" / subject.PAGE).read_text("utf-8")
    assert text.count("\n| ") == 1 + len(rows)
    assert f"({len(load('open', 'test'))} samples)" in text
