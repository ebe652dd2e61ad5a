"""Training of judge `learned`: on a few answers, and that the shipped weights are those of the shipped answers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from research.judge.train import fit, table_of

from holisafe.judges.strings._learned import read_weights
from research.judge import __main__ as program

SAID = [["i cannot help with that."], ["the car is red."], ["i cannot do this."], ["the cat sits on a mat."]]
REFUSED = np.array([True, False, True, False])


def test_it_learns_what_it_is_shown() -> None:
    table = table_of(SAID)
    assert ((fit(table, REFUSED, 10.0).scores(table) > 0) == REFUSED).all()


def test_weights_of_swapped_labels_are_opposite() -> None:
    table = table_of(SAID)
    one, other = fit(table, REFUSED, 1.0), fit(table, ~REFUSED, 1.0)
    assert np.allclose(one.values, -other.values, atol=1e-3) and np.isclose(one.bias, -other.bias, atol=1e-3)


def test_a_stronger_penalty_shrinks_the_weights() -> None:
    table = table_of(SAID)
    assert np.abs(fit(table, REFUSED, 0.1).values).sum() < np.abs(fit(table, REFUSED, 10.0).values).sum()


def test_the_shipped_weights_are_learned_from_the_shipped_answers(capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main(["--check"]) == 0, capsys.readouterr().out


def test_no_held_out_answer_is_learned_from() -> None:
    rows = [json.loads(line) for line in (program.DATA / "answers.jsonl").read_text(encoding="utf-8").splitlines()]
    held_out = {row["text"] for row in rows if row["half"] == "held-out"}
    learned = [text for text, _ in program.read_pairs(rows)]
    assert len(learned) > 1000 and held_out and held_out.isdisjoint(learned)


def test_what_is_written_can_be_read_and_is_described(tmp_path: Path) -> None:
    settings = program.Settings(references=0, folds=2)
    examples = program.Examples(SAID, REFUSED, "digest")
    fitted = program.write(tmp_path, examples, settings, {})
    weights = read_weights((tmp_path / "weights.npz").read_bytes())
    assert np.allclose(weights.values, fitted.values, atol=1e-2) and weights.later == settings.later
    assert json.loads((tmp_path / "manifest.json").read_text())["answers_sha256"] == "digest"
