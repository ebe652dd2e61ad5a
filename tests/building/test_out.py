from __future__ import annotations

import json
from pathlib import Path

import mlcroissant
import pytest

from drawn_pictures import settings
from holisafe.building import build
from holisafe.datasets import load


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # mlcroissant 1.1 calls rdflib 7.6 as it was
def test_croissant_metadata_are_valid_and_lead_to_the_samples(tmp_path: Path) -> None:
    build(settings(tmp_path, licence="CC0-1.0"))
    found = mlcroissant.Dataset(jsonld=tmp_path / "data" / "croissant.json")
    assert not found.metadata.issues.errors
    assert found.metadata.license == ["CC0-1.0"]
    for split in ("train", "test"):
        samples = {sample.id: sample for sample in load(tmp_path / "data", split)}
        records = list(found.records(split))
        assert {record[f"{split}/id"].decode() for record in records} == set(samples)
        record = records[0]
        assert record[f"{split}/query"].decode() == samples[record[f"{split}/id"].decode()].query
        assert record[f"{split}/image"].size == (96, 96)


def test_the_datasheet_counts_combinations_and_tells_what_blind_classifiers_reach(tmp_path: Path) -> None:
    built = build(settings(tmp_path, blind=True))
    page = (tmp_path / "data" / "datasheet.md").read_text()
    record = json.loads((tmp_path / "data" / "build.json").read_text())
    assert record["stats"]["train"]["SSS"] == sum(s.combination == "SSS" for s in built.samples["train"])
    (result,) = record["blind"]["results"]
    assert [each["name"] for each in result["baselines"]] == ["question alone", "image alone (pixels)"]
    assert "| figure | question alone | image alone (pixels) |" in page
    assert str(tmp_path) not in page + json.dumps(record)


def test_where_blind_baselines_cannot_be_measured_the_datasheet_says_why(tmp_path: Path) -> None:
    given = settings(tmp_path, blind=True, held_out=0)
    lines = (tmp_path / "labels.csv").read_text().splitlines()
    (tmp_path / "labels.csv").write_text("\n".join(lines[:2]) + "\n")
    built = build(given)
    assert built.blind is None
    assert f"Not measured: {built.blind_note}" in (tmp_path / "data" / "datasheet.md").read_text()
