import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image

from holisafe.datasets import Level, Loaded, load, read
from holisafe.datasets.export import export_holisafe, export_parquet
from holisafe.errors import DataError
from holisafe.images import content_hash, read_bytes
from holisafe.records import Behaviour, ImageRef, Role, Sample, Turn
from holisafe.taxonomy import Combination, GuardLabel

MakeSample = Callable[..., Sample]


@pytest.fixture
def rich_samples(sample: MakeSample) -> list[Sample]:
    """Samples that use every field, a shared image, several images and ids of both kinds."""
    a = sample(
        "7",
        Combination.SSS,
        image_labels=(GuardLabel.SAFE,),
        reference="Yes.",
        rejected="No.",
        twin="8",
        source="drawn",
        licence="MIT",
    )
    b = sample("8", Combination.SSU, key="image-7", twin="7", image_labels=(GuardLabel.SAFE,))
    several = sample("name-9", Combination.USU, category=None, subcategory=None)
    other = ImageRef("other", data=b"\xff\xd8\xff not decoded here")
    labels = (GuardLabel.SAFE, GuardLabel.SUICIDE)
    several = replace(several.with_images((*several.images, other)), image_labels=labels)
    text_only = replace(sample("10", tags={"scenario": "kitchen"}), cluster="alone").with_images(())
    chat = replace(
        sample("11", Combination.SSU),
        turns=(
            Turn(Role.SYSTEM, "Be kind."),
            Turn(Role.USER, "What is it?", a.images),
            Turn(Role.ASSISTANT, "A pan."),
            Turn(Role.USER, "And this?", (other,)),
        ),
    )
    scored = replace(sample("12"), combination=None, expected=Behaviour.REFUSE, options=("A", "B"))
    return [a, b, several, text_only, chat, scored]


def without_places(samples: list[Sample]) -> list[tuple[Any, ...]]:
    """Samples with their images by content: keys and files differ between formats."""
    return [
        (
            replace(sample, turns=tuple(replace(turn, images=()) for turn in sample.turns), cluster=""),
            [[content_hash(read_bytes(ref)) for ref in turn.images] for turn in sample.turns],
        )
        for sample in samples
    ]


@pytest.mark.parametrize("export", [export_holisafe, export_parquet])
def test_an_export_reads_back_as_the_same_samples(
    export: Callable[[list[Sample], Path], Path], rich_samples: list[Sample], tmp_path: Path
) -> None:
    export(rich_samples, tmp_path / "out")
    expected = [
        replace(s, source=s.source or s2.source, licence=s.licence or s2.licence)
        for s, s2 in zip(rich_samples, load(str(tmp_path / "out")), strict=True)
    ]
    problems = read(str(tmp_path / "out")).problems
    assert [(problem.level, problem.field) for problem in problems] == [(Level.NOTE, "image")]  # one without
    assert without_places(load(str(tmp_path / "out"))) == without_places(expected)


def test_clusters_are_kept(rich_samples: list[Sample], tmp_path: Path) -> None:
    export_holisafe(rich_samples, tmp_path)
    assert [sample.cluster for sample in load(str(tmp_path))] == [sample.cluster for sample in rich_samples]


def test_the_json_has_the_fields_of_the_released_files(rich_samples: list[Sample], tmp_path: Path) -> None:
    record = json.loads(export_holisafe(rich_samples[:1], tmp_path).read_text())[0]
    image = record.pop("image")
    assert record == {
        "id": 7,
        "query": "Question 7?",
        "type": "SSS",
        "category": "hate",
        "subcategory": "gender",
        "image_safe": True,
        "image_safety_label": 0,
        "reference": "Yes.",
        "rejected": "No.",
        "twin": 8,
        "cluster": "image-7",
        "source": "drawn",
        "licence": "MIT",
    }
    assert image.startswith("safe/safe_") and image.endswith(".png")
    assert (tmp_path / "images" / image).is_file()


def test_a_shared_image_is_written_once(rich_samples: list[Sample], tmp_path: Path) -> None:
    export_holisafe(rich_samples[:2], tmp_path)
    assert len(list((tmp_path / "images").rglob("*.*"))) == 1


@pytest.mark.parametrize(
    ("combination", "labels", "folder"),
    [
        (Combination.USU, (GuardLabel.SUICIDE,), "self_harm/suicide/suicide_"),
        (Combination.SSS, (GuardLabel.SAFE,), "safe/safe_"),
        (Combination.USU, (), "unlabelled/image_"),
    ],
)
def test_images_without_a_place_are_filed_by_their_label(
    sample: MakeSample, tmp_path: Path, combination: Combination, labels: tuple[GuardLabel, ...], folder: str
) -> None:
    written = export_holisafe([sample("1", combination, image_labels=labels)], tmp_path)
    assert json.loads(written.read_text())[0]["image"].startswith(folder)


def test_released_files_are_written_back_under_their_names(
    read_records: Callable[..., Loaded], record: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    loaded = read_records(record())
    written = export_holisafe(loaded.samples, tmp_path / "copy")
    copied = json.loads(written.read_text())[0]
    assert {name: copied[name] for name in record()} == record()


def test_images_of_one_name_and_other_content_do_not_overwrite_each_other(sample: MakeSample, tmp_path: Path) -> None:
    samples = []
    for at, colour in enumerate(("red", "blue")):
        file = tmp_path / colour / "1.png"
        file.parent.mkdir()
        Image.new("RGB", (8, 6), colour).save(file)
        ref = ImageRef("1.png", path=file, root=file.parent)
        samples.append(sample(str(at)).with_images((ref,)))
    export_holisafe(samples, tmp_path / "out")
    found = [content_hash(read_bytes(each.images[0])) for each in load(tmp_path / "out")]
    assert found == [content_hash(read_bytes(each.images[0])) for each in samples]


def test_parquet_rows_carry_their_images(rich_samples: list[Sample], tmp_path: Path) -> None:
    file = export_parquet(rich_samples, tmp_path, "train")
    assert file.name == "train.parquet"
    row = pq.read_table(file).to_pylist()[0]
    assert row["image"]["bytes"] == read_bytes(rich_samples[0].images[0])


def test_a_folder_of_parquet_files_has_its_splits_by_name(sample: MakeSample, tmp_path: Path) -> None:
    export_parquet([sample("1")], tmp_path, "train")
    export_parquet([sample("2"), sample("3")], tmp_path, "test")
    assert [s.id for s in load(str(tmp_path), "test")] == ["2", "3"]
    assert [s.id for s in load(str(tmp_path))] == ["2", "3", "1"]
    with pytest.raises(DataError, match="has no split 'transfer'; it has test, train"):
        load(str(tmp_path), "transfer")


def test_a_file_that_is_no_parquet_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "test.parquet").write_bytes(b"PAR1 but then not")
    with pytest.raises(DataError, match=r"test\.parquet: cannot be read"):
        load(str(tmp_path))


def test_an_export_does_not_overwrite(sample: MakeSample, tmp_path: Path) -> None:
    export_holisafe([sample()], tmp_path)
    with pytest.raises(DataError, match="exists already"):
        export_holisafe([sample()], tmp_path)


def test_nothing_is_not_exported(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no samples"):
        export_holisafe([], tmp_path)
