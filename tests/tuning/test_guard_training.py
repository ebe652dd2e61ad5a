"""A guard learns from pictures and labels alone, from folders, a CSV file or records."""

from __future__ import annotations

import csv
import json
import random
from pathlib import Path

import pytest
import typer
from PIL import Image, ImageDraw
from typer.testing import CliRunner

from guard.prompts import tiny
from holisafe.cli import app
from holisafe.cli._guard_train import register
from holisafe.datasets.export import export_parquet
from holisafe.errors import DataError, GuardError, HoliSafeError, TuningError, UnknownNameError
from holisafe.guard import GuardConfig, classify_images, guard_of, load_guard
from holisafe.guard.attach import find_observer
from holisafe.records import ImageRef
from holisafe.taxonomy import GuardLabel
from holisafe.tuning import GuardTraining, train_guard_on_images
from holisafe.tuning._labelled_images import read_labelled_images, split_by_digest
from tuning.data import sample
from tuning.tiny_run import write_model

COLOURS = {"safe": "green", "terrorism": "red", "gender": "blue"}


def draw(label: str, number: int) -> Image.Image:
    """A disc or bar in the label's colour at a random place."""
    rng = random.Random(f"{label}{number}")
    image = Image.new("RGB", (48, 48), "white")
    x, y = rng.randrange(0, 16), rng.randrange(0, 16)
    ImageDraw.Draw(image).ellipse((x, y, x + 30, y + 30), fill=COLOURS[label], outline=(number % 256, 0, 0))
    return image


def folders(where: Path, count: int = 16) -> Path:
    for label in COLOURS:
        (where / label).mkdir(parents=True)
        for number in range(count):
            draw(label, number).save(where / label / f"{number}.png")
    return where


def table(where: Path) -> Path:
    folders(where / "pictures")
    with (where / "labels.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["image", "label"])
        rows.writerows([str(path.relative_to(where)), path.parent.name] for path in where.glob("pictures/*/*.png"))
    return where / "labels.csv"


def records(where: Path) -> Path:
    pictures = folders(where / "pictures")
    made = [
        sample(
            str(at),
            images=(ImageRef(path.name, data=path.read_bytes()),),
            image_labels=(GuardLabel(path.parent.name),),
            combination="SSU" if path.parent.name == "safe" else "USU",
        )
        for at, path in enumerate(sorted(pictures.glob("*/*.png")))
    ]
    export_parquet(made, where / "records", "train")
    return where / "records"


SOURCES = {"folders": folders, "csv": table, "records": records}


@pytest.mark.parametrize("kind", SOURCES)
def test_it_beats_chance_on_held_out_pictures_and_the_folder_is_read(kind: str, tmp_path: Path) -> None:
    made = tiny("llava")
    source = SOURCES[kind](tmp_path / "source")
    training = GuardTraining(num_train_epochs=100, flag_rate=0.4)
    found = train_guard_on_images(made.model, made.processor, source, tmp_path / "guard", training)
    assert sum(found.learned.values()) == 36 and found.held_out == {"safe": 4, "gender": 4, "terrorism": 4}
    assert found.chance == pytest.approx(1 / 3) and found.accuracy >= 0.75
    again = tiny("llava")
    load_guard(again.model, tmp_path / "guard", processor=again.processor)
    pictures = [draw(label, 99) for label in COLOURS]
    verdicts = list(classify_images(again.model, pictures, processor=again.processor))
    assert [verdict.label.value for verdict in verdicts] == list(COLOURS)
    assert json.loads((tmp_path / "guard" / "guard_training.json").read_text())["accuracy"] == found.accuracy


def test_the_same_seed_gives_the_same_guard(tmp_path: Path) -> None:
    source = folders(tmp_path / "source", 4)
    files = []
    for name in ("one", "two"):
        made = tiny("llava")
        train_guard_on_images(made.model, made.processor, source, tmp_path / name, GuardTraining(max_steps=3))
        files.append((tmp_path / name / "guard.safetensors").read_bytes())
    assert files[0] == files[1]


def test_the_model_itself_is_frozen(tmp_path: Path) -> None:
    made = tiny("llava")
    before = {name: weight.clone() for name, weight in made.model.named_parameters()}
    train_guard_on_images(
        made.model, made.processor, folders(tmp_path / "s", 4), tmp_path / "g", GuardTraining(max_steps=2)
    )
    after = dict(made.model.named_parameters())
    assert all(bool((after[name] == weight).all()) for name, weight in before.items())
    assert guard_of(made.model).image_head is not None


def test_too_few_held_out_pictures_leave_it_uncalibrated_and_say_so(tmp_path: Path) -> None:
    made = tiny("llava")
    found = train_guard_on_images(
        made.model, made.processor, folders(tmp_path / "s", 4), tmp_path / "g", GuardTraining(max_steps=2)
    )
    assert found.report is None and "safe" in found.uncalibrated


def test_copies_of_a_picture_are_one_and_never_on_both_sides(tmp_path: Path) -> None:
    source = folders(tmp_path / "source", 4)
    (source / "safe" / "copy.png").write_bytes((source / "safe" / "0.png").read_bytes())
    read = read_labelled_images(source)
    assert len(read.images) == 12
    learned, held = split_by_digest(read.images, 0.5, seed=1)
    assert not {each.image.digest for each in learned} & {each.image.digest for each in held}
    assert split_by_digest(read.images[::-1], 0.5, seed=1) == (learned, held)


def test_what_cannot_be_read_is_skipped_with_its_reason(tmp_path: Path) -> None:
    source = folders(tmp_path / "source", 3)
    (source / "safe" / "cut.png").write_bytes((source / "safe" / "0.png").read_bytes()[:60])
    made = tiny("llava")
    found = train_guard_on_images(made.model, made.processor, source, tmp_path / "g", GuardTraining(max_steps=1))
    assert [each.id for each in found.skipped] == ["safe/cut.png"]
    assert sum(found.learned.values()) + sum(found.held_out.values()) == 9


def test_labels_of_another_taxonomy_are_read_by_its_crosswalk(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for name, label in (("safe", "safe"), ("S12", "gender")):
        (source / name).mkdir(parents=True)
        draw(label, 1).save(source / name / "1.png")
    labels = {each.label for each in read_labelled_images(source, crosswalk="llama_guard").images}
    assert labels == {GuardLabel.SAFE, GuardLabel.SEXUAL_CONTENT}
    with pytest.raises(DataError, match="labels of another taxonomy need its name as crosswalk"):
        read_labelled_images(source)
    with pytest.raises(UnknownNameError, match="unknown crosswalk 'llama'"):
        read_labelled_images(source, crosswalk="llama")
    (source / "S12").rename(source / "S10")
    with pytest.raises(DataError, match=r"S10 of .* stands for gender, race"):
        read_labelled_images(source, crosswalk="llama_guard")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("picture,label\na.png,safe\n", "column image: not found; expected a first line with image,label"),
        ("image,label\na.png,\n", "line 2: label: found none"),
        ("image,label\na.png,saef\n", "line 2: label: unknown guard label 'saef'"),
        ("image,label\na.png,safe\n", "no images with labels found; the first of 1 that cannot be read"),
        ("image,label\n", "no images with labels found"),
        ("\x00", "labels.csv"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_by_line(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        read_labelled_images(tmp_path / "labels.csv")


def test_one_picture_with_two_labels_is_refused(tmp_path: Path) -> None:
    source = folders(tmp_path / "source", 2)
    (source / "gender" / "same.png").write_bytes((source / "safe" / "0.png").read_bytes())
    with pytest.raises(DataError, match="are the same image, labelled gender and safe"):
        read_labelled_images(source)


def test_what_cannot_be_trained_is_refused_and_leaves_the_model_without_a_guard(tmp_path: Path) -> None:
    made = tiny("llava")
    source = folders(tmp_path / "source", 2)
    out = tmp_path / "out"
    with pytest.raises(GuardError, match="the pooling mean or last"):
        train_guard_on_images(made.model, made.processor, source, out, guard=GuardConfig(pooling="attention"))
    with pytest.raises(TuningError, match="held_out: expected a number above 0 and below 1"):
        GuardTraining(held_out=1.0)
    for label in ("terrorism", "gender"):
        for file in (source / label).iterdir():
            file.unlink()
    with pytest.raises(DataError, match="every image is labelled safe"):
        train_guard_on_images(made.model, made.processor, source, out)
    with pytest.raises(HoliSafeError, match="is there already"):
        train_guard_on_images(made.model, made.processor, source, source)
    assert find_observer(made.model) is None


def test_the_command_trains_and_prints_json(tmp_path: Path) -> None:
    group = typer.Typer()
    group.callback()(lambda: None)
    register(group)
    write_model(tmp_path / "model")
    given = ["--images", folders(tmp_path / "source", 6), "--out", tmp_path / "guard", "--model", tmp_path / "model"]
    told = CliRunner().invoke(group, ["train", *map(str, given), "--device", "cpu", "--max-steps", "40", "--json"])
    assert told.exit_code == 0, told.output
    found = json.loads(told.stdout)
    assert found["accuracy"] > found["chance"] and found["learned"]["safe"] == 4
    assert "step 40/40" in told.stderr and "the guard is not calibrated" in told.stderr
    judged = CliRunner().invoke(
        app, ["guard", str(tmp_path / "source"), "--model", str(tmp_path / "model"), "--guard", str(tmp_path / "guard")]
    )
    assert judged.exit_code == 0, judged.output
