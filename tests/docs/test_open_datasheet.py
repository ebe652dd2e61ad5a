import json
import runpy
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from holisafe.datasets.open._load import data_folder

DOCS = Path(__file__).parents[2] / "docs" / "datasets"
SCRIPT: dict[str, Any] = runpy.run_path(str(DOCS / "open.py"))


def test_the_datasheet_is_what_its_script_writes() -> None:
    assert (DOCS / "open.md").read_text(encoding="utf-8") == SCRIPT["render"](), "run: python docs/datasets/open.py"


def test_the_croissant_metadata_is_what_its_script_writes() -> None:
    written = (DOCS / "open.croissant.json").read_text(encoding="utf-8")
    assert written == SCRIPT["croissant"](), "run: python docs/datasets/open.py"


@pytest.mark.parametrize("name", ["samples", "images"])
def test_the_croissant_fields_and_counts_are_those_of_the_file(name: str) -> None:
    meta = json.loads((DOCS / "open.croissant.json").read_text(encoding="utf-8"))
    file = pq.ParquetFile(data_folder(2) / f"{name}.parquet")
    (record_set,) = (entry for entry in meta["recordSet"] if entry["name"] == name)
    assert [field["source"]["extract"]["column"] for field in record_set["field"]] == file.schema_arrow.names
    assert record_set["description"] == f"{file.metadata.num_rows} records"
    assert str(file.metadata.num_rows) in meta["description"]


def test_croissant_references_lead_to_fields_that_exist() -> None:
    meta = json.loads((DOCS / "open.croissant.json").read_text(encoding="utf-8"))
    ids = {field["@id"] for entry in meta["recordSet"] for field in entry["field"]}
    files = {entry["@id"] for entry in meta["distribution"]}
    for entry in meta["recordSet"]:
        assert entry["key"]["@id"] in ids
        for field in entry["field"]:
            assert "references" not in field or field["references"]["field"]["@id"] in ids
            assert "source" not in field or field["source"]["fileObject"]["@id"] in files
