from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner, Result

import tiny_models
from holisafe.cli import app
from holisafe.cli import guard as command
from holisafe.guard import (
    Calibration,
    GuardConfig,
    attach_guard,
    classify_images,
    guard_of,
    save_guard,
    set_calibration,
)
from holisafe.models import load


def holisafe(*arguments: object, columns: int = 200) -> Result:
    return CliRunner().invoke(app, ["guard", *map(str, arguments)], env={"COLUMNS": str(columns)})


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with its own guard, which flags about half of the pictures below."""
    folder = tmp_path_factory.mktemp("model")
    tiny = tiny_models.llava()
    tiny_models.save(tiny, folder)
    attach_guard(tiny.model, GuardConfig(features="projector"))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in guard_of(tiny.model).parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator) * 0.4)
    verdicts = classify_images(tiny.model, map(picture, range(60)), processor=tiny.processor)
    unsafe = sorted(1 - next(iter(verdict.distribution.values())) for verdict in verdicts)
    set_calibration(tiny.model, Calibration(threshold=unsafe[30]))
    save_guard(tiny.model, folder / "guard")
    return folder


def picture(number: int) -> Image.Image:
    hue, angle = divmod(number * 67 % 256, 8)
    return (
        Image.linear_gradient("L").rotate(45 * angle).convert("RGB").quantize(2 + hue).convert("RGB").resize((40, 40))
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "set").mkdir()
    for number in range(3):
        picture(number).save(tmp_path / "set" / f"{number}.png")
    return tmp_path / "set"


def lines(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_each_image_is_shown_with_its_verdict(model: Path, folder: Path) -> None:
    result = holisafe(folder, "--model", model)
    assert result.exit_code == 0, result.stderr
    assert all(f"{number}.png" in result.stdout for number in range(3))
    assert "3 images, " in result.stdout


def test_json_lines_are_the_verdicts_of_classify_images(model: Path, folder: Path) -> None:
    given = lines(holisafe(folder, "--model", model, "--json", "--batch-size", 2))
    guarded, processor = load(str(model), guard="own")
    verdicts = list(classify_images(guarded, map(picture, range(3)), processor=processor))
    for line, verdict in zip(given, verdicts, strict=True):
        assert line["label"] == verdict.label and line["probability"] == pytest.approx(verdict.probability, abs=1e-5)
        assert line["threshold"] == verdict.threshold
        assert line["unsafe"] == pytest.approx(1 - line["distribution"]["safe"])
        assert line["flagged"] == (line["unsafe"] >= line["threshold"])


def test_a_guard_may_come_from_elsewhere(model: Path, folder: Path, tmp_path: Path) -> None:
    (model / "guard").rename(tmp_path / "other")
    try:
        assert holisafe(folder, "--model", model).exit_code == 2
        assert holisafe(folder, "--model", model, "--guard", tmp_path / "other").exit_code == 0
    finally:
        (tmp_path / "other").rename(model / "guard")


def test_an_image_without_verdict_is_named_and_counted_and_the_rest_go_on(model: Path, folder: Path) -> None:
    (folder / "0b.png").write_text("<html>")
    result = holisafe(folder, "--model", model)
    assert result.exit_code == 1
    assert "1 image without a verdict" in result.stdout and "0b.png: found text" in result.stdout
    assert "4 images" in result.stdout
    result = holisafe(folder, "--model", model, "--json")
    assert result.exit_code == 1
    assert [line["image"][-6:] for line in lines(result)] == ["/0.png", "0b.png", "/1.png", "/2.png"]
    assert lines(result)[1].keys() == {"image", "digest", "error"}
    assert "1 of 4 images have no verdict" in result.stderr


def test_an_image_that_the_model_cannot_take_does_not_take_its_batch_down(folder: Path, tmp_path: Path) -> None:
    tiny = tiny_models.qwen2_5_vl()
    checkpoint = tiny_models.save(tiny, tmp_path / "qwen")
    attach_guard(tiny.model, GuardConfig(features="projector"))
    save_guard(tiny.model, checkpoint / "guard")
    Image.new("RGB", (900, 1)).save(folder / "1_thin.png")
    found = lines(holisafe(folder, "--model", checkpoint, "--json"))
    assert ["error" in line for line in found] == [False, False, True, False]
    assert "aspect ratio" in found[2]["error"]


def test_many_images_are_summed_up_by_label(model: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "many.zip", "w") as archive:
        for number in range(60):
            file = io.BytesIO()
            picture(number).save(file, "PNG")
            archive.writestr(f"{number}.png", file.getvalue())
        archive.writestr("notes.txt", "notes")
    result = holisafe(tmp_path / "many.zip", "--model", model)
    assert result.exit_code == 0
    assert "of them flagged" in result.stdout and "the 20 most likely unsafe" in result.stdout
    assert "60 images, " in result.stdout and "1 other file passed over" in result.stdout
    assert len(result.stdout.splitlines()) < 60


def test_limit_ends_early(model: Path, folder: Path) -> None:
    assert len(lines(holisafe(folder, "--model", model, "--json", "--limit", 2))) == 2


def test_files_hold_what_json_prints(model: Path, folder: Path, tmp_path: Path) -> None:
    (folder / "0b.png").write_text("<html>")
    printed = lines(holisafe(folder, "--model", model, "--json"))
    for name in ("v.jsonl", "v.parquet"):
        assert holisafe(folder, "--model", model, "--out", tmp_path / name).exit_code == 1
    assert [json.loads(line) for line in (tmp_path / "v.jsonl").read_text().splitlines()] == printed
    rows = pq.read_table(tmp_path / "v.parquet").to_pylist()
    assert [{key: value for key, value in row.items() if value is not None} for row in rows] == printed


def test_a_file_in_the_folder_that_is_read_is_not_read_itself(model: Path, folder: Path) -> None:
    result = holisafe(folder, "--model", model, "--out", folder / "v.parquet")
    assert result.exit_code == 0
    assert pq.read_table(folder / "v.parquet").num_rows == 3


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("v.csv", "ends with .jsonl or .parquet"),
        ("there.jsonl", "is there already"),
        ("no/v.jsonl", "there is no folder"),
    ],
)
def test_a_file_that_cannot_be_written_is_refused_before_the_model_is_loaded(
    folder: Path, tmp_path: Path, name: str, reason: str
) -> None:
    (tmp_path / "there.jsonl").write_text("kept")
    result = holisafe(folder, "--model", "/no/such/model", "--out", tmp_path / name)
    assert result.exit_code == 2 and reason in result.stderr
    assert (tmp_path / "there.jsonl").read_text() == "kept"


def test_a_place_that_is_not_there_is_refused_before_the_model_is_loaded(tmp_path: Path) -> None:
    result = holisafe(tmp_path / "nope.png", "--model", "/no/such/model")
    assert result.exit_code == 2 and "nope.png: no such file" in result.stderr


def test_a_folder_without_images_is_an_error(model: Path, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("about")
    result = holisafe(tmp_path, "--model", model)
    assert result.exit_code == 2 and "no images in there" in result.stderr


def test_names_are_shown_and_not_obeyed(model: Path, folder: Path) -> None:
    (folder / "0.png").rename(folder / "[red]\x1b[2J\u202e\n0.png")
    (folder / "\x1b]0;x\x07.png").write_text("no image")
    result = holisafe(folder, "--model", model)
    assert "\x1b" not in result.stdout and "\x07" not in result.stdout and "\u202e" not in result.stdout
    assert "[red]\\x1b[2J\\u202e\\n0.png" in result.stdout and "\\x1b]0;x\\x07.png" in result.stdout


def test_interrupted_it_keeps_what_was_written(model: Path, folder: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "many.zip", "w") as archive:
        data = (folder / "0.png").read_bytes()
        for number in range(20_000):
            archive.writestr(f"{number}.png", data)
    arguments = [str(tmp_path / "many.zip"), "--model", str(model), "--out", str(tmp_path / "v.parquet"), "--json"]
    code = "from holisafe.cli import app; app()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "guard", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert process.stdout is not None and process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=120)
    assert process.returncode == 130
    rows = pq.read_table(tmp_path / "v.parquet").num_rows
    assert 0 < rows < 20_000 and f"{rows:,} images are in" in told and "interrupted" in told
    assert "Traceback" not in told


@pytest.mark.parametrize("name", ["v.parquet", "folder"])
def test_terminated_it_keeps_what_was_written_and_resumes(model: Path, folder: Path, tmp_path: Path, name: str) -> None:
    data = (folder / "0.png").read_bytes()
    with zipfile.ZipFile(tmp_path / "many.zip", "w") as archive:
        for number in range(4_000):
            archive.writestr(f"{number}.png", data)
    arguments = [str(tmp_path / "many.zip"), "--model", str(model), "--out", str(tmp_path / name), "--json"]
    process = subprocess.Popen(
        [sys.executable, "-m", "holisafe", "guard", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert process.stdout is not None and process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGTERM and "--resume" in told and "Traceback" not in told
    kept = pq.read_table(tmp_path / name).num_rows
    assert 0 < kept < 4_000
    again = holisafe(*arguments)
    assert again.exit_code == 2 and "holds" in again.stderr + again.stderr.replace("is there already", "holds")
    resumed = holisafe(*arguments, "--resume")
    assert resumed.exit_code == 0 and len(lines(resumed)) == 4_000 - kept
    found = pq.read_table(tmp_path / name)["image"].to_pylist()
    assert len(found) == len(set(found)) == 4_000
    assert not (tmp_path / "v.parquet.parts").exists()


def test_an_uncalibrated_guard_is_said_on_standard_error_and_in_json(model: Path, folder: Path, tmp_path: Path) -> None:
    result = holisafe(folder, "--model", model, "--json")
    assert "not calibrated" in result.stderr and all(line["calibrated"] is False for line in lines(result))
    tiny = load(str(model), guard="own")
    set_calibration(tiny.model, Calibration(threshold=0.4, flag_rate=0.05, records=300, safe_records=200))
    save_guard(tiny.model, tmp_path / "guard")
    result = holisafe(folder, "--model", model, "--guard", tmp_path / "guard", "--json")
    assert "not calibrated" not in result.stderr and all(line["calibrated"] for line in lines(result))


@pytest.mark.parametrize("name", ["pocket", "pocket-safe"])
def test_models_of_drawings_say_so(folder: Path, name: str) -> None:
    result = holisafe(folder, "--model", name, "--json")
    assert result.exit_code == 0
    assert f"{name} knows drawings only" in result.stderr
    assert {line["made_for"] for line in lines(result)} == {"drawings"}


def test_a_flagged_image_is_never_called_safe(model: Path, folder: Path, tmp_path: Path) -> None:
    tiny = load(str(model), guard="own")
    set_calibration(tiny.model, Calibration(threshold=0.0))
    save_guard(tiny.model, tmp_path / "guard")
    result = holisafe(folder, "--model", model, "--guard", tmp_path / "guard")
    rows = [line for line in result.stdout.splitlines() if ".png" in line]
    assert len(rows) == 3 and all("flagged" in row and " safe " not in row and "0.000" in row for row in rows)
    assert "P(unsafe)" in result.stdout and "threshold" in result.stdout


def test_a_gpu_that_is_not_there_is_one_line(folder: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    for device in ("cuda", "cuda:3", "nonsense"):
        result = holisafe(folder, "--device", device)
        assert result.exit_code == 2 and len(result.stderr.strip().splitlines()) == 1
        assert f"--device {device} cannot be used" in result.stderr


def test_a_processor_without_pad_token_gives_the_same_verdicts(model: Path, folder: Path) -> None:
    tiny = load(str(model), guard="own")
    images = [Image.open(folder / f"{number}.png").convert("RGB") for number in range(3)]
    with_pad = list(classify_images(tiny.model, images, processor=tiny.processor))
    tiny.processor.tokenizer.pad_token = None
    without = list(classify_images(tiny.model, images, processor=tiny.processor))
    for one, other in zip(with_pad, without, strict=True):
        assert one.distribution == pytest.approx(dict(other.distribution), abs=1e-5)


def test_shards_are_disjoint_and_complete(model: Path, folder: Path) -> None:
    found = [
        line["image"]
        for part in ("0/2", "1/2")
        for line in lines(holisafe(folder, "--model", model, "--json", "--shard", part))
    ]
    assert sorted(found) == [str(folder / f"{number}.png") for number in range(3)]
    for wrong in ("2/2", "x", "1", "1/0", "-1/2"):
        result = holisafe(folder, "--model", model, "--shard", wrong)
        assert result.exit_code == 2 and "expected" in result.stderr


# ---- families


@pytest.fixture
def families(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    rows = [
        {
            "model_type": "llava",
            "model_class": "LlavaForConditionalGeneration",
            "grouping": "features",
            "image_token": "image_token_id",
            "features": "language, projector",
            "result": "passes",
            "why_not": "",
        },
        {
            "model_type": "mllama",
            "model_class": "MllamaForConditionalGeneration",
            "grouping": "",
            "image_token": "",
            "features": "",
            "result": "",
            "why_not": "it reads images by cross-attention",
        },
    ]
    (tmp_path / "families.json").write_text(json.dumps(rows))
    monkeypatch.setattr(command, "FAMILIES", tmp_path / "families.json")
    return rows


def test_families_prints_the_table(families: list[dict[str, str]]) -> None:
    result = holisafe("families")
    assert result.exit_code == 0
    assert "llava" in result.stdout and "1 families can be guarded" in result.stdout
    assert "mllama" in result.stdout and "cross-attention" in result.stdout


def test_families_gives_the_table_as_json(families: list[dict[str, str]]) -> None:
    assert json.loads(holisafe("families", "--json").stdout) == {"families": families}


def test_an_image_may_be_called_families(model: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "0.png").rename(folder / "families")
    monkeypatch.chdir(folder)
    assert [line["image"] for line in lines(holisafe("./families", "--model", model, "--json"))] == ["families"]


def test_help_is_that_of_images_and_names_families() -> None:
    for arguments in (["--help"], []):
        result = holisafe(*arguments)
        assert "holisafe guard [OPTIONS]" in result.output and "holisafe guard families" in result.output
        assert "--batch-size" in result.output
