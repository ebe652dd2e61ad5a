"""The command: one for each method, its settings as options, a sweep that resumes."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from editing.tiny import clip, quadruples, safe_relative, vision_language
from holisafe.cli import app
from holisafe.editing import EDITING_METHODS

SMALL = ("--limit", "5", "--max-new-tokens", "2")


@pytest.fixture
def models(tmp_path: Path) -> tuple[str, str]:
    return str(vision_language(tmp_path / "base")), str(safe_relative(tmp_path / "safe"))


def told(*words: str) -> str:
    found = CliRunner().invoke(app, ["edit", *words])
    assert found.exit_code == 0, found.output
    return found.stdout


def refused(*words: str) -> str:
    found = CliRunner().invoke(app, ["edit", *words])
    assert found.exit_code == 2
    return found.stderr


@pytest.mark.parametrize("method", EDITING_METHODS.own())
def test_every_setting_of_a_method_is_an_option_with_its_default(method: str) -> None:
    part = EDITING_METHODS.get(method)
    help_text = " ".join(told(method, "--help").split())
    for name, field in part.config.model_fields.items():
        flag = "--max-pairs" if name == "limit" else f"--{name.replace('_', '-')}"
        assert f"{flag} " in help_text and field.description in help_text
        if isinstance(field.default, str | float):
            assert f"[default: {field.default}]" in help_text


def test_merge_says_what_it_changed_and_where_the_model_is(models: tuple[str, str], tmp_path: Path) -> None:
    base, safe = models
    out = told("merge", base, "--safe", safe, "--c", ".5", "--out", str(tmp_path / "out"))
    assert "21 of 64 tensors changed" in out and f"the edited model is in {tmp_path / 'out'}" in out.replace("\n", "")


def test_json_is_the_record_of_the_edit(models: tuple[str, str], tmp_path: Path) -> None:
    base, safe = models
    record = json.loads(told("merge", base, "--safe", safe, "--out", str(tmp_path / "out"), "--json"))
    written = json.loads((tmp_path / "out" / "edit.json").read_text())
    assert record == {"out": str(tmp_path / "out"), **written, "safeground": None}


def test_wrong_settings_end_in_one_line(models: tuple[str, str], tmp_path: Path) -> None:
    base, safe = models
    assert refused("merge", base, "--safe", safe, "--c", "2", "--out", str(tmp_path / "o")).startswith("error: c: ")
    assert refused("merge", base, "--safe", "pocke", "--out", str(tmp_path / "o")).count("\n") == 1
    assert "Missing option" in refused("merge", base, "--out", str(tmp_path / "o"))
    assert not (tmp_path / "o").exists()
    taken = quadruples(tmp_path / "taken")
    words = ("uwm", base, "--safeground", str(taken), "--out", str(taken.parent))
    assert "is there already" in refused(*words)


def test_a_sweep_measures_each_strength_and_resumes(models: tuple[str, str], tmp_path: Path) -> None:
    base, safe = models
    words = ("merge", base, "--safe", safe, "--sweep", "0,.5", *SMALL, "--out", str(tmp_path / "curve"))
    table = told(*words)
    assert "c = 0.5" in table and "mASR macro" in table and "Refusal rate" in table
    curve = json.loads((tmp_path / "curve" / "curve.json").read_text())
    assert [(point["strength"], point["n"]) for point in curve["points"]] == [(0.0, 5), (0.5, 5)]
    assert {"value", "low", "high", "n"} <= curve["points"][0]["figures"]["masr_macro"].keys()
    assert list((tmp_path / "curve" / "models").iterdir()) == []
    logs = sorted((tmp_path / "curve" / "runs").rglob("*.eval"))
    assert json.loads(told(*words, "--json")) == curve
    assert sorted((tmp_path / "curve" / "runs").rglob("*.eval")) == logs


def test_another_sweep_needs_another_folder(models: tuple[str, str], tmp_path: Path) -> None:
    base, safe = models
    words = ("merge", base, "--safe", safe, *SMALL, "--out", str(tmp_path / "curve"))
    told(*words, "--sweep", "0", "--keep")
    assert (tmp_path / "curve" / "models" / "c-0" / "model.safetensors").is_file()
    assert "another limit" in refused(*words, "--sweep", "0", "--limit", "6")


@pytest.mark.parametrize(("values", "message"), [("0,half", "expected numbers"), ("0,2", "c: "), ("", "expected")])
def test_wrong_strengths_are_refused_before_anything_is_made(
    values: str, message: str, models: tuple[str, str], tmp_path: Path
) -> None:
    base, safe = models
    assert message in refused("merge", base, "--safe", safe, "--sweep", values, "--out", str(tmp_path / "curve"))
    assert not (tmp_path / "curve").exists()


def test_safeground_is_printed_before_and_after(tmp_path: Path) -> None:
    pairs = str(quadruples(tmp_path / "pairs"))
    words = ("uwm", str(clip(tmp_path / "clip")), "--pairs", pairs, "--encoders", "both", "--safeground", pairs)
    table = told(*words, "--out", str(tmp_path / "out"))
    assert "before" in table and "after" in table and "Txt_s" in table
    record = json.loads(told(*words, "--out", str(tmp_path / "other"), "--json"))
    assert len(record["safeground"]["before"]) == len(record["safeground"]["after"]) == 9
