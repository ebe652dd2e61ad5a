import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import datasets
from holisafe.datasets import Level, Loaded, load, read, read_predictions
from holisafe.datasets._hub import explain, read_table, split_names
from holisafe.datasets._places import Source
from holisafe.datasets.conformance import DatasetConformance
from holisafe.datasets.export import export_parquet
from holisafe.datasets.holisafe_bench import read_rows, validate_path
from holisafe.errors import DataError, UnknownNameError
from holisafe.images import content_hash, open_image
from holisafe.records import ImageRef, Sample
from holisafe.taxonomy import Category, Combination, GuardLabel, Subcategory

Make = Callable[..., dict[str, Any]]
ReadRecords = Callable[..., Loaded]


def test_a_released_record_becomes_a_sample(read_records: ReadRecords, record: Make, folder: Path, png: bytes) -> None:
    loaded = read_records(record())
    key = "violence/terrorism/terrorism_1.png"
    assert loaded.problems == ()
    assert loaded.samples == (
        Sample.ask(
            id="1",
            images=(ImageRef(key, path=folder / "images" / key, root=folder / "images", digest=content_hash(png)),),
            query="What’s the mood here?",
            combination=Combination.USU,
            category=Category.VIOLENCE,
            subcategory=Subcategory.TERRORISM,
            image_labels=(GuardLabel.TERRORISM,),
            cluster=content_hash(png),
            source="HoliSafe-Bench",
            licence="CC-BY-NC-4.0",
        ),
    )


def test_its_image_can_be_opened(read_records: ReadRecords, record: Make) -> None:
    assert open_image(read_records(record()).samples[0].images[0]).size == (8, 6)


def test_a_path_that_names_the_images_folder_means_the_same(read_records: ReadRecords, record: Make) -> None:
    plain = read_records(record())
    assert read_records(record(image="images/violence/terrorism/terrorism_1.png")) == plain


def test_the_json_file_itself_can_be_named(read_records: ReadRecords, record: Make, folder: Path) -> None:
    assert read_records(record()).samples == read(str(folder / "holisafe_bench.json")).samples


def test_a_file_of_another_name_makes_no_claim_on_the_licence(folder: Path, record: Make) -> None:
    (folder / "mine.json").write_text(json.dumps([record()]))
    (sample,) = load(folder)
    assert (sample.source, sample.licence) == ("mine", "")


@pytest.mark.parametrize(
    "prompt", ["<image>\nWhat is it?", "<image> What is it?", "What is it?\n<image>", "What is it?"]
)
def test_the_older_conversations_give_the_query_without_its_image_token(
    read_records: ReadRecords, record: Make, prompt: str
) -> None:
    turns = [{"from": "human", "value": prompt}, {"from": "gpt", "value": "A kite."}]
    loaded = read_records(record(query=..., conversations=turns))
    assert [sample.query for sample in loaded.samples] == ["What is it?"]


@pytest.mark.parametrize("spelling", [1, "gender", "gender_discrimination", "Gender Discrimination"])
def test_labels_are_read_by_index_and_in_both_spellings(read_records: ReadRecords, record: Make, spelling: Any) -> None:
    changes = {"category": "hate", "subcategory": "gender_discrimination", "image_safety_label": spelling}
    (sample,) = read_records(record(**changes)).samples
    assert (sample.subcategory, sample.image_labels) == (Subcategory.GENDER, (GuardLabel.GENDER,))


def test_several_images_keep_their_order_and_labels(
    read_records: ReadRecords, record: Make, folder: Path, png: bytes
) -> None:
    (folder / "images" / "kite.png").write_bytes(png)
    images = ["kite.png", "violence/terrorism/terrorism_1.png"]
    (sample,) = read_records(record(images=images, image_safety_labels=[0, 15])).samples
    assert [ref.key for ref in sample.images] == images
    assert sample.image_labels == (GuardLabel.SAFE, GuardLabel.TERRORISM)


def test_what_the_data_do_not_say_stays_open(read_records: ReadRecords, record: Make) -> None:
    changes = {"category": None, "subcategory": None, "image_safe": ..., "image_safety_label": ...}
    (sample,) = read_records(record(**changes)).samples
    assert (sample.category, sample.subcategory, sample.image_labels) == (None, None, ())


@pytest.mark.parametrize(
    ("changes", "field", "found"),
    [
        ({"id": ...}, "id", "missing"),
        ({"id": True}, "id", "true"),
        ({"id": 1.5}, "id", "1.5"),
        ({"image": ...}, "image", "missing"),
        ({"image": 7}, "image", "7"),
        ({"image": "violence/gone.png"}, "image", "violence/gone.png"),
        ({"image": "violence"}, "image", "violence"),
        ({"image": "../holisafe_bench.json"}, "image", "../holisafe_bench.json"),
        ({"image": "/etc/hostname"}, "image", "/etc/hostname"),
        ({"image": "http://127.0.0.1/x.png"}, "image", "http://127.0.0.1/x.png"),
        ({"images": []}, "images", "[]"),
        ({"query": ...}, "query", "missing"),
        ({"query": None}, "query", "null"),
        ({"query": "  "}, "query", '"  "'),
        ({"query": ["a", "b"]}, "query", '["a", "b"]'),
        ({"query": "half a \ud83d face"}, "query", "ud83d"),
        ({"query": ..., "conversations": []}, "conversations", "[]"),
        ({"query": ..., "conversations": "hello"}, "conversations", '"hello"'),
        ({"query": ..., "conversations": [{"from": "human", "value": "<image>"}]}, "conversations", '""'),
        ({"type": ...}, "type", "missing"),
        ({"type": "UUS"}, "type", '"UUS"'),
        ({"type": ["U"]}, "type", '["U"]'),
        ({"category": ...}, "category", "missing"),
        ({"category": "voilence"}, "category", '"voilence"'),
        ({"subcategory": "terorism"}, "subcategory", '"terorism"'),
        ({"image_safe": True}, "image_safe", "true"),
        ({"image_safe": "no"}, "image_safe", '"no"'),
        ({"image_safety_label": 0}, "image_safety_label", "0 (safe)"),
        ({"image_safety_label": 20}, "image_safety_label", "20"),
        ({"image_safety_label": -1}, "image_safety_label", "-1"),
        ({"image_safety_label": "kite"}, "image_safety_label", '"kite"'),
        ({"image_safety_label": [15, 0]}, "image_safety_label", "[15, 0]"),
        ({"type": "SUU"}, "image_safe", "false"),
        ({"twin": [5]}, "twin", "[5]"),
    ],
)
def test_a_broken_record_is_reported_with_its_field_and_the_others_load(
    read_records: ReadRecords, record: Make, changes: dict[str, Any], field: str, found: str
) -> None:
    loaded = read_records(record(id=7), record(**changes), record(id=8))
    assert [sample.id for sample in loaded.samples] == ["7", "8"]
    problem = next(problem for problem in loaded.broken if problem.field == field)
    assert (problem.index, problem.file.endswith("holisafe_bench.json")) == (1, True)
    assert found in problem.found
    assert problem.expected and problem.remedy


def test_a_wrong_name_gets_the_closest_right_one(read_records: ReadRecords, record: Make) -> None:
    loaded = read_records(record(category="voilence"))
    assert "Did you mean violence" in loaded.problems[0].remedy


def test_a_record_with_several_faults_is_reported_for_each(read_records: ReadRecords, record: Make) -> None:
    loaded = read_records(record(type="X", query="", category="Y"))
    assert {problem.field for problem in loaded.problems} == {"type", "query", "category"}


def test_a_record_that_is_no_object_is_reported(read_records: ReadRecords, record: Make) -> None:
    loaded = read_records("hello", record(), None)
    assert [problem.index for problem in loaded.broken] == [0, 2]


def test_a_repeated_id_keeps_the_first_record(read_records: ReadRecords, record: Make) -> None:
    loaded = read_records(record(query="first"), record(query="second"))
    assert [sample.query for sample in loaded.samples] == ["first"]
    assert [(problem.index, problem.field) for problem in loaded.broken] == [(1, "id")]


def test_a_repeated_id_is_found_behind_a_broken_record_too(read_records: ReadRecords, record: Make) -> None:
    loaded = read_records(record(query=""), record())
    assert [problem.index for problem in loaded.broken] == [0, 1]


def test_a_folder_that_differs_from_the_category_is_only_a_note(read_records: ReadRecords, record: Make) -> None:
    loaded = read_records(record(category="illegal_activity", subcategory="property_crime", image_safety_label=7))
    assert len(loaded.samples) == 1
    assert [(note.level, note.found) for note in loaded.problems] == [
        (Level.NOTE, "violence"),
        (Level.NOTE, "terrorism"),
    ]


def test_an_image_label_that_differs_from_the_subcategory_is_only_a_note(
    read_records: ReadRecords, record: Make
) -> None:
    loaded = read_records(record(image_safety_label=16))
    assert len(loaded.samples) == 1
    assert [(note.level, note.field, note.found) for note in loaded.problems] == [
        (Level.NOTE, "image_safety_label", "weapon_related_violence")
    ]


def test_records_of_one_image_share_its_bytes(sample: Callable[..., Sample], tmp_path: Path) -> None:
    export_parquet([sample("1", key="same"), sample("2", key="same")], tmp_path)
    first, second = load(str(tmp_path))
    assert first.images[0] is second.images[0]


def test_a_parquet_file_that_unpacks_to_far_more_is_refused(tmp_path: Path) -> None:
    table = pa.table({"query": [b"\0" * 2**20] * 300}, pa.schema([("query", pa.binary())]))
    pq.write_table(table, tmp_path / "test.parquet", compression="zstd", use_dictionary=False)
    with pytest.raises(DataError, match="decompression bomb"):
        read(tmp_path)


def test_images_of_one_file_name_in_several_folders_are_told_apart(record: Make, tmp_path: Path) -> None:
    """Libraries that put images into a table keep the last part of their names."""
    rows = []
    for at, colour in enumerate(["red", "blue", "red"]):
        file = tmp_path / colour / "1.png"
        file.parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 6), colour).save(file)
        rows.append(record(id=at, image={"bytes": file.read_bytes(), "path": "1.png"}))
    samples = read_rows(rows, Source("table", tmp_path)).samples
    red, blue, again = (each.images[0] for each in samples)
    assert red is again and red.digest != blue.digest
    assert [each.cluster for each in samples] == [red.digest, blue.digest, red.digest]


def test_a_subcategory_of_another_category_is_only_a_note(read_records: ReadRecords, record: Make) -> None:
    loaded = read_records(record(category="self_harm"))
    assert len(loaded.samples) == 1
    assert "violence for subcategory terrorism" in {note.expected for note in loaded.notes}


def test_an_image_that_is_there_but_cannot_be_decoded_is_found_by_validation(
    read_records: ReadRecords, record: Make, folder: Path
) -> None:
    (folder / "images" / "note.png").write_text("I am no image")
    assert len(read_records(record(), record(id=2, image="note.png")).samples) == 2
    loaded = validate_path(folder)
    assert [(problem.id, problem.field) for problem in loaded.broken] == [("2", "image")]
    assert "found text" in loaded.broken[0].remedy


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b'[{"id": 1,\n "query": }]', "line 2, column 11"),
        (b"", "line 1, column 1"),
        (b'["\xff"]', "found bytes that are not UTF-8"),
        (b"[" * 100_000, "nested more than"),
        (b"[" + b"9" * 5000 + b"]", "an integer of thousands of digits"),
        (b"[]", "no records"),
        (b'{"id": 1}', "found an object at the top level"),
        (b'"hello"', 'found "hello" at the top level'),
    ],
)
def test_a_file_that_holds_no_list_of_records_is_an_error(folder: Path, content: bytes, complaint: str) -> None:
    file = folder / "holisafe_bench.json"
    file.write_bytes(content)
    with pytest.raises(DataError) as raised:
        read(folder)
    assert complaint in str(raised.value) and str(file) in str(raised.value)


def test_a_byte_order_mark_does_no_harm(folder: Path, record: Make) -> None:
    (folder / "holisafe_bench.json").write_text(json.dumps([record()]), encoding="utf-8-sig")
    assert len(read(folder).samples) == 1


def test_a_folder_without_records_is_an_error(folder: Path) -> None:
    with pytest.raises(DataError, match=r"found neither holisafe_bench\.json nor Parquet"):
        read(folder)


def test_a_path_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file or folder"):
        read(str(tmp_path / "gone.json"))


def test_a_split_that_the_files_do_not_have_is_an_error(read_records: ReadRecords, record: Make, folder: Path) -> None:
    read_records(record())
    assert len(load(folder, "test")) == 1
    with pytest.raises(DataError, match="has one split, 'test', not 'train'"):
        load(folder, "train")


def test_loading_leaves_broken_records_out_and_says_so(
    read_records: ReadRecords, record: Make, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    read_records(record(), record(id=2, type="X", query=""))
    assert [sample.id for sample in load(folder)] == ["1"]
    assert "1 broken records left out, 1 loaded" in caplog.text


def test_loading_what_is_wholly_broken_is_an_error(read_records: ReadRecords, record: Make, folder: Path) -> None:
    read_records(record(type="X"))
    with pytest.raises(DataError, match="every record is broken"):
        load(folder)


def test_an_unknown_name_gets_the_closest_one() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean open"):
        load("opn")


def test_an_empty_name_is_not_the_working_directory() -> None:
    with pytest.raises(UnknownNameError, match="unknown data set ''"):
        load("")


def test_predictions_are_read_without_their_images(tmp_path: Path, record: Make) -> None:
    file = tmp_path / "SafeLLaVA-7B.json"
    answers = [record(prediction="No."), record(id=2, prediction=""), record(id=3), record(id=4, prediction=5)]
    file.write_text(json.dumps(answers))
    loaded = read_predictions(file)
    assert [sample.id for sample in loaded.samples] == ["1", "2", "3", "4"]
    assert [(r.sample_id, r.text, r.model, r.error) for r in loaded.responses] == [
        ("1", "No.", "SafeLLaVA-7B", None),
        ("2", "", "SafeLLaVA-7B", None),
        ("3", "", "SafeLLaVA-7B", "no prediction: found nothing (the field is missing)"),
        ("4", "", "SafeLLaVA-7B", "no prediction: found 5"),
    ]
    assert [problem.id for problem in loaded.problems] == ["3", "4"]


def test_of_two_predictions_with_one_id_the_first_counts(tmp_path: Path, record: Make) -> None:
    file = tmp_path / "model.json"
    file.write_text(json.dumps([record(prediction="first"), record(prediction="second")]))
    assert [response.text for response in read_predictions(file).responses] == ["first"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(
    st.dictionaries(
        st.sampled_from(["id", "image", "images", "query", "conversations", "type", "category", "subcategory",
                         "image_safe", "image_safety_label", "image_safety_labels", "twin"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
            max_leaves=5,
        ),
        max_size=4,
    )
)  # fmt: skip
def test_whatever_a_record_holds_it_loads_or_is_reported(
    read_records: ReadRecords, record: Make, changes: dict[str, Any]
) -> None:
    loaded = read_records(record(id="good"), record(**changes))
    assert loaded.samples[0].id == "good"
    assert (len(loaded.samples) == 2) is not bool(loaded.broken)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100)
@given(st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_whatever_a_file_holds_it_is_a_data_error(folder: Path, content: bytes) -> None:
    (folder / "holisafe_bench.json").write_bytes(content)
    with pytest.raises(DataError):
        load(folder)


class TestFolderConformance(DatasetConformance):
    @pytest.fixture(autouse=True)
    def _a_folder(self, read_records: ReadRecords, record: Make, folder: Path) -> None:
        read_records(record(), record(id=2, query="And what is this?"))
        self.name = str(folder)


def test_splits_of_a_hub_data_set_are_those_that_the_library_finds(tmp_path: Path) -> None:
    """A folder stands for the Hub: the library reads both alike."""
    for split in ("train", "test"):
        datasets.Dataset.from_list([{"query": "what?"}]).to_parquet(tmp_path / f"{split}-00000-of-00001.parquet")
    assert sorted(split_names(str(tmp_path))) == ["test", "train"]
    with pytest.raises(DataError, match="cannot be loaded from the Hub"):
        split_names(str(tmp_path / "none"))


def test_a_hub_table_gives_the_same_samples_as_the_file_it_came_from(
    read_records: ReadRecords, record: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = read_records(record()).samples
    file = export_parquet(samples, tmp_path / "exported")
    table = datasets.Dataset.from_parquet(str(file), cache_dir=str(tmp_path / "cache"))
    assert isinstance(table.features["image"], datasets.Image)
    (sample,) = read_table(table, "owner/mine").samples
    assert (sample.query, sample.image_labels) == (samples[0].query, samples[0].image_labels)
    assert open_image(sample.images[0]).size == (8, 6)


@pytest.mark.parametrize(("place", "good"), [("downloads", 1), ("elsewhere", 0)])
def test_of_a_hub_tables_files_only_downloaded_ones_are_read(
    record: Make, png: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, good: int
) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "downloads")
    file = tmp_path / place / "x.png"
    file.parent.mkdir()
    file.write_bytes(png)
    rows = [record(image=str(file))]
    table = datasets.Dataset.from_list(rows).cast_column("image", datasets.Image())
    loaded = read_table(table, "owner/mine")
    assert (len(loaded.samples), len(loaded.broken)) == (good, 1 - good)


@pytest.fixture
def gated_hub() -> Iterator[str]:
    """A server that answers every request as the Hub does for a gated data set."""

    class Gated(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(403)
            self.send_header("X-Error-Code", "GatedRepo")
            self.send_header("X-Error-Message", "Access to this dataset is restricted")
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_GET
        do_POST = do_GET

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Gated)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_gated_data_set_is_refused_with_what_to_do(gated_hub: str, tmp_path: Path) -> None:
    environment = {**os.environ, "HF_ENDPOINT": gated_hub, "HF_HOME": str(tmp_path), "no_proxy": "127.0.0.1"}
    environment.pop("HF_HUB_OFFLINE", None)
    environment.pop("HF_DATASETS_OFFLINE", None)
    program = "from holisafe.datasets import load; load('etri-vilab/holisafe-bench')"
    ended = subprocess.run(
        [sys.executable, "-c", program], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    last = ended.stderr.strip().splitlines()[-1]
    assert last.startswith("holisafe.errors.DataError: etri-vilab/holisafe-bench: access is gated or private")
    assert "https://huggingface.co/datasets/etri-vilab/holisafe-bench" in last
    assert "hf auth login" in last


def test_another_failure_of_the_hub_is_told_as_it_is() -> None:
    said = explain("owner/name", ConnectionError("no route to host"))
    assert "ConnectionError: no route to host" in said and "check the name, the split and the network" in said
