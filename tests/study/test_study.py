"""A study: many methods in one table, made again from its folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import tiny_models
from holisafe.cli import app
from holisafe.errors import HoliSafeError, RunError, UnknownNameError
from holisafe.study import Measured, naming, read_plan, run_study, study_names, thing_of, write_study
from small_bench import write_small_bench

PLAN = {
    "about": "A small one.",
    "fit_samples": 4,
    "methods": [
        {"label": "untouched"},
        {"label": "prompt", "defence": "prompt:before=,after="},
        {"label": "ecso", "defence": ["ecso:caption_tokens=4"]},
        {"label": "guard", "defence": "guard:refuse"},
    ],
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.save(tiny_models.llava(), tmp_path_factory.mktemp("llava"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_bench(tmp_path_factory.mktemp("data"), per_combination=2)


def plan_file(folder: Path, plan: dict[str, Any]) -> Path:
    path = folder / "mine.json"
    path.write_text(json.dumps(plan))
    return path


def measured(folder: Path, checkpoint: Path, data: Path, told: list[Any] | None = None) -> list[Measured]:
    return run_study(
        read_plan(plan_file(folder, PLAN)), {"tiny": str(checkpoint)}, folder / "study", data=str(data), split="test",
        limit=10, max_new_tokens=4, on_part=None if told is None else lambda *part: told.append(part),
    )  # fmt: skip


def test_every_method_is_a_row_and_one_that_fails_leaves_the_others_alone(
    tmp_path: Path, checkpoint: Path, data: Path
) -> None:
    found = measured(tmp_path, checkpoint, data)
    assert [each.method.label for each in found] == ["untouched", "prompt", "ecso", "guard"]
    assert [each.run is None for each in found] == [False, False, False, True]
    assert "no guard" in found[3].why_not
    written = write_study(found, tmp_path / "study", judge="holisafe", about="About.")
    assert all(path.stat().st_size for path in written)
    record = json.loads((tmp_path / "study" / "study.json").read_text())
    rows = record["models"]["tiny"]
    assert rows[1]["figures"] == rows[0]["figures"]
    assert all(each["value"] == 0 for each in rows[1]["against_untouched"].values())
    assert rows[2]["cost"]["generations"] >= 2 and rows[0]["cost"] is None
    page = (tmp_path / "study" / "study.md").read_text()
    assert "| ecso |" in page and "- guard:" in page


def test_what_is_there_is_not_measured_again(tmp_path: Path, checkpoint: Path, data: Path) -> None:
    first = measured(tmp_path, checkpoint, data)
    told: list[Any] = []
    again = measured(tmp_path, checkpoint, data, told)
    assert [each.run and each.run.responses for each in again] == [each.run and each.run.responses for each in first]
    assert told == []
    with pytest.raises(RunError, match=r"other settings .*limit"):
        run_study(read_plan(tmp_path / "mine.json"), {"tiny": str(checkpoint)}, tmp_path / "study", data=str(data))


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ({}, "list of methods"),
        ({"methods": []}, "at least one"),
        ({"methods": [{"label": "a"}, {"label": "a"}]}, "'a' and 'a' would have one folder"),
        ({"methods": [{"label": "guard!"}, {"label": "Guard?"}]}, "one folder, Guard; rename one"),
        ({"methods": [{"label": "x" * 10_000}]}, "at most 100 printable characters, found 10000"),
        ({"methods": [{"label": "a\n# b"}]}, "label: expected one line"),
        ({"methods": [{"label": "a", "tune": {}, "edit": {}}]}, "found tune and edit; a method takes one"),
        ({"methods": [{"label": "a", "defence": "shiftdc:{fitted}"}]}, "add fit"),
        ({"methods": [{"defence": "x"}]}, "label"),
        ({"methods": [{"label": "a", "speed": 1}]}, "unknown field speed"),
        ({"methods": [{"label": "a", "defence": 3}]}, "defence"),
        ({"methods": [{"label": "a", "fit": []}]}, "fit"),
        ({"methods": [{"label": "a", "fit": {}}]}, "defence that is fitted"),
        ({"methods": [{"label": "a"}], "fit_samples": 0}, "fit_samples"),
        ({"methods": [{"label": "a"}], "scored_samples": True}, "scored_samples"),
        ({"methods": [{"label": "a", "tune": {}, "learns_from": "x"}]}, "learns_from"),
        ({"methods": [{"label": "a", "learns_from": "pairs"}]}, "beside tune"),
        ({"methods": [{"label": "a", "scored_by": "b"}]}, "scored_by"),
        ({"methods": [{"label": "a"}], "changes_weights": "x"}, "changes_weights"),
        ({"methods": [{"label": "a", "guard": 5}]}, "guard: expected"),
        ({"methods": [{"label": "a", "tune": {"method": 5}}]}, "tune, method: expected a name"),
        ({"methods": [{"label": "a", "edit": {"method": []}}]}, "edit, method: expected a name"),
        ({"methods": [{"label": "a", "tune": {"method_args": 5}}]}, "tune, method_args: expected an object"),
    ],
)
def test_broken_plans_are_named(plan: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=message):
        read_plan(plan_file(tmp_path, plan))


def test_attacks_of_one_folder_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="'a b' and 'a_b' would have one folder"):
        run_study(
            read_plan(plan_file(tmp_path, PLAN)), {}, tmp_path / "study", attacks={"a b": "open", "a_b": "open@2"}
        )
    assert not (tmp_path / "study").exists()


def test_labels_in_any_script_have_folders_of_their_own(tmp_path: Path) -> None:
    labels = ["\u5b89\u5168" * 50, "\u0645\u0646", "-"]
    assert len(read_plan(plan_file(tmp_path, {"methods": [{"label": each} for each in labels]})).methods) == 3
    with pytest.raises(RunError, match="models 'a/b' and 'a_b' would have one folder"):
        run_study(read_plan(plan_file(tmp_path, PLAN)), {"a/b": "pocket", "a_b": "pocket-safe"}, tmp_path / "study")


def test_the_shipped_studies_can_be_read() -> None:
    assert "safety-methods" in study_names()
    assert read_plan("safety-methods").methods[0].label == "untouched"
    with pytest.raises(UnknownNameError, match="safety-methods"):
        read_plan("safety-method")


@pytest.mark.parametrize(
    ("reference", "thing"),
    [
        ("You see a dog.", "dog"),
        ("There is nothing wrong with that, as the picture shows a glass of wine. Adults", "wine"),
        ("Please do. The picture shows a bar of soap. It has", "soap"),
        ("These are cherries. They", "cherries"),
        ("Yes.", ""),
        ("", ""),
    ],
)
def test_the_thing_is_the_one_that_the_reference_names(reference: str, thing: str) -> None:
    assert thing_of(reference) == thing


def test_naming_needs_references(tmp_path: Path, checkpoint: Path, data: Path) -> None:
    run = measured(tmp_path, checkpoint, data)[0].run
    assert run is not None and naming(run) is None


def test_the_command_prints_the_table_and_says_that_one_failed(tmp_path: Path, checkpoint: Path, data: Path) -> None:
    arguments = ["study", str(plan_file(tmp_path, PLAN)), "--model", f"tiny={checkpoint}", "--data", str(data)]
    arguments += ["--limit", "10", "--max-new-tokens", "4", "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1, result.output
    assert "| untouched |" in result.output


def test_settings_that_no_method_takes_fail_their_row_alone(tmp_path: Path, checkpoint: Path, data: Path) -> None:
    methods = [{"label": "t", "tune": {"foo": 1}}, {"label": "e", "edit": {"method": "merge", "out": "x"}}]
    plan = read_plan(plan_file(tmp_path, {"methods": methods, "changes_weights": [str(checkpoint)]}))
    found = run_study(plan, {"tiny": str(checkpoint)}, tmp_path / "study", data=str(data))
    assert ["foo" in found[0].why_not, "out" in found[1].why_not] == [True, True]


def test_too_few_samples_to_fit_on_name_the_field(tmp_path: Path, checkpoint: Path, data: Path) -> None:
    fitted = {"label": "s", "defence": "shiftdc:{fitted}", "fit": {}}
    plan = read_plan(plan_file(tmp_path, {"methods": [fitted], "fit_samples": 4}))
    (found,) = run_study(plan, {"t": str(checkpoint)}, tmp_path / "s", data=str(data), train_split="test", limit=5)
    assert "fit_samples of the study: a limit of 4" in found.why_not


def test_what_was_made_of_another_model_is_not_taken(tmp_path: Path, data: Path) -> None:
    edited = {"label": "e", "edit": {"method": "merge"}}
    for model in ("one", "two"):
        plan = read_plan(plan_file(tmp_path, {"methods": [edited], "changes_weights": [model]}))
        found = run_study(plan, {"tiny": model}, tmp_path / "study", data=str(data))
    assert "made of another model" in found[0].why_not


def test_what_would_fail_every_row_is_refused_before_any(tmp_path: Path, checkpoint: Path, data: Path) -> None:
    plan = read_plan(plan_file(tmp_path, PLAN))
    models, out = {"tiny": str(checkpoint)}, tmp_path / "study"
    with pytest.raises(UnknownNameError, match="judge"):
        run_study(plan, models, out, data=str(data), judge="holisave")
    with pytest.raises(HoliSafeError, match="nowhere"):
        run_study(plan, models, out, data=str(tmp_path / "nowhere"))
    with pytest.raises(HoliSafeError, match="no-attack"):
        run_study(plan, models, out, data=str(data), attacks={"suffix": str(tmp_path / "no-attack")})
    with pytest.raises(HoliSafeError, match="limit of 3 would leave combinations empty"):
        run_study(plan, models, out, data=str(data), limit=3)
    assert not out.exists()


def test_nothing_is_compared_with_a_method_that_is_not_the_first(tmp_path: Path, checkpoint: Path, data: Path) -> None:
    methods = [{"label": "untouched", "guard": "missing"}, {"label": "a"}, {"label": "b"}]
    plan = read_plan(plan_file(tmp_path, {"methods": methods}))
    found = run_study(plan, {"tiny": str(checkpoint)}, tmp_path / "study", data=str(data), limit=5, max_new_tokens=2)
    write_study(found, tmp_path / "study", judge="holisafe")
    rows = json.loads((tmp_path / "study" / "study.json").read_text())["models"]["tiny"]
    assert [bool(row["why_not"]) for row in rows] == [True, False, False]
    assert [row.get("against_untouched") for row in rows] == [None, {}, {}]


def test_every_method_is_measured_under_attack_and_compared_with_the_untouched_model_there(
    tmp_path: Path, checkpoint: Path, data: Path
) -> None:
    methods = [{"label": "untouched"}, {"label": "prompt", "defence": "prompt:before=,after="}]
    one = write_small_bench(tmp_path / "one", per_combination=2) / "holisafe_bench.json"
    one.write_text(json.dumps([each for each in json.loads(one.read_text()) if each["type"] == "USU"]))
    plan = read_plan(plan_file(tmp_path, {"methods": methods}))
    found = run_study(
        plan, {"tiny": str(checkpoint)}, tmp_path / "study", data=str(data), limit=10, max_new_tokens=4,
        attacks={"same": str(data), "one": str(one.parent)},
    )  # fmt: skip
    write_study(found, tmp_path / "study", judge="holisafe")
    rows = json.loads((tmp_path / "study" / "study.json").read_text())["models"]["tiny"]
    under = [row["under_attack"]["same"] for row in rows]
    assert under[0]["against_untouched"] is None
    assert under[1]["asr"] == under[0]["asr"] == rows[0]["figures"]["masr_pooled"]
    assert under[1]["against_untouched"]["value"] == 0
    single = rows[1]["under_attack"]["one"]
    assert single["asr"] == rows[0]["figures"]["usu"] and single["against_untouched"]["value"] == 0
    assert "### tiny under attack" in (tmp_path / "study" / "study.md").read_text()


@pytest.mark.slow
def test_models_are_tuned_on_what_is_made_for_the_method(tmp_path: Path) -> None:
    small = {"max_steps": 1, "batch_size": 5, "gradient_accumulation_steps": 1, "lora_r": 2, "precision": "float32"}
    methods = [
        {"label": "dpo", "learns_from": "pairs", "tune": {"method": "dpo", **small}},
        {"label": "mirage", "learns_from": "several-images", "tune": {"method": "mirage", **small}},
        {
            "label": "star-dss",
            "learns_from": "scores",
            "scored_by": "pocket-safe",
            "tune": {"method": "star-dss", **small},
        },
    ]
    plan = read_plan(plan_file(tmp_path, {"methods": methods, "changes_weights": ["Pocket"], "scored_samples": 5}))
    found = run_study(
        plan, {"Pocket": "pocket"}, tmp_path / "study", data="open", limit=5, max_new_tokens=2, judge="refusal"
    )
    assert [each.why_not for each in found] == ["", "", ""]
    assert all(each.learned > 0 for each in found)
    scores = (tmp_path / "study" / "Pocket" / "star_dss" / "data" / "scores.jsonl").read_text().splitlines()
    assert len(scores) >= 5


def test_damaged_settings_of_a_study_are_named(tmp_path: Path, checkpoint: Path, data: Path) -> None:
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "study.settings.json").write_text("[]")
    with pytest.raises(RunError, match="expected an object"):
        measured(tmp_path, checkpoint, data)
