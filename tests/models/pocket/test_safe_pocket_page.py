"""The page of Safe Pocket's figures: its aims with one training and with several, and what a measured file keeps."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parents[3] / "perf"))

import safe_pocket

sys.path.pop()


def row(model: str, split: str, value: float) -> dict[str, Any]:
    figure = {"value": value, "low": value, "high": value, "n": 10}
    return {
        "model": model, "split": split, "judge": "holisafe", "worst": "SSU",
        "figures": dict.fromkeys(safe_pocket.AIMS, figure),
    }  # fmt: skip


def page(**values: float) -> str:
    rows = [row(name.replace("_", "-"), split, value) for split in safe_pocket.SPLITS for name, value in values.items()]
    return safe_pocket.markdown({"limit": None, "max_new_tokens": 64, "rows": rows, "seeing": []})


def test_an_aim_is_judged_by_the_model_that_ships() -> None:
    written = page(pocket=1.0, pocket_safe=0.08)

    test, transfer = written.split("## transfer")
    assert "- RR at most 5%: missed, 8.0%\n" in test
    assert "- RR at most 10%: reached, 8.0%\n" in transfer
    assert "- image verdict: top-1 at least 80%: missed, 8.0%\n" in test
    assert "seeds" not in written
    assert "was reduced in rank" not in written


def test_further_seeds_are_summarised_beside_it() -> None:
    written = page(pocket=1.0, pocket_safe=0.08, pocket_safe_seed1=0.02, pocket_safe_seed2=0.05)

    assert "- RR at most 5%: missed, 8.0%; 3 seeds: 5.0%, from 2.0% to 8.0%\n" in written
    assert "was reduced in rank afterwards" in written
    assert "| pocket-safe-seed1, holisafe | 2.0% [2.0%, 2.0%] |" in written


@pytest.mark.parametrize(("limit", "kept"), [(None, ["pocket"]), (100, [])])
def test_rows_of_other_models_stay_where_measured_alike(tmp_path: Path, limit: int | None, kept: list[str]) -> None:
    file = tmp_path / "figures.json"
    rows = [row("pocket", "test", 1.0), row("pocket-safe", "test", 0.1)]
    file.write_text(json.dumps({"limit": None, "max_new_tokens": 64, "rows": rows}))

    found = safe_pocket.measured_before(file, ["pocket-safe"], limit, 64)

    assert [each["model"] for each in found] == kept


def test_two_models_of_one_name_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["safe_pocket.py", "--runs", str(tmp_path), "--seed-runs", "a/one", "b/one"])

    with pytest.raises(SystemExit):
        safe_pocket.main()

    assert "two models have one name" in capsys.readouterr().err
