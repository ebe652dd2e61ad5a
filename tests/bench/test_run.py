"""A run measures, keeps what it needs to go on, and reads back as it was."""

from __future__ import annotations

import hashlib
import json
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from inspect_ai.log import read_eval_log, write_eval_log

import tiny_models
from holisafe import datasets
from holisafe.bench import _provider, _record, measure, read_run, rejudge
from holisafe.bench._journal import Journal
from holisafe.errors import DataError, ImageError, ModelError, RunError, UnknownNameError
from holisafe.images import open_image
from holisafe.judges import Refusal
from holisafe.metrics import summarise
from holisafe.models import Engine, GenerationOptions, ModelSpec, Prompt
from holisafe.models.spec import Dtype
from holisafe.records import Outcome, Response, Sample

MOCK = "mockllm/model"


def test_a_local_model_answers_as_it_does_when_asked_directly(data: Path, checkpoint: Path, tmp_path: Path) -> None:
    measured = measure(str(checkpoint), data=str(data), out=tmp_path / "run", max_new_tokens=12)
    samples = datasets.load(str(data), "test")
    tiny = tiny_models.llava()
    with Engine(tiny.model, tiny.processor, batch_size=1, reuse=False) as engine:
        direct = engine.answer([Prompt.of(sample) for sample in samples], GenerationOptions(max_new_tokens=12))
    assert [response.text for response in measured.responses] == [answer.text for answer in direct]
    assert [response.sample_id for response in measured.responses] == [sample.id for sample in samples]


@pytest.mark.parametrize("family", sorted(set(tiny_models.FAMILIES) - {"llava"}))
def test_every_family_runs_from_end_to_end(family: str, data: Path, tmp_path: Path) -> None:
    folder = tiny_models.save(tiny_models.FAMILIES[family](), tmp_path / "model")
    measured = measure(str(folder), data=str(data), limit=5, out=tmp_path / "run", max_new_tokens=4)
    assert all(response.error is None for response in measured.responses)
    assert measured.provenance["model"]["image_reuse"]["way"] == "prefix"


def test_a_run_reads_back_from_its_log_alone(data: Path, tmp_path: Path) -> None:
    measured = measure(MOCK, data=str(data), out=tmp_path / "run")
    (log,) = (tmp_path / "run" / "logs").glob("*.eval")
    alone = read_run(shutil.copy(log, tmp_path / "copy.eval"))
    loaded = datasets.load(str(data), "test")
    assert [replace(sample, turns=()) for sample in alone.samples] == [replace(sample, turns=()) for sample in loaded]
    assert [sample.query for sample in alone.samples] == [sample.query for sample in loaded]
    assert all(image.path is None and image.digest for sample in alone.samples for image in sample.images)
    assert alone.responses == measured.responses
    assert alone.judgements == measured.judgements


def test_the_figures_beside_the_log_are_those_of_its_verdicts(data: Path, tmp_path: Path) -> None:
    measured = measure(MOCK, data=str(data), out=tmp_path)
    again = summarise(measured.samples, measured.judgements["holisafe"])
    assert measured.provenance["summaries"]["holisafe"] == again.to_json()


def test_provenance_names_all_that_answers_depend_on(data: Path, checkpoint: Path, tmp_path: Path) -> None:
    record = measure(str(checkpoint), data=str(data), out=tmp_path, max_new_tokens=2, seed=7).provenance
    assert record["data"]["sha256"] == datasets.fingerprint(datasets.load(str(data), "test"))
    assert record["generation"]["max_new_tokens"] == 2
    assert record["settings"]["seed"] == 7
    assert {"torch", "transformers", "inspect-ai"} <= record["versions"].keys()
    assert record["judges"].keys() == {"holisafe"}
    model = record["model"]
    assert (model["device"], model["dtype"], model["attention"]) == ("cpu", "float32", "sdpa")
    assert len(model["weights_sha256"]) == len(model["chat_template_sha256"]) == 64
    assert model["processor"]["image_processor"]["size"] == {"shortest_edge": 32}


def test_the_log_holds_no_image(data: Path, checkpoint: Path, tmp_path: Path) -> None:
    measure(str(checkpoint), data=str(data), out=tmp_path, max_new_tokens=2)
    (log,) = (tmp_path / "logs").glob("*.eval")
    with zipfile.ZipFile(log) as members:
        text = b"".join(members.read(name) for name in members.namelist())
    assert b"iVBORw0KGgo" not in text  # base64 of the first bytes of any PNG


def test_images_that_were_only_in_memory_are_kept_once(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = [_in_memory(sample) for sample in datasets.load(str(data), "test")]
    monkeypatch.setattr(datasets, "read", lambda *_: datasets.Loaded(tuple(samples)))
    measured = measure(MOCK, data=str(data), out=tmp_path)
    assert len(list((tmp_path / "images").iterdir())) == len({image.data for s in samples for image in s.images})
    assert [image.path.read_bytes() for s in measured.samples for image in s.images if image.path] == [
        image.data for s in samples for image in s.images
    ]


def _in_memory(sample: Any) -> Any:
    images = tuple(replace(image, path=None, root=None, data=image.path.read_bytes()) for image in sample.images)
    return sample.with_images(images)


def test_the_log_of_a_run_folder_finds_the_images_beside_it(tmp_path: Path) -> None:
    measure(MOCK, data="open", split="test", limit=5, out=tmp_path)
    (log,) = (tmp_path / "logs").glob("*.eval")
    assert all(open_image(image) for sample in read_run(log).samples for image in sample.images)


def test_an_image_that_cannot_be_read_is_one_error_and_the_run_goes_on(data: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(data, tmp_path / "data")
    whole = (copy / "images/hate/race/race_0.png").read_bytes()
    (copy / "images/hate/race/race_0.png").write_bytes(whole[: len(whole) // 2])
    measured = measure(MOCK, data=str(copy), out=tmp_path / "run")
    failed = [response for response in measured.responses if response.error]
    assert {response.sample_id for response in failed} == {"300", "301"}
    assert all("race_0.png" in response.error for response in failed if response.error)
    outcomes = {verdict.sample_id: verdict.outcome for verdict in measured.judgements["holisafe"]}
    assert [outcomes[each] for each in ("300", "301")] == [Outcome.ERROR] * 2
    assert measured.provenance["errors"] == 2
    assert measured.provenance["summaries"]["holisafe"]["outcomes"]["uuu"]["error"] == 2


def test_what_ended_in_an_error_is_tried_again_and_nothing_else(data: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(data, tmp_path / "data")
    broken = copy / "images/hate/race/race_0.png"
    out = tmp_path / "run"
    measure(MOCK, data=str(copy), out=out)
    answers = (out / "responses.jsonl").read_bytes().splitlines(keepends=True)
    (out / "responses.jsonl").write_bytes(b"".join(line for line in answers if b'"sample_id": "300"' not in line))
    record = json.loads((out / "run.json").read_text())
    (out / "run.json").write_text(json.dumps(record | {"errors": 1}))
    assert broken.exists()
    again = measure(MOCK, data=str(copy), out=out)
    assert again.provenance["errors"] == 0
    assert len((out / "responses.jsonl").read_bytes().splitlines()) == len(answers)


def test_no_answer_at_all_is_an_error(data: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(data, tmp_path / "data")
    for image in (copy / "images").rglob("*.png"):
        image.write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(RunError, match="no sample could be answered; the first error was: ImageError"):
        measure(MOCK, data=str(copy), out=tmp_path / "run")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"max_new_tokens": 3}, "max_new_tokens is 2 there, 3 now"),
        ({"limit": 7}, "limit"),
        ({"system_prompt": "Be brief."}, "system_prompt"),
    ],
)
def test_other_settings_in_the_same_folder_are_refused(
    change: dict[str, Any], named: str, data: Path, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {"data": str(data), "out": tmp_path, "max_new_tokens": 2}
    measure(MOCK, **settings)
    with pytest.raises(RunError, match=named):
        measure(MOCK, **(settings | change))


def test_changed_data_in_the_same_folder_are_refused(data: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(data, tmp_path / "data")
    measure(MOCK, data=str(copy), out=tmp_path / "run")
    (copy / "holisafe_bench.json").write_text((copy / "holisafe_bench.json").read_text().replace("shown", "drawn"))
    with pytest.raises(RunError, match="data_sha256"):
        measure(MOCK, data=str(copy), out=tmp_path / "run")


def test_a_run_that_never_began_leaves_its_folder_free(data: Path, checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="dtype"):
        measure(str(checkpoint), data=str(data), out=tmp_path, dtype="int3", max_new_tokens=2)
    assert measure(str(checkpoint), data=str(data), out=tmp_path, max_new_tokens=2).provenance["state"] == "complete"


def test_a_complete_run_is_read_back_without_asking_again(data: Path, checkpoint: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(checkpoint, tmp_path / "model")
    first = measure(str(copy), data=str(data), out=tmp_path / "run", max_new_tokens=2)
    (copy / "model.safetensors").unlink()
    assert measure(str(copy), data=str(data), out=tmp_path / "run", max_new_tokens=2) == first


@pytest.mark.parametrize("state", ["running", "complete"])
def test_a_checkpoint_changed_under_its_name_is_another_run(
    state: str, data: Path, checkpoint: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(checkpoint, tmp_path / "model")
    out = tmp_path / "run"
    measure(str(copy), data=str(data), out=out, max_new_tokens=2)
    record = json.loads((out / "run.json").read_text())
    (out / "run.json").write_text(json.dumps(record | {"state": state}))
    other = tiny_models.llava()
    torch.nn.init.ones_(other.model.lm_head.weight)
    tiny_models.save(other, copy)
    with pytest.raises(RunError, match="weights_sha256"):
        measure(str(copy), data=str(data), out=out, max_new_tokens=2)


def test_a_change_in_the_middle_of_large_weights_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_provider, "WEIGHT_HASH_LIMIT", 0)
    monkeypatch.setattr(_provider, "WEIGHT_HASH_PIECES", 4)
    path = tmp_path / "model.safetensors"
    before = bytearray(2**20)
    path.write_bytes(before)
    first = _provider.weights_hash(tmp_path)
    before[2**19 + 5] = 1  # in the third of four pieces
    path.write_bytes(before)
    assert first is not None and first.startswith("pieces:") and first != _provider.weights_hash(tmp_path)


def test_a_run_that_ends_while_its_figures_are_made_goes_on(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(_record, "summarise", killed)
        with pytest.raises(KeyboardInterrupt):
            measure(MOCK, data=str(data), out=tmp_path)
    assert json.loads((tmp_path / "run.json").read_text())["state"] == "running"
    assert "summaries" in measure(MOCK, data=str(data), out=tmp_path).provenance


def test_a_limit_keeps_every_combination(data: Path, tmp_path: Path) -> None:
    measured = measure(MOCK, data=str(data), limit=5, out=tmp_path)
    assert len({sample.combination for sample in measured.samples}) == 5


def test_a_spec_measures_as_its_name_and_options_do(data: Path, checkpoint: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"data": data, "out": tmp_path, "max_new_tokens": 4, "limit": 5}
    spec = ModelSpec(str(checkpoint), device="cpu", dtype=Dtype.FLOAT32)
    measured = measure(spec, **settings)
    assert measured.provenance["settings"]["dtype"] == "float32"
    assert measure(checkpoint, device="cpu", dtype="float32", **settings) == measured
    with pytest.raises(RunError, match="dtype is 'float32' there, None now"):
        measure(ModelSpec(str(checkpoint), device="cpu"), **settings)


def test_a_spec_is_a_local_model_whatever_its_name(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="mockllm/model"):
        measure(ModelSpec(MOCK), data=data, out=tmp_path)


def test_options_beside_a_spec_are_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="the model is a ModelSpec, and device was given beside it"):
        measure(ModelSpec("pocket", device="cpu"), data=data, out=tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()


def test_progress_counts_every_sample(data: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    measure(MOCK, data=str(data), out=tmp_path, progress=lambda done, total: told.append((done, total)))
    assert told == [(done, 20) for done in range(1, 21)]


def test_another_judge_judges_recorded_answers(data: Path, tmp_path: Path) -> None:
    measured = measure(MOCK, data=str(data), out=tmp_path)
    again = rejudge(measured, "refusal")
    assert again.judgements.keys() == {"holisafe", "refusal"}
    assert [verdict.sample_id for verdict in again.judgements["refusal"]] == [sample.id for sample in measured.samples]
    assert again.responses == measured.responses


def test_several_judges_are_scored_side_by_side(data: Path, tmp_path: Path) -> None:
    measured = measure(MOCK, data=str(data), out=tmp_path, judges=("holisafe", "refusal"))
    assert measured.provenance["summaries"].keys() == measured.judgements.keys() == {"holisafe", "refusal"}


def test_empty_data_are_refused(tmp_path: Path) -> None:
    (tmp_path / "holisafe_bench.json").write_text("[]")
    with pytest.raises(DataError):
        measure(MOCK, data=str(tmp_path), out=tmp_path / "run")


def test_data_whose_every_record_is_broken_are_refused_with_the_first(tmp_path: Path) -> None:
    none = {"category": None, "subcategory": None}
    records = [{"id": i, "image": f"gone_{i}.png", "query": "What is it?", "type": "SSS", **none} for i in range(2)]
    (tmp_path / "data.json").write_text(json.dumps(records), "utf-8")
    with pytest.raises(DataError, match=r"every record is broken; the first: .*gone_0.png.*no such file"):
        measure(MOCK, data=str(tmp_path / "data.json"), out=tmp_path / "run")


def test_an_out_folder_that_cannot_be_made_is_refused(data: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot write to"):
        measure(MOCK, data=str(data), out=tmp_path / "file" / "run")


def test_an_unknown_model_offers_the_closest(data: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="pocket"):
        measure("poket", data=str(data), out=tmp_path)


def test_a_hosted_model_without_its_key_says_which(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(ModelError, match="openai"):
        measure("openai/gpt-4o", data=str(data), out=tmp_path)


def test_an_unknown_judge_is_refused_before_anything_is_written(data: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="holisafe"):
        measure(MOCK, data=str(data), out=tmp_path / "run", judges=("holysafe",))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("judges", [(), ("holisafe", "holisafe")])
def test_a_run_has_each_judge_once_and_at_least_one(judges: tuple[str, ...], data: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="at least one, and each once"):
        measure(MOCK, data=str(data), out=tmp_path, judges=judges)


def test_a_folder_without_a_run_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no run\.json"):
        read_run(tmp_path)


def test_a_file_that_is_no_log_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "x.eval").write_bytes(b"no log")
    with pytest.raises(RunError, match="not an Inspect log"):
        read_run(tmp_path / "x.eval")


def test_a_line_cut_short_by_a_crash_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "responses.jsonl"
    with Journal(path) as journal:
        journal.append(Response("1", "one", "m"))
        journal.append(Response("2", "two", "m"))
    path.write_bytes(path.read_bytes()[:-5])
    with Journal(path) as journal:
        assert (len(journal), journal.get("2")) == (1, None)
        journal.append(Response("2", "two", "m"))
    with Journal(path) as journal:
        assert journal.get("2") == Response("2", "two", "m")


def test_a_damaged_line_in_the_middle_is_named(tmp_path: Path) -> None:
    path = tmp_path / "responses.jsonl"
    path.write_bytes(b"damaged\n{}\n")
    with pytest.raises(RunError, match="line 1"):
        Journal(path)


# The journals restore a run, and what strangers put into a folder or a log does no harm ---------------------------


@pytest.mark.parametrize("damage", ["lost", "cut"])
def test_a_finished_run_needs_no_log(damage: str, data: Path, tmp_path: Path) -> None:
    measured = measure(MOCK, data=str(data), out=tmp_path)
    (log,) = (tmp_path / "logs").glob("*.eval")
    if damage == "lost":
        log.unlink()
    else:
        log.write_bytes(log.read_bytes()[:1000])
    assert read_run(tmp_path) == measured
    assert measure(MOCK, data=str(data), out=tmp_path) == measured


def test_a_judge_added_to_a_finished_run_judges_the_recorded_answers(data: Path, tmp_path: Path) -> None:
    first = measure(MOCK, data=str(data), out=tmp_path)
    logs = list((tmp_path / "logs").iterdir())
    again = measure(MOCK, data=str(data), out=tmp_path, judges=("refusal",))
    assert again.responses == first.responses
    assert list(again.judgements) == list(again.provenance["summaries"]) == ["refusal", "holisafe"]
    assert again.judgements["holisafe"] == first.judgements["holisafe"]
    assert list((tmp_path / "logs").iterdir()) == logs
    assert read_run(tmp_path) == again


def test_a_changed_judge_judges_again_and_says_which_it_is(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Changed(Refusal):
        def __init__(self) -> None:
            super().__init__()
            self.id = replace(self.id, version="2")

        async def judge(self, sample: Any, response: Response, ask: Any = None) -> Any:
            return replace(await super().judge(sample, response), judge=self.id, outcome=Outcome.HARMFUL)

    first = measure(MOCK, data=str(data), out=tmp_path, judges=("refusal",))
    again = measure(MOCK, data=str(data), out=tmp_path, judges=(Changed(),))
    assert again.responses == first.responses
    assert {each.judge.version for each in again.judgements["refusal"]} == {"2"}
    assert {each.outcome for each in again.judgements["refusal"]} == {Outcome.HARMFUL}


IDS = ("a\0b", "a\0c", "x/../y", "x" * 3000, "\ud800", "é", "E", "e", " ", "a b")


def test_as_many_samples_are_read_back_as_were_asked_whatever_their_ids(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = tuple(Sample.ask(name, (), "What? \udfff", "SSU") for name in IDS)
    monkeypatch.setattr(datasets, "read", lambda *_: datasets.Loaded(samples))
    measured = measure(MOCK, out=tmp_path)
    assert [sample.id for sample in measured.samples] == [name.replace("\ud800", "\ufffd") for name in IDS]
    assert len(measured.responses) == len(measured.judgements["holisafe"]) == len(IDS)
    (log,) = (tmp_path / "logs").glob("*.eval")
    assert {sample.id for sample in read_run(log).samples} == {sample.id for sample in measured.samples}


@pytest.mark.parametrize(
    "change",
    [
        {"state": 7},
        {"settings": []},
        {"errors": "no"},
        {"judges": 1},
        {"data": {}},
        {"summaries": {"holisafe": 3}},
        {"judge_ids": [{"name": "holisafe"}]},
        {"judge_ids": 5},
        {"model": None},
    ],
)
def test_a_field_of_the_wrong_type_is_named(change: dict[str, Any], data: Path, tmp_path: Path) -> None:
    measure(MOCK, data=str(data), out=tmp_path)
    record = json.loads((tmp_path / "run.json").read_text())
    (tmp_path / "run.json").write_text(json.dumps(record | change))
    with pytest.raises(RunError, match=r"run\.json"):
        read_run(tmp_path)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"state": ' + "9" * 5000 + "}", "{", "\xff", "7"])
def test_a_record_that_is_no_json_of_ours_is_an_error(text: str, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(RunError, match=r"run\.json"):
        read_run(tmp_path)


@pytest.mark.parametrize("name", [".lock", "run.json", "responses.jsonl", "judgements.jsonl", "images"])
def test_links_in_the_folder_of_a_run_are_not_followed(name: str, data: Path, tmp_path: Path) -> None:
    out, target = tmp_path / "run", tmp_path / "target"
    out.mkdir()
    target.write_text("precious")
    (out / name).symlink_to(target)
    with pytest.raises(RunError):
        measure(MOCK, data=str(data), out=out)
    assert target.read_text() == "precious"


@pytest.mark.parametrize("name", ["run.json.part", "samples.jsonl"])
def test_links_in_the_place_of_a_whole_file_are_replaced(name: str, data: Path, tmp_path: Path) -> None:
    out, target = tmp_path / "run", tmp_path / "target"
    out.mkdir()
    target.write_text("precious")
    (out / name).symlink_to(target)
    measure(MOCK, data=str(data), out=out)
    assert target.read_text() == "precious"


def test_a_log_that_names_a_picture_elsewhere_does_not_read_it(data: Path, tmp_path: Path) -> None:
    measure(MOCK, data=str(data), out=tmp_path)
    (log,) = (tmp_path / "logs").glob("*.eval")
    content = read_eval_log(str(log))
    for sample in content.samples or []:
        for turn in sample.metadata["holisafe_sample"]["turns"]:
            place = {"path": "/etc/hostname", "root": "/etc"}
            turn["images"] = [
                {"key": "x", "digest": "", **place},
                {"key": "y", "digest": "", "file": "../../secret.png"},
            ]
    write_eval_log(content, str(log))
    for image in (image for sample in read_run(log).samples for image in sample.images):
        assert image.path is None or tmp_path / "images" in image.path.parents
        with pytest.raises(ImageError):
            open_image(image)


def test_images_are_known_by_their_digest(data: Path, tmp_path: Path) -> None:
    measured = measure(MOCK, data=str(data), out=tmp_path)
    for image in (image for sample in measured.samples for image in sample.images):
        assert image.path is not None and image.path.stem == image.digest
        assert hashlib.sha256(image.path.read_bytes()).hexdigest() == image.digest
