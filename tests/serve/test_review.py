"""The sample of verdicts that is kept for review: what it holds, who may read it, and where it ends."""

from __future__ import annotations

import hashlib
import json
import resource
import stat
from pathlib import Path
from typing import Any

import pytest

from holisafe.errors import RunError
from holisafe.models import Engine
from holisafe.records import GuardVerdict, ImageRef, ImageVerdict
from holisafe.serve import EngineBackend, Metrics, ReviewSample
from holisafe.serve.settings import Mode
from holisafe.taxonomy import GuardLabel
from serve.site import BLOCK, NAME, SAFE, UNSAFE, data_url, guarded, running, shown


def records(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "review.jsonl").read_text("utf-8").splitlines()]


def offered(sample: ReviewSample, data: bytes = SAFE) -> None:
    """A verdict on one picture."""
    verdict = ImageVerdict(GuardLabel.SAFE, 0.9, {GuardLabel.SAFE: 0.9, GuardLabel.WEAPON_RELATED_VIOLENCE: 0.1}, 0.5)
    sample.offer("req_1", GuardVerdict((verdict,)), [ImageRef("0", data=data)], "pass", Mode.SCORE)


def test_a_server_keeps_what_it_decided_and_nothing_that_was_said(tmp_path: Path) -> None:
    folder = tmp_path / "sample"
    tiny = guarded()
    question = "a question that is nobody's business"
    with Engine(tiny.model, tiny.processor, window=0.005) as engine:
        review = ReviewSample(folder, rate=1.0, pictures=True)
        with running(EngineBackend(engine, NAME), review=review) as site:
            refused = site.chat(messages=shown(UNSAFE, text=question), moderation=BLOCK)
            site.chat(messages=shown(SAFE, UNSAFE, text=question), stream=True)
            site.post("/v1/moderations", {"input": [{"type": "image_url", "image_url": {"url": data_url(SAFE)}}]})
            site.chat(messages=[{"role": "user", "content": "?"}], model="another")
    assert site.count("review_records_total", outcome="kept") == 3
    first, second, third = records(folder)
    assert first["id"] == refused.headers["x-request-id"]
    assert (first["action"], first["policy"]) == ("block", "block")
    assert [each["policy"] for each in (second, third)] == ["score", "score"] and third["action"] == "pass"
    (image,) = first["images"]
    said = refused.json()["image_safety"][0]
    assert image["sha256"] == hashlib.sha256(UNSAFE).hexdigest() and image["flagged"] is True
    assert (image["label"], image["unsafe_probability"]) == (said["label"], said["unsafe"])
    assert [each["sha256"] for each in second["images"]] == [
        hashlib.sha256(each).hexdigest() for each in (SAFE, UNSAFE)
    ]
    assert (folder / second["images"][0]["file"]).read_bytes() == SAFE
    assert "business" not in (folder / "review.jsonl").read_text("utf-8")
    assert len(list((folder / "images").iterdir())) == 2  # each picture once
    for path in folder.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)


def test_pictures_are_kept_only_where_asked(tmp_path: Path) -> None:
    sample = ReviewSample(tmp_path, rate=1.0)
    offered(sample)
    sample.close()
    (record,) = records(tmp_path)
    assert "file" not in record["images"][0] and not (tmp_path / "images").exists()


def test_as_many_are_drawn_as_the_rate_says(tmp_path: Path) -> None:
    drawn = iter([0.0, 0.3, 0.29, 0.9, 0.31])
    sample = ReviewSample(tmp_path, rate=0.3, draw=lambda: next(drawn))
    for _ in range(5):
        offered(sample)
    sample.close()
    assert len(records(tmp_path)) == 2


@pytest.mark.parametrize("limit", ["max_bytes", "max_picture_bytes"])
def test_a_full_sample_stays_as_it_is(tmp_path: Path, limit: str) -> None:
    sample = ReviewSample(tmp_path, rate=1.0, pictures=True, **{limit: 2 * len(SAFE)})  # type: ignore[arg-type]
    sample.metrics = metrics = Metrics()
    for number in range(30):
        offered(sample, SAFE + bytes([number]))
    sample.close()
    kept = records(tmp_path)
    sizes = [each.stat().st_size for each in (tmp_path / "images").iterdir()]
    assert 0 < len(kept) < 30 and len(sizes) == len(kept)
    assert (sum(sizes) if "picture" in limit else (tmp_path / "review.jsonl").stat().st_size) <= 2 * len(SAFE)
    counted = {
        outcome: metrics.registry.get_sample_value("holisafe:review_records_total", {"outcome": outcome}) or 0
        for outcome in ("kept", "full", "busy")
    }
    assert counted["kept"] == len(kept) and sum(counted.values()) == 30


def test_a_sample_is_added_to_and_a_line_that_broke_off_is_ended(tmp_path: Path) -> None:
    (tmp_path / "review.jsonl").write_text('{"id": "br')
    sample = ReviewSample(tmp_path, rate=1.0)
    offered(sample)
    sample.close()
    broken, line = (tmp_path / "review.jsonl").read_text("utf-8").splitlines()
    assert broken == '{"id": "br' and json.loads(line)["action"] == "pass"


def test_a_record_that_a_full_disk_cuts_short_spoils_no_other(tmp_path: Path) -> None:
    sample = ReviewSample(tmp_path, rate=1.0)
    sample.metrics = metrics = Metrics()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
        offered(sample)
        sample._thread.submit(int).result()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    offered(sample)
    sample.close()
    cut, line = (tmp_path / "review.jsonl").read_text("utf-8").splitlines()
    assert len(cut) == 100 and json.loads(line)["action"] == "pass"
    for outcome in ("failed", "kept"):
        assert metrics.registry.get_sample_value("holisafe:review_records_total", {"outcome": outcome}) == 1


def test_a_disk_that_takes_nothing_ends_no_request(tmp_path: Path) -> None:
    sample = ReviewSample(tmp_path, rate=1.0)
    sample.metrics = metrics = Metrics()
    (tmp_path / "review.jsonl").unlink()
    (tmp_path / "review.jsonl").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").touch()
    offered(sample)
    sample.close()
    assert metrics.registry.get_sample_value("holisafe:review_records_total", {"outcome": "failed"}) == 1
    assert (tmp_path / "elsewhere").read_bytes() == b""  # a link is not followed


@pytest.mark.parametrize("rate", [0.0, -0.1, 1.5, float("nan")])
def test_a_rate_is_a_share(tmp_path: Path, rate: float) -> None:
    with pytest.raises(RunError, match="--review-rate"):
        ReviewSample(tmp_path, rate=rate)


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="--review-dir"):
        ReviewSample(tmp_path / "file", rate=0.5)
