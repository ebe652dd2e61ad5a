"""A run folder reads back as the run that was written, from its own files alone."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holisafe.errors import RunError
from holisafe.images import content_hash, identify, read_bytes
from holisafe.records import ImageRef, JudgeId, Judgement, Outcome, Response, Run, Sample
from holisafe.records.folder import is_written_run, read_written_run, write_run
from records import strategies

PNG = b"\x89PNG\r\n\x1a\n not decoded here"
JUDGES = (JudgeId("a", "1"), JudgeId("b", "1"))


def a_run(count: int = 3) -> Run:
    image = identify(ImageRef("a.png", data=PNG))
    samples = tuple(Sample.ask(f"{number}", (image,), "Wh\u2028at?", "SSS") for number in range(count))
    responses = tuple(Response(sample.id, "A kite.\ud83d", "m") for sample in samples)
    judged = {
        judge.name: tuple(Judgement(sample.id, judge, Outcome.ANSWERED) for sample in samples) for judge in JUDGES
    }
    return Run("m", samples, responses, judged, {"settings": {}, "judges": {"a": "1", "b": "1"}})


def test_a_run_reads_back(tmp_path: Path) -> None:
    run = a_run()
    again = read_written_run(write_run(run, str(tmp_path / "run"), {content_hash(PNG): PNG}))
    assert [sample.id for sample in again.samples] == ["0", "1", "2"]
    assert [sample.query for sample in again.samples] == ["Wh\u2028at?"] * 3
    assert again.judgements == run.judgements
    assert [response.text for response in again.responses] == ["A kite.\ufffd"] * 3
    assert all(read_bytes(sample.images[0]) == PNG for sample in again.samples)
    assert again.provenance["settings"] == {}


@settings(max_examples=30)
@given(st.lists(strategies.samples, max_size=3, unique_by=lambda sample: sample.id))
def test_samples_of_every_shape_read_back(tmp_path_factory: pytest.TempPathFactory, samples: list[Sample]) -> None:
    responses = tuple(Response(sample.id, "", "m") for sample in samples)
    run = Run("m", tuple(samples), responses, {}, {})
    again = read_written_run(write_run(run, tmp_path_factory.mktemp("run"), {}))
    assert again.responses == responses
    for was, found in zip(samples, again.samples, strict=True):
        assert [(turn.role, turn.text) for turn in found.turns] == [(turn.role, turn.text) for turn in was.turns]
        assert [ref.digest for ref in found.images] == [ref.digest for ref in was.images]
        assert [ref.key for ref in found.images] == [ref.key for ref in was.images]


def test_a_scored_run_is_replaced_and_one_of_bench_is_not(tmp_path: Path) -> None:
    write_run(a_run(3), tmp_path, {})
    assert len(read_written_run(write_run(a_run(2), tmp_path, {})).samples) == 2
    (tmp_path / "run.json").write_text('{"state": "complete", "settings": {}}')
    assert not is_written_run(tmp_path)
    with pytest.raises(RunError, match="holds a run of holisafe bench"):
        write_run(a_run(), tmp_path, {})


@pytest.mark.parametrize("file", ["samples.jsonl", "responses.jsonl", "judgements.jsonl"])
@pytest.mark.parametrize("fault", ["cut", "garbled", "missing", "link"])
def test_a_damaged_folder_is_one_error(tmp_path: Path, file: str, fault: str) -> None:
    place = write_run(a_run(), tmp_path / "run", {}) / file
    lines = place.read_text().splitlines(keepends=True)
    if fault == "cut":
        place.write_text("".join(lines[:-1]))
    elif fault == "garbled":
        place.write_text("".join([*lines[:-1], lines[-1][:20], "\n"]))
    else:
        place.rename(tmp_path / "elsewhere")
        if fault == "link":
            place.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RunError, match=file.replace(".", r"\.")):
        read_written_run(tmp_path / "run")


def test_pictures_outside_the_folder_are_not_read(tmp_path: Path) -> None:
    """A run may come from a stranger."""
    (tmp_path / "private.png").write_bytes(PNG)
    folder = write_run(a_run(1), tmp_path / "run", {})
    sample = json.loads((folder / "samples.jsonl").read_text())
    for place in (
        {"path": str(tmp_path / "private.png"), "root": str(tmp_path)},
        {"file": "../../private.png"},
        {"file": str(tmp_path / "private.png")},
        {"file": "link.png"},
        {"url": "https://example.org/a.png"},
    ):
        (folder / "images" / "link.png").unlink(missing_ok=True)
        (folder / "images" / "link.png").symlink_to(tmp_path / "private.png")
        sample["turns"][0]["images"] = [{"key": "a", "digest": "", **place}]
        (folder / "samples.jsonl").write_text(json.dumps(sample) + "\n")
        (ref,) = read_written_run(folder).samples[0].images
        with pytest.raises(Exception, match=r"lies outside|no path|'\.\.' may not occur|holds no path"):
            read_bytes(ref)


def test_nothing_is_written_through_links(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (tmp_path / "mine.txt").write_text("keep me")
    for name in ("samples.jsonl", "responses.jsonl", "judgements.jsonl"):
        (folder / name).symlink_to(tmp_path / "mine.txt")
    write_run(a_run(), folder, {})
    assert (tmp_path / "mine.txt").read_text() == "keep me"
    assert len(read_written_run(folder).samples) == 3
