import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from holisafe.cli import app
from holisafe.datasets import load
from holisafe.datasets.export import export_parquet


def holisafe(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["data", *arguments], env={"COLUMNS": "200"})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    images = tmp_path / "set" / "images"
    images.mkdir(parents=True)
    Image.new("RGB", (8, 8), "olive").save(images / "a.png")
    Image.new("RGB", (8, 8), "navy").save(images / "b.png")
    return tmp_path / "set"


@pytest.fixture
def write(folder: Path) -> Callable[..., str]:
    def write_records(*changes: dict[str, Any]) -> str:
        good = {"image": "a.png", "query": "What is it?", "type": "SSS", "category": "hate", "subcategory": "race"}
        records = [{"id": number} | good | change for number, change in enumerate(changes)]
        (folder / "holisafe_bench.json").write_text(json.dumps(records))
        return str(folder)

    return write_records


def test_list_names_the_data_sets_with_their_splits() -> None:
    listed = json.loads(holisafe("list", "--json").stdout)["datasets"]
    assert {"name": "open", "splits": ["train", "calibration", "test", "transfer", "photo"]}.items() <= listed[
        0
    ].items()


def test_list_prints_a_table_for_people() -> None:
    assert "HoliSafe-Open" in holisafe("list").stdout


def test_show_prints_what_is_asked_and_what_is_right(write: Callable[..., str]) -> None:
    shown = holisafe("show", write({"query": "Is this a kite?"})).stdout
    assert "Is this a kite?" in shown and "a helpful answer is right" in shown


def test_show_takes_as_many_samples_as_asked_for(write: Callable[..., str]) -> None:
    name = write({}, {}, {})
    shown = json.loads(holisafe("show", name, "--n", "2", "--json").stdout)["samples"]
    assert [sample["id"] for sample in shown] == ["0", "1"]
    assert {"query": "What is it?", "combination": "SSS", "category": "hate"}.items() <= shown[0].items()


def test_show_finds_a_sample_by_its_id(write: Callable[..., str]) -> None:
    shown = json.loads(holisafe("show", write({}, {}, {}), "--id", "2", "--json").stdout)["samples"]
    assert [sample["id"] for sample in shown] == ["2"]


def test_show_refuses_an_id_that_is_not_there(write: Callable[..., str]) -> None:
    result = holisafe("show", write({}), "--id", "99")
    assert result.exit_code == 2
    assert "unknown sample id '99'" in result.stderr


def test_text_from_data_is_shown_and_not_obeyed(write: Callable[..., str]) -> None:
    shown = holisafe("show", write({"query": "[bold red]x[/] \x1b[2J \u202ereversed"})).stdout
    assert "[bold red]x[/]" in shown and "\\x1b[2J" in shown and "\\u202e" in shown
    assert "\x1b[2J" not in shown and "\u202e" not in shown


def test_stats_count_combinations_images_queries_twins_and_licences(write: Callable[..., str]) -> None:
    name = write(
        {"twin": 1, "licence": "MIT"},
        {"twin": 0, "type": "SSU", "image": "b.png"},
        {"type": "SUU", "category": "privacy", "subcategory": None, "query": "And?"},
    )
    counted = json.loads(holisafe("stats", name, "--json").stdout)
    assert counted == {
        "name": name,
        "split": None,
        "samples": 3,
        "images": 2,
        "text_only": 0,
        "several_turns": 0,
        "queries": 2,
        "clusters": 2,
        "twin_pairs": 1,
        "by_category": {
            "hate": {"SSS": 1, "SSU": 1, "USU": 0, "UUU": 0, "SUU": 0},
            "privacy": {"SSS": 0, "SSU": 0, "USU": 0, "UUU": 0, "SUU": 1},
        },
        "licences": {"CC-BY-NC-4.0": 2, "MIT": 1},
    }


def test_stats_print_a_table_for_people(write: Callable[..., str]) -> None:
    shown = holisafe("stats", write({}, {"type": "SSU"})).stdout
    assert "twin pairs: 0" in shown and "licence CC-BY-NC-4.0: 2 samples" in shown


def test_validate_passes_good_data(write: Callable[..., str]) -> None:
    result = holisafe("validate", write({}, {}))
    assert result.exit_code == 0
    assert "2 good records, 0 broken, 0 notes" in result.stdout


def test_validate_reports_broken_records_and_exits_1(write: Callable[..., str], folder: Path) -> None:
    (folder / "images" / "text.png").write_text("not an image")
    result = holisafe("validate", write({}, {"type": "XXX", "query": ""}, {"image": "text.png"}))
    assert result.exit_code == 1
    assert "1 good records, 2 broken, 0 notes" in result.stdout
    assert 'record 1 (id 1): type: found "XXX", expected one of SSS, SSU, USU, UUU, SUU' in result.stdout


def test_validate_gives_every_problem_as_json(write: Callable[..., str]) -> None:
    result = holisafe("validate", write({}, {"type": "XXX"}), "--json")
    report = json.loads(result.stdout)
    assert (report["records"], report["good"], report["broken"], result.exit_code) == (2, 1, 1, 1)
    problem = report["problems"][0]
    assert set(problem) == {"file", "index", "id", "field", "found", "expected", "remedy", "level"}
    assert (problem["index"], problem["id"], problem["field"], problem["level"]) == (1, "1", "type", "broken")


def test_validate_exits_2_where_nothing_can_be_read(folder: Path) -> None:
    (folder / "holisafe_bench.json").write_text('[{"id": 1,]')
    result = holisafe("validate", str(folder))
    assert result.exit_code == 2
    assert "line 1, column 11" in result.stderr


@pytest.mark.parametrize(("format", "file"), [("holisafe", "holisafe_bench.json"), ("parquet", "test.parquet")])
def test_export_writes_what_validate_accepts(write: Callable[..., str], tmp_path: Path, format: str, file: str) -> None:
    out = tmp_path / "out"
    result = holisafe("export", write({}, {}), "--split", "test", "--out", str(out), "--format", format)
    assert result.exit_code == 0
    assert (out / file).is_file()
    assert holisafe("validate", str(out)).exit_code == 0


def test_export_refuses_an_unknown_format(write: Callable[..., str], tmp_path: Path) -> None:
    result = holisafe("export", write({}), "--out", str(tmp_path / "out"), "--format", "parket")
    assert result.exit_code == 2
    assert "Did you mean parquet" in result.stderr


@pytest.fixture
def varied(folder: Path) -> str:
    """Samples without combination, without images, with several images and turns."""
    turns = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "<image>What is it?"},
        {"role": "assistant", "content": "An olive."},
        {"role": "user", "content": "And <image>?"},
        {"role": "assistant", "content": "The sea."},
    ]
    records = [
        {"id": "scored", "image": "a.png", "query": "Is it?", "expected": "refuse", "tags": {"scenario": "kitchen"}},
        {"id": "text", "query": "Hello?", "type": "SSS", "category": None, "subcategory": None},
        {"id": "chat", "images": ["a.png", "b.png"], "messages": turns},
    ]
    (folder / "records.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return str(folder)


def test_show_takes_samples_of_every_shape(varied: str) -> None:
    shown = holisafe("show", varied)
    assert shown.exit_code == 0, shown.stderr
    for text in ("a refusal is right", "scenario: kitchen", "Hello?", "Be kind.", "An olive.", "And?", "The sea."):
        assert text in shown.stdout
    as_json = {each["id"]: each for each in json.loads(holisafe("show", varied, "--json").stdout)["samples"]}
    assert [turn["role"] for turn in as_json["chat"]["turns"]] == ["system", "user", "assistant", "user"]
    assert [len(turn["images"]) for turn in as_json["chat"]["turns"]] == [0, 1, 0, 1]
    assert (as_json["scored"]["combination"], as_json["scored"]["expected"]) == (None, "refuse")


def test_stats_take_samples_of_every_shape(varied: str) -> None:
    counted = json.loads(holisafe("stats", varied, "--json").stdout)
    assert (counted["samples"], counted["images"], counted["text_only"], counted["several_turns"]) == (3, 2, 1, 1)
    cells = [count for counts in counted["by_category"].values() for count in counts.values()]
    assert sum(cells) == 3 and counted["by_category"]["not given"]["refuse"] == 1
    assert holisafe("stats", varied).exit_code == 0


@pytest.mark.parametrize("format", ["holisafe", "parquet"])
def test_samples_of_every_shape_are_exported_and_validate(varied: str, tmp_path: Path, format: str) -> None:
    out = str(tmp_path / "out")
    assert holisafe("export", varied, "--out", out, "--format", format).exit_code == 0
    told = holisafe("validate", out, "--json")
    assert told.exit_code == 0, told.stdout
    again = load(out)
    assert [sample.turns[-1].text for sample in again] == ["Is it?", "Hello?", "And?"]
    assert [len(sample.turns) for sample in again] == [1, 1, 4]
    assert [sample.tags for sample in again] == [sample.tags for sample in load(varied)]


def test_a_package_that_cannot_be_imported_is_listed_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metadata = tmp_path / "broken_data-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-data\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[holisafe.datasets]\nbroken = no_such_module_here:load\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    listed = {each["name"]: each for each in json.loads(holisafe("list", "--json").stdout)["datasets"]}
    assert "cannot be imported: ModuleNotFoundError" in listed["broken"]["description"]
    assert "open" in listed
    told = holisafe("show", "broken")
    assert told.exit_code == 2 and told.stderr.startswith("error: data set 'broken'")


def test_splits_are_exported_apart(tmp_path: Path) -> None:
    told = holisafe("export", "open", "--out", str(tmp_path / "released"))
    assert told.exit_code == 2 and "the released format holds one; name it with --split" in " ".join(
        told.stderr.split()
    )
    small = tmp_path / "small"
    for split in ("train", "test"):
        export_parquet(load("open", split)[:5], small, split)
    assert holisafe("export", str(small), "--format", "parquet", "--out", str(tmp_path / "again")).exit_code == 0
    assert {path.name for path in (tmp_path / "again").iterdir()} == {"train.parquet", "test.parquet"}
    assert [each.id for each in load(tmp_path / "again", "test")] == [each.id for each in load("open", "test")[:5]]


@pytest.mark.parametrize(("twin", "found"), [("1", "one that is safe too"), ("nobody", "no good record"), ("2", None)])
def test_a_twin_that_makes_no_pair_is_noted(write: Callable[..., str], twin: str, found: str | None) -> None:
    told = holisafe("validate", write({"twin": twin}, {}, {"type": "SSU"}), "--json")
    problems = json.loads(told.stdout)["problems"]
    assert told.exit_code == 0
    assert [(each["field"], each["found"], each["level"]) for each in problems] == (
        [] if found is None else [("twin", found, "note")]
    )


def test_a_record_with_two_faults_is_one_broken_record(write: Callable[..., str]) -> None:
    name = write({"query": 3, "type": "XXX"}, {})
    told = json.loads(holisafe("validate", name, "--json").stdout)
    assert (told["records"], told["broken"]) == (2, 1) and len(told["problems"]) == 2
