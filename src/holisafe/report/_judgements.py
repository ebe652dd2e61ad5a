"""Every judgement of runs as one tidy table: a row per run, sample and judge."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from holisafe._printable import encodable
from holisafe.errors import RunError
from holisafe.metrics import cluster_name, is_counted, is_right
from holisafe.records import CATEGORY_TAG, SUBCATEGORY_TAG, GuardVerdict, Judgement, Response, Run, Sample
from holisafe.report._file import put
from holisafe.report._provenance import mapping
from holisafe.report._rows import label_runs
from holisafe.report.text import csv_cell
from holisafe.taxonomy import Combination, GuardLabel

COLUMNS: Mapping[str, str] = {
    "run": "string",
    "label": "string",
    "model": "string",
    "data": "string",
    "split": "string",
    "sample": "string",
    "combination": "string",
    "expected": "string",
    "category": "string",
    "subcategory": "string",
    "tags": "string",
    "cluster": "string",
    "twin": "string",
    "judge": "string",
    "judge_version": "string",
    "judge_model": "string",
    "outcome": "string",
    "counted": "bool",
    "right": "bool",
    "image_flagged": "bool",
    "image_unsafe": "double",
    "request_flagged": "bool",
    "request_unsafe": "double",
    "request_combination": "string",
    "finish_reason": "string",
    "input_tokens": "int64",
    "output_tokens": "int64",
    "has_error": "bool",
}
"""Columns and their types; null where there is nothing to say. docs/tables.md says what each holds."""

TEXTS: Mapping[str, str] = dict.fromkeys(("question", "answer", "reference", "rationale", "error"), "string")
"""Further columns, which `share` leaves out."""


def write_judgements(
    runs: Sequence[Run],
    out: str | Path,
    *,
    labels: Sequence[str | None] | None = None,
    share: bool = False,
    form: str | None = None,
) -> Path:
    """Write every judgement, one a row, as Parquet or CSV.

    In CSV, a text that a spreadsheet would take for a formula begins with an apostrophe.

    Args:
        runs: The runs.
        out: The file.
        labels: Names to show, one per run; None for a run's own.
        share: Leave out questions, answers and what judges said of them.
        form: "parquet" or "csv"; Parquet where `out` ends so, else CSV, if not given.

    Raises:
        RunError: There is nothing to write, or `out` cannot be written.
    """
    columns = {**COLUMNS, **({} if share else TEXTS)}
    rows = _rows(runs, label_runs(runs, labels), columns)
    place = Path(out)
    is_parquet = form == "parquet" if form else place.suffix.lower() == ".parquet"
    return _parquet(rows, place, columns) if is_parquet else _csv(rows, place, columns)


def _csv(rows: Iterator[dict[str, Any]], out: Path, columns: Mapping[str, str]) -> Path:
    text = io.StringIO()
    table = csv.DictWriter(text, list(columns), lineterminator="\n")
    table.writeheader()
    for row in rows:
        table.writerow({name: csv_cell(value) if isinstance(value, str) else value for name, value in row.items()})
    return put(out, text.getvalue())


def _parquet(rows: Iterator[dict[str, Any]], out: Path, columns: Mapping[str, str]) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = {"string": pa.string(), "bool": pa.bool_(), "double": pa.float64(), "int64": pa.int64()}
    schema = pa.schema([(name, types[kind]) for name, kind in columns.items()])
    table = pa.Table.from_pylist(list(rows), schema=schema)
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return put(out, buffer.getvalue())


def _rows(runs: Sequence[Run], labelled: Sequence[Run], columns: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    for run, shown in zip(runs, labelled, strict=True):
        data = mapping(run.provenance.get("data"))
        facts = {
            "run": run.name,
            "label": shown.name,
            "data": _text(data.get("name")),
            "split": _text(data.get("split")),
        }
        for judgements in run.judgements.values():
            for sample, response, judgement in zip(run.samples, run.responses, judgements, strict=True):
                if not sample.id == response.sample_id == judgement.sample_id:
                    raise RunError(f"run {run.name!r}: samples, answers and judgements are not in one order")
                row = facts | _of_sample(sample) | _of_response(response) | _of_judgement(sample, judgement)
                yield {name: encodable(v) if isinstance(v := row[name], str) else v for name in columns}


def _of_sample(sample: Sample) -> dict[str, Any]:
    others = {name: tag for name, tag in sample.tags.items() if name not in (CATEGORY_TAG, SUBCATEGORY_TAG)}
    return {
        "sample": sample.id,
        "combination": sample.combination.value if sample.combination else None,
        "expected": sample.expected.value if sample.expected else None,
        "category": sample.tags.get(CATEGORY_TAG),
        "subcategory": sample.tags.get(SUBCATEGORY_TAG),
        "tags": json.dumps(others, ensure_ascii=False, sort_keys=True) if others else None,
        "cluster": cluster_name(sample),
        "twin": sample.twin,
        "question": sample.query,
        "reference": sample.reference,
    }


def _of_response(response: Response) -> dict[str, Any]:
    return {
        "model": response.model,
        "answer": response.text,
        "finish_reason": response.finish_reason,
        "input_tokens": response.input_tokens,
        "output_tokens": response.output_tokens,
        "has_error": response.error is not None,
        "error": response.error,
        **_of_verdict(response.verdict),
    }


def _of_verdict(verdict: GuardVerdict) -> dict[str, Any]:
    """Of several images, whether any is flagged, and the highest probability; null for a guard without a safe class."""
    images = [each for each in verdict.images if GuardLabel.SAFE in each.distribution]
    request = verdict.request
    told = request if request is not None and Combination.SSS in request.distribution else None
    return {
        "image_flagged": any(each.flagged for each in images) if images else None,
        "image_unsafe": max((each.unsafe for each in images), default=None),
        "request_flagged": told.flagged if told else None,
        "request_unsafe": told.unsafe if told else None,
        "request_combination": request.combination.value if request else None,
    }


def _of_judgement(sample: Sample, judgement: Judgement) -> dict[str, Any]:
    scored = sample.expected is not None
    return {
        "judge": judgement.judge.name,
        "judge_version": judgement.judge.version,
        "judge_model": judgement.judge.model,
        "outcome": judgement.outcome.value,
        "counted": is_counted(sample.expected, judgement.outcome) if scored else None,
        "right": is_right(sample.expected, judgement.outcome) if scored else None,
        "rationale": judgement.rationale,
    }


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
