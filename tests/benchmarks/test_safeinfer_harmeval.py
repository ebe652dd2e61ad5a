"""SafeInfer's HarmEval: a table of texts without images."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.benchmarks.more_releases import harmeval_rows, write_csv
from tests.benchmarks.small_releases import write_json, zipped

from holisafe import datasets
from holisafe.benchmarks.conformance import BenchmarkConformance
from holisafe.errors import DataError


class TestHarmEval(BenchmarkConformance):
    name = "safeinfer-harmeval"

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.folder = tmp_path

    def place(self) -> Path:
        return write_csv(self.folder / "good" / "HarmEval.csv", harmeval_rows()).parent

    def damaged(self) -> Path:
        rows = harmeval_rows()
        rows[1]["Question"] = ""
        return write_csv(self.folder / "damaged" / "HarmEval.csv", rows).parent


def test_csv_json_parquet_and_zip_give_the_same_samples(tmp_path: Path) -> None:
    table = write_csv(tmp_path / "csv" / "some.csv", harmeval_rows())
    write_json(tmp_path / "json" / "HarmEval.json", harmeval_rows())
    (tmp_path / "hub" / "data").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(harmeval_rows()), tmp_path / "hub" / "data" / "train-00000-of-00001.parquet")
    places = (table, table.parent, tmp_path / "json", tmp_path / "hub", zipped(tmp_path / "json", "h.zip", "main/"))
    found = {tuple((s.id, s.query, s.tags["topic"]) for s in datasets.load(f"safeinfer-harmeval:{p}")) for p in places}
    assert found == {
        tuple((f"harmeval-{at}", f"How does one forge ticket {at}?", "Fraud/Deception") for at in range(4))
    }


@pytest.mark.parametrize(("field", "value"), [("Question", None), ("Topic", "")])
def test_a_broken_record_is_named(tmp_path: Path, field: str, value: object) -> None:
    rows = harmeval_rows()
    rows[2][field] = value
    loaded = datasets.read(f"safeinfer-harmeval:{write_csv(tmp_path / 'h.csv', rows)}")
    assert [(p.index, p.field) for p in loaded.broken] == [(2, field)] and len(loaded.samples) == 3


def test_of_several_tables_none_is_guessed(tmp_path: Path) -> None:
    for name in ("a.csv", "b.csv"):
        write_csv(tmp_path / name, harmeval_rows())
    with pytest.raises(DataError, match=r"found a\.csv, b\.csv, expected one table"):
        datasets.load(f"safeinfer-harmeval:{tmp_path}")


def test_the_other_harmeval_is_told_apart(tmp_path: Path) -> None:
    write_json(tmp_path / "data.json", [{"image": "a.png", "question": "What?", "class1": "x", "class2": "y"}])
    with pytest.raises(DataError, match="this looks like SPA-VL: use --data spa-vl:"):
        datasets.read(tmp_path)
